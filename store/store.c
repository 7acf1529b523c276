#include "node/base/log.h"
#include "store/state.h"

/* The environment, referenced: import_swap may replace it at any time. */
static struct store_env *env_take(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    struct store_env *env = store_env_ref(s->env);
    pthread_mutex_unlock(&s->lock);
    return env;
}

/* NOMETASYNC: see store.h. */
static unsigned env_flags(const struct store *s)
{
    return s->options.no_sync ? MDB_NOSYNC : MDB_NOMETASYNC;
}

static int position_load(struct store_env *env, struct store_position *p_r)
{
    struct store_view *v;
    int rc = store_env_view(env, &v);
    if (rc)
        return rc;
    struct slice value;
    struct position_record p = {0};
    struct state_record st = {.format = STORE_FORMAT_MIN};
    if (view_get(v, TABLE_POSITION, key_position(), &value) && !record_position_read(value, &p))
        rc = ERR_CORRUPT;
    if (view_get(v, TABLE_STATE, key_state(), &value) && !record_state_read(value, &st))
        rc = ERR_CORRUPT;
    *p_r = (struct store_position){p.index, p.term, p.digest, st.format, st.time_ms};
    store_view_close(&v);
    return rc;
}

static int state_open(struct store *s, struct store_env **env_r, struct store_position *p_r, struct err_detail *e)
{
    char *path = store_files_path(s->dir, "state");
    struct store_env *env = NULL;
    int rc = store_env_open(path, &s->options, env_flags(s), &env, e);
    if (rc == 0 && (rc = position_load(env, p_r)))
        err_set(e, rc, "%s: the state's own records are damaged", path);
    if (rc == 0 && p_r->format > STORE_FORMAT_MAX)
        rc = err_set(e, ERR_VERSION, "%s has format %u, this program knows up to %u", path, p_r->format,
                     (unsigned)STORE_FORMAT_MAX);
    if (rc == 0 && !s->options.no_sync)
        rc = store_files_sync(path, e);
    if (rc == 0 && !s->options.no_sync)
        rc = store_files_sync(s->dir, e);
    if (rc)
        store_env_unref(&env);
    *env_r = env;
    mem_free(path);
    return rc;
}

/* A power cut while LMDB makes its file can leave one that it will not open. So it is made aside, and becomes the state
 * when it is durable. */
static int state_make(const char *dir, const struct store_options *o, struct err_detail *e)
{
    if (store_files_has(dir, "state") || (o && o->no_sync))
        return 0;
    struct store_env *env = NULL;
    char *path = store_files_path(dir, "state.incoming");
    int rc = store_env_open(path, o, 0, &env, e);
    store_env_unref(&env);
    mem_free(path);
    if (rc == 0)
        rc = store_files_mark(dir, e);
    return rc ? rc : store_files_recover(dir, e);
}

int store_open(const char *dir, const struct store_options *o, struct store **s_r, struct err_detail *e)
{
    int rc = store_files_recover(dir, e);
    if (rc || (rc = state_make(dir, o, e)))
        return rc;
    struct store *s = mem_zalloc(sizeof *s);
    s->dir = mem_strdup(dir);
    if (o)
        s->options = *o;
    s->expunge_records_max = EXPUNGE_RECORDS_MAX;
    pthread_mutex_init(&s->lock, NULL);
    list_init(&s->mailboxes);
    list_init(&s->accounts);
    list_init(&s->destinations);
    rc = state_open(s, &s->env, &s->committed, e);
    if (rc)
        store_close(&s);
    else
        *s_r = s;
    return rc;
}

void store_close(struct store **sp)
{
    struct store *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    if (s->txn)
        store_batch_abort(s);
    store_env_unref(&s->env);
    arena_close(&s->batch_arena);
    arena_close(&s->command_arena);
    buf_close(&s->sum_scratch);
    buf_close(&s->value);
    buf_close(&s->result);
    mem_free(s->freed);
    pthread_mutex_destroy(&s->lock);
    mem_free(s->dir);
    mem_free(s);
}

int store_sync(struct store *s)
{
    struct store_env *env = env_take(s);
    int rc = s->options.no_sync ? 0 : mdb_env_sync(env->env, 1);
    if (rc)
        log_event(LOG_ERROR, "store sync failed", LOG_S("why", mdb_strerror(rc)));
    store_env_unref(&env);
    return store_env_error(rc);
}

void store_position(struct store *s, struct store_position *p_r)
{
    pthread_mutex_lock(&s->lock);
    *p_r = s->committed;
    pthread_mutex_unlock(&s->lock);
}

int store_view_open(struct store *s, struct store_view **v_r)
{
    struct store_env *env = env_take(s);
    int rc = store_env_view(env, v_r);
    store_env_unref(&env);
    return rc;
}

/* Pages on LMDB's own list of free ones; each record is a count and so many page numbers. */
static uint64_t pages_free(MDB_txn *txn)
{
    uint64_t n = 0;
    MDB_cursor *c;
    MDB_val k, v;
    if (mdb_cursor_open(txn, 0, &c))
        return 0;
    for (int rc = mdb_cursor_get(c, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        size_t count;
        memcpy(&count, v.mv_data, sizeof count);
        n += count;
    }
    mdb_cursor_close(c);
    return n;
}

void store_stats(struct store *s, struct store_stats *st_r)
{
    *st_r = (struct store_stats){0};
    struct store_view *v;
    if (store_view_open(s, &v))
        return;
    struct slice value;
    struct state_record st;
    if (view_get(v, TABLE_STATE, key_state(), &value) && record_state_read(value, &st)) {
        st_r->accounts = st.accounts;
        st_r->mailboxes = st.mailboxes;
        st_r->messages = st.messages;
        st_r->bodies = st.bodies;
        st_r->body_bytes = st.body_bytes;
    }
    MDB_envinfo info;
    MDB_stat stat;
    mdb_env_info(v->env->env, &info);
    mdb_env_stat(v->env->env, &stat);
    uint64_t used = info.me_last_pgno + 1, free_pages = pages_free(v->txn);
    st_r->map_size = info.me_mapsize;
    st_r->map_used = (used > free_pages ? used - free_pages : 0) * stat.ms_psize;
    store_view_close(&v);
}

int store_import_reopen(struct store *s, struct err_detail *e)
{
    struct store_env *env;
    struct store_position p;
    int rc = state_open(s, &env, &p, e);
    if (rc)
        return rc;
    pthread_mutex_lock(&s->lock);
    struct store_env *old = s->env;
    s->env = env;
    s->committed = p;
    pthread_mutex_unlock(&s->lock);
    store_env_unref(&old);
    return 0;
}
