#include "store/queue_schema.h"

/* ---- keys ---- */

struct slice key_queue_state(void)
{
    return SLICE_LITERAL("q");
}

struct slice key_queue_leg(struct key *k, uint64_t item, uint32_t leg)
{
    return key_uid(k, item, leg);
}

struct slice key_queue_attempt(struct key *k, uint64_t item, uint32_t leg, uint32_t attempt)
{
    put_be64(k->b, item);
    put_be32(k->b + 8, leg);
    put_be32(k->b + 12, attempt);
    return slice_make(k->b, 16);
}

struct slice key_queue_due_prefix(struct key *k, struct slice destination)
{
    ENSURE(destination.n > 0 && destination.n <= QUEUE_DESTINATION_MAX);
    memcpy(k->b, destination.p, destination.n);
    k->b[destination.n] = 0;
    return slice_make(k->b, destination.n + 1);
}

struct slice key_queue_due(struct key *k, struct slice destination, int64_t due_ms, uint64_t item, uint32_t leg)
{
    struct slice prefix = key_queue_due_prefix(k, destination);
    put_be64(k->b + prefix.n, (uint64_t)due_ms);
    put_be64(k->b + prefix.n + 8, item);
    put_be32(k->b + prefix.n + 16, leg);
    return slice_make(k->b, prefix.n + QUEUE_DUE_TAIL);
}

bool key_queue_due_read(struct slice key, struct slice *destination_r, struct queue_due *d_r)
{
    size_t n = slice_find(key, 0);
    if (n == 0 || n > QUEUE_DESTINATION_MAX || key.n != n + 1 + QUEUE_DUE_TAIL)
        return false;
    *destination_r = slice_first(key, n);
    d_r->due_ms = (int64_t)get_be64(key.p + n + 1);
    d_r->item = get_be64(key.p + n + 9);
    d_r->leg = get_be32(key.p + n + 17);
    return true;
}

struct slice key_queue_lease(struct key *k, uint64_t node, uint64_t boot, uint64_t item, uint32_t leg)
{
    put_be64(k->b, node);
    put_be64(k->b + 8, boot);
    put_be64(k->b + 16, item);
    put_be32(k->b + 24, leg);
    return slice_make(k->b, 28);
}

struct slice key_queue_next(struct key *k, int64_t due_ms, struct slice destination)
{
    return key_name(k, (uint64_t)due_ms, destination);
}

/* ---- items ---- */

void record_queue_item_write(struct buf *b, const struct store_queue_item *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u32(b, r->flags);
    buf_put_u64(b, r->account);
    buf_append(b, r->hash.b, BODY_HASH_SIZE);
    buf_put_u64(b, r->size);
    buf_put_u32(b, r->skip);
    buf_put_u32(b, r->legs);
    buf_put_u64(b, (uint64_t)r->received_ms);
    buf_put_u64(b, (uint64_t)r->expires_ms);
    buf_put_u8(b, r->held);
    buf_put_u8(b, r->canceled);
    buf_put_bytes(b, r->sender);
    buf_put_bytes(b, r->envid);
    buf_put_bytes(b, r->session);
}

bool record_queue_item_read(struct slice v, struct store_queue_item *r)
{
    struct reader in = record_begin(v);
    r->id = 0;
    r->flags = read_u32(&in);
    r->account = read_u64(&in);
    struct slice hash = read_exact(&in, BODY_HASH_SIZE);
    r->size = read_u64(&in);
    r->skip = read_u32(&in);
    r->legs = read_u32(&in);
    r->received_ms = (int64_t)read_u64(&in);
    r->expires_ms = (int64_t)read_u64(&in);
    r->held = read_u8(&in) != 0;
    r->canceled = read_u8(&in) != 0;
    r->sender = read_bytes(&in, QUEUE_ADDRESS_MAX);
    r->envid = read_bytes(&in, QUEUE_TEXT_MAX);
    r->session = read_bytes(&in, QUEUE_TEXT_MAX);
    if (!record_end(&in))
        return false;
    memcpy(r->hash.b, hash.p, BODY_HASH_SIZE);
    return r->legs > 0 && r->legs <= QUEUE_RECIPIENTS_MAX;
}

