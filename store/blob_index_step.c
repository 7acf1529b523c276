/* The index's life: opening, its thread, and the steps by which tables go to LMDB. */
#include "store/blob_index.h"
#include "store/blob_row.h"
#include "store/env.h"

#include "node/base/buf.h"
#include "node/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { READERS_MAX = 1024 };
static const size_t map_size = (size_t)1 << 36; /* address space; the file grows as needed */

static MDB_val state_key(void)
{
    static char name[] = "state";
    return (MDB_val){sizeof name - 1, name};
}

static int state_put(struct blob_index *x, MDB_txn *txn, struct blob_position p)
{
    uint8_t raw[ROW_STATE_SIZE];
    uint32_t flags = (x->in_use ? ROW_IN_USE : 0) | (atomic_load(&x->recheck) ? ROW_RECHECK : 0);
    const struct blob_state s = {p.segment, flags, p.offset, x->crashed_ms};
    row_state_write(&s, raw);
    MDB_val key = state_key(), value = {sizeof raw, raw};
    return mdb_put(txn, x->local, &key, &value, 0);
}

static int state_get(struct blob_index *x, MDB_txn *txn, bool segments, int64_t now_ms)
{
    MDB_val key = state_key(), value;
    int rc = mdb_get(txn, x->local, &key, &value);
    if (rc == MDB_NOTFOUND) {
        /* Lost, and the notes of missing bodies with it; or new, which looks the same to one that had no body yet. */
        atomic_store(&x->recheck, true);
        x->crashed_ms = segments ? now_ms : 0;
        return 0;
    }
    if (rc)
        return rc;
    struct blob_state s;
    if (!row_state_read(slice_make(value.mv_data, value.mv_size), &s))
        return MDB_VERSION_MISMATCH;
    x->position = (struct blob_position){s.segment, s.offset};
    bool crashed = s.flags & ROW_IN_USE;
    x->crashed_ms = crashed ? now_ms : s.crashed_ms;
    atomic_store(&x->recheck, crashed || (s.flags & ROW_RECHECK));
    return 0;
}

static int databases_open(struct blob_index *x, bool segments, int64_t now_ms)
{
    MDB_txn *txn;
    MDB_stat st;
    int rc = mdb_txn_begin(x->env, NULL, 0, &txn);
    if (rc)
        return rc;
    if ((rc = mdb_dbi_open(txn, "bodies", MDB_CREATE, &x->bodies)) != 0 ||
        (rc = mdb_dbi_open(txn, "missing", MDB_CREATE, &x->missing)) != 0 ||
        (rc = mdb_dbi_open(txn, "local", MDB_CREATE, &x->local)) != 0 ||
        (rc = state_get(x, txn, segments, now_ms)) != 0)
        goto abort;
    if ((rc = mdb_stat(txn, x->bodies, &st)) != 0)
        goto abort;
    atomic_store(&x->bodies_n, st.ms_entries);
    if ((rc = mdb_stat(txn, x->missing, &st)) != 0)
        goto abort;
    atomic_store(&x->missing_n, st.ms_entries);
    x->in_use = true;
    if ((rc = state_put(x, txn, x->position)) != 0)
        goto abort;
    return mdb_txn_commit(txn);
abort:
    mdb_txn_abort(txn);
    return rc;
}

