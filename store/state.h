/* The state machine inside: one write batch, and the pieces that commands are made of. Applier thread only, except
 * what `lock` guards.
 *
 * Every change of a replicated record goes through batch_put, batch_insert or batch_del, which keep the digest. A
 * failure of LMDB is sticky (store.failed): calls after it do nothing, store_apply and store_batch_commit return it.
 * A command checks everything before it changes anything: a refused one leaves no trace but its result.
 *
 * Slices from batch_get and batch_seek lie in the map: valid only until the next put or del. */
#ifndef STORE_STATE_H
#define STORE_STATE_H

#include "node/base/utf8.h"
#include "node/base/list.h"
#include "node/base/task.h" /* container_of */
#include "store/command.pb-c.h"
#include "store/env.h"

enum {
    MAILBOX_NAME_MAX = 255, /* bytes */
    MAILBOX_DEPTH_MAX = 20,
    MAILBOX_NAMES_MAX = 10000,        /* an account, subscribed names that do not exist too */
    MAILBOX_MESSAGES_MAX = 1 << 24,   /* bounds the UID ranges of a result */
    EXPUNGE_RECORDS_MAX = 100 * 1000, /* a mailbox; older ones are forgotten */
    BODY_SUMMARY_MAX = 1 << 20,
    BODY_RECORD_MAX = 1 << 20,
    DELIVER_ACCOUNTS_MAX = 1000,
    ALIAS_TARGETS_MAX = 64,
    SETTING_NAME_MAX = 255,
    SETTING_VALUE_MAX = 1 << 20,
    REQUEST_WINDOW = 4096, /* sequence numbers answered twice, per boot of a node */
    REQUEST_BOOTS = 4,     /* boots kept per node */
};
static const uint64_t BODY_SIZE_MAX = (uint64_t)1 << 40;
/* Half of the lease that keeps an unreferenced body (blob.h): later commands might refer to a body that is gone. */
static const int64_t BODY_COMMAND_AGE_MAX_MS = 3600 * 1000;

/* Records that a batch changes over and over: decoded once, written at its commit. */
struct mailbox {
    uint64_t id;
    struct mailbox *next; /* same slot */
    struct list order;    /* in store.mailboxes, by first use */
    bool dirty, changed, gone;
    struct mailbox_record r; /* name and keywords in batch_arena */
};
struct account {
    uint64_t id;
    struct account *next;
    struct list order;
    bool dirty, gone;
    struct account_record r;
};

enum { CACHE_SLOTS = 256 };

struct destination;
struct queue_state_record;

struct store {
    char *dir;
    struct store_options options;
    struct store_events events;

    pthread_mutex_t lock;
    struct store_env *env;           /* lock */
    struct store_position committed; /* lock */

    /* one batch */
    MDB_txn *txn; /* NULL: none */
    int failed;
    MDB_cursor *cursor[TABLE_N];
    uint64_t index, term, modseq;
    struct sum128 digest;
    struct state_record st;
    struct arena batch_arena, command_arena;
    struct mailbox *mailbox_slot[CACHE_SLOTS];
    struct account *account_slot[CACHE_SLOTS];
    struct list mailboxes, accounts;
    struct destination *destination_slot[CACHE_SLOTS]; /* queue_state.h */
    struct list destinations;
    struct queue_state_record *queue; /* NULL: not asked for in this batch */
    bool queue_changed, queue_retry;  /* store_events.queue_changed */
    struct body_hash *freed;
    size_t freed_n, freed_cap;
    bool cluster_changed;
    struct buf sum_scratch, value, result;

    uint32_t expunge_records_max; /* EXPUNGE_RECORDS_MAX; tests make it small */
};

/* ---- batch.c ---- */
void batch_fail(struct store *s, int code, const char *what, int mdb_rc);
bool batch_get(struct store *s, enum table t, struct slice key, struct slice *value_r);
/* key and value must not lie in the map. put replaces; insert: the key is known to be new. */
void batch_put(struct store *s, enum table t, struct slice key, struct slice value);
void batch_insert(struct store *s, enum table t, struct slice key, struct slice value);
void batch_del(struct store *s, enum table t, struct slice key); /* must be there */
/* One shared cursor a table: nested walks over one table are not possible. */
bool batch_seek(struct store *s, enum table t, struct slice key, struct slice *key_r, struct slice *value_r);
bool batch_next(struct store *s, enum table t, struct slice *key_r, struct slice *value_r);
bool batch_before(struct store *s, enum table t, struct slice key, struct slice *key_r, struct slice *value_r);
/* The cleared scratch buffer for a value about to be put. */
struct buf *batch_value(struct store *s);
void batch_caches_flush(struct store *s);
void batch_caches_clear(struct store *s);

/* ---- mailbox.c: cached records, names ---- */
/* NULL: no such one. Lives until the batch ends. */
struct mailbox *batch_mailbox(struct store *s, uint64_t id);
struct account *batch_account(struct store *s, uint64_t id);
struct account *batch_account_new(struct store *s, struct slice address);
struct account *batch_account_find(struct store *s, struct slice address);
void batch_account_del(struct store *s, struct account *a);
static inline void account_dirty(struct account *a)
{
    a->dirty = true;
}
/* Marks a mailbox as changed for those who watch it, and raises HIGHESTMODSEQ. */
void mailbox_touch(struct store *s, struct mailbox *m);
bool batch_name_get(struct store *s, uint64_t account, struct slice name, struct name_record *r);
void batch_name_set(struct store *s, struct account *a, struct slice name, struct name_record r);
/* A mailbox with its name record (which may be there, subscribed). The UIDVALIDITY must be available (mailbox_room). */
struct mailbox *batch_mailbox_new(struct store *s, struct account *a, struct slice name, uint8_t use, bool subscribe);
/* Drops the mailbox; its messages are gone already. The subscription stays. */
void batch_mailbox_del(struct store *s, struct account *a, struct mailbox *m);
void batch_mailbox_name(struct store *s, struct mailbox *m, struct slice name);

