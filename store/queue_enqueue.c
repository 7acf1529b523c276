#include "store/queue_state.h"

#include <stdlib.h>

/* A message enters the queue: Deliver.enqueue, checked whole before anything changes. */

enum { RATE_DEFAULT = 2000, FLAGS_KNOWN = 63, NOTIFY_KNOWN = 15 };
static const int64_t hour_ms = 3600 * 1000;

/* Addresses and texts come from clients: the proposer parsed them, and here they are only kept from breaking lines. */
static bool text_valid(const char *text, size_t min, size_t max)
{
    size_t n = strlen(text);
    if (n < min || n > max)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

static int leg_check(const Merlion__QueueLeg *l, size_t *recipients, const char **why_r)
{
    *why_r = "not a destination";
    if (!text_valid(l->destination, 1, QUEUE_DESTINATION_MAX))
        return ERR_INVALID;
    *why_r = "a destination without recipients";
    if (l->n_recipients == 0)
        return ERR_INVALID;
    *why_r = "more than 1000 recipients";
    *recipients += l->n_recipients;
    if (l->n_recipients > QUEUE_RECIPIENTS_MAX || *recipients > QUEUE_RECIPIENTS_MAX)
        return ERR_TOOBIG;
    *why_r = "not a recipient";
    for (size_t i = 0; i < l->n_recipients; i++) {
        const Merlion__QueueRecipient *r = l->recipients[i];
        bool never = r->notify & QUEUE_NOTIFY_NEVER;
        if (!text_valid(r->address, 1, QUEUE_ADDRESS_MAX) || !text_valid(r->orcpt, 0, QUEUE_ADDRESS_MAX) ||
            (r->notify & ~(uint32_t)NOTIFY_KNOWN) || (never && r->notify != QUEUE_NOTIFY_NEVER))
            return ERR_INVALID;
    }
    return 0;
}

static int text_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool destinations_differ(struct store *s, const Merlion__Enqueue *q)
{
    char **names = arena_alloc(&s->command_arena, q->n_legs * sizeof *names);
    for (size_t i = 0; i < q->n_legs; i++)
        names[i] = q->legs[i]->destination;
    qsort(names, q->n_legs, sizeof *names, text_order);
    for (size_t i = 1; i < q->n_legs; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return false;
    return true;
}

static int legs_check(struct store *s, const Merlion__Enqueue *q, size_t *recipients_r, const char **why_r)
{
    *recipients_r = 0;
    *why_r = "1 to 1000 destinations";
    if (q->n_legs == 0 || q->n_legs > QUEUE_RECIPIENTS_MAX)
        return q->n_legs ? ERR_TOOBIG : ERR_INVALID;
    for (size_t i = 0; i < q->n_legs; i++) {
        int rc = leg_check(q->legs[i], recipients_r, why_r);
        if (rc)
            return rc;
    }
    *why_r = "a destination is named twice";
    return destinations_differ(s, q) ? 0 : ERR_INVALID;
}

/* ---- the rate of an account, over the whole cluster ---- */

static uint64_t rate_max(struct store *s)
{
    struct slice v, text;
    uint64_t max;
    if (!batch_get(s, TABLE_SETTING, SLICE_LITERAL("queue.rate"), &v) || !record_bytes_read(v, &text) ||
        slice_u64(slice_trim(text), UINT32_MAX, &max))
        return RATE_DEFAULT;
    return max;
}

/* Those of this hour; state time, so all replicas see the same hour. */
static struct queue_rate_record rate_get(struct store *s, uint64_t account)
{
    struct key k;
    struct slice v;
    uint64_t hour = (uint64_t)(s->st.time_ms / hour_ms);
    struct queue_rate_record r = {0};
    if (batch_get(s, TABLE_QUEUE_RATE, key_u64(&k, account), &v) && !record_queue_rate_read(v, &r))
        batch_fail(s, ERR_CORRUPT, "queue_rate", 0);
    if (r.hour != hour)
        r = (struct queue_rate_record){.hour = hour};
    return r;
}

static int rate_check(struct store *s, uint64_t account, size_t recipients)
{
    uint64_t max = rate_max(s);
    return max && rate_get(s, account).recipients + recipients > max ? ERR_BUSY : 0;
}

static void rate_count(struct store *s, uint64_t account, size_t recipients)
{
    struct key k;
    struct queue_rate_record r = rate_get(s, account);
    if (rate_max(s) == 0)
        return;
    r.recipients += (uint32_t)recipients;
    struct buf *b = batch_value(s);
    record_queue_rate_write(b, &r);
    batch_put(s, TABLE_QUEUE_RATE, key_u64(&k, account), buf_slice(b));
}

/* ---- */

int enqueue_check(struct store *s, const Merlion__Deliver *d, bool metered, const char **why_r)
{
    const Merlion__Enqueue *q = d->enqueue;
    size_t recipients;
    int rc = legs_check(s, q, &recipients, why_r);
    if (rc)
        return rc;
    *why_r = "not an envelope";
    if (!text_valid(d->sender, 0, QUEUE_ADDRESS_MAX) || !text_valid(q->envid, 0, QUEUE_TEXT_MAX) ||
        !text_valid(q->id, 0, QUEUE_TEXT_MAX) || (q->flags & ~(uint32_t)FLAGS_KNOWN))
        return ERR_INVALID;
    *why_r = "more is left out than the message has";
    if (q->skip > d->body->size)
        return ERR_INVALID;
    *why_r = "notices are nobody's";
    if (!metered && q->account)
        return ERR_INVALID;
    *why_r = "no such account";
    if (q->account && !batch_account(s, q->account))
        return ERR_NOTFOUND;
    *why_r = "too many recipients in an hour";
    return q->account ? rate_check(s, q->account, recipients) : 0;
}

bool queue_holder_read(const Merlion__QueueHolder *in, struct queue_holder *h)
{
    *h = (struct queue_holder){0};
    if (!in || in->node == 0 || in->until_ms < 0)
        return false;
    *h = (struct queue_holder){in->node, in->boot, in->until_ms};
    return true;
}

static void recipients_pack(const Merlion__QueueLeg *l, struct buf *b)
{
    for (size_t i = 0; i < l->n_recipients; i++) {
        const Merlion__QueueRecipient *in = l->recipients[i];
        struct store_queue_recipient r = {slice_str(in->address), slice_str(in->orcpt), in->notify};
        queue_recipient_put(b, &r);
    }
}

static struct store_queue_item item_of(struct store *s, const Merlion__Deliver *d)
{
    const Merlion__Enqueue *q = d->enqueue;
    struct store_queue_item i = {
        .id = batch_queue(s)->next_item++,
        .sender = slice_str(d->sender),
        .envid = slice_str(q->envid),
        .session = slice_str(q->id),
        .flags = q->flags,
        .account = q->account,
        .size = d->body->size,
        .skip = q->skip,
        .legs = (uint32_t)q->n_legs,
        .received_ms = s->st.time_ms,
        .expires_ms = q->expires_ms,
    };
    memcpy(i.hash.b, d->body->hash.data, BODY_HASH_SIZE);
    return i;
}

uint64_t enqueue_run(struct store *s, const Merlion__Deliver *d, Merlion__Result *r)
{
    const Merlion__Enqueue *q = d->enqueue;
    struct store_queue_item i = item_of(s, d);
    struct queue_holder h;
    size_t recipients = 0;
    struct buf packed = {0};
    /* A holder whose time is over by now began to wait for an answer that came too late: its legs wait. */
    bool leased = queue_holder_read(q->lease, &h) && h.until_ms > s->st.time_ms;
    queue_item_add(s, &i);
    for (size_t n = 0; n < q->n_legs; n++) {
        const Merlion__QueueLeg *in = q->legs[n];
        struct queue_leg_record l = {.l = {.item = i.id,
                                           .leg = (uint32_t)n + 1,
                                           .destination = slice_str(in->destination),
                                           .due_ms = s->st.time_ms > 0 ? s->st.time_ms : 0,
                                           .recipient_n = (unsigned)in->n_recipients}};
        if (leased) {
            l.l.state = QUEUE_LEASED;
            l.l.attempts = 1;
            l.l.holder = h.node;
            l.l.boot = h.boot;
            l.l.until_ms = h.until_ms;
        }
        buf_clear(&packed);
        recipients_pack(in, &packed);
        l.recipients = buf_slice(&packed);
        queue_leg_add(s, &l);
        if (leased)
            queue_grant_add(s, r, &l);
        recipients += in->n_recipients;
    }
    buf_close(&packed);
    if (q->account)
        rate_count(s, q->account, recipients);
    return i.id;
}
