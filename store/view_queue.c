#include "store/env.h"
#include "store/queue_schema.h"

/* Reads of the queue. What a read meets of damage ends the process (store_options.damaged); until then it is left out.
 */

int store_queue_item(struct store_view *v, uint64_t item, struct store_queue_item *i_r)
{
    struct key k;
    struct slice value;
    if (!view_get(v, TABLE_QUEUE, key_u64(&k, item), &value))
        return ERR_NOTFOUND;
    if (!view_whole(v, TABLE_QUEUE, record_queue_item_read(value, i_r)))
        return ERR_CORRUPT;
    i_r->id = item;
    return 0;
}

void store_queue_item_each(struct store_view *v, uint64_t after,
                           bool (*each)(void *arg, const struct store_queue_item *i), void *arg)
{
    struct key k;
    struct slice key, value;
    struct store_queue_item i;
    if (after == UINT64_MAX)
        return;
    MDB_cursor *c = view_cursor(v, TABLE_QUEUE);
    for (bool has = cursor_seek(c, key_u64(&k, after + 1), &key, &value); has; has = cursor_next(c, &key, &value)) {
        if (!view_whole(v, TABLE_QUEUE, record_queue_item_read(value, &i)))
            continue;
        i.id = get_be64(key.p);
        if (!each(arg, &i))
            break;
    }
    mdb_cursor_close(c);
}

/* ---- legs ---- */

static int leg_read(struct store_view *v, uint64_t item, uint32_t leg, struct queue_leg_record *l)
{
    struct key k;
    struct slice value;
    if (!view_get(v, TABLE_QUEUE_LEG, key_queue_leg(&k, item, leg), &value))
        return ERR_NOTFOUND;
    if (!view_whole(v, TABLE_QUEUE_LEG, record_queue_leg_read(value, l)))
        return ERR_CORRUPT;
    l->l.item = item;
    l->l.leg = leg;
    return 0;
}

int store_queue_leg(struct store_view *v, uint64_t item, uint32_t leg, struct store_queue_leg *l_r)
{
    struct queue_leg_record l;
    int rc = leg_read(v, item, leg, &l);
    if (rc == 0)
        *l_r = l.l;
    return rc;
}

void store_queue_leg_each(struct store_view *v, uint64_t item, bool (*each)(void *arg, const struct store_queue_leg *l),
                          void *arg)
{
    struct key k;
    struct slice key, value;
    struct queue_leg_record l;
    MDB_cursor *c = view_cursor(v, TABLE_QUEUE_LEG);
    for (bool has = cursor_seek(c, key_queue_leg(&k, item, 0), &key, &value); has && get_be64(key.p) == item;
         has = cursor_next(c, &key, &value)) {
        if (!view_whole(v, TABLE_QUEUE_LEG, record_queue_leg_read(value, &l)))
            continue;
        l.l.item = item;
        l.l.leg = get_be32(key.p + 8);
        if (!each(arg, &l.l))
            break;
    }
    mdb_cursor_close(c);
}

/* Both tables have the item first in their keys, so two cursors go through them side by side. */
struct walk {
    struct store_view *v;
    MDB_cursor *legs;
    struct slice key, value; /* of the next leg */
    bool has;
    void (*leg)(void *arg, const struct store_queue_leg *l);
    void *arg;
};

static void walk_legs(struct walk *w, uint64_t item)
{
    struct key k;
    struct queue_leg_record l;
    if (w->has && get_be64(w->key.p) < item) /* behind those that were left out */
        w->has = cursor_seek(w->legs, key_queue_leg(&k, item, 0), &w->key, &w->value);
    for (; w->has && get_be64(w->key.p) == item; w->has = cursor_next(w->legs, &w->key, &w->value)) {
        if (!view_whole(w->v, TABLE_QUEUE_LEG, record_queue_leg_read(w->value, &l)))
            continue;
        l.l.item = item;
        l.l.leg = get_be32(w->key.p + 8);
        w->leg(w->arg, &l.l);
    }
}

void store_queue_walk(struct store_view *v, bool (*item)(void *arg, const struct store_queue_item *i),
                      void (*leg)(void *arg, const struct store_queue_leg *l), void *arg)
{
    struct slice key, value, all = slice_make(NULL, 0);
    struct store_queue_item i;
    struct walk w = {.v = v, .legs = view_cursor(v, TABLE_QUEUE_LEG), .leg = leg, .arg = arg};
    MDB_cursor *c = view_cursor(v, TABLE_QUEUE);
    w.has = cursor_seek(w.legs, all, &w.key, &w.value);
    for (bool has = cursor_seek(c, all, &key, &value); has; has = cursor_next(c, &key, &value)) {
        if (!view_whole(v, TABLE_QUEUE, record_queue_item_read(value, &i)))
            continue;
        i.id = get_be64(key.p);
        if (item(arg, &i))
            walk_legs(&w, i.id);
    }
    mdb_cursor_close(c);
    mdb_cursor_close(w.legs);
}

void store_queue_recipient_each(struct store_view *v, uint64_t item, uint32_t leg,
                                bool (*each)(void *arg, unsigned place, const struct store_queue_recipient *r),
                                void *arg)
{
    struct queue_leg_record l;
    struct store_queue_recipient r;
    if (leg_read(v, item, leg, &l))
        return;
    struct reader in = {.in = l.recipients};
    for (unsigned place = 0; place < l.l.recipient_n; place++)
        if (!queue_recipient_take(&in, &r) || !each(arg, place, &r))
            return;
}

/* ---- history ---- */

