/* Between the applier and the store, on every node: ld --wrap puts these functions in the place of store_apply and its
 * like (tests/sim/CMakeLists.txt). */
#include "tests/sim/check.h"

#include "node/base/buf.h"

enum { RESULTS_MAX = ENTRY_COMMANDS_MAX, WHOLE_EVERY_US = 4 * SIM_S };

int __real_store_apply(struct store *s, uint64_t index, uint64_t term, struct slice entry);
int __wrap_store_apply(struct store *s, uint64_t index, uint64_t term, struct slice entry);
int __real_store_batch_commit(struct store *s);
int __wrap_store_batch_commit(struct store *s);
int __real_store_import_swap(struct store *s, struct store_import **i, struct err_detail *e);
int __wrap_store_import_swap(struct store *s, struct store_import **i, struct err_detail *e);
void __real_store_set_events(struct store *s, const struct store_events *e);
void __wrap_store_set_events(struct store *s, const struct store_events *e);
int __real_store_apply_nothing(struct store *s, uint64_t index, uint64_t term);
int __wrap_store_apply_nothing(struct store *s, uint64_t index, uint64_t term);

/* ---- what each index of the log is, as the first node saw it ---- */

struct entry_seen {
    uint64_t sum, results_sum; /* 0: no commands (a barrier, a change of members, a marker), or not seen */
    bool committed;            /* a node's store stood exactly here */
    struct sum128 digest;
};
static struct entry_seen *entries;
static uint64_t entries_cap;

static struct entry_seen *entry_at(uint64_t index)
{
    if (index >= entries_cap) {
        uint64_t cap = entries_cap ? entries_cap : 1024;
        while (cap <= index)
            cap *= 2;
        entries = mem_realloc(entries, cap * sizeof *entries);
        memset(entries + entries_cap, 0, (cap - entries_cap) * sizeof *entries);
        entries_cap = cap;
    }
    return &entries[index];
}

/* ---- what each host's applier is doing ---- */

struct hook {
    struct store_events real;
    struct buf results;
    struct model_result *at;
    size_t *offsets;
    unsigned n, cap;
};
static struct hook hooks[SIM_HOSTS_MAX];
static int64_t whole_next_us;

static struct hook *hook_now(void)
{
    return &hooks[sim_host_index(sim_host_now())];
}

static void result_seen(void *arg, struct request_id id, struct slice result)
{
    struct hook *h = hook_now();
    if (h->n == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 64;
        h->at = mem_realloc(h->at, h->cap * sizeof *h->at);
        h->offsets = mem_realloc(h->offsets, h->cap * sizeof *h->offsets);
    }
    h->offsets[h->n] = buf_len(&h->results);
    h->at[h->n++] = (struct model_result){id.node, id.boot, id.seq, {NULL, result.n}};
    buf_append_slice(&h->results, result);
    h->real.result(arg, id, result);
}

void __wrap_store_set_events(struct store *s, const struct store_events *e)
{
    struct store_events mine = *e;
    hook_now()->real = *e;
    mine.result = result_seen;
    __real_store_set_events(s, &mine);
}

static void entry_first(struct hook *h, uint64_t index, struct slice entry)
{
    struct entry_seen *seen = entry_at(index);
    struct slice all = buf_slice(&h->results);
    seen->sum = checksum64(entry);
    seen->results_sum = checksum64(all);
    for (unsigned i = 0; i < h->n; i++)
        h->at[i].packed.p = all.p + h->offsets[i];
    model.frontier = index;
    model_apply(index, entry, h->at, h->n);
}

static void entry_again(struct hook *h, uint64_t index, struct slice entry)
{
    struct entry_seen *seen = entry_at(index);
    if (seen->sum != checksum64(entry))
        sim_fail(&sim_counts.diverged, "host %u applies another entry at %llu than others did",
                 sim_host_index(sim_host_now()), (unsigned long long)index);
    if (seen->results_sum != checksum64(buf_slice(&h->results)))
        sim_fail(&sim_counts.diverged, "host %u has other results at %llu than others had",
                 sim_host_index(sim_host_now()), (unsigned long long)index);
}

int __wrap_store_apply(struct store *s, uint64_t index, uint64_t term, struct slice entry)
{
    struct hook *h = hook_now();
    struct store_position before;
    store_position(s, &before);
    buf_clear(&h->results);
    h->n = 0;
    int rc = __real_store_apply(s, index, term, entry);
    if (rc != 0 || index <= before.index)
        return rc;
    if (index > model.frontier)
        entry_first(h, index, entry);
    else
        entry_again(h, index, entry);
    return 0;
}

int __wrap_store_apply_nothing(struct store *s, uint64_t index, uint64_t term)
{
    int rc = __real_store_apply_nothing(s, index, term);
    if (rc == 0 && index > model.frontier)
        model.frontier = index;
    return rc;
}

/* ---- commits ---- */

/* A replica stands at an index: it must be what every other one was there, and what the model says. */
static void position_check(struct store *s, bool whole)
{
    struct store_position p;
    store_position(s, &p);
    struct entry_seen *seen = entry_at(p.index);
    sim_trace("host %u at %llu digest %016llx", sim_host_index(sim_host_now()), (unsigned long long)p.index,
              (unsigned long long)(p.digest.lo ^ p.digest.hi));
    if (p.index > model.frontier)
        sim_fail(&sim_counts.diverged, "host %u stands at %llu, nobody has applied more than %llu",
                 sim_host_index(sim_host_now()), (unsigned long long)p.index, (unsigned long long)model.frontier);
    if (seen->committed && (seen->digest.lo != p.digest.lo || seen->digest.hi != p.digest.hi))
        sim_fail(&sim_counts.diverged, "host %u at %llu is not what another host was there",
                 sim_host_index(sim_host_now()), (unsigned long long)p.index);
    seen->committed = true;
    seen->digest = p.digest;
    sim_counts.checks++;
    struct store_view *v;
    if (p.index != model.frontier || store_view_open(s, &v) != 0)
        return;
    if (store_view_index(v) == model.frontier) { /* others may have gone on while the view was opened */
        check_learn(v);
        if (whole || sim_now_us() >= whole_next_us) {
            whole_next_us = sim_now_us() + WHOLE_EVERY_US;
            check_whole(v);
        } else {
            check_touched(v);
        }
    }
    store_view_close(&v);
}

int __wrap_store_batch_commit(struct store *s)
{
    int rc = __real_store_batch_commit(s);
    if (rc == 0)
        position_check(s, false);
    return rc;
}

int __wrap_store_import_swap(struct store *s, struct store_import **i, struct err_detail *e)
{
    int rc = __real_store_import_swap(s, i, e);
    if (rc == 0) {
        sim_counts.transfers++;
        position_check(s, true);
    }
    return rc;
}

void check_init(void)
{
    for (unsigned i = 0; i < SIM_HOSTS_MAX; i++)
        hooks[i].n = 0;
    whole_next_us = WHOLE_EVERY_US;
}
