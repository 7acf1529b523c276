/* The replicated state: an LMDB environment changed only by applying committed entries in order. A pure function of the
 * log: no clock, no randomness, no order of hashing; all that is in the commands.
 *
 *   applier thread: store_batch_begin → store_apply × n → store_batch_commit (one durable LMDB transaction)
 *   any thread:     store_view_open → reads → store_view_close (short; one a command)
 *
 * Durability: a batch commit syncs data pages but not the meta page (MDB_NOMETASYNC): after a power cut the
 * last batches may be undone as a whole and are applied again from the Raft log. store_sync makes all durable;
 * replication calls it before a snapshot lets the log be cut.
 *
 * Tables, keys (big-endian) and record versions are drawn in store/schema.h. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "node/base/buf.h"
#include "node/base/err.h"
#include "node/base/hash.h"
#include "node/base/mem.h"
#include "node/base/slice.h"
#include "node/base/uidset.h"
#include "store/watch.h"

struct store;
struct store_view;

enum { STORE_FORMAT_MIN = 1, STORE_FORMAT_MAX = 2 }; /* command formats this build understands */

struct store_options {
    size_t map_size;      /* bytes of address space, LMDB's limit; 0: 64 GiB */
    bool no_sync;         /* tests only */
    unsigned readers_max; /* 0: 512 */
    /* A read met what cannot have been written: the process must end, as it would lie by leaving it out. Any thread;
     * may be called more than once. NULL: it is logged, and every later commit fails. */
    void (*damaged)(void *arg, const char *what);
    void *arg;
};
/* Opens or makes DIR/state. */
int store_open(const char *dir, const struct store_options *o, struct store **s_r, struct err_detail *e);
void store_close(struct store **s);

/* ---- entries: many commands in one Raft entry ---- */

enum {
    ENTRY_MAX = 64 * 1024, /* bytes of an entry that holds more than one command */
    COMMAND_MAX = 4 * 1024 * 1024,
    ENTRY_COMMANDS_MAX = 4096
}; /* MODSEQ = index × this + place in the entry: unique, ascending, below 2^63 */
/* Entry: u32 magic+version, u32 count, then per command u32 length + packed merlion.Command, zero padded to 8.
 * begin clears b; the entry is all of b. At least 22 bytes a command with a request id, so ENTRY_MAX keeps to
 * ENTRY_COMMANDS_MAX. */
void entry_begin(struct buf *b);
void entry_add(struct buf *b, struct slice command);
void entry_end(struct buf *b);
/* Calls each for every command; ERR_PROTOCOL for bytes that are no entry (nothing is called then). */
int entry_each(struct slice entry, int (*each)(void *arg, struct slice command), void *arg);

struct request_id {
    uint64_t node, boot, seq;
};

/* ---- applying: applier thread ---- */

struct store_events {
    void *arg;
    /* A command was applied (or answered from the table of recent ids); result is a packed merlion.Result, valid
     * during the call. The state is durable and visible only after store_batch_commit. */
    void (*result)(void *arg, struct request_id id, struct slice result);
    /* After the commit, once for each mailbox that changed in the batch. */
    void (*mailbox_changed)(void *arg, uint64_t mailbox, uint64_t account);
    /* A body is referenced by the state now: record is empty, or (small bodies in the command) its blob record,
     * unchecked and valid during the call. During store_apply, each time a command that takes effect brings the body.
     */
    void (*body_referenced)(void *arg, const struct body_hash *hash, uint64_t size, struct slice record);
    /* A body is no longer referenced. After the commit, once, and only if nothing in the batch referred to it again. */
    void (*body_freed)(void *arg, const struct body_hash *hash);
    /* Members, settings or domains changed (after the commit). */
    void (*cluster_changed)(void *arg);
    /* The queue may have work: a leg began to wait or is due earlier, a lease was voided, or an operator changed
     * something. After the commit, once. retry: an operator wants mail tried at once, as its hosts may be well again.
     */
    void (*queue_changed)(void *arg, bool retry);
};
void store_set_events(struct store *s, const struct store_events *e);

int store_batch_begin(struct store *s);
/* Applies a command entry. Mailbox names in commands are NFC (that is the proposer's, so that no Unicode table decides
 * what a replica does); all else is checked here. index must be > the applied one (less or equal: ignored, 0). A
 * malformed entry or a full map is an error: the process must end. */
