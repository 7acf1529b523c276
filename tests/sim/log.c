/* A host's Raft log as a disk holds it: in memory, durable from one life to the next. What a crash leaves of writes
 * under way is drawn: libraft writes with O_DSYNC, so what it was told is done is durable, and the rest may be there in
 * part. Names of files stand for the real ones where production looks at them. */
#include "tests/sim/log.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct log_disk disks[SIM_HOSTS_MAX];

struct log_disk *log_disk(unsigned host)
{
    struct log_disk *d = &disks[host];
    if (d->first == 0) {
        d->first = 1;
        list_init(&d->under_way);
    }
    return d;
}

void log_op_free(struct log_op *op)
{
    if (op->entries)
        for (unsigned i = 0; i < op->n; i++)
            mem_free(op->entries[i]);
    mem_free(op->entries);
    mem_free(op->snapshot);
    mem_free(op);
}

/* ---- entries ---- */

static struct log_entry *entry_copy(const struct log_entry *e)
{
    struct log_entry *copy = mem_alloc(sizeof *copy + e->n);
    memcpy(copy, e, sizeof *copy + e->n);
    return copy;
}

static void entries_cut(struct log_disk *d, uint64_t index)
{
    while (d->n > 0 && d->first + d->n > index)
        mem_free(d->entries[--d->n]);
    if (d->bad >= index)
        d->bad = 0;
}

static void entries_trim(struct log_disk *d, uint64_t first)
{
    size_t drop = first <= d->first ? 0 : first - d->first < d->n ? (size_t)(first - d->first) : d->n;
    for (size_t i = 0; i < drop; i++)
        mem_free(d->entries[i]);
    if (drop > 0)
        if (drop < d->n)
            memmove(d->entries, d->entries + drop, (d->n - drop) * sizeof *d->entries);
    d->n -= drop;
    d->first += drop;
    if (d->bad < d->first)
        d->bad = 0;
}

static void entry_push(struct log_disk *d, struct log_entry *e)
{
    if (d->n == d->cap) {
        d->cap = d->cap ? d->cap * 2 : 64;
        d->entries = mem_realloc(d->entries, d->cap * sizeof *d->entries);
    }
    d->entries[d->n++] = e;
}

static void snapshot_set(struct log_disk *d, const struct log_snapshot *s)
{
    size_t size = sizeof *s + s->conf_n + s->n;
    mem_free(d->snapshot);
    d->snapshot = mem_alloc(size);
    memcpy(d->snapshot, s, size);
}

/* Whole segments go, so that more may stay than was asked for. */
static void snapshot_trim(struct log_disk *d, uint64_t index, unsigned trailing)
{
    if (index <= trailing)
        return;
    uint64_t keep = index - trailing + 1;
    if (keep > d->first)
        entries_trim(d, sim_between(d->first, keep));
    d->bad_closed = true; /* the open segments were closed for it */
}

void log_op_apply(struct log_disk *d, const struct log_op *op)
{
    switch (op->kind) {
    case LOG_APPEND_:
        if (d->n == 0)
            d->first = op->index;
        ENSURE(d->first + d->n == op->index);
        for (unsigned i = 0; i < op->n; i++)
            entry_push(d, entry_copy(op->entries[i]));
        break;
    case LOG_TRUNCATE:
        entries_cut(d, op->index);
        d->bad_closed = true;
        break;
    case LOG_INSTALL:
        snapshot_set(d, op->snapshot);
        entries_trim(d, UINT64_MAX);
        d->first = op->index + 1;
        break;
    case LOG_SNAPSHOT:
        snapshot_set(d, op->snapshot);
        snapshot_trim(d, op->index, op->trailing);
        break;
    }
}

/* ---- term, vote ---- */

static void name_make(const struct log_disk *d, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", d->dir, name);
    int fd = __real_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        __real_close(fd);
}

void log_meta_begin(struct log_disk *d, uint64_t term, uint64_t vote)
{
    d->next_term = term;
    d->next_vote = vote;
    d->storing = true;
}

void log_meta_end(struct log_disk *d)
{
    d->storing = false;
    d->term = d->next_term;
    d->vote = d->next_vote;
    if (++d->version <= 2)
        name_make(d, d->version == 1 ? "metadata1" : "metadata2");
}

void log_first_write(struct log_disk *d, struct log_entry *e)
{
    d->first = 1;
    entry_push(d, e);
    name_make(d, "0000000000000001-0000000000000001");
}

