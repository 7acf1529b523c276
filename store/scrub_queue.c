#include "store/queue_schema.h"
#include "store/scrub.h"

/* The queue: items against legs, legs against their indexes, counts against both. Counts of destinations are compared
 * as sums of checksums, so that memory does not grow with them. */

struct tally {
    struct queue_state_record q; /* counted */
    uint64_t legs, history, destinations_waiting;
    uint64_t sums[3]; /* over legs minus over destinations, by state */
};

static uint64_t name_sum(struct slice name)
{
    return checksum64(name) | 1;
}

struct walk {
    struct scrub *c;
    struct tally *t;
    const struct store_queue_item *item;
    uint32_t legs;
};

static bool leg_check(struct walk *w, const struct queue_leg_record *r)
{
    const struct store_queue_leg *l = &r->l;
    struct scrub *c = w->c;
    struct key k;
    struct slice value;
    uint64_t until = 0;
    bool due = view_get(c->v, TABLE_QUEUE_DUE, key_queue_due(&k, l->destination, l->due_ms, l->item, l->leg), &value);
    bool leased = view_get(c->v, TABLE_QUEUE_LEASE, key_queue_lease(&k, l->holder, l->boot, l->item, l->leg), &value) &&
                  record_u64_read(value, &until);
    scrub_expect(c, due == (l->state == QUEUE_WAITING), "queue's due index", l->item);
    scrub_expect(c, leased == (l->state == QUEUE_LEASED) && (!leased || (int64_t)until == l->until_ms), "queue's lease",
                 l->item);
    scrub_expect(c, l->state != QUEUE_HELD || w->item->held, "leg held, item not", l->item);
    scrub_expect(c, l->state == QUEUE_LEASED || !w->item->canceled, "canceled item waits", l->item);
    scrub_expect(c, l->state != QUEUE_WAITING || !w->item->held, "held item waits", l->item);
    w->t->q.recipients += l->recipient_n;
    w->t->q.waiting += l->state == QUEUE_WAITING;
    w->t->q.leased += l->state == QUEUE_LEASED;
    w->t->q.held += l->state == QUEUE_HELD;
    w->t->sums[l->state] += name_sum(l->destination);
    w->t->history += r->history;
    w->t->legs++;
    w->legs++;
    return true;
}

static void legs_check(struct walk *w)
{
    struct key k;
    struct slice key, value;
    struct queue_leg_record l;
    MDB_cursor *cursor = view_cursor(w->c->v, TABLE_QUEUE_LEG);
    for (bool has = cursor_seek(cursor, key_queue_leg(&k, w->item->id, 0), &key, &value);
         has && get_be64(key.p) == w->item->id; has = cursor_next(cursor, &key, &value)) {
        if (!record_queue_leg_read(value, &l))
            continue;
        l.l.item = w->item->id;
        l.l.leg = get_be32(key.p + 8);
        leg_check(w, &l);
    }
    mdb_cursor_close(cursor);
}

struct queue_scrub {
    struct scrub *c;
    struct tally *t;
};

static bool item_check(void *arg, const struct store_queue_item *i)
{
    struct queue_scrub *q = arg;
    struct walk w = {.c = q->c, .t = q->t, .item = i};
    legs_check(&w);
    scrub_expect(q->c, w.legs == i->legs, "queue item's legs", i->id);
    q->c->references += scrub_reference(q->c, &i->hash, i->size);
    q->t->q.items++;
    q->t->q.bytes += i->size;
    return true;
}

static bool destination_check(void *arg, const struct store_queue_destination *d)
{
    struct queue_scrub *q = arg;
    struct scrub *c = q->c;
    struct key k;
    struct slice key, value;
    struct slice prefix = key_queue_due_prefix(&k, d->name), name;
    struct queue_due due = {.due_ms = INT64_MAX};
    MDB_cursor *cursor = view_cursor(c->v, TABLE_QUEUE_DUE);
    bool has = cursor_seek(cursor, prefix, &key, &value) && key_starts(key, prefix);
    if (has)
        key_queue_due_read(key, &name, &due);
    mdb_cursor_close(cursor);
    scrub_expect(c, has == (d->waiting > 0) && due.due_ms == d->first_due_ms, "destination's first due", 0);
    scrub_expect(c, !has || view_get(c->v, TABLE_QUEUE_NEXT, key_queue_next(&k, due.due_ms, d->name), &value),
                 "destination's place", 0);
    scrub_expect(c, d->waiting + d->leased + d->held > 0, "empty destination", 0);
    q->t->destinations_waiting += has;
    q->t->sums[QUEUE_WAITING] -= d->waiting * name_sum(d->name);
    q->t->sums[QUEUE_LEASED] -= d->leased * name_sum(d->name);
    q->t->sums[QUEUE_HELD] -= d->held * name_sum(d->name);
    return true;
}

static void totals_check(struct scrub *c, const struct tally *t)
{
    struct slice value;
    struct queue_state_record q = {0};
    if (view_get(c->v, TABLE_QUEUE_STATE, key_queue_state(), &value))
        record_queue_state_read(value, &q);
    scrub_expect(c,
                 q.items == t->q.items && q.recipients == t->q.recipients && q.bytes == t->q.bytes &&
                     q.waiting == t->q.waiting && q.leased == t->q.leased && q.held == t->q.held,
                 "totals of the queue", 0);
    scrub_expect(c, t->sums[0] == 0 && t->sums[1] == 0 && t->sums[2] == 0, "counts of destinations", 0);
    scrub_expect(c, scrub_count(c, TABLE_QUEUE_LEG) == t->legs, "leg without item", 0);
    scrub_expect(c, scrub_count(c, TABLE_QUEUE_ATTEMPT) == t->history, "attempts", 0);
    scrub_expect(c, scrub_count(c, TABLE_QUEUE_DUE) == t->q.waiting, "stray due index", 0);
    scrub_expect(c, scrub_count(c, TABLE_QUEUE_LEASE) == t->q.leased, "stray lease", 0);
    scrub_expect(c, scrub_count(c, TABLE_QUEUE_NEXT) == t->destinations_waiting, "stray place", 0);
}

void scrub_queue(struct scrub *c)
{
    struct tally t = {0};
    struct queue_scrub q = {c, &t};
    store_queue_item_each(c->v, 0, item_check, &q);
    store_queue_destination_each(c->v, destination_check, &q);
    totals_check(c, &t);
}
