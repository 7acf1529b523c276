#include "store/queue_state.h"

/* The moves of a leg, each with its index and counts (store/queue.h draws them). */

static void due_put(struct store *s, struct destination *d, const struct store_queue_leg *l)
{
    struct key k;
    struct buf *b = batch_value(s);
    record_empty_write(b);
    batch_insert(s, TABLE_QUEUE_DUE, key_queue_due(&k, d->r.name, l->due_ms, l->item, l->leg), buf_slice(b));
    if (l->due_ms < d->r.first_due_ms)
        d->r.first_due_ms = l->due_ms;
    s->queue_changed = true;
}

static void due_del(struct store *s, struct destination *d, const struct store_queue_leg *l)
{
    struct key k;
    batch_del(s, TABLE_QUEUE_DUE, key_queue_due(&k, d->r.name, l->due_ms, l->item, l->leg));
    if (l->due_ms <= d->r.first_due_ms)
        d->first_unknown = true;
}

static void lease_put(struct store *s, const struct store_queue_leg *l)
{
    struct key k;
    struct buf *b = batch_value(s);
    record_u64_write(b, (uint64_t)l->until_ms);
    batch_insert(s, TABLE_QUEUE_LEASE, key_queue_lease(&k, l->holder, l->boot, l->item, l->leg), buf_slice(b));
}

static void enter(struct store *s, const struct store_queue_leg *l)
{
    struct destination *d = batch_destination(s, l->destination);
    struct queue_state_record *q = batch_queue(s);
    d->dirty = true;
    switch (l->state) {
    case QUEUE_WAITING:
        due_put(s, d, l);
        d->r.waiting++;
        q->waiting++;
        break;
    case QUEUE_LEASED:
        lease_put(s, l);
        d->r.leased++;
        q->leased++;
        break;
    case QUEUE_HELD:
        d->r.held++;
        q->held++;
        break;
    }
}

static void leave(struct store *s, const struct store_queue_leg *l)
{
    struct destination *d = batch_destination(s, l->destination);
    struct queue_state_record *q = batch_queue(s);
    struct key k;
    d->dirty = true;
    switch (l->state) {
    case QUEUE_WAITING:
        due_del(s, d, l);
        d->r.waiting--;
        q->waiting--;
        break;
    case QUEUE_LEASED:
        batch_del(s, TABLE_QUEUE_LEASE, key_queue_lease(&k, l->holder, l->boot, l->item, l->leg));
        d->r.leased--;
        q->leased--;
        break;
    case QUEUE_HELD:
        d->r.held--;
        q->held--;
        break;
    }
}

static void leg_put(struct store *s, const struct queue_leg_record *l)
{
    struct key k;
    struct buf *b = batch_value(s);
    record_queue_leg_write(b, l);
    batch_put(s, TABLE_QUEUE_LEG, key_queue_leg(&k, l->l.item, l->l.leg), buf_slice(b));
}

static void leg_move(struct store *s, struct queue_leg_record *l, enum queue_leg_state to, int64_t due_ms,
                     const struct queue_holder *h)
{
    leave(s, &l->l);
    l->l.state = to;
    l->l.due_ms = due_ms > 0 ? due_ms : 0;
    l->l.holder = h->node;
    l->l.boot = h->boot;
    l->l.until_ms = h->until_ms;
    enter(s, &l->l);
    leg_put(s, l);
}

static const struct queue_holder nobody;

void queue_leg_wait(struct store *s, struct queue_leg_record *l, int64_t due_ms)
{
    leg_move(s, l, QUEUE_WAITING, due_ms, &nobody);
}

void queue_leg_hold(struct store *s, struct queue_leg_record *l, int64_t due_ms)
{
    leg_move(s, l, QUEUE_HELD, due_ms, &nobody);
}

void queue_leg_lease(struct store *s, struct queue_leg_record *l, const struct queue_holder *h)
{
    ENSURE(l->l.state == QUEUE_WAITING);
    l->l.attempts++;
    leg_move(s, l, QUEUE_LEASED, l->l.due_ms, h);
}

