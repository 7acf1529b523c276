#include "support_queue.h"

/* A long random walk of the queue's commands against a simple model, compared as text; then the same log on other
 * replicas, cut into other batches, one of them begun from a copy: equal digests. */

enum { STEPS = 1500, ITEMS = 4000, LEGS = 3, RECIPIENTS = 3, DESTINATIONS = 4, NODES = 3, OPEN_MAX = 25 };

struct model_leg {
    bool there, warned;
    unsigned destination, attempts, n;
    unsigned recipients[RECIPIENTS];
    char state; /* W, L, H */
    int64_t due, until;
    uint64_t holder, boot;
};
struct model_item {
    bool held, canceled;
    struct model_leg leg[LEGS + 1]; /* from 1 on */
};
struct model {
    struct qx q;
    uint64_t random;
    struct model_item item[ITEMS];
    uint64_t first, next; /* ids: next is not given yet */
    uint64_t boot[NODES + 1];
    unsigned recipient, stale, voided, granted;
};
static const char *const names[DESTINATIONS] = {"a.org", "aa.org", "b.org", "c.org"};

/* xorshift */
static unsigned pick(struct model *m, unsigned n)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (unsigned)((m->random >> 11) % n);
}

static int64_t now(const struct model *m)
{
    return m->q.f.time_ms - m->q.start_ms;
}

static bool open_item(const struct model_item *i)
{
    for (unsigned l = 1; l <= LEGS; l++)
        if (i->leg[l].there)
            return true;
    return false;
}

static unsigned open_count(struct model *m)
{
    unsigned n = 0;
    while (m->first < m->next && !open_item(&m->item[m->first]))
        m->first++;
    for (uint64_t i = m->first; i < m->next; i++)
        n += open_item(&m->item[i]);
    return n;
}

static const char *model_text(struct model *m)
{
    static char text[65536];
    size_t n = 0;
    text[0] = 0;
    for (uint64_t id = m->first; id < m->next; id++) {
        const struct model_item *i = &m->item[id];
        if (!open_item(i))
            continue;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%llu%s%s", n ? " | " : "", (unsigned long long)id,
                              i->held ? "h" : "", i->canceled ? "c" : "");
        for (unsigned k = 1; k <= LEGS; k++) {
            const struct model_leg *l = &i->leg[k];
            if (!l->there)
                continue;
            n += (size_t)snprintf(text + n, sizeof text - n, " %u%s=%c%u", k, names[l->destination], l->state,
                                  l->attempts);
            if (l->state == 'L')
                n += (size_t)snprintf(text + n, sizeof text - n, ":%llu.%llu", (unsigned long long)l->holder,
                                      (unsigned long long)l->boot);
            else
                n += (size_t)snprintf(text + n, sizeof text - n, "+%lld", (long long)l->due);
            n += (size_t)snprintf(text + n, sizeof text - n, "%s(", l->warned ? "!" : "");
            for (unsigned r = 0; r < l->n; r++)
                n += (size_t)snprintf(text + n, sizeof text - n, "%sr%u", r ? " " : "", l->recipients[r]);
            n += (size_t)snprintf(text + n, sizeof text - n, ")");
        }
    }
    assert_true(n < sizeof text);
    return text;
}

/* ---- enqueue ---- */

static struct qx_enqueue enqueue_pick(struct model *m, char *legs, struct model_item *i)
{
    struct qx_enqueue e = {.legs = legs, .body = pick(m, 6), .local = pick(m, 8) == 0};
    unsigned first = pick(m, DESTINATIONS), n = 1 + pick(m, LEGS);
    size_t at = 0;
    memset(i, 0, sizeof *i);
    if (pick(m, 2)) {
        e.node = 1 + pick(m, NODES);
        e.boot = m->boot[e.node];
        e.lease_ms = pick(m, 400);
    }
    for (unsigned k = 1; k <= n; k++) {
        struct model_leg *l = &i->leg[k];
        *l = (struct model_leg){.there = true, .destination = (first + k) % DESTINATIONS, .state = 'W', .due = now(m)};
        at += (size_t)sprintf(legs + at, "%s%s:", k > 1 ? " " : "", names[l->destination]);
        l->n = 1 + pick(m, RECIPIENTS);
        for (unsigned r = 0; r < l->n; r++) {
            l->recipients[r] = m->recipient++;
            at += (size_t)sprintf(legs + at, "%sr%u", r ? "," : "", l->recipients[r]);
        }
        if (e.node && e.lease_ms > 0) {
            l->state = 'L';
            l->attempts = 1;
            l->holder = e.node;
            l->boot = e.boot;
            l->until = now(m) + e.lease_ms;
        }
    }
    return e;
}

