#include "store/schema.h"

/* Results with very many UID ranges are the longest. */
enum { BYTES_MAX = 1 << 28 };

/* No digest is over this record, and a wrong index would apply entries twice or never: it has a checksum of its own. */
void record_position_write(struct buf *b, const struct position_record *r)
{
    size_t start = buf_len(b);
    buf_put_u8(b, POSITION_VERSION);
    buf_put_u64(b, r->index);
    buf_put_u64(b, r->term);
    buf_put_u64(b, r->digest.lo);
    buf_put_u64(b, r->digest.hi);
    buf_put_u64(b, checksum64(slice_from(buf_slice(b), start)));
}

bool record_position_read(struct slice v, struct position_record *r)
{
    size_t body = v.n >= 8 ? v.n - 8 : 0;
    if (v.n && v.p[0] == POSITION_VERSION && (body == 0 || get_le64(v.p + body) != checksum64(slice_first(v, body))))
        return false;
    struct reader in = {.in = v.n && v.p[0] == POSITION_VERSION ? slice_first(v, body) : v};
    uint8_t version = read_u8(&in);
    if (version != RECORD_VERSION && version != POSITION_VERSION)
        in.failed = true;
    r->index = read_u64(&in);
    r->term = read_u64(&in);
    r->digest.lo = read_u64(&in);
    r->digest.hi = read_u64(&in);
    return record_end(&in);
}

void record_state_write(struct buf *b, const struct state_record *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u64(b, r->next_account);
    buf_put_u64(b, r->next_mailbox);
    buf_put_u64(b, r->next_email);
    buf_put_u64(b, (uint64_t)r->time_ms);
    buf_put_u32(b, r->format);
    buf_put_u64(b, r->accounts);
    buf_put_u64(b, r->mailboxes);
    buf_put_u64(b, r->messages);
    buf_put_u64(b, r->bodies);
    buf_put_u64(b, r->body_bytes);
}

bool record_state_read(struct slice v, struct state_record *r)
{
    struct reader in = record_begin(v);
    r->next_account = read_u64(&in);
    r->next_mailbox = read_u64(&in);
    r->next_email = read_u64(&in);
    r->time_ms = (int64_t)read_u64(&in);
    r->format = read_u32(&in);
    r->accounts = read_u64(&in);
    r->mailboxes = read_u64(&in);
    r->messages = read_u64(&in);
    r->bodies = read_u64(&in);
    r->body_bytes = read_u64(&in);
    return record_end(&in);
}

void record_account_write(struct buf *b, const struct account_record *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u8(b, r->state);
    buf_put_u64(b, r->quota);
    buf_put_u64(b, r->used);
    buf_put_u64(b, r->messages);
    buf_put_u64(b, (uint64_t)r->created_ms);
    buf_put_u32(b, r->uidvalidity);
    buf_put_u32(b, r->names);
    buf_put_u64(b, r->inbox);
    buf_put_bytes(b, r->address);
    buf_put_bytes(b, r->password);
}

bool record_account_read(struct slice v, struct account_record *r)
{
    struct reader in = record_begin(v);
    r->state = read_u8(&in);
    r->quota = read_u64(&in);
    r->used = read_u64(&in);
    r->messages = read_u64(&in);
    r->created_ms = (int64_t)read_u64(&in);
    r->uidvalidity = read_u32(&in);
    r->names = read_u32(&in);
    r->inbox = read_u64(&in);
    r->address = read_bytes(&in, KEY_MAX);
    r->password = read_bytes(&in, BYTES_MAX);
    return record_end(&in) && slice_find(r->address, '@') < r->address.n;
}

void record_address_write(struct buf *b, const struct address_record *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u8(b, r->kind);
    buf_put_u64(b, r->account);
    buf_put_bytes(b, r->targets);
}

bool record_address_read(struct slice v, struct address_record *r)
{
    struct reader in = record_begin(v);
    r->kind = read_u8(&in);
    r->account = read_u64(&in);
    r->targets = read_bytes(&in, BYTES_MAX);
    return record_end(&in) && (r->kind == ADDRESS_USER || r->kind == ADDRESS_ALIAS);
}

void record_bytes_write(struct buf *b, struct slice value)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_bytes(b, value);
}

bool record_bytes_read(struct slice v, struct slice *value_r)
{
    struct reader in = record_begin(v);
    *value_r = read_bytes(&in, BYTES_MAX);
    return record_end(&in);
}

void record_member_write(struct buf *b, const struct member_record *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u64(b, r->instance);
    buf_put_u64(b, (uint64_t)r->invited_until_ms);
    buf_put_u32(b, r->format_max);
    buf_put_bytes(b, r->name);
    buf_put_bytes(b, r->address);
    buf_put_bytes(b, r->version);
}

bool record_member_read(struct slice v, struct member_record *r)
{
    struct reader in = record_begin(v);
    r->instance = read_u64(&in);
    r->invited_until_ms = (int64_t)read_u64(&in);
    r->format_max = read_u32(&in);
    r->name = read_bytes(&in, BYTES_MAX);
    r->address = read_bytes(&in, BYTES_MAX);
    r->version = read_bytes(&in, BYTES_MAX);
    return record_end(&in);
}