/* ---- message.c ---- */
/* Gives it the next UID; flags, keywords, dates, size, email id and hash are set in msg. Runs, content and account: the
 * caller's, once a command. */
void batch_message_add(struct store *s, struct mailbox *m, struct store_message *msg);
void batch_message_flag(struct store *s, struct mailbox *m, struct store_message *msg, uint32_t flags,
                        uint64_t keywords);
/* Removes the record and its indexes, and the reference to its content unless keep_content. */
void batch_message_remove(struct store *s, struct mailbox *m, const struct store_message *msg, bool keep_content);
/* All of a mailbox that goes away or is emptied by deletion; no expunge records remain. */
void batch_mailbox_purge(struct store *s, struct mailbox *m);
/* The UIDs, ascending, as expunged by this command: runs, expunge records and their pruning. */
void batch_expunged(struct store *s, struct mailbox *m, const struct uid_set *uids);
/* Messages in uids, ascending, from the map or (deleted_only) by the index of \Deleted ones. */
struct message_list {
    struct store_message *at;
    size_t n, cap;
};
void batch_messages(struct store *s, struct mailbox *m, const struct uid_set *uids, bool deleted_only,
                    struct message_list *list);
static inline void message_list_close(struct message_list *list)
{
    mem_free(list->at);
    *list = (struct message_list){0};
}
/* Bits for names, adding those that are new while there is room (ASCII case does not matter). A 65th is ignored, as RFC
 * 9051 7.1 (PERMANENTFLAGS) allows: the flag is not stored. add false: only those that exist. */
uint64_t batch_keywords(struct store *s, struct mailbox *m, const struct slice *names, size_t n, bool add);

/* ---- runs.c ---- */
void batch_runs_append(struct store *s, uint64_t mailbox, uint32_t first, uint32_t last); /* above all there are */
void batch_runs_remove(struct store *s, uint64_t mailbox, uint32_t first, uint32_t last);

/* ---- content.c ---- */
/* 0, or why the body may not be used (a forged size, a bad hash, over a limit). */
int body_check(struct store *s, const Merlion__Body *body, const char **why_r);
void batch_content_add(struct store *s, const Merlion__Body *body, uint64_t refs);
void batch_content_ref(struct store *s, const struct body_hash *hash);
void batch_content_unref(struct store *s, const struct body_hash *hash);

/* ---- request.c ---- */
enum request_seen { REQUEST_NEW, REQUEST_REPEAT, REQUEST_STALE };
enum request_seen batch_request_find(struct store *s, const struct request_id *id, struct slice *result_r);
void batch_request_put(struct store *s, const struct request_id *id, struct slice result);

/* ---- check.c: pure ---- */
/* Canonical form (ASCII lower case) in the arena; false when it is no address or domain. */
bool address_check(struct arena *a, struct slice in, struct slice *out_r);
bool domain_check(struct arena *a, struct slice in, struct slice *out_r);
struct slice address_domain(struct slice address);
/* INBOX in capitals (also as the first level); false for a name that may not be. */
bool mailbox_name_check(struct arena *a, struct slice in, struct slice *out_r);
bool keyword_check(struct slice name);
struct slice ascii_lower(struct arena *a, struct slice in);

/* ---- op_*.c: one function a command, in the table of apply.c ---- */
typedef void op_function(struct store *s, const Merlion__Command *c, Merlion__Result *r);
op_function op_settings, op_domain_add, op_domain_remove, op_user_add, op_user_set, op_user_remove, op_alias_add,
    op_alias_remove, op_member_set, op_member_remove, op_format_raise, op_deliver, op_append, op_store_flags, op_copy,
    op_expunge, op_mailbox_create, op_mailbox_delete, op_mailbox_rename, op_subscribe, op_queue_lease, op_queue_outcome,
    op_queue_void, op_queue_control;
/* op_copy.c. Copies or moves list from one mailbox to another: all checks are done. gone: the UIDs in the source;
 * given: the new ones, in the same order. */
void batch_messages_copy(struct store *s, struct mailbox *from, struct mailbox *to, const struct message_list *list,
                         bool move, struct uid_set *gone, struct uid_set *given);
/* op_mailbox.c: the hierarchy of names. */
unsigned names_missing(struct store *s, uint64_t account, struct slice name);
bool names_room(const struct account *a, unsigned n);
void parents_make(struct store *s, struct account *a, struct slice name);
void parents_drop(struct store *s, struct account *a, struct slice name);
bool name_has_children(struct store *s, uint64_t account, struct slice name);
/* text is static. */
void op_refuse(Merlion__Result *r, int status, const char *text);
/* 0, or ERR_INVALID. */
int op_uids(const Merlion__UidRange *const *ranges, size_t n, struct uid_set *set);
void op_ranges(struct store *s, const struct uid_set *set, size_t *n_r, Merlion__UidRange ***ranges_r);
bool over_quota(const struct account *a, uint64_t bytes);

/* store.c. After the folders were swapped: the new environment takes the old one's place; views keep theirs. */
int store_import_reopen(struct store *s, struct err_detail *e);

/* Applies one packed command at place `at` of the entry. */
void apply_command(struct store *s, uint32_t at, struct slice packed);

#endif
