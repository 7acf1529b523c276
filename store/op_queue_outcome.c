#include "store/queue_state.h"

/* What became of leases: QueueOutcome. */

enum { OUTCOME_NOTICES_MAX = QUEUE_RECIPIENTS_MAX };

/* ---- checks of the whole command: nothing of it depends on the legs ---- */

/* Bodies of one command with the same hash and different sizes: neither may be known yet. */
static bool body_agrees(const Merlion__Body *body, const Merlion__Body *const *others, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(body->hash.data, others[i]->hash.data, BODY_HASH_SIZE) == 0 && body->size != others[i]->size)
            return false;
    return true;
}

struct notices {
    const Merlion__Body **bodies;
    size_t n;
};

static int notices_check(struct store *s, const Merlion__QueueLegOutcome *o, struct notices *seen, const char **why_r)
{
    for (size_t i = 0; i < o->n_notices; i++) {
        const Merlion__Deliver *d = o->notices[i];
        int rc = deliver_check(s, d, false, why_r);
        if (rc)
            return rc;
        *why_r = "the same message with two sizes";
        if (!body_agrees(d->body, seen->bodies, seen->n))
            return ERR_INVALID;
        seen->bodies[seen->n++] = d->body;
    }
    return 0;
}

static int outcome_check(struct store *s, const Merlion__QueueOutcome *q, struct queue_holder *h, const char **why_r)
{
    struct notices seen = {0};
    size_t notices = 0;
    *why_r = "an outcome without a holder";
    if (!queue_holder_read(q->holder, h))
        return ERR_INVALID;
    *why_r = "1 to 1000 legs";
    if (q->n_legs == 0 || q->n_legs > QUEUE_GRANTS_MAX)
        return q->n_legs ? ERR_TOOBIG : ERR_INVALID;
    for (size_t i = 0; i < q->n_legs; i++) {
        *why_r = "an outcome does not say how";
        if (!q->legs[i]->untried && !q->legs[i]->how)
            return ERR_INVALID;
        *why_r = "more than 1000 notices";
        notices += q->legs[i]->n_notices;
        if (notices > OUTCOME_NOTICES_MAX)
            return ERR_TOOBIG;
    }
    seen.bodies = arena_alloc(&s->command_arena, (notices + 1) * sizeof *seen.bodies);
    for (size_t i = 0; i < q->n_legs; i++) {
        int rc = notices_check(s, q->legs[i], &seen, why_r);
        if (rc)
            return rc;
    }
    return 0;
}

/* ---- one leg ---- */

struct recipients {
    struct store_queue_recipient at[QUEUE_RECIPIENTS_MAX];
    const Merlion__QueueReply *reply[QUEUE_RECIPIENTS_MAX]; /* of each */
    unsigned n;
};

static bool reply_assign(struct recipients *r, unsigned place, const Merlion__QueueReply *reply)
{
    if (place >= r->n || r->reply[place])
        return false;
    r->reply[place] = reply;
    return true;
}

/* Each recipient has one reply, and a kind that is known. */
static bool replies_assign(struct recipients *r, const Merlion__QueueLegOutcome *o)
{
    bool good = true;
    unsigned assigned = 0;
    for (size_t i = 0; i < o->n_replies && good; i++) {
        const Merlion__QueueReply *reply = o->replies[i];
        good = (unsigned)reply->kind <= MERLION__QUEUE_REPLY__KIND__FAILED && reply->n_recipients <= r->n;
        for (size_t j = 0; j < reply->n_recipients && good; j++, assigned++)
            good = reply_assign(r, reply->recipients[j], reply);
        for (unsigned j = 0; reply->n_recipients == 0 && j < r->n && good; j++, assigned++)
            good = reply_assign(r, j, reply);
    }
    return good && assigned == r->n;
}

static void recipients_read(const struct queue_leg_record *l, struct recipients *r)
{
    struct reader in = {.in = l->recipients};
    r->n = 0;
    while (r->n < l->l.recipient_n && queue_recipient_take(&in, &r->at[r->n]))
        r->reply[r->n++] = NULL;
}

/* At most max octets, whole characters. */
static struct slice text_cut(const char *text, size_t max)
{
    struct slice s = slice_str(text);
    if (s.n <= max)
        return s;
    while (max > 0 && (s.p[max] & 0xc0) == 0x80)
        max--;
    return slice_first(s, max);
}

static void reply_pack(const struct recipients *r, const Merlion__QueueReply *reply, struct buf *b)
{
    struct buf addresses = {0};
    for (unsigned i = 0; i < r->n; i++) {
        if (r->reply[i] != reply)
            continue;
        if (buf_len(&addresses))
            buf_append_byte(&addresses, 0);
        buf_append_slice(&addresses, r->at[i].address);
    }
    struct store_queue_reply out = {(uint32_t)reply->kind, text_cut(reply->text, QUEUE_REPLY_MAX),
                                    buf_slice(&addresses)};
    queue_reply_put(b, &out);
    buf_close(&addresses);
}

/* Of more than QUEUE_ATTEMPTS_KEPT the first stays, and the last ones. */
static void history_bound(struct store *s, const struct store_queue_leg *l, uint8_t *history)
{
    struct key k;
    struct slice key, v;
    if (*history < QUEUE_ATTEMPTS_KEPT) {
        ++*history;
        return;
    }
    if (batch_seek(s, TABLE_QUEUE_ATTEMPT, key_queue_attempt(&k, l->item, l->leg, 0), &key, &v) &&
        batch_next(s, TABLE_QUEUE_ATTEMPT, &key, &v))
        batch_del(s, TABLE_QUEUE_ATTEMPT, key_queue_attempt(&k, l->item, l->leg, get_be32(key.p + 12)));
}

