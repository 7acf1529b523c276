/* An LMDB environment with the tables of schema.h, and its pool of read transactions. Counted references: the
 * store holds one, each open view another, so that a state swapped out lives until its last reader is done. */
#ifndef STORE_ENV_H
#define STORE_ENV_H

#include "store/schema.h"

#include <lmdb.h>
#include <pthread.h>

struct store_env {
    MDB_env *env;
    MDB_dbi dbi[TABLE_N];
    _Atomic unsigned refs;
    pthread_mutex_t lock;    /* idle */
    struct store_view *idle; /* reset read transactions, cheap to renew */
    unsigned idle_n;
    void (*damaged)(void *arg, const char *what); /* store_options */
    void *damaged_arg;
    _Atomic bool is_damaged;
};

/* path is the folder itself; made when missing. One reference. */
int store_env_open(const char *path, const struct store_options *o, unsigned flags, struct store_env **env_r,
                   struct err_detail *e);
struct store_env *store_env_ref(struct store_env *env);
void store_env_unref(struct store_env **env);
/* An err.h code for one of LMDB's. */
int store_env_error(int rc);
/* Met by a read: store_options.damaged. */
void store_env_damaged(struct store_env *env, const char *what);

static inline MDB_val val_of(struct slice s)
{
    return (MDB_val){.mv_size = s.n, .mv_data = (void *)(uintptr_t)s.p};
}
static inline struct slice slice_of(MDB_val v)
{
    return slice_make(v.mv_data, v.mv_size);
}

struct store_view {
    struct store_env *env; /* a reference while open */
    MDB_txn *txn;
    uint64_t index;
    struct store_view *next; /* in env->idle */
};
/* Takes over no reference: refs env itself while the view is open. */
int store_env_view(struct store_env *env, struct store_view **v_r);

/* What became of reading a record: it passes `read` on, and when that is false tells of the damage. */
static inline bool view_whole(struct store_view *v, enum table t, bool read)
{
    if (!read)
        store_env_damaged(v->env, table_name(t));
    return read;
}
/* Reads in a view; slices are valid until it closes. */
bool view_get(struct store_view *v, enum table t, struct slice key, struct slice *value_r);
/* For view_each below. NULL only when the environment is broken. */
MDB_cursor *view_cursor(struct store_view *v, enum table t);
/* The first record at or after key; then the next ones. */
bool cursor_seek(MDB_cursor *c, struct slice key, struct slice *key_r, struct slice *value_r);
bool cursor_next(MDB_cursor *c, struct slice *key_r, struct slice *value_r);
/* The last record before key. */
bool cursor_before(MDB_cursor *c, struct slice key, struct slice *key_r, struct slice *value_r);
static inline bool key_starts(struct slice key, struct slice prefix)
{
    return key.n >= prefix.n && (prefix.n == 0 || memcmp(key.p, prefix.p, prefix.n) == 0);
}

/* ---- folders: DIR/state, DIR/state.incoming, DIR/state.old ---- */

/* Completes a swap that a crash cut short, drops what is left over. */
int store_files_recover(const char *dir, struct err_detail *e);
/* Removes an environment's folder, if it is there. What is mapped stays readable. */
bool store_files_has(const char *dir, const char *name);
void store_files_remove(const char *path);
/* Marks DIR/state.incoming as complete: from here on a crash inside the swap ends with it in place. */
int store_files_mark(const char *dir, struct err_detail *e);
int store_files_swap(const char *dir, struct err_detail *e);
/* Makes new files in path known to survive a power cut. */
int store_files_sync(const char *path, struct err_detail *e);
char *store_files_path(const char *dir, const char *name); /* mem_free */

#endif