static void do_enqueue(struct model *m)
{
    char legs[512];
    if (open_count(m) >= OPEN_MAX)
        return;
    struct qx_enqueue e = enqueue_pick(m, legs, &m->item[m->next]);
    assert_int_equal(qx_enqueue(&m->q, &e), 0);
    assert_int_equal(m->q.f.result->id, m->next);
    m->next++;
}

/* ---- lease ---- */

static struct model_leg *due_first(struct model *m, unsigned destination)
{
    struct model_leg *best = NULL;
    for (uint64_t id = m->first; id < m->next; id++)
        for (unsigned k = 1; k <= LEGS; k++) {
            struct model_leg *l = &m->item[id].leg[k];
            if (l->there && l->destination == destination && l->state == 'W' && l->due <= now(m) &&
                (!best || l->due < best->due))
                best = l;
        }
    return best;
}

static unsigned leased_count(struct model *m, unsigned destination)
{
    unsigned n = 0;
    for (uint64_t id = m->first; id < m->next; id++)
        for (unsigned k = 1; k <= LEGS; k++)
            n += m->item[id].leg[k].there && m->item[id].leg[k].state == 'L' &&
                 m->item[id].leg[k].destination == destination;
    return n;
}

static void do_lease(struct model *m)
{
    char wants[128];
    uint64_t node = 1 + pick(m, NODES);
    unsigned destination_max = pick(m, 6), max[2] = {pick(m, 4), pick(m, 4)};
    unsigned destination[2] = {pick(m, DESTINATIONS), pick(m, DESTINATIONS)}, granted = 0;
    snprintf(wants, sizeof wants, "%s:%u %s:%u", names[destination[0]], max[0], names[destination[1]], max[1]);
    assert_int_equal(qx_lease(&m->q, node, m->boot[node], wants, destination_max), 0);
    for (unsigned w = 0; w < 2; w++)
        for (unsigned n = 0; n < max[w]; n++) {
            struct model_leg *l = due_first(m, destination[w]);
            if (!l || (destination_max && leased_count(m, destination[w]) >= destination_max))
                break;
            l->state = 'L';
            l->attempts++;
            l->holder = node;
            l->boot = m->boot[node];
            l->until = now(m) + 1000;
            granted++;
        }
    assert_int_equal(m->q.f.result->n_grants, granted);
    m->granted += granted;
}

/* ---- outcome, void ---- */

static void leg_return(struct model *m, struct model_item *i, struct model_leg *l, int64_t due)
{
    (void)m;
    l->holder = l->boot = 0;
    l->state = i->held ? 'H' : 'W';
    l->due = due;
    if (i->canceled)
        l->there = false;
}

static struct model_leg *leg_pick(struct model *m, uint64_t *id_r, unsigned *k_r)
{
    if (m->first == m->next)
        return NULL;
    *id_r = m->first + pick(m, (unsigned)(m->next - m->first));
    *k_r = 1 + pick(m, LEGS);
    return &m->item[*id_r].leg[*k_r];
}

static void outcome_apply(struct model *m, struct model_item *i, struct model_leg *l, const struct qx_outcome *o)
{
    unsigned n = 0;
    if (strcmp(o->how, "-") == 0) {
        l->attempts--;
        leg_return(m, i, l, now(m) + o->after_ms);
        return;
    }
    for (unsigned r = 0; r < l->n; r++)
        if (o->how[r] == 't')
            l->recipients[n++] = l->recipients[r];
    l->n = n;
    if (n == 0) {
        l->there = false;
        return;
    }
    l->warned = l->warned || o->warned;
    leg_return(m, i, l, now(m) + o->after_ms);
}

