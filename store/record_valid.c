#include "store/queue_schema.h"

/* Length of a table's key, or 0 where it varies. */
static const uint8_t key_length[TABLE_N] = {
    [TABLE_POSITION] = 1,       [TABLE_STATE] = 1,        [TABLE_ACCOUNT] = 8,     [TABLE_MEMBER] = 8,
    [TABLE_MAILBOX] = 8,        [TABLE_MESSAGE] = 12,     [TABLE_CHANGE] = 20,     [TABLE_EXPUNGED] = 20,
    [TABLE_MARK] = 13,          [TABLE_RUNS] = 12,        [TABLE_CONTENT] = 32,    [TABLE_SUMMARY] = 32,
    [TABLE_BOOT] = 16,          [TABLE_REQUEST] = 24,     [TABLE_QUEUE] = 8,       [TABLE_QUEUE_LEG] = 12,
    [TABLE_QUEUE_ATTEMPT] = 16, [TABLE_QUEUE_LEASE] = 28, [TABLE_QUEUE_STATE] = 1, [TABLE_QUEUE_RATE] = 8,
};

static bool key_valid(enum table t, struct slice key)
{
    if (key.n == 0 || key.n > KEY_MAX)
        return false;
    if (key_length[t])
        return key.n == key_length[t];
    return t != TABLE_NAME || key.n > 8;
}

static bool runs_valid(struct slice key, struct slice value)
{
    struct uid_range ranges[RUNS_MAX];
    size_t n;
    return record_runs_read(value, ranges, &n) && ranges[0].first == get_be32(key.p + 8);
}

bool record_valid(enum table t, struct slice key, struct slice value)
{
    union {
        struct position_record position;
        struct state_record state;
        struct account_record account;
        struct address_record address;
        struct member_record member;
        struct mailbox_record mailbox;
        struct name_record name;
        struct store_message message;
        struct slice slice;
        uint32_t u32;
        uint64_t u64[2];
    } r;
    if (!key_valid(t, key))
        return false;
    switch (t) {
    case TABLE_POSITION:
        return record_position_read(value, &r.position);
    case TABLE_STATE:
        return record_state_read(value, &r.state);
    case TABLE_ACCOUNT:
        return record_account_read(value, &r.account);
    case TABLE_ADDRESS:
        return record_address_read(value, &r.address);
    case TABLE_DOMAIN:
    case TABLE_SETTING:
        return record_bytes_read(value, &r.slice);
    case TABLE_MEMBER:
        return record_member_read(value, &r.member);
    case TABLE_MAILBOX:
        return record_mailbox_read(value, &r.mailbox);
    case TABLE_NAME:
        return record_name_read(value, &r.name);
    case TABLE_MESSAGE:
        return record_message_read(value, &r.message);
    case TABLE_CHANGE:
    case TABLE_MARK:
        return record_opaque_read(value, &r.slice) && r.slice.n == 0;
    case TABLE_EXPUNGED:
        return record_u32_read(value, &r.u32) && get_be32(key.p + 16) > 0 && get_be32(key.p + 16) <= r.u32;
    case TABLE_RUNS:
        return runs_valid(key, value);
    case TABLE_CONTENT:
        return record_content_read(value, &r.u64[0], &r.u64[1]);
    case TABLE_SUMMARY:
    case TABLE_REQUEST:
        return record_opaque_read(value, &r.slice);
    case TABLE_BOOT:
        return record_u64_read(value, &r.u64[0]);
    case TABLE_N:
        return false;
    default:
        return record_queue_valid(t, key, value);
    }
}