/* ---- legs ---- */

void record_queue_leg_write(struct buf *b, const struct queue_leg_record *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u8(b, (uint8_t)r->l.state);
    buf_put_u32(b, r->l.attempts);
    buf_put_u64(b, (uint64_t)r->l.due_ms);
    buf_put_u64(b, r->l.holder);
    buf_put_u64(b, r->l.boot);
    buf_put_u64(b, (uint64_t)r->l.until_ms);
    buf_put_u8(b, r->l.warned);
    buf_put_u8(b, r->history);
    buf_put_bytes(b, r->l.destination);
    buf_put_u32(b, r->l.recipient_n);
    buf_append_slice(b, r->recipients);
}

void queue_recipient_put(struct buf *b, const struct store_queue_recipient *r)
{
    buf_put_bytes(b, r->address);
    buf_put_bytes(b, r->orcpt);
    buf_put_u8(b, (uint8_t)r->notify);
}

bool queue_recipient_take(struct reader *in, struct store_queue_recipient *r)
{
    r->address = read_bytes(in, QUEUE_ADDRESS_MAX);
    r->orcpt = read_bytes(in, QUEUE_ADDRESS_MAX);
    r->notify = read_u8(in);
    return !in->failed;
}

bool record_queue_leg_read(struct slice v, struct queue_leg_record *r)
{
    struct reader in = record_begin(v);
    struct store_queue_recipient recipient;
    r->l.item = 0;
    r->l.leg = 0;
    unsigned state = read_u8(&in);
    r->l.state = (enum queue_leg_state)state;
    r->l.attempts = read_u32(&in);
    r->l.due_ms = (int64_t)read_u64(&in);
    r->l.holder = read_u64(&in);
    r->l.boot = read_u64(&in);
    r->l.until_ms = (int64_t)read_u64(&in);
    r->l.warned = read_u8(&in) != 0;
    r->history = read_u8(&in);
    r->l.destination = read_bytes(&in, QUEUE_DESTINATION_MAX);
    r->l.recipient_n = read_u32(&in);
    r->recipients = in.in;
    if (in.failed || state > QUEUE_HELD || r->l.destination.n == 0 || r->l.recipient_n == 0 ||
        r->l.recipient_n > QUEUE_RECIPIENTS_MAX || r->l.due_ms < 0 || r->history > QUEUE_ATTEMPTS_KEPT)
        return false;
    for (unsigned i = 0; i < r->l.recipient_n; i++)
        if (!queue_recipient_take(&in, &recipient))
            return false;
    return record_end(&in);
}

/* ---- attempts ---- */

void record_queue_attempt_write(struct buf *b, const struct queue_attempt_record *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u64(b, (uint64_t)r->a.at_ms);
    buf_put_u64(b, r->a.node);
    buf_put_bytes(b, r->a.host);
    buf_put_bytes(b, r->a.address);
    buf_put_bytes(b, r->a.tls);
    buf_put_u32(b, r->reply_n);
    buf_append_slice(b, r->replies);
}

void queue_reply_put(struct buf *b, const struct store_queue_reply *r)
{
    buf_put_u8(b, (uint8_t)r->kind);
    buf_put_bytes(b, r->text);
    buf_put_bytes(b, r->recipients);
}

bool queue_reply_take(struct reader *in, struct store_queue_reply *r)
{
    r->kind = read_u8(in);
    r->text = read_bytes(in, QUEUE_REPLY_MAX);
    r->recipients = read_bytes(in, QUEUE_RECIPIENTS_MAX * (QUEUE_ADDRESS_MAX + 1));
    return !in->failed;
}

bool record_queue_attempt_read(struct slice v, struct queue_attempt_record *r)
{
    struct reader in = record_begin(v);
    struct store_queue_reply reply;
    r->a.attempt = 0;
    r->a.at_ms = (int64_t)read_u64(&in);
    r->a.node = read_u64(&in);
    r->a.host = read_bytes(&in, QUEUE_TEXT_MAX);
    r->a.address = read_bytes(&in, QUEUE_TEXT_MAX);
    r->a.tls = read_bytes(&in, QUEUE_TEXT_MAX);
    r->reply_n = read_u32(&in);
    r->replies = in.in;
    if (in.failed || r->reply_n > QUEUE_RECIPIENTS_MAX)
        return false;
    for (unsigned i = 0; i < r->reply_n; i++)
        if (!queue_reply_take(&in, &reply))
            return false;
    return record_end(&in);
}

