#include "store/env.h"

#include "node/base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { READERS_DEFAULT = 512, IDLE_MAX = 64 };
static const size_t map_default = (size_t)64 << 30;

int store_env_error(int rc)
{
    switch (rc) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        return ERR_NOTFOUND;
    case MDB_MAP_FULL:
    case ENOSPC:
        return ERR_NOSPACE;
    case MDB_READERS_FULL:
        return ERR_BUSY;
    case MDB_VERSION_MISMATCH:
        return ERR_VERSION;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_PANIC:
    case MDB_CURSOR_FULL: /* deeper than any tree can be */
        return ERR_CORRUPT;
    default:
        return ERR_IO;
    }
}

void store_env_damaged(struct store_env *env, const char *what)
{
    if (!atomic_exchange(&env->is_damaged, true))
        log_event(LOG_ERROR, "the state is damaged", LOG_S("met", what));
    if (env->damaged)
        env->damaged(env->damaged_arg, what);
}

static int tables_open(struct store_env *env)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->env, NULL, 0, &txn);
    if (rc)
        return rc;
    for (unsigned t = 0; t < TABLE_N && rc == 0; t++)
        rc = mdb_dbi_open(txn, table_name(t), MDB_CREATE, &env->dbi[t]);
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

int store_env_open(const char *path, const struct store_options *o, unsigned flags, struct store_env **env_r,
                   struct err_detail *e)
{
    if (mkdir(path, 0700) && errno != EEXIST)
        return err_set(e, ERR_IO, "make folder %s: %s", path, strerror(errno));
    struct store_env *env = mem_zalloc(sizeof *env);
    atomic_init(&env->refs, 1);
    pthread_mutex_init(&env->lock, NULL);
    if (o) {
        env->damaged = o->damaged;
        env->damaged_arg = o->arg;
    }
    unsigned readers = o && o->readers_max ? o->readers_max : READERS_DEFAULT;
    int dead;
    int rc = mdb_env_create(&env->env);
    if (rc == 0)
        rc = mdb_env_set_userctx(env->env, env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(env->env, o && o->map_size ? o->map_size : map_default);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(env->env, TABLE_N);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(env->env, readers);
    if (rc == 0)
        rc = mdb_env_open(env->env, path, MDB_NOTLS | flags, 0600);
    if (rc == 0)
        rc = mdb_reader_check(env->env, &dead);
    if (rc == 0)
        rc = tables_open(env);
    if (rc) {
        store_env_unref(&env);
        return err_set(e, store_env_error(rc), "open %s: %s", path, mdb_strerror(rc));
    }
    *env_r = env;
    return 0;
}

struct store_env *store_env_ref(struct store_env *env)
{
    atomic_fetch_add(&env->refs, 1);
    return env;
}

void store_env_unref(struct store_env **envp)
{
    struct store_env *env = *envp;
    *envp = NULL;
    if (!env || atomic_fetch_sub(&env->refs, 1) != 1)
        return;
    while (env->idle) {
        struct store_view *v = env->idle;
        env->idle = v->next;
        mdb_txn_abort(v->txn);
        mem_free(v);
    }
    if (env->env)
        mdb_env_close(env->env);
    pthread_mutex_destroy(&env->lock);
    mem_free(env);
}

static struct store_view *idle_take(struct store_env *env)
{
    pthread_mutex_lock(&env->lock);
    struct store_view *v = env->idle;
    if (v) {
        env->idle = v->next;
        env->idle_n--;
    }
    pthread_mutex_unlock(&env->lock);
    return v;
}

static bool idle_give(struct store_env *env, struct store_view *v)
{
    pthread_mutex_lock(&env->lock);
    bool room = env->idle_n < IDLE_MAX;
    if (room) {
        v->next = env->idle;
        env->idle = v;
        env->idle_n++;
    }
    pthread_mutex_unlock(&env->lock);
    return room;
}

int store_env_view(struct store_env *env, struct store_view **v_r)
{
    struct store_view *v = idle_take(env);
    int rc;
    if (v) {
        rc = mdb_txn_renew(v->txn);
    } else {
        v = mem_zalloc(sizeof *v);
        rc = mdb_txn_begin(env->env, NULL, MDB_RDONLY, &v->txn);
    }
    if (rc) {
        if (v->txn)
            mdb_txn_abort(v->txn);
        mem_free(v);
        return store_env_error(rc);
    }
    v->env = store_env_ref(env);
    struct slice value;
    struct position_record p;
    bool has = view_get(v, TABLE_POSITION, key_position(), &value) &&
               view_whole(v, TABLE_POSITION, record_position_read(value, &p));
    v->index = has ? p.index : 0;
    *v_r = v;
    return 0;
}

void store_view_close(struct store_view **vp)
{
    struct store_view *v = *vp;
    *vp = NULL;
    if (!v)
        return;
    struct store_env *env = v->env;
    v->env = NULL;
    mdb_txn_reset(v->txn);
    if (!idle_give(env, v)) {
        mdb_txn_abort(v->txn);
        mem_free(v);
    }
    store_env_unref(&env);
}

uint64_t store_view_index(const struct store_view *v)
{
    return v->index;
}

bool view_get(struct store_view *v, enum table t, struct slice key, struct slice *value_r)
{
    MDB_val k = val_of(key), value;
    int rc = mdb_get(v->txn, v->env->dbi[t], &k, &value);
    if (store_env_error(rc) == ERR_CORRUPT)
        store_env_damaged(v->env, mdb_strerror(rc));
    if (rc)
        return false;
    *value_r = slice_of(value);
    return true;
}

MDB_cursor *view_cursor(struct store_view *v, enum table t)
{
    MDB_cursor *c = NULL;
    int rc = mdb_cursor_open(v->txn, v->env->dbi[t], &c);
    if (rc) {
        log_event(LOG_ERROR, "store cursor failed", LOG_S("table", table_name(t)), LOG_S("why", mdb_strerror(rc)));
        return NULL;
    }
    return c;
}

static bool cursor_get(MDB_cursor *c, MDB_val *k, struct slice *key_r, struct slice *value_r, MDB_cursor_op op)
{
    MDB_val value;
    int rc = c ? mdb_cursor_get(c, k, &value, op) : MDB_NOTFOUND;
    if (store_env_error(rc) == ERR_CORRUPT)
        store_env_damaged(mdb_env_get_userctx(mdb_txn_env(mdb_cursor_txn(c))), mdb_strerror(rc));
    if (rc)
        return false;
    *key_r = slice_of(*k);
    *value_r = slice_of(value);
    return true;
}

bool cursor_seek(MDB_cursor *c, struct slice key, struct slice *key_r, struct slice *value_r)
{
    MDB_val k = val_of(key);
    return cursor_get(c, &k, key_r, value_r, key.n ? MDB_SET_RANGE : MDB_FIRST);
}

bool cursor_next(MDB_cursor *c, struct slice *key_r, struct slice *value_r)
{
    MDB_val k;
    return cursor_get(c, &k, key_r, value_r, MDB_NEXT);
}

bool cursor_before(MDB_cursor *c, struct slice key, struct slice *key_r, struct slice *value_r)
{
    MDB_val k = val_of(key), value;
    if (!c)
        return false;
    int rc = mdb_cursor_get(c, &k, &value, MDB_SET_RANGE);
    return cursor_get(c, &k, key_r, value_r, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
}
