/* What lies in the replicated state's LMDB environment: one named database a table. Everything here lasts on disk and
 * travels in exports, so it never changes meaning: a changed record gets a new version, and old versions stay readable.
 * Keys are big-endian, so that they sort by number; values are little-endian and start with a version byte, now 2 for
 * the position and 1 everywhere else. "bytes" is u32 length + bytes, the u8 before a keyword is its length.
 *
 *   table     key                                    value after the version
 *   position  "p"                                    index u64, term u64, digest lo u64, hi u64, checksum u64 of
 * all before (not part of the digest; version 1 has no checksum) state     "s"                                    next account, mailbox, email id u64 × 3, time ms u64, format
 * u32, accounts, mailboxes, messages, bodies, body bytes u64 × 5 account   account u64                            state
 * u8, quota, used, messages u64 × 3, created ms u64, last UIDVALIDITY u32, names u32, inbox u64, address bytes,
 * password bytes address   domain, NUL, local part                kind u8 (1 user, 2 alias), account u64, targets bytes
 * (NUL between) domain    name                                   catch-all bytes setting   name value bytes member
 * member u64                             instance u64, invited until ms u64, format max u32, name, address, version
 * bytes × 3 mailbox   mailbox u64                            account u64, UIDVALIDITY u32, UIDNEXT u32, HIGHESTMODSEQ
 * u64, exists, unseen, deleted u32 × 3, bytes u64, expunge floor u64, expunge records u32, use u8, selectable u8, name
 * bytes, n u8, n × (u8, keyword) name      account u64, name                      mailbox u64 (0: only subscribed),
 * subscribed u8 message   mailbox u64, uid u32                   flags u8, keywords u64, modseq u64, internal ms u64,
 * save ms u64, size u64, email id u64, hash 32 change    mailbox u64, modseq u64, uid u32       -              each
 * message once, at its MODSEQ expunged  mailbox u64, modseq u64, first u32     last u32       UIDs expunged by that
 * command mark      mailbox u64, kind u8, uid u32          -              kind 1: not \Seen, 2: \Deleted runs mailbox
 * u64, first uid u32             n × (first u32, last u32): UIDs that exist, n in 1 … RUNS_MAX content   hash 32
 * references u64, size u64 summary   hash 32                                the bytes of protocol/mime/summary.h boot
 * node u64, boot u64                     newest sequence u64 request   node u64, boot u64, seq u64            packed
 * merlion.Result
 *
 * The queue's tables are in store/queue_schema.h. Times are ms since the epoch as two's complement. */
#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H

#include "node/base/buf.h"
#include "node/base/hash.h"
#include "store/store.h"

enum table {
    TABLE_POSITION,
    TABLE_STATE,
    TABLE_ACCOUNT,
    TABLE_ADDRESS,
    TABLE_DOMAIN,
    TABLE_SETTING,
    TABLE_MEMBER,
    TABLE_MAILBOX,
    TABLE_NAME,
    TABLE_MESSAGE,
    TABLE_CHANGE,
    TABLE_EXPUNGED,
    TABLE_MARK,
    TABLE_RUNS,
    TABLE_CONTENT,
    TABLE_SUMMARY,
    TABLE_BOOT,
    TABLE_REQUEST,
    /* Since format 2, store/queue_schema.h. New tables go to the end: the numbers are in digests and exports. */
    TABLE_QUEUE,
    TABLE_QUEUE_LEG,
    TABLE_QUEUE_ATTEMPT,
    TABLE_QUEUE_DUE,
    TABLE_QUEUE_LEASE,
    TABLE_QUEUE_NEXT,
    TABLE_DESTINATION,
    TABLE_QUEUE_STATE,
    TABLE_QUEUE_RATE,
    TABLE_N
};
const char *table_name(enum table t);

enum {
    KEY_MAX = 511, /* LMDB's */
    RECORD_VERSION = 1,
    POSITION_VERSION = 2, /* since it has a checksum */
    RUNS_MAX = 64, /* runs a record: small enough to rewrite for each append */
    MARK_UNSEEN = 1,
    MARK_DELETED = 2,
    ADDRESS_USER = 1,
    ADDRESS_ALIAS = 2,
    KEYWORD_BYTES_MAX = 100,
};

/* ---- keys: written into k, the slice points there ---- */

struct key {
    uint8_t b[KEY_MAX];
};
struct slice key_position(void);
struct slice key_state(void);
struct slice key_u64(struct key *k, uint64_t a);
struct slice key_address(struct key *k, struct slice address);             /* a valid address: local@domain */
struct slice key_name(struct key *k, uint64_t account, struct slice name); /* name.n <= 255 */
struct slice key_uid(struct key *k, uint64_t mailbox, uint32_t uid);       /* message and runs */
struct slice key_modseq(struct key *k, uint64_t mailbox, uint64_t modseq, uint32_t uid); /* change and expunged */
struct slice key_mark(struct key *k, uint64_t mailbox, unsigned kind, uint32_t uid);
struct slice key_boot(struct key *k, uint64_t node, uint64_t boot);
struct slice key_request(struct key *k, const struct request_id *id);
static inline struct slice key_hash(const struct body_hash *h)
{
    return slice_make(h->b, BODY_HASH_SIZE);
}