void record_mailbox_write(struct buf *b, const struct mailbox_record *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u64(b, r->account);
    buf_put_u32(b, r->uidvalidity);
    buf_put_u32(b, r->uidnext);
    buf_put_u64(b, r->highest_modseq);
    buf_put_u32(b, r->exists);
    buf_put_u32(b, r->unseen);
    buf_put_u32(b, r->deleted);
    buf_put_u64(b, r->bytes);
    buf_put_u64(b, r->expunge_floor);
    buf_put_u32(b, r->expunge_n);
    buf_put_u8(b, r->use);
    buf_put_u8(b, r->selectable);
    buf_put_bytes(b, r->name);
    buf_put_u8(b, (uint8_t)r->keyword_n);
    for (unsigned i = 0; i < r->keyword_n; i++) {
        buf_put_u8(b, (uint8_t)r->keyword[i].n);
        buf_append_slice(b, r->keyword[i]);
    }
}

bool record_mailbox_read(struct slice v, struct mailbox_record *r)
{
    struct reader in = record_begin(v);
    r->account = read_u64(&in);
    r->uidvalidity = read_u32(&in);
    r->uidnext = read_u32(&in);
    r->highest_modseq = read_u64(&in);
    r->exists = read_u32(&in);
    r->unseen = read_u32(&in);
    r->deleted = read_u32(&in);
    r->bytes = read_u64(&in);
    r->expunge_floor = read_u64(&in);
    r->expunge_n = read_u32(&in);
    r->use = read_u8(&in);
    r->selectable = read_u8(&in) != 0;
    r->name = read_bytes(&in, KEY_MAX - 8);
    r->keyword_n = read_u8(&in);
    if (r->keyword_n > STORE_KEYWORDS_MAX)
        return false;
    for (unsigned i = 0; i < r->keyword_n; i++)
        r->keyword[i] = read_exact(&in, read_u8(&in));
    return record_end(&in);
}

void record_name_write(struct buf *b, const struct name_record *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u64(b, r->mailbox);
    buf_put_u8(b, r->subscribed);
}

bool record_name_read(struct slice v, struct name_record *r)
{
    struct reader in = record_begin(v);
    r->mailbox = read_u64(&in);
    r->subscribed = read_u8(&in) != 0;
    return record_end(&in);
}

void record_message_write(struct buf *b, const struct store_message *r)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u8(b, (uint8_t)r->flags);
    buf_put_u64(b, r->keywords);
    buf_put_u64(b, r->modseq);
    buf_put_u64(b, (uint64_t)r->internal_ms);
    buf_put_u64(b, (uint64_t)r->save_ms);
    buf_put_u64(b, r->size);
    buf_put_u64(b, r->email_id);
    buf_append(b, r->hash.b, BODY_HASH_SIZE);
}

bool record_message_read(struct slice v, struct store_message *r)
{
    struct reader in = record_begin(v);
    r->uid = 0;
    r->flags = read_u8(&in);
    r->keywords = read_u64(&in);
    r->modseq = read_u64(&in);
    r->internal_ms = (int64_t)read_u64(&in);
    r->save_ms = (int64_t)read_u64(&in);
    r->size = read_u64(&in);
    r->email_id = read_u64(&in);
    struct slice hash = read_exact(&in, BODY_HASH_SIZE);
    if (!record_end(&in))
        return false;
    memcpy(r->hash.b, hash.p, BODY_HASH_SIZE);
    return true;
}

void record_u32_write(struct buf *b, uint32_t value)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u32(b, value);
}

bool record_u32_read(struct slice v, uint32_t *value_r)
{
    struct reader in = record_begin(v);
    *value_r = read_u32(&in);
    return record_end(&in);
}

void record_u64_write(struct buf *b, uint64_t value)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u64(b, value);
}

bool record_u64_read(struct slice v, uint64_t *value_r)
{
    struct reader in = record_begin(v);
    *value_r = read_u64(&in);
    return record_end(&in);
}

void record_empty_write(struct buf *b)
{
    buf_put_u8(b, RECORD_VERSION);
}

void record_runs_write(struct buf *b, const struct uid_range *ranges, size_t n)
{
    buf_put_u8(b, RECORD_VERSION);
    for (size_t i = 0; i < n; i++) {
        buf_put_u32(b, ranges[i].first);
        buf_put_u32(b, ranges[i].last);
    }
}

bool record_runs_read(struct slice v, struct uid_range *out, size_t *n_r)
{
    struct reader in = record_begin(v);
    size_t n = in.in.n / 8;
    *n_r = 0;
    if (n == 0 || n > RUNS_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        out[i].first = read_u32(&in);
        out[i].last = read_u32(&in);
        if (out[i].first == 0 || out[i].last < out[i].first ||
            (i > 0 && (uint64_t)out[i].first <= (uint64_t)out[i - 1].last + 1))
            return false;
    }
    *n_r = n;
    return record_end(&in);
}

void record_content_write(struct buf *b, uint64_t refs, uint64_t size)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u64(b, refs);
    buf_put_u64(b, size);
}

bool record_content_read(struct slice v, uint64_t *refs_r, uint64_t *size_r)
{
    struct reader in = record_begin(v);
    *refs_r = read_u64(&in);
    *size_r = read_u64(&in);
    return record_end(&in);
}

void record_opaque_write(struct buf *b, struct slice value)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_append_slice(b, value);
}

bool record_opaque_read(struct slice v, struct slice *value_r)
{
    *value_r = slice_from(v, 1);
    return v.n > 0 && v.p[0] == RECORD_VERSION;
}
