#include "store/queue_state.h"

/* Loading the queue's records, and what a batch keeps of it in memory. */

static unsigned slot(struct slice name)
{
    return (unsigned)(checksum64(name) % CACHE_SLOTS);
}

struct destination *batch_destination(struct store *s, struct slice name)
{
    struct slice v;
    unsigned at = slot(name);
    for (struct destination *d = s->destination_slot[at]; d; d = d->next)
        if (slice_eq(d->r.name, name))
            return d;
    struct destination *d = arena_alloc(&s->batch_arena, sizeof *d);
    d->r.first_due_ms = INT64_MAX;
    if (batch_get(s, TABLE_DESTINATION, name, &v)) {
        d->stored = true;
        if (!record_destination_read(v, &d->r))
            batch_fail(s, ERR_CORRUPT, "destination", 0);
    }
    d->stored_first_ms = d->r.first_due_ms;
    d->r.name = arena_copy(&s->batch_arena, name);
    d->next = s->destination_slot[at];
    s->destination_slot[at] = d;
    list_append(&s->destinations, &d->order);
    return d;
}

struct queue_state_record *batch_queue(struct store *s)
{
    struct slice v;
    if (!s->queue) {
        s->queue = arena_alloc(&s->batch_arena, sizeof *s->queue);
        s->queue->next_item = 1;
        if (batch_get(s, TABLE_QUEUE_STATE, key_queue_state(), &v) && !record_queue_state_read(v, s->queue))
            batch_fail(s, ERR_CORRUPT, "queue_state", 0);
    }
    return s->queue;
}

/* ---- write back ---- */

static int64_t first_due(struct store *s, struct slice name)
{
    struct key k;
    struct slice key, v, destination;
    struct queue_due due;
    struct slice prefix = key_queue_due_prefix(&k, name);
    bool has = batch_seek(s, TABLE_QUEUE_DUE, prefix, &key, &v) && key_starts(key, prefix);
    return has && key_queue_due_read(key, &destination, &due) ? due.due_ms : INT64_MAX;
}

static void next_write(struct store *s, struct destination *d)
{
    struct key k;
    if (d->r.first_due_ms == d->stored_first_ms)
        return;
    if (d->stored_first_ms != INT64_MAX)
        batch_del(s, TABLE_QUEUE_NEXT, key_queue_next(&k, d->stored_first_ms, d->r.name));
    d->stored_first_ms = d->r.first_due_ms;
    if (d->stored_first_ms == INT64_MAX)
        return;
    struct buf *b = batch_value(s);
    record_empty_write(b);
    batch_insert(s, TABLE_QUEUE_NEXT, key_queue_next(&k, d->stored_first_ms, d->r.name), buf_slice(b));
}

static void destination_write(struct store *s, struct destination *d)
{
    if (d->first_unknown)
        d->r.first_due_ms = first_due(s, d->r.name);
    d->first_unknown = d->dirty = false;
    next_write(s, d);
    if (d->r.waiting + d->r.leased + d->r.held) {
        struct buf *b = batch_value(s);
        record_destination_write(b, &d->r);
        batch_put(s, TABLE_DESTINATION, d->r.name, buf_slice(b));
        d->stored = true;
    } else if (d->stored) {
        batch_del(s, TABLE_DESTINATION, d->r.name);
        d->stored = false;
    }
}

void queue_caches_flush(struct store *s)
{
    LIST_EACH(it, next, &s->destinations)
    {
        struct destination *d = container_of(it, struct destination, order);
        if (d->dirty)
            destination_write(s, d);
    }
    /* Nothing was ever in the queue: no record. */
    if (s->queue && s->queue->next_item > 1) {
        struct buf *b = batch_value(s);
        record_queue_state_write(b, s->queue);
        batch_put(s, TABLE_QUEUE_STATE, key_queue_state(), buf_slice(b));
    }
}

void queue_caches_clear(struct store *s)
{
    memset(s->destination_slot, 0, sizeof s->destination_slot);
    list_init(&s->destinations);
    s->queue = NULL;
    s->queue_changed = s->queue_retry = false;
}

/* ---- loading ---- */

bool queue_item_load(struct store *s, uint64_t id, struct store_queue_item *i)
{
    struct key k;
    struct slice v;
    if (!batch_get(s, TABLE_QUEUE, key_u64(&k, id), &v))
        return false;
    if (!record_queue_item_read(arena_copy(&s->command_arena, v), i))
        batch_fail(s, ERR_CORRUPT, "queue", 0);
    i->id = id;
    return !s->failed;
}

static bool leg_read(struct store *s, struct slice key, struct slice value, struct queue_leg_record *l)
{
    uint64_t item = get_be64(key.p);
    uint32_t leg = get_be32(key.p + 8);
    if (!record_queue_leg_read(arena_copy(&s->command_arena, value), l))
        batch_fail(s, ERR_CORRUPT, "queue_leg", 0);
    l->l.item = item;
    l->l.leg = leg;
    return !s->failed;
}

bool queue_leg_load(struct store *s, uint64_t item, uint32_t leg, struct queue_leg_record *l)
{
    struct key k;
    struct slice v, key = key_queue_leg(&k, item, leg);
    return batch_get(s, TABLE_QUEUE_LEG, key, &v) && leg_read(s, key, v, l);
}

bool queue_leg_next(struct store *s, uint64_t item, uint32_t from, struct queue_leg_record *l)
{
    struct key k;
    struct slice key, v;
    return batch_seek(s, TABLE_QUEUE_LEG, key_queue_leg(&k, item, from), &key, &v) && get_be64(key.p) == item &&
           leg_read(s, key, v, l);
}