/* ---- destinations, totals, rates ---- */

void record_destination_write(struct buf *b, const struct store_queue_destination *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u64(b, r->waiting);
    buf_put_u64(b, r->held);
    buf_put_u32(b, r->leased);
    buf_put_u64(b, (uint64_t)r->first_due_ms);
}

bool record_destination_read(struct slice v, struct store_queue_destination *r)
{
    struct reader in = record_begin(v);
    r->name = slice_make(NULL, 0);
    r->waiting = read_u64(&in);
    r->held = read_u64(&in);
    r->leased = read_u32(&in);
    r->first_due_ms = (int64_t)read_u64(&in);
    return record_end(&in) && r->first_due_ms >= 0;
}

void record_queue_state_write(struct buf *b, const struct queue_state_record *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u64(b, r->next_item);
    buf_put_u64(b, r->items);
    buf_put_u64(b, r->recipients);
    buf_put_u64(b, r->bytes);
    buf_put_u64(b, r->waiting);
    buf_put_u64(b, r->leased);
    buf_put_u64(b, r->held);
}

bool record_queue_state_read(struct slice v, struct queue_state_record *r)
{
    struct reader in = record_begin(v);
    r->next_item = read_u64(&in);
    r->items = read_u64(&in);
    r->recipients = read_u64(&in);
    r->bytes = read_u64(&in);
    r->waiting = read_u64(&in);
    r->leased = read_u64(&in);
    r->held = read_u64(&in);
    return record_end(&in);
}

void record_queue_rate_write(struct buf *b, const struct queue_rate_record *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u64(b, r->hour);
    buf_put_u32(b, r->recipients);
}

bool record_queue_rate_read(struct slice v, struct queue_rate_record *r)
{
    struct reader in = record_begin(v);
    r->hour = read_u64(&in);
    r->recipients = read_u32(&in);
    return record_end(&in);
}

static bool due_valid(struct slice key)
{
    struct slice destination;
    struct queue_due d;
    return key_queue_due_read(key, &destination, &d) && d.due_ms >= 0;
}

static bool name_valid(struct slice name)
{
    return name.n > 0 && name.n <= QUEUE_DESTINATION_MAX && slice_find(name, 0) == name.n;
}

bool record_queue_valid(enum table t, struct slice key, struct slice value)
{
    union {
        struct store_queue_item item;
        struct queue_leg_record leg;
        struct queue_attempt_record attempt;
        struct store_queue_destination destination;
        struct queue_state_record state;
        struct queue_rate_record rate;
        struct slice slice;
        uint64_t u64;
    } r;
    switch (t) {
    case TABLE_QUEUE:
        return record_queue_item_read(value, &r.item);
    case TABLE_QUEUE_LEG:
        return record_queue_leg_read(value, &r.leg) && name_valid(r.leg.l.destination);
    case TABLE_QUEUE_ATTEMPT:
        return record_queue_attempt_read(value, &r.attempt);
    case TABLE_QUEUE_DUE:
        return due_valid(key) && record_opaque_read(value, &r.slice) && r.slice.n == 0;
    case TABLE_QUEUE_LEASE:
        return record_u64_read(value, &r.u64);
    case TABLE_QUEUE_NEXT:
        return key.n > 8 && name_valid(slice_from(key, 8)) && record_opaque_read(value, &r.slice) && r.slice.n == 0;
    case TABLE_DESTINATION:
        return name_valid(key) && record_destination_read(value, &r.destination);
    case TABLE_QUEUE_STATE:
        return record_queue_state_read(value, &r.state);
    case TABLE_QUEUE_RATE:
        return record_queue_rate_read(value, &r.rate);
    default:
        return false;
    }
}
