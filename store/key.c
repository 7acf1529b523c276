#include "store/schema.h"

#include "node/base/err.h"

static const char *const names[TABLE_N] = {
    [TABLE_POSITION] = "position",
    [TABLE_STATE] = "state",
    [TABLE_ACCOUNT] = "account",
    [TABLE_ADDRESS] = "address",
    [TABLE_DOMAIN] = "domain",
    [TABLE_SETTING] = "setting",
    [TABLE_MEMBER] = "member",
    [TABLE_MAILBOX] = "mailbox",
    [TABLE_NAME] = "name",
    [TABLE_MESSAGE] = "message",
    [TABLE_CHANGE] = "change",
    [TABLE_EXPUNGED] = "expunged",
    [TABLE_MARK] = "mark",
    [TABLE_RUNS] = "runs",
    [TABLE_CONTENT] = "content",
    [TABLE_SUMMARY] = "summary",
    [TABLE_BOOT] = "boot",
    [TABLE_REQUEST] = "request",
    [TABLE_QUEUE] = "queue",
    [TABLE_QUEUE_LEG] = "queue_leg",
    [TABLE_QUEUE_ATTEMPT] = "queue_attempt",
    [TABLE_QUEUE_DUE] = "queue_due",
    [TABLE_QUEUE_LEASE] = "queue_lease",
    [TABLE_QUEUE_NEXT] = "queue_next",
    [TABLE_DESTINATION] = "destination",
    [TABLE_QUEUE_STATE] = "queue_state",
    [TABLE_QUEUE_RATE] = "queue_rate",
};

const char *table_name(enum table t)
{
    return names[t];
}

struct slice key_position(void)
{
    return SLICE_LITERAL("p");
}

struct slice key_state(void)
{
    return SLICE_LITERAL("s");
}

struct slice key_u64(struct key *k, uint64_t a)
{
    put_be64(k->b, a);
    return slice_make(k->b, 8);
}

/* The domain comes first, so that a domain's addresses lie together. */
struct slice key_address(struct key *k, struct slice address)
{
    size_t at = slice_find(address, '@');
    ENSURE(at < address.n && address.n < KEY_MAX);
    size_t domain_n = address.n - at - 1;
    memcpy(k->b, address.p + at + 1, domain_n);
    k->b[domain_n] = 0;
    memcpy(k->b + domain_n + 1, address.p, at);
    return slice_make(k->b, address.n);
}

struct slice key_name(struct key *k, uint64_t account, struct slice name)
{
    ENSURE(name.n <= KEY_MAX - 8);
    put_be64(k->b, account);
    if (name.n)
        memcpy(k->b + 8, name.p, name.n);
    return slice_make(k->b, 8 + name.n);
}

struct slice key_uid(struct key *k, uint64_t mailbox, uint32_t uid)
{
    put_be64(k->b, mailbox);
    put_be32(k->b + 8, uid);
    return slice_make(k->b, 12);
}

struct slice key_modseq(struct key *k, uint64_t mailbox, uint64_t modseq, uint32_t uid)
{
    put_be64(k->b, mailbox);
    put_be64(k->b + 8, modseq);
    put_be32(k->b + 16, uid);
    return slice_make(k->b, 20);
}

struct slice key_mark(struct key *k, uint64_t mailbox, unsigned kind, uint32_t uid)
{
    put_be64(k->b, mailbox);
    k->b[8] = (uint8_t)kind;
    put_be32(k->b + 9, uid);
    return slice_make(k->b, 13);
}

struct slice key_boot(struct key *k, uint64_t node, uint64_t boot)
{
    put_be64(k->b, node);
    put_be64(k->b + 8, boot);
    return slice_make(k->b, 16);
}

struct slice key_request(struct key *k, const struct request_id *id)
{
    put_be64(k->b, id->node);
    put_be64(k->b + 8, id->boot);
    put_be64(k->b + 16, id->seq);
    return slice_make(k->b, 24);
}

struct sum128 record_sum(struct buf *scratch, enum table t, struct slice key, struct slice value)
{
    buf_clear(scratch);
    buf_put_u8(scratch, (uint8_t)t);
    buf_put_u16(scratch, (uint16_t)key.n);
    buf_append_slice(scratch, key);
    buf_append_slice(scratch, value);
    return checksum128(buf_slice(scratch));
}

void sum128_add(struct sum128 *to, struct sum128 a)
{
    to->lo += a.lo;
    to->hi += a.hi + (to->lo < a.lo);
}

void sum128_sub(struct sum128 *from, struct sum128 a)
{
    uint64_t borrow = from->lo < a.lo;
    from->lo -= a.lo;
    from->hi -= a.hi + borrow;
}