int store_apply(struct store *s, uint64_t index, uint64_t term, struct slice entry);
/* An index that carries no command (barrier, configuration change). */
int store_apply_nothing(struct store *s, uint64_t index, uint64_t term);
int store_batch_commit(struct store *s);
void store_batch_abort(struct store *s);
/* Makes everything committed so far durable (meta page too). Any thread; slow. */
int store_sync(struct store *s);

/* ---- state as a whole ---- */

struct store_position {
    uint64_t index, term;
    struct sum128 digest; /* maintained incrementally over all replicated records */
    uint32_t format;      /* active command format */
    int64_t time_ms;      /* the state machine's time */
};
void store_position(struct store *s, struct store_position *p_r); /* of the last commit; any thread */
/* Reads everything and compares with the incremental digest: ERR_CORRUPT when they differ. Slow; any thread. */
int store_scrub(struct store *s, struct sum128 *digest_r);

/* ---- damage: flipped bits, lost pages ---- */

/* Is it on disk what was applied: every page in its place (store/pages.h), and the records those of the incremental
 * digest. ERR_CORRUPT, with where in e: the node has to copy the state from a peer. ERR_CANCELED; else it cannot be
 * told. Reads all, a hundred megabytes and more a second; any thread. watch may be NULL. */
int store_check(struct store *s, const struct store_watch *watch, struct err_detail *e);
/* Before store_open. live: another process may have it open. 0 too when there is no state yet. */
int store_check_files(const char *dir, bool live, const struct store_watch *watch, struct err_detail *e);
/* Moves a damaged state to DIR/state.damaged (what lies there is removed), so that store_open makes an empty one: the
 * replicated log and a peer's copy fill it. */
int store_set_aside(const char *dir, struct err_detail *e);
bool store_is_aside(const char *dir);
/* When the state is whole again. */
void store_aside_remove(const char *dir);

/* A consistent copy of the whole state, for a node that fell behind. Any thread (holds one LMDB read transaction:
 * do not dawdle). The stream is versioned and checksummed by itself. */
struct store_export;
int store_export_begin(struct store *s, struct store_export **x_r, struct store_position *p_r, uint64_t *bytes_total_r);
/* Up to max bytes appended to out; 0 and *done_r when all is out. */
int store_export_next(struct store_export *x, size_t max, struct buf *out, bool *done_r);
void store_export_end(struct store_export **x);
/* Takes such a stream in any portions into a fresh environment DIR/state.incoming; nothing changes until import_swap.
 */
struct store_import;
int store_import_begin(const char *dir, struct store_import **i_r, struct err_detail *e);
int store_import_feed(struct store_import *i, struct slice in, struct err_detail *e);
/* Checks completeness, digest; syncs. */
int store_import_finish(struct store_import *i, struct store_position *p_r, struct err_detail *e);
void store_import_abort(struct store_import **i);
/* Swaps the finished copy in, atomically over crashes. Applier thread, outside a batch; readers that are under way
 * finish on the old one, new views see the new one. Frees i. */
int store_import_swap(struct store *s, struct store_import **i, struct err_detail *e);

/* ---- views ---- */

int store_view_open(struct store *s, struct store_view **v_r);
void store_view_close(struct store_view **v);
uint64_t store_view_index(const struct store_view *v); /* applied index it shows */

enum account_state { ACCOUNT_ACTIVE, ACCOUNT_LOCKED };
struct store_account {
    uint64_t id;
    struct slice address;  /* canonical, lower case */
    struct slice password; /* encoded hash */
    enum account_state state;
    uint64_t quota_bytes, used_bytes, messages;
    int64_t created_ms;
};
int store_account_get(struct store_view *v, uint64_t id, struct store_account *a_r);
int store_account_find(struct store_view *v, struct slice address,
                       struct store_account *a_r); /* exact canonical address */
void store_account_each(struct store_view *v, struct slice domain,
                        bool (*each)(void *arg, const struct store_account *a), void *arg);

/* Recipient resolution: aliases (nested at most 10 deep, loops cut), subaddress (user+detail), catch-all, postmaster@
 * any domain of ours and bare postmaster (settings "postmaster", else the first account of the domain that exists). */