void queue_leg_add(struct store *s, const struct queue_leg_record *l)
{
    struct key k;
    struct buf *b = batch_value(s);
    record_queue_leg_write(b, l);
    batch_insert(s, TABLE_QUEUE_LEG, key_queue_leg(&k, l->l.item, l->l.leg), buf_slice(b));
    enter(s, &l->l);
    batch_queue(s)->recipients += l->l.recipient_n;
}

static void history_drop(struct store *s, const struct queue_leg_record *l)
{
    struct key k;
    struct slice key, v;
    for (unsigned i = 0; i < l->history && !s->failed; i++) {
        if (!batch_seek(s, TABLE_QUEUE_ATTEMPT, key_queue_attempt(&k, l->l.item, l->l.leg, 0), &key, &v) ||
            get_be64(key.p) != l->l.item || get_be32(key.p + 8) != l->l.leg) {
            batch_fail(s, ERR_CORRUPT, "queue_attempt", 0);
            return;
        }
        batch_del(s, TABLE_QUEUE_ATTEMPT, key_queue_attempt(&k, l->l.item, l->l.leg, get_be32(key.p + 12)));
    }
}

void queue_leg_remove(struct store *s, struct store_queue_item *i, struct queue_leg_record *l)
{
    struct key k;
    history_drop(s, l);
    leave(s, &l->l);
    batch_del(s, TABLE_QUEUE_LEG, key_queue_leg(&k, l->l.item, l->l.leg));
    batch_queue(s)->recipients -= l->l.recipient_n;
    i->legs--;
}

void queue_leg_return(struct store *s, struct store_queue_item *i, struct queue_leg_record *l, int64_t due_ms)
{
    ENSURE(l->l.state == QUEUE_LEASED);
    if (i->canceled)
        queue_leg_remove(s, i, l);
    else if (i->held)
        queue_leg_hold(s, l, due_ms);
    else
        queue_leg_wait(s, l, due_ms);
}

/* ---- items ---- */

static struct buf *item_value(struct store *s, const struct store_queue_item *i)
{
    struct buf *b = batch_value(s);
    record_queue_item_write(b, i);
    return b;
}

void queue_item_add(struct store *s, const struct store_queue_item *i)
{
    struct key k;
    struct queue_state_record *q = batch_queue(s);
    batch_insert(s, TABLE_QUEUE, key_u64(&k, i->id), buf_slice(item_value(s, i)));
    q->items++;
    q->bytes += i->size;
}

void queue_item_settle(struct store *s, const struct store_queue_item *i)
{
    struct key k;
    struct queue_state_record *q = batch_queue(s);
    if (i->legs) {
        batch_put(s, TABLE_QUEUE, key_u64(&k, i->id), buf_slice(item_value(s, i)));
        return;
    }
    batch_del(s, TABLE_QUEUE, key_u64(&k, i->id));
    q->items--;
    q->bytes -= i->size;
    batch_content_unref(s, &i->hash);
}

void queue_grant_add(struct store *s, Merlion__Result *r, const struct queue_leg_record *l)
{
    enum { FIRST = 4 };
    size_t n = r->n_grants;
    /* Grows where the count is a power of two. */
    if (n == 0 || (n >= FIRST && (n & (n - 1)) == 0)) {
        Merlion__QueueGrant **more = arena_alloc(&s->command_arena, (n ? 2 * n : FIRST) * sizeof *more);
        if (n)
            memcpy(more, r->grants, n * sizeof *more);
        r->grants = more;
    }
    Merlion__QueueGrant *g = arena_alloc(&s->command_arena, sizeof *g);
    merlion__queue_grant__init(g);
    g->item = l->l.item;
    g->leg = l->l.leg;
    g->attempt = l->l.attempts;
    r->grants[r->n_grants++] = g;
}
