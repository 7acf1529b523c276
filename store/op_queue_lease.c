#include "store/queue_state.h"

/* Who delivers what: QueueLease and QueueVoid. */

enum { VOID_SCAN_MAX = 100 * 1000 }; /* leases looked at by one QueueVoid */

/* ---- lease ---- */

static int lease_check(struct store *s, const Merlion__QueueLease *q, struct queue_holder *h, const char **why_r)
{
    *why_r = "a lease without a holder";
    if (!queue_holder_read(q->holder, h))
        return ERR_INVALID;
    *why_r = "1 to 1000 destinations";
    if (q->n_wants == 0 || q->n_wants > QUEUE_GRANTS_MAX)
        return q->n_wants ? ERR_TOOBIG : ERR_INVALID;
    *why_r = "not a destination";
    for (size_t i = 0; i < q->n_wants; i++) {
        size_t n = strlen(q->wants[i]->destination);
        if (n == 0 || n > QUEUE_DESTINATION_MAX)
            return ERR_INVALID;
    }
    /* The command was under way for so long that its proposer gave up waiting. */
    *why_r = "the lease is over already";
    return h->until_ms > s->st.time_ms ? 0 : ERR_STALE;
}

/* The destination's first waiting leg, if it is due. */
static bool due_first(struct store *s, struct slice destination, struct queue_leg_record *l)
{
    struct key k;
    struct slice key, v, name;
    struct queue_due due;
    struct slice prefix = key_queue_due_prefix(&k, destination);
    if (!batch_seek(s, TABLE_QUEUE_DUE, prefix, &key, &v) || !key_starts(key, prefix))
        return false;
    if (!key_queue_due_read(key, &name, &due)) {
        batch_fail(s, ERR_CORRUPT, "queue_due", 0);
        return false;
    }
    if (due.due_ms > s->st.time_ms)
        return false;
    if (!queue_leg_load(s, due.item, due.leg, l) || l->l.state != QUEUE_WAITING) {
        batch_fail(s, ERR_CORRUPT, "queue_due", 0);
        return false;
    }
    return true;
}

static void want_grant(struct store *s, const Merlion__QueueWant *w, uint32_t destination_max,
                       const struct queue_holder *h, Merlion__Result *r)
{
    struct slice name = slice_str(w->destination);
    struct queue_leg_record l;
    for (uint32_t n = 0; n < w->max && r->n_grants < QUEUE_GRANTS_MAX; n++) {
        if (destination_max && batch_destination(s, name)->r.leased >= destination_max)
            return;
        if (!due_first(s, name, &l))
            return;
        queue_leg_lease(s, &l, h);
        queue_grant_add(s, r, &l);
    }
}

void op_queue_lease(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__QueueLease *q = c->queue_lease;
    struct queue_holder h;
    const char *why;
    int rc = lease_check(s, q, &h, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    for (size_t i = 0; i < q->n_wants; i++)
        want_grant(s, q->wants[i], q->destination_max, &h, r);
}

/* ---- void ---- */

struct lease {
    uint64_t item;
    uint32_t leg;
};

/* Those that the command means, at most max; collected first, as voiding changes the table. */
static size_t leases_find(struct store *s, const Merlion__QueueVoid *q, struct lease *out, size_t max)
{
    struct key k;
    struct slice key, v;
    uint64_t until;
    size_t n = 0, seen = 0;
    for (bool has = batch_seek(s, TABLE_QUEUE_LEASE, key_queue_lease(&k, q->node, 0, 0, 0), &key, &v);
         has && n < max && seen < VOID_SCAN_MAX; has = batch_next(s, TABLE_QUEUE_LEASE, &key, &v), seen++) {
        if (q->node && (get_be64(key.p) != q->node || (q->boot && get_be64(key.p + 8) >= q->boot)))
            break;
        if (!record_u64_read(v, &until))
            batch_fail(s, ERR_CORRUPT, "queue_lease", 0);
        if (q->node || (int64_t)until < s->st.time_ms)
            out[n++] = (struct lease){get_be64(key.p + 16), get_be32(key.p + 24)};
    }
    return n;
}

/* What its holder did is not known: the attempt counts, and is repeated now. */
static void lease_void(struct store *s, const struct lease *at)
{
    struct queue_leg_record l;
    struct store_queue_item i;
    if (!queue_leg_load(s, at->item, at->leg, &l) || !queue_item_load(s, at->item, &i) || l.l.state != QUEUE_LEASED) {
        batch_fail(s, ERR_CORRUPT, "queue_lease", 0);
        return;
    }
    queue_leg_return(s, &i, &l, s->st.time_ms);
    if (i.canceled)
        queue_item_settle(s, &i);
}

void op_queue_void(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__QueueVoid *q = c->queue_void;
    size_t max = q->max && q->max < QUEUE_GRANTS_MAX ? q->max : QUEUE_GRANTS_MAX;
    struct lease *leases = arena_alloc(&s->command_arena, max * sizeof *leases);
    if (q->boot && !q->node) {
        op_refuse(r, ERR_INVALID, "a boot without its node");
        return;
    }
    size_t n = leases_find(s, q, leases, max);
    for (size_t i = 0; i < n && !s->failed; i++)
        lease_void(s, &leases[i]);
    if (n)
        s->queue_changed = true;
    r->id = n;
}