/* ---- start ---- */

static bool there(const struct log_disk *d, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", d->dir, name);
    return access(path, F_OK) == 0;
}

int log_check(struct log_disk *d, char *errmsg)
{
    if (d->version == 1 && !there(d, "metadata1")) /* removed, to begin once more */
        d->term = d->vote = d->version = 0;
    if (d->bad && d->bad_closed) {
        snprintf(errmsg, RAFT_ERRMSG_BUF_SIZE, "load closed segment: entries batch %llu: data checksum mismatch",
                 (unsigned long long)d->bad);
        return RAFT_CORRUPT;
    }
    if (d->bad)
        entries_cut(d, d->bad);
    if (d->snapshot && d->n > 0 && d->first + d->n - 1 < d->snapshot->index)
        entries_trim(d, UINT64_MAX);
    if (d->n == 0)
        d->first = d->snapshot ? d->snapshot->index + 1 : 1;
    if (d->snapshot && d->first > d->snapshot->index + 1) {
        snprintf(errmsg, RAFT_ERRMSG_BUF_SIZE, "closed segment %llu is past last snapshot",
                 (unsigned long long)d->first);
        return RAFT_CORRUPT;
    }
    return 0;
}

/* ---- crash ---- */

static void wreck_apply(struct log_disk *d, const struct log_op *op)
{
    if (op->kind == LOG_INSTALL || op->kind == LOG_SNAPSHOT) {
        unsigned far = (unsigned)sim_below(3); /* not there, the snapshot alone, all of it */
        if (far == 1)
            snapshot_set(d, op->snapshot);
        if (far == 2)
            log_op_apply(d, op);
    } else if (sim_below(2)) {
        log_op_apply(d, op);
    }
}

/* One write carries a run of appends; a prefix of them is whole. */
static void wreck(struct log_disk *d, bool power)
{
    LIST_EACH(it, tmp, &d->under_way)
    {
        if (container_of(it, struct log_op, item)->done)
            list_remove(it);
    }
    bool torn = !power || sim_chance(disk_faults((unsigned)(d - disks))->torn_ppm);
    uint64_t appends = 0, kept = 0, lost = 0;
    LIST_EACH(it, tmp, &d->under_way)
    appends += container_of(it, struct log_op, item)->kind == LOG_APPEND_;
    kept = torn ? sim_below(appends + 1) : 0;
    LIST_EACH(it, tmp, &d->under_way)
    {
        struct log_op *op = container_of(it, struct log_op, item);
        if (op->kind == LOG_APPEND_ && kept > 0)
            log_op_apply(d, op);
        else if (op->kind != LOG_APPEND_)
            wreck_apply(d, op);
        else
            lost++;
        kept -= op->kind == LOG_APPEND_ && kept > 0;
        list_remove(it);
    }
    if (appends)
        sim_trace("disk %u loses %llu of %llu appends", (unsigned)(d - disks), (unsigned long long)lost,
                  (unsigned long long)appends);
}

void log_wipe(unsigned host)
{
    struct log_disk *d = log_disk(host);
    entries_trim(d, UINT64_MAX);
    mem_free(d->entries);
    mem_free(d->snapshot);
    *d = (struct log_disk){0};
}

void sim_log_crash(struct sim_host *h, bool power)
{
    unsigned host = sim_host_index(h);
    struct log_disk *d = log_disk(host);
    struct stat st;
    if (d->dir[0] && stat(d->dir, &st) != 0) { /* its folder was not durable */
        log_wipe(host);
        return;
    }
    if (d->storing && sim_below(2))
        log_meta_end(d);
    d->storing = false;
    wreck(d, power);
}

bool log_flip(unsigned host)
{
    struct log_disk *d = log_disk(host);
    if (d->n == 0)
        return false;
    if (d->snapshot && d->snapshot->n && sim_below(8) == 0) {
        d->snapshot->p[d->snapshot->conf_n + sim_below(d->snapshot->n)] ^= (uint8_t)(1u << sim_below(8));
        return true;
    }
    size_t back = sim_below(2) ? sim_below(d->n) : sim_below(d->n < 4 ? d->n : 4);
    d->bad = d->first + d->n - 1 - back;
    d->bad_closed = sim_below(2); /* else libraft takes the rest of the open segment for a torn write */
    return true;
}