static void do_outcome(struct model *m)
{
    uint64_t id;
    unsigned k;
    char how[8] = "", legs[512];
    struct model_leg *l = NULL;
    /* Mostly legs that are out. */
    for (int tries = 0; tries < 20 && !(l && l->there && l->state == 'L'); tries++)
        l = leg_pick(m, &id, &k);
    if (!l)
        return;
    for (unsigned r = 0; r < l->n; r++)
        how[r] = "ddtf"[pick(m, 4)];
    if (pick(m, 10) == 0)
        strcpy(how, "-");
    bool wrong = pick(m, 8) == 0;
    struct qx_outcome o = {.item = id,
                           .leg = k,
                           .attempt = l->attempts + wrong,
                           .how = how,
                           .after_ms = (int64_t)pick(m, 300),
                           .warned = pick(m, 4) == 0};
    bool holds = l->there && l->state == 'L' && !wrong;
    uint64_t node = holds ? l->holder : 1, boot = holds ? l->boot : m->boot[1];
    struct model_item notice;
    struct qx_enqueue e;
    if (pick(m, 6) == 0 && open_count(m) < OPEN_MAX) {
        e = enqueue_pick(m, legs, &notice);
        o.notice[0] = &e;
    }
    assert_int_equal(qx_outcomes(&m->q, node, boot, &o, 1), 0);
    assert_int_equal(m->q.f.result->account_status[0], holds ? 0 : ERR_STALE);
    m->stale += !holds;
    if (!holds)
        return;
    outcome_apply(m, &m->item[id], l, &o);
    if (o.notice[0])
        m->item[m->next++] = notice;
}

static void do_void(struct model *m)
{
    uint64_t node = pick(m, NODES + 1), boot = node && pick(m, 2) ? m->boot[node] : 0;
    int n = 0;
    for (uint64_t id = m->first; id < m->next; id++)
        for (unsigned k = 1; k <= LEGS; k++) {
            struct model_leg *l = &m->item[id].leg[k];
            if (!l->there || l->state != 'L')
                continue;
            if (node ? l->holder != node || (boot && l->boot >= boot) : l->until >= now(m))
                continue;
            leg_return(m, &m->item[id], l, now(m));
            n++;
        }
    assert_int_equal(qx_void(&m->q, node, boot, 0), n);
    m->voided += (unsigned)n;
}

static void do_restart(struct model *m)
{
    m->boot[1 + pick(m, NODES)]++;
}

/* ---- control ---- */

static bool control_leg(struct model *m, struct model_leg *l, int action)
{
    if (!l->there)
        return false;
    if (action == HOLD && l->state == 'W')
        l->state = 'H';
    if (action == RELEASE && l->state == 'H')
        l->state = 'W';
    if (action == CANCEL && l->state != 'L')
        l->there = false;
    if (action != RETRY)
        return true;
    if (l->state != 'W' || l->due <= now(m))
        return false;
    l->due = now(m);
    return true;
}

static void do_control(struct model *m)
{
    uint64_t ids[3];
    int action = pick(m, 10) == 0 ? CANCEL : (int)pick(m, 3), n = 0;
    for (int i = 0; i < 3; i++) {
        ids[i] = m->first + pick(m, (unsigned)(m->next - m->first) + 1);
        struct model_item *it = &m->item[ids[i]];
        bool changed = false;
        if (ids[i] >= m->next || !open_item(it) || it->canceled || (action == HOLD && it->held) ||
            (action == RELEASE && !it->held))
            continue;
        it->held = action == HOLD ? true : action == RELEASE ? false : it->held;
        it->canceled = action == CANCEL;
        for (unsigned k = 1; k <= LEGS; k++)
            changed |= control_leg(m, &it->leg[k], action);
        n += changed;
    }
    assert_int_equal(qx_control(&m->q, action, ids, 3), n);
}

static void compare(struct model *m)
{
    open_count(m);
    assert_string_equal(qx_text(&m->q), model_text(m));
    struct store_queue_totals t = qx_totals(&m->q);
    assert_int_equal(t.items, open_count(m));
}

/* ---- other replicas ---- */

static void replay(struct fx *f, struct reader *log, struct model *dice, unsigned commands)
{
    while (commands && log->in.n) {
        assert_int_equal(store_batch_begin(f->s), 0);
        for (unsigned entries = 1 + pick(dice, 6); entries && commands && log->in.n; entries--) {
            struct buf entry = {0};
            entry_begin(&entry);
            for (unsigned n = 1 + pick(dice, 9); n && commands && log->in.n; n--, commands--)
                entry_add(&entry, read_bytes(log, COMMAND_MAX));
            entry_end(&entry);
            assert_int_equal(store_apply(f->s, ++f->index, 1, buf_slice(&entry)), 0);
            buf_close(&entry);
        }
        assert_int_equal(store_batch_commit(f->s), 0);
    }
}