void store_queue_attempt_each(struct store_view *v, uint64_t item, uint32_t leg,
                              bool (*each)(void *arg, const struct store_queue_attempt *a), void *arg)
{
    struct key k;
    struct slice key, value;
    struct queue_attempt_record a;
    MDB_cursor *c = view_cursor(v, TABLE_QUEUE_ATTEMPT);
    for (bool has = cursor_seek(c, key_queue_attempt(&k, item, leg, 0), &key, &value);
         has && get_be64(key.p) == item && get_be32(key.p + 8) == leg; has = cursor_next(c, &key, &value)) {
        if (!view_whole(v, TABLE_QUEUE_ATTEMPT, record_queue_attempt_read(value, &a)))
            continue;
        a.a.attempt = get_be32(key.p + 12);
        if (!each(arg, &a.a))
            break;
    }
    mdb_cursor_close(c);
}

void store_queue_reply_each(struct store_view *v, uint64_t item, uint32_t leg, uint32_t attempt,
                            bool (*each)(void *arg, const struct store_queue_reply *r), void *arg)
{
    struct key k;
    struct slice value;
    struct queue_attempt_record a;
    struct store_queue_reply r;
    if (!view_get(v, TABLE_QUEUE_ATTEMPT, key_queue_attempt(&k, item, leg, attempt), &value) ||
        !view_whole(v, TABLE_QUEUE_ATTEMPT, record_queue_attempt_read(value, &a)))
        return;
    struct reader in = {.in = a.replies};
    for (unsigned i = 0; i < a.reply_n; i++)
        if (!queue_reply_take(&in, &r) || !each(arg, &r))
            return;
}

/* ---- destinations ---- */

int store_queue_destination(struct store_view *v, struct slice name, struct store_queue_destination *d_r)
{
    struct slice value;
    if (name.n == 0 || name.n > QUEUE_DESTINATION_MAX || !view_get(v, TABLE_DESTINATION, name, &value))
        return ERR_NOTFOUND;
    if (!view_whole(v, TABLE_DESTINATION, record_destination_read(value, d_r)))
        return ERR_CORRUPT;
    d_r->name = name;
    return 0;
}

void store_queue_due_each(struct store_view *v, int64_t until_ms,
                          bool (*each)(void *arg, const struct store_queue_destination *d), void *arg)
{
    store_queue_due_from(v, 0, SLICE_LITERAL(""), until_ms, each, arg);
}

void store_queue_due_from(struct store_view *v, int64_t from_ms, struct slice from, int64_t until_ms,
                          bool (*each)(void *arg, const struct store_queue_destination *d), void *arg)
{
    struct key k;
    struct slice key, value;
    struct store_queue_destination d;
    MDB_cursor *c = view_cursor(v, TABLE_QUEUE_NEXT);
    for (bool has = cursor_seek(c, key_queue_next(&k, from_ms, from), &key, &value);
         has && (int64_t)get_be64(key.p) <= until_ms; has = cursor_next(c, &key, &value))
        if (store_queue_destination(v, slice_from(key, 8), &d) == 0 && !each(arg, &d))
            break;
    mdb_cursor_close(c);
}

void store_queue_destination_each(struct store_view *v,
                                  bool (*each)(void *arg, const struct store_queue_destination *d), void *arg)
{
    struct slice key, value;
    struct store_queue_destination d;
    MDB_cursor *c = view_cursor(v, TABLE_DESTINATION);
    for (bool has = cursor_seek(c, slice_make(NULL, 0), &key, &value); has; has = cursor_next(c, &key, &value)) {
        if (key.n > QUEUE_DESTINATION_MAX || !view_whole(v, TABLE_DESTINATION, record_destination_read(value, &d)))
            continue;
        d.name = key;
        if (!each(arg, &d))
            break;
    }
    mdb_cursor_close(c);
}

/* ---- leases, totals ---- */

void store_queue_lease_each(struct store_view *v, uint64_t node,
                            bool (*each)(void *arg, uint64_t node, uint64_t boot, int64_t until_ms, uint64_t item,
                                         uint32_t leg),
                            void *arg)
{
    struct key k;
    struct slice key, value;
    uint64_t until;
    MDB_cursor *c = view_cursor(v, TABLE_QUEUE_LEASE);
    for (bool has = cursor_seek(c, key_queue_lease(&k, node, 0, 0, 0), &key, &value);
         has && (node == 0 || get_be64(key.p) == node); has = cursor_next(c, &key, &value))
        if (view_whole(v, TABLE_QUEUE_LEASE, record_u64_read(value, &until)) &&
            !each(arg, get_be64(key.p), get_be64(key.p + 8), (int64_t)until, get_be64(key.p + 16),
                  get_be32(key.p + 24)))
            break;
    mdb_cursor_close(c);
}

/* Items enter in the order of their times. */
static bool oldest_take(void *arg, const struct store_queue_item *i)
{
    *(int64_t *)arg = i->received_ms;
    return false;
}

void store_queue_totals(struct store_view *v, struct store_queue_totals *t_r)
{
    struct slice value;
    struct queue_state_record q;
    *t_r = (struct store_queue_totals){0};
    if (!view_get(v, TABLE_QUEUE_STATE, key_queue_state(), &value) ||
        !view_whole(v, TABLE_QUEUE_STATE, record_queue_state_read(value, &q)))
        return;
    *t_r = (struct store_queue_totals){.items = q.items,
                                       .recipients = q.recipients,
                                       .bytes = q.bytes,
                                       .waiting = q.waiting,
                                       .leased = q.leased,
                                       .held = q.held};
    store_queue_item_each(v, 0, oldest_take, &t_r->oldest_ms);
}