static int env_open(struct blob_index *x, const char *dir, bool no_sync)
{
    int rc = mdb_env_create(&x->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(x->env, map_size);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(x->env, 3);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(x->env, READERS_MAX);
    if (rc == 0)
        rc = mdb_env_open(x->env, dir, MDB_NOTLS | (no_sync ? MDB_NOSYNC : 0), 0600);
    return rc;
}

/* A power cut while LMDB made its file, or damage. All that is in it can be had from the segments. The lock file is
 * LMDB's own affair. */
static int set_aside(const char *dir, const char *why, struct err_detail *e)
{
    char from[4200], to[4200];
    snprintf(from, sizeof from, "%s/data.mdb", dir);
    snprintf(to, sizeof to, "%s/data.mdb.damaged", dir);
    if (rename(from, to))
        return err_set(e, ERR_IO, "rename %s to %s: %s", from, to, strerror(errno));
    log_event(LOG_ERROR, "index of bodies damaged, is built anew", LOG_S("why", why), LOG_S("kept", to));
    return store_files_sync(dir, e);
}

/* Nobody has it open yet. */
static int damage_clear(const char *dir, bool *aside_r, struct err_detail *e)
{
    struct err_detail found = {""};
    int rc = index_check_files(dir, false, NULL, &found);
    *aside_r = rc == ERR_CORRUPT;
    return *aside_r ? set_aside(dir, found.text, e) : rc ? err_set(e, rc, "%s: %s", dir, found.text) : 0;
}

int index_open(struct blob_index *x, const char *dir, bool no_sync, bool segments, int64_t now_ms, struct err_detail *e)
{
    bool aside;
    pthread_rwlock_init(&x->lock, NULL);
    pthread_mutex_init(&x->step_lock, NULL);
    pthread_mutex_init(&x->wait_lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&x->wait, &attr);
    pthread_condattr_destroy(&attr);
    int rc = damage_clear(dir, &aside, e);
    if (rc)
        return rc;
    rc = env_open(x, dir, no_sync);
    if (rc == 0)
        rc = databases_open(x, segments || aside, now_ms);
    if (rc)
        return err_set(e, index_error(rc), "index of bodies %s: %s (moved away, it is built anew from the bodies)", dir,
                       mdb_strerror(rc));
    return 0;
}

/* ---- steps ---- */

static int table_write(struct blob_index *x)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(x->env, NULL, 0, &txn);
    if (rc)
        return rc;
    for (size_t i = 0; rc == 0 && i < x->writing.cap; i++) {
        if (x->writing.slots[i].used)
            rc = index_row_write(x, txn, &x->writing.slots[i]);
    }
    if (rc == 0)
        rc = state_put(x, txn, x->writing_position);
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

/* Under step_lock. The table that is being written is only read meanwhile, so readers share it without the lock. */
static int step(struct blob_index *x)
{
    pthread_rwlock_wrlock(&x->lock);
    if (!x->writing.n) { /* else: the last step failed, and is done again */
        blob_table_clear(&x->writing);
        x->writing = x->now;
        x->now = (struct blob_table){0};
        x->writing_position = x->position;
    }
    pthread_rwlock_unlock(&x->lock);
    int rc = table_write(x);
    int err = index_error(rc);
    if (err) {
        if (err == ERR_IO)
            atomic_store(&x->failed, true);
        log_event(LOG_ERROR, "index of bodies not written", LOG_S("why", mdb_strerror(rc)));
        return err;
    }
    pthread_rwlock_wrlock(&x->lock);
    struct blob_table done = x->writing;
    x->writing = (struct blob_table){0};
    x->epoch++;
    pthread_rwlock_unlock(&x->lock);
    blob_table_clear(&done);
    return 0;
}

int index_flush(struct blob_index *x)
{
    pthread_mutex_lock(&x->step_lock);
    bool again = x->writing.n > 0;
    int err = step(x);
    if (!err && again)
        err = step(x);
    pthread_mutex_unlock(&x->step_lock);
    return err;
}

static void *run(void *arg)
{
    struct blob_index *x = arg;
    pthread_setname_np(pthread_self(), "blob-index");
    pthread_mutex_lock(&x->wait_lock);
    while (!x->stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += INDEX_STEP_MS / 1000;
        while (!x->kicked && !x->stop && pthread_cond_timedwait(&x->wait, &x->wait_lock, &until) == 0)
            ;
        x->kicked = false;
        pthread_mutex_unlock(&x->wait_lock);
        if (index_backlog(x))
            index_flush(x);
        pthread_mutex_lock(&x->wait_lock);
    }
    pthread_mutex_unlock(&x->wait_lock);
    return NULL;
}

void index_start(struct blob_index *x)
{
    ENSURE(pthread_create(&x->thread, NULL, run, x) == 0);
    x->started = true;
}

void index_close(struct blob_index *x)
{
    if (x->started) {
        pthread_mutex_lock(&x->wait_lock);
        x->stop = true;
        pthread_cond_signal(&x->wait);
        pthread_mutex_unlock(&x->wait_lock);
        pthread_join(x->thread, NULL);
        /* In two steps: the mark may only go when all else is durable. */
        if (index_flush(x) == 0 && !atomic_load(&x->failed)) {
            x->in_use = false;
            index_flush(x);
        }
    }
    if (x->env)
        mdb_env_close(x->env);
    blob_table_clear(&x->now);
    blob_table_clear(&x->writing);
    pthread_rwlock_destroy(&x->lock);
    pthread_mutex_destroy(&x->step_lock);
    pthread_mutex_destroy(&x->wait_lock);
    pthread_cond_destroy(&x->wait);
}