/* ---- values. write: appends to b. read: false when v is no such record; slices point into v ---- */

static inline struct reader record_begin(struct slice v)
{
    struct reader r = {.in = v};
    if (read_u8(&r) != RECORD_VERSION)
        r.failed = true;
    return r;
}
static inline bool record_end(const struct reader *r)
{
    return !r->failed && r->in.n == 0;
}

struct position_record {
    uint64_t index, term;
    struct sum128 digest;
};
void record_position_write(struct buf *b, const struct position_record *r);
bool record_position_read(struct slice v, struct position_record *r);

struct state_record {
    uint64_t next_account, next_mailbox, next_email;
    int64_t time_ms;
    uint32_t format;
    uint64_t accounts, mailboxes, messages, bodies, body_bytes;
};
void record_state_write(struct buf *b, const struct state_record *r);
bool record_state_read(struct slice v, struct state_record *r);

struct account_record {
    uint8_t state;
    uint64_t quota, used, messages;
    int64_t created_ms;
    uint32_t uidvalidity; /* the last one handed out */
    uint32_t names;       /* records in table name */
    uint64_t inbox;
    struct slice address, password;
};
void record_account_write(struct buf *b, const struct account_record *r);
bool record_account_read(struct slice v, struct account_record *r);

struct address_record {
    uint8_t kind;
    uint64_t account;
    struct slice targets;
};
void record_address_write(struct buf *b, const struct address_record *r);
bool record_address_read(struct slice v, struct address_record *r);

/* Domains and settings: one string. */
void record_bytes_write(struct buf *b, struct slice value);
bool record_bytes_read(struct slice v, struct slice *value_r);

struct member_record {
    uint64_t instance;
    int64_t invited_until_ms;
    uint32_t format_max;
    struct slice name, address, version;
};
void record_member_write(struct buf *b, const struct member_record *r);
bool record_member_read(struct slice v, struct member_record *r);

struct mailbox_record {
    uint64_t account;
    uint32_t uidvalidity, uidnext;
    uint64_t highest_modseq;
    uint32_t exists, unseen, deleted;
    uint64_t bytes;
    uint64_t expunge_floor; /* expunges at or before this MODSEQ may have been pruned */
    uint32_t expunge_n;     /* records in table expunged */
    uint8_t use;
    bool selectable;
    struct slice name;
    unsigned keyword_n;
    struct slice keyword[STORE_KEYWORDS_MAX];
};
void record_mailbox_write(struct buf *b, const struct mailbox_record *r);
bool record_mailbox_read(struct slice v, struct mailbox_record *r);

struct name_record {
    uint64_t mailbox;
    bool subscribed;
};
void record_name_write(struct buf *b, const struct name_record *r);
bool record_name_read(struct slice v, struct name_record *r);

/* struct store_message without its uid, which is in the key (read sets it to 0). */
void record_message_write(struct buf *b, const struct store_message *r);
bool record_message_read(struct slice v, struct store_message *r);

void record_u32_write(struct buf *b, uint32_t value); /* expunged */
bool record_u32_read(struct slice v, uint32_t *value_r);
void record_u64_write(struct buf *b, uint64_t value); /* boot */
bool record_u64_read(struct slice v, uint64_t *value_r);
void record_empty_write(struct buf *b); /* change, mark */

void record_runs_write(struct buf *b, const struct uid_range *ranges, size_t n);
/* Ranges ascending, disjoint and not adjacent; out has room for RUNS_MAX. */
bool record_runs_read(struct slice v, struct uid_range *out, size_t *n_r);

void record_content_write(struct buf *b, uint64_t refs, uint64_t size);
bool record_content_read(struct slice v, uint64_t *refs_r, uint64_t *size_r);

/* Summaries and results: opaque to the store. */
void record_opaque_write(struct buf *b, struct slice value);
bool record_opaque_read(struct slice v, struct slice *value_r);

/* Is this a whole record of that table, with a key of the right form? For what comes from elsewhere, and scrubs. */
bool record_valid(enum table t, struct slice key, struct slice value);

/* ---- digest: the sum, modulo 2^128, of this over all records ---- */
struct sum128 record_sum(struct buf *scratch, enum table t, struct slice key, struct slice value);
void sum128_add(struct sum128 *to, struct sum128 a);
void sum128_sub(struct sum128 *from, struct sum128 a);
static inline bool sum128_eq(struct sum128 a, struct sum128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

#endif