enum resolve { RESOLVE_LOCAL, RESOLVE_UNKNOWN, RESOLVE_FOREIGN, RESOLVE_LOCKED, RESOLVE_OVERQUOTA };
/* Targets of aliases in domains that are not ours: each address with a NUL after it. */
struct resolve_foreign {
    char text[8192];
    size_t n;
    unsigned count;
};
/* RESOLVE_LOCAL: there are accounts or foreign targets, or both; RESOLVE_FOREIGN: the address itself is elsewhere. More
 * than there is room for is RESOLVE_OVERQUOTA. foreign may be NULL: there is room for none. */
enum resolve store_resolve(struct store_view *v, struct slice address, uint64_t *accounts, unsigned max, unsigned *n_r,
                           struct resolve_foreign *foreign);
/* May the account send as that address: its own, with a detail, or an alias (of an alias …) that leads to it. A
 * catch-all gives nobody the right to its addresses. */
bool store_address_belongs(struct store_view *v, uint64_t account, struct slice address);

struct store_domain {
    struct slice name, catch_all;
};
void store_domain_each(struct store_view *v, bool (*each)(void *arg, const struct store_domain *d), void *arg);
bool store_domain_is_ours(struct store_view *v, struct slice name);
/* targets: addresses separated by NUL bytes. */
void store_alias_each(struct store_view *v, bool (*each)(void *arg, struct slice address, struct slice targets),
                      void *arg);
int store_setting_get(struct store_view *v, struct slice name, struct slice *value_r);
void store_setting_each(struct store_view *v, bool (*each)(void *arg, struct slice name, struct slice value),
                        void *arg);

struct store_member {
    uint64_t id, instance;
    struct slice name, address, version;
    uint32_t format_max;
    int64_t invited_until_ms;
};
int store_member_get(struct store_view *v, uint64_t id, struct store_member *m_r);
void store_member_each(struct store_view *v, bool (*each)(void *arg, const struct store_member *m), void *arg);

/* Mailboxes and messages: the meaning of the fields is protocol/backend.h's (node/backend copies them over). */
enum { STORE_KEYWORDS_MAX = 64 };
struct store_mailbox {
    uint64_t id, account;
    struct slice name;
    uint32_t uidvalidity, uidnext;
    uint64_t highest_modseq;
    uint32_t exists, unseen, deleted, first_unseen_uid;
    uint64_t bytes;
    uint32_t use;
    bool subscribed, has_children, selectable;
    unsigned keyword_n;
    struct slice keyword[STORE_KEYWORDS_MAX];
};
struct store_message {
    uint32_t uid, flags;
    uint64_t keywords, modseq;
    int64_t internal_ms, save_ms;
    uint64_t size, email_id;
    struct body_hash hash;
};
int store_mailbox_find(struct store_view *v, uint64_t account, struct slice name, struct store_mailbox *m_r);
int store_mailbox_get(struct store_view *v, uint64_t id, struct store_mailbox *m_r);
void store_mailbox_each(struct store_view *v, uint64_t account, bool (*each)(void *arg, const struct store_mailbox *m),
                        void *arg);
void store_message_each(struct store_view *v, uint64_t mailbox, uint32_t first, uint32_t last,
                        bool (*each)(void *arg, const struct store_message *m), void *arg);
int store_message_get(struct store_view *v, uint64_t mailbox, uint32_t uid, struct store_message *m_r);
void store_uids(struct store_view *v, uint64_t mailbox, struct uid_set *set);
int store_changes(struct store_view *v, uint64_t mailbox, uint64_t since,
                  bool (*changed)(void *arg, const struct store_message *m), void *arg, struct uid_set *expunged);
int store_summary(struct store_view *v, const struct body_hash *hash, struct slice *summary_r);

/* Content records: every body that the state refers to. */
struct store_content {
    struct body_hash hash;
    uint64_t refs, size;
};
int store_content_get(struct store_view *v, const struct body_hash *hash, struct store_content *c_r);
/* In hash order, from the first one after `after` (NULL: from the start). */
void store_content_each(struct store_view *v, const struct body_hash *after,
                        bool (*each)(void *arg, const struct store_content *c), void *arg);

struct store_stats {
    uint64_t accounts, mailboxes, messages, bodies, body_bytes, map_used, map_size;
};
void store_stats(struct store *s, struct store_stats *st_r);

#endif
