/* Between libraft's structures and what log.c keeps. What libraft takes over is from raft_malloc. */
#include "tests/sim/log.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <string.h>

struct log_entry *log_entry_of(uint64_t term, unsigned type, const struct raft_buffer *b)
{
    struct log_entry *e = mem_alloc(sizeof *e + b->len);
    *e = (struct log_entry){.term = term, .type = (uint16_t)type, .n = b->len};
    if (b->len)
        memcpy(e->p, b->base, b->len);
    return e;
}

int log_snapshot_of(const struct raft_snapshot *s, struct log_snapshot **copy_r)
{
    struct raft_buffer conf;
    int rc = raft_configuration_encode(&s->configuration, &conf);
    if (rc != 0)
        return rc;
    size_t n = 0;
    for (unsigned i = 0; i < s->n_bufs; i++)
        n += s->bufs[i].len;
    struct log_snapshot *copy = mem_alloc(sizeof *copy + conf.len + n);
    *copy = (struct log_snapshot){s->index, s->term, s->configuration_index, conf.len, n};
    uint8_t *p = copy->p;
    memcpy(p, conf.base, conf.len);
    p += conf.len;
    for (unsigned i = 0; i < s->n_bufs; p += s->bufs[i++].len)
        memcpy(p, s->bufs[i].base, s->bufs[i].len);
    raft_free(conf.base);
    *copy_r = copy;
    return 0;
}

struct raft_snapshot *log_snapshot_read(const struct log_disk *d)
{
    const struct log_snapshot *from = d->snapshot;
    struct raft_snapshot *s = raft_malloc(sizeof *s);
    struct raft_buffer conf = {.base = (void *)(uintptr_t)from->p, .len = from->conf_n};
    ENSURE(s);
    *s = (struct raft_snapshot){
        .index = from->index, .term = from->term, .configuration_index = from->conf_index, .n_bufs = 1};
    raft_configuration_init(&s->configuration);
    ENSURE(raft_configuration_decode(&conf, &s->configuration) == 0);
    s->bufs = raft_malloc(sizeof *s->bufs);
    ENSURE(s->bufs);
    s->bufs[0].len = from->n;
    s->bufs[0].base = raft_malloc(from->n ? from->n : 1);
    ENSURE(s->bufs[0].base);
    memcpy(s->bufs[0].base, from->p + from->conf_n, from->n);
    return s;
}

/* One batch holds them all. */
struct raft_entry *log_entries_read(const struct log_disk *d)
{
    if (d->n == 0)
        return NULL;
    size_t size = 0;
    for (size_t i = 0; i < d->n; i++)
        size += d->entries[i]->n;
    struct raft_entry *entries = raft_malloc(d->n * sizeof *entries);
    uint8_t *batch = raft_malloc(size ? size : 1), *p = batch;
    ENSURE(entries && batch);
    for (size_t i = 0; i < d->n; i++) {
        const struct log_entry *e = d->entries[i];
        entries[i] = (struct raft_entry){.term = e->term, .type = e->type, .buf = {p, e->n}, .batch = batch};
        memcpy(p, e->p, e->n);
        p += e->n;
    }
    return entries;
}