static void attempt_record(struct store *s, const Merlion__QueueLegOutcome *o, const struct recipients *r,
                           struct queue_leg_record *l)
{
    struct key k;
    struct buf replies = {0};
    for (size_t i = 0; i < o->n_replies; i++)
        reply_pack(r, o->replies[i], &replies);
    struct queue_attempt_record a = {.a = {.at_ms = o->how->at_ms,
                                           .node = o->how->node,
                                           .host = text_cut(o->how->host, QUEUE_TEXT_MAX),
                                           .address = text_cut(o->how->address, QUEUE_TEXT_MAX),
                                           .tls = text_cut(o->how->tls, QUEUE_TEXT_MAX)},
                                     .reply_n = (uint32_t)o->n_replies,
                                     .replies = buf_slice(&replies)};
    history_bound(s, &l->l, &l->history);
    struct buf *b = batch_value(s);
    record_queue_attempt_write(b, &a);
    batch_insert(s, TABLE_QUEUE_ATTEMPT, key_queue_attempt(&k, l->l.item, l->l.leg, l->l.attempts), buf_slice(b));
    buf_close(&replies);
}

/* Only those deferred go on. */
static void recipients_keep(struct store *s, const struct recipients *r, struct queue_leg_record *l)
{
    struct buf left = {0};
    unsigned n = 0;
    for (unsigned i = 0; i < r->n; i++) {
        if (r->reply[i]->kind != MERLION__QUEUE_REPLY__KIND__DEFERRED)
            continue;
        queue_recipient_put(&left, &r->at[i]);
        n++;
    }
    batch_queue(s)->recipients -= l->l.recipient_n - n;
    l->l.recipient_n = n;
    l->recipients = arena_copy(&s->command_arena, buf_slice(&left));
    buf_close(&left);
}

static unsigned deferred_count(const struct recipients *r)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->n; i++)
        n += r->reply[i]->kind == MERLION__QUEUE_REPLY__KIND__DEFERRED;
    return n;
}

/* next_ms is of the holder's clock, as the time of the attempt is. A clock far ahead must not put mail off until the
 * others' reach it: what lies between the two counts, from the state's time, when that is earlier. */
static int64_t due_next(const struct store *s, const Merlion__QueueLegOutcome *o)
{
    int64_t at = o->how ? o->how->at_ms : o->next_ms, now = s->st.time_ms;
    if (at < 0)
        at = 0;
    int64_t wait = o->next_ms > at ? o->next_ms - at : 0;
    return now >= 0 && o->next_ms > now && o->next_ms - now > wait ? now + wait : o->next_ms;
}

/* A leg that ends leaves no history: its attempt is not written first, and a leg that ends at once costs little. */
static void leg_tried(struct store *s, const Merlion__QueueLegOutcome *o, const struct recipients *r,
                      struct store_queue_item *i, struct queue_leg_record *l)
{
    if (deferred_count(r) == 0 || i->canceled) {
        queue_leg_remove(s, i, l);
        return;
    }
    attempt_record(s, o, r, l);
    recipients_keep(s, r, l);
    l->l.warned |= o->warned;
    queue_leg_return(s, i, l, due_next(s, o));
}

static void leg_untried(struct store *s, const Merlion__QueueLegOutcome *o, struct store_queue_item *i,
                        struct queue_leg_record *l)
{
    l->l.attempts--;
    queue_leg_return(s, i, l, due_next(s, o));
}

static int leg_outcome(struct store *s, const Merlion__QueueLegOutcome *o, const struct queue_holder *h,
                       Merlion__Result *r)
{
    struct queue_leg_record l;
    struct store_queue_item i;
    if (!queue_leg_load(s, o->item, o->leg, &l) || l.l.state != QUEUE_LEASED || l.l.holder != h->node ||
        l.l.boot != h->boot || l.l.attempts != o->attempt)
        return ERR_STALE;
    if (!queue_item_load(s, o->item, &i)) {
        batch_fail(s, ERR_CORRUPT, "queue", 0);
        return ERR_CORRUPT;
    }
    uint32_t legs = i.legs;
    if (o->untried) {
        leg_untried(s, o, &i, &l);
    } else {
        struct recipients *rs = arena_alloc(&s->command_arena, sizeof *rs);
        recipients_read(&l, rs);
        if (!replies_assign(rs, o))
            return ERR_INVALID;
        leg_tried(s, o, rs, &i, &l);
    }
    if (i.legs != legs)
        queue_item_settle(s, &i);
    for (size_t n = 0; n < o->n_notices; n++)
        deliver_run(s, o->notices[n], NULL, r);
    return 0;
}

void op_queue_outcome(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__QueueOutcome *q = c->queue_outcome;
    struct queue_holder h;
    const char *why;
    int rc = outcome_check(s, q, &h, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    r->account_status = arena_alloc(&s->command_arena, q->n_legs * sizeof *r->account_status);
    r->n_account_status = q->n_legs;
    for (size_t i = 0; i < q->n_legs; i++)
        r->account_status[i] = leg_outcome(s, q->legs[i], &h, r);
    r->modseq = s->modseq;
}
