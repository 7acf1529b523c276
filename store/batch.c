#include "node/base/log.h"
#include "store/queue_state.h"

#include <stdlib.h>

void batch_fail(struct store *s, int code, const char *what, int mdb_rc)
{
    if (s->failed)
        return;
    s->failed = code;
    log_event(LOG_ERROR, "store failed", LOG_S("what", what), LOG_E("status", code),
              LOG_S("why", mdb_rc ? mdb_strerror(mdb_rc) : "damaged record"), LOG_U("index", s->index));
}

bool batch_get(struct store *s, enum table t, struct slice key, struct slice *value_r)
{
    MDB_val k = val_of(key), v;
    if (s->failed)
        return false;
    int rc = mdb_get(s->txn, s->env->dbi[t], &k, &v);
    if (rc && rc != MDB_NOTFOUND)
        batch_fail(s, store_env_error(rc), table_name(t), rc);
    if (rc)
        return false;
    *value_r = slice_of(v);
    return true;
}

static void digest_add(struct store *s, enum table t, struct slice key, struct slice value)
{
    if (t != TABLE_POSITION)
        sum128_add(&s->digest, record_sum(&s->sum_scratch, t, key, value));
}

static void digest_sub(struct store *s, enum table t, struct slice key, struct slice value)
{
    if (t != TABLE_POSITION)
        sum128_sub(&s->digest, record_sum(&s->sum_scratch, t, key, value));
}

static void put(struct store *s, enum table t, struct slice key, struct slice value, unsigned flags)
{
    MDB_val k = val_of(key), v = val_of(value);
    int rc = mdb_put(s->txn, s->env->dbi[t], &k, &v, flags);
    if (rc)
        batch_fail(s, rc == MDB_KEYEXIST ? ERR_CORRUPT : store_env_error(rc), table_name(t), rc);
    else
        digest_add(s, t, key, value);
}

void batch_put(struct store *s, enum table t, struct slice key, struct slice value)
{
    struct slice old;
    if (batch_get(s, t, key, &old)) {
        if (slice_eq(old, value))
            return;
        digest_sub(s, t, key, old);
    }
    if (!s->failed)
        put(s, t, key, value, 0);
}

void batch_insert(struct store *s, enum table t, struct slice key, struct slice value)
{
    if (!s->failed)
        put(s, t, key, value, MDB_NOOVERWRITE);
}

void batch_del(struct store *s, enum table t, struct slice key)
{
    struct slice old;
    if (!batch_get(s, t, key, &old)) {
        batch_fail(s, ERR_CORRUPT, table_name(t), MDB_NOTFOUND);
        return;
    }
    digest_sub(s, t, key, old);
    MDB_val k = val_of(key);
    int rc = mdb_del(s->txn, s->env->dbi[t], &k, NULL);
    if (rc)
        batch_fail(s, store_env_error(rc), table_name(t), rc);
}

static MDB_cursor *cursor(struct store *s, enum table t)
{
    if (s->failed)
        return NULL;
    if (!s->cursor[t]) {
        int rc = mdb_cursor_open(s->txn, s->env->dbi[t], &s->cursor[t]);
        if (rc)
            batch_fail(s, store_env_error(rc), table_name(t), rc);
    }
    return s->cursor[t];
}

bool batch_seek(struct store *s, enum table t, struct slice key, struct slice *key_r, struct slice *value_r)
{
    return cursor_seek(cursor(s, t), key, key_r, value_r);
}

bool batch_next(struct store *s, enum table t, struct slice *key_r, struct slice *value_r)
{
    return cursor_next(cursor(s, t), key_r, value_r);
}

bool batch_before(struct store *s, enum table t, struct slice key, struct slice *key_r, struct slice *value_r)
{
    return cursor_before(cursor(s, t), key, key_r, value_r);
}

struct buf *batch_value(struct store *s)
{
    buf_clear(&s->value);
    return &s->value;
}

/* ---- the batch itself ---- */

void store_set_events(struct store *s, const struct store_events *e)
{
    s->events = *e;
}