static void transfer(struct fx *from, struct fx *to)
{
    struct store_export *x;
    struct store_import *i;
    struct store_position p;
    struct err_detail e;
    struct buf part = {0};
    uint64_t total;
    bool done = false;
    assert_int_equal(store_export_begin(from->s, &x, &p, &total), 0);
    assert_int_equal(store_import_begin(to->dir, &i, &e), 0);
    while (!done) {
        buf_clear(&part);
        assert_int_equal(store_export_next(x, 3000, &part, &done), 0);
        assert_int_equal(store_import_feed(i, buf_slice(&part), &e), 0);
    }
    assert_int_equal(store_import_finish(i, &p, &e), 0);
    assert_int_equal(store_import_swap(to->s, &i, &e), 0);
    to->index = p.index;
    store_export_end(&x);
    buf_close(&part);
}

static void same(struct fx *a, struct fx *b)
{
    struct sum128 x = fx_digest(a), y = fx_digest(b);
    assert_true(x.lo == y.lo && x.hi == y.hi);
    fx_scrub(a);
    fx_scrub(b);
}

/* MODSEQs follow the entries, so the replicas have the same ones, and cut other batches. */
static void replicas_agree(struct slice log, uint64_t seed)
{
    struct fx one, two;
    struct reader first = {.in = log}, second = {.in = log};
    struct model *a = mem_zalloc(sizeof *a), *b = mem_zalloc(sizeof *b);
    a->random = b->random = seed;
    fx_open(&one);
    fx_open(&two);
    replay(&one, &first, a, 700);
    transfer(&one, &two);
    same(&one, &two);
    second = first;
    *b = *a;
    replay(&one, &first, a, 400);
    replay(&two, &second, b, 400);
    fx_reopen(&two);
    replay(&one, &first, a, UINT32_MAX);
    replay(&two, &second, b, UINT32_MAX);
    same(&one, &two);
    fx_close(&one);
    fx_close(&two);
    mem_free(a);
    mem_free(b);
}

/* The same entries as the walk's own (one command each), many in a batch. */
static void batches_agree(struct slice log, struct fx *walked)
{
    struct fx f;
    struct reader r = {.in = log};
    fx_open(&f);
    while (r.in.n) {
        assert_int_equal(store_batch_begin(f.s), 0);
        for (unsigned n = 0; n < 37 && r.in.n; n++) {
            struct buf entry = {0};
            entry_begin(&entry);
            entry_add(&entry, read_bytes(&r, COMMAND_MAX));
            entry_end(&entry);
            assert_int_equal(store_apply(f.s, ++f.index, 1, buf_slice(&entry)), 0);
            buf_close(&entry);
        }
        assert_int_equal(store_batch_commit(f.s), 0);
    }
    same(&f, walked);
    fx_close(&f);
}

static void run(uint64_t seed)
{
    static void (*const all[])(struct model * m) = {do_enqueue, do_enqueue, do_enqueue, do_lease,
                                                    do_lease,   do_outcome, do_outcome, do_outcome,
                                                    do_outcome, do_void,    do_restart, do_control};
    struct buf log = {0};
    struct model *m = mem_zalloc(sizeof *m);
    m->random = seed;
    m->first = m->next = 1;
    for (unsigned i = 1; i <= NODES; i++)
        m->boot[i] = 10 * i;
    /* qx_open's own commands belong to the log, too. */
    qx_open_logged(&m->q, &log);
    for (int i = 0; i < STEPS; i++) {
        m->q.f.time_ms += (int64_t)pick(m, 60);
        all[pick(m, sizeof all / sizeof *all)](m);
        if (i % 5 == 0)
            compare(m);
    }
    compare(m);
    assert_true(m->stale > 20 && m->voided > 20 && m->granted > 100);
    batches_agree(buf_slice(&log), &m->q.f);
    replicas_agree(buf_slice(&log), seed);
    qx_close(&m->q);
    mem_free(m);
    buf_close(&log);
}

static void test_random(void **state)
{
    (void)state;
    run(20261);
    run(777);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