int store_batch_begin(struct store *s)
{
    ENSURE(!s->txn);
    int rc = mdb_txn_begin(s->env->env, NULL, 0, &s->txn);
    if (rc) {
        log_event(LOG_ERROR, "store transaction failed", LOG_S("why", mdb_strerror(rc)));
        return store_env_error(rc);
    }
    s->failed = 0;
    struct slice v;
    struct position_record p = {0};
    s->st = (struct state_record){.next_account = 1, .next_mailbox = 1, .next_email = 1, .format = STORE_FORMAT_MIN};
    if (batch_get(s, TABLE_POSITION, key_position(), &v) && !record_position_read(v, &p))
        batch_fail(s, ERR_CORRUPT, "position", 0);
    if (batch_get(s, TABLE_STATE, key_state(), &v) && !record_state_read(v, &s->st))
        batch_fail(s, ERR_CORRUPT, "state", 0);
    s->index = p.index;
    s->term = p.term;
    s->digest = p.digest;
    int failed = s->failed;
    if (failed)
        store_batch_abort(s);
    return failed;
}

static void batch_end(struct store *s)
{
    s->txn = NULL;
    batch_caches_clear(s);
    queue_caches_clear(s);
    arena_reset(&s->command_arena);
    arena_reset(&s->batch_arena);
    s->freed_n = 0;
    s->cluster_changed = false;
}

static void cursors_close(struct store *s)
{
    for (unsigned t = 0; t < TABLE_N; t++) {
        if (s->cursor[t])
            mdb_cursor_close(s->cursor[t]);
        s->cursor[t] = NULL;
    }
}

void store_batch_abort(struct store *s)
{
    ENSURE(s->txn);
    cursors_close(s);
    mdb_txn_abort(s->txn);
    batch_end(s);
}

static int hash_order(const void *a, const void *b)
{
    return memcmp(a, b, BODY_HASH_SIZE);
}

/* Of the bodies that lost their last reference in this batch, those that did not gain one later in it; each once. */
static void freed_settle(struct store *s)
{
    size_t n = 0;
    struct slice v;
    if (s->freed_n)
        qsort(s->freed, s->freed_n, sizeof *s->freed, hash_order);
    for (size_t i = 0; i < s->freed_n; i++) {
        bool repeated = n > 0 && body_hash_eq(&s->freed[i], &s->freed[n - 1]);
        if (!repeated && !batch_get(s, TABLE_CONTENT, key_hash(&s->freed[i]), &v))
            s->freed[n++] = s->freed[i];
    }
    s->freed_n = n;
}

static void tell(struct store *s)
{
    const struct store_events *e = &s->events;
    LIST_EACH(it, next, &s->mailboxes)
    {
        struct mailbox *m = container_of(it, struct mailbox, order);
        if (m->changed && e->mailbox_changed)
            e->mailbox_changed(e->arg, m->id, m->r.account);
    }
    for (size_t i = 0; e->body_freed && i < s->freed_n; i++)
        e->body_freed(e->arg, &s->freed[i]);
    if (s->cluster_changed && e->cluster_changed)
        e->cluster_changed(e->arg);
    if (s->queue_changed && e->queue_changed)
        e->queue_changed(e->arg, s->queue_retry);
}

static void state_write(struct store *s)
{
    struct buf *b = batch_value(s);
    record_state_write(b, &s->st);
    batch_put(s, TABLE_STATE, key_state(), buf_slice(b));
    struct position_record p = {s->index, s->term, s->digest};
    b = batch_value(s);
    record_position_write(b, &p);
    batch_put(s, TABLE_POSITION, key_position(), buf_slice(b));
}

int store_batch_commit(struct store *s)
{
    ENSURE(s->txn);
    batch_caches_flush(s);
    queue_caches_flush(s);
    freed_settle(s);
    state_write(s);
    if (atomic_load(&s->env->is_damaged)) /* a cursor stopped short, or a view met it */
        batch_fail(s, ERR_CORRUPT, "the state as read", 0);
    int rc = s->failed;
    if (rc) {
        store_batch_abort(s);
        return rc;
    }
    cursors_close(s);
    rc = mdb_txn_commit(s->txn);
    if (rc) {
        log_event(LOG_ERROR, "store commit failed", LOG_S("why", mdb_strerror(rc)));
        batch_end(s);
        return store_env_error(rc);
    }
    pthread_mutex_lock(&s->lock);
    s->committed = (struct store_position){s->index, s->term, s->digest, s->st.format, s->st.time_ms};
    pthread_mutex_unlock(&s->lock);
    tell(s);
    batch_end(s);
    return 0;
}
