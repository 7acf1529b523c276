#include "store/blob_index.h"
#include "store/blob_row.h"

#include <errno.h>
#include <stdlib.h>

int index_error(int mdb)
{
    if (mdb == 0)
        return 0;
    if (mdb == MDB_NOTFOUND)
        return ERR_NOTFOUND;
    if (mdb == MDB_MAP_FULL || mdb == ENOSPC || mdb == EDQUOT || mdb == EFBIG)
        return ERR_NOSPACE;
    return ERR_IO;
}

static struct slice slice_of(MDB_val v)
{
    return slice_make(v.mv_data, v.mv_size);
}

static MDB_val key_of(const struct body_hash *hash)
{
    return (MDB_val){BODY_HASH_SIZE, (void *)(uintptr_t)hash->b};
}

struct blob_row *index_overlay(struct blob_index *x, const struct body_hash *hash)
{
    struct blob_row *row = blob_table_get(&x->now, hash);
    return row ? row : blob_table_get(&x->writing, hash);
}

/* Damage, or a meta page that could not be written: it answers nobody any more, and the next start finds out. */
static void note(struct blob_index *x, int rc)
{
    if (rc == MDB_PANIC || rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_CURSOR_FULL)
        atomic_store(&x->failed, true);
}

static int disk_get(struct blob_index *x, const struct body_hash *hash, struct blob_row *row_r)
{
    MDB_txn *txn;
    MDB_val key = key_of(hash), value;
    *row_r = (struct blob_row){0};
    int rc = mdb_txn_begin(x->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0) {
        rc = mdb_get(txn, x->bodies, &key, &value);
        if (rc == 0 && !row_place_read(slice_of(key), slice_of(value), &row_r->place))
            rc = MDB_CORRUPTED;
        if (rc == 0 || rc == MDB_NOTFOUND) {
            rc = atomic_load(&x->missing_n) ? mdb_get(txn, x->missing, &key, &value) : MDB_NOTFOUND;
            row_r->missing = rc == 0;
            rc = rc == MDB_NOTFOUND ? 0 : rc;
        }
        mdb_txn_abort(txn);
    }
    note(x, rc);
    return index_error(rc);
}

int index_get(struct blob_index *x, const struct body_hash *hash, struct blob_row *row_r)
{
    pthread_rwlock_rdlock(&x->lock);
    const struct blob_row *row = index_overlay(x, hash);
    if (row)
        *row_r = *row;
    pthread_rwlock_unlock(&x->lock);
    return row ? 0 : disk_get(x, hash, row_r);
}

static void count(struct blob_index *x, const struct blob_row *old, const struct blob_row *row)
{
    if (!old->place.segment != !row->place.segment)
        atomic_fetch_add(&x->bodies_n, row->place.segment ? 1 : UINT64_MAX);
    if (old->missing != row->missing)
        atomic_fetch_add(&x->missing_n, row->missing ? 1 : UINT64_MAX);
}

static void kick(struct blob_index *x)
{
    pthread_mutex_lock(&x->wait_lock);
    x->kicked = true;
    pthread_cond_signal(&x->wait);
    pthread_mutex_unlock(&x->wait_lock);
}

int index_update(struct blob_index *x, const struct body_hash *hash, bool (*change)(void *arg, struct blob_row *row),
                 void *arg)
{
    for (;;) {
        /* LMDB is read outside the lock; its answer holds if no table was dropped into it since. */
        struct blob_row old = {0};
        pthread_rwlock_rdlock(&x->lock);
        uint64_t epoch = x->epoch;
        bool in_memory = index_overlay(x, hash) != NULL;
        pthread_rwlock_unlock(&x->lock);
        int err = in_memory ? 0 : disk_get(x, hash, &old);
        if (err)
            return err;
        pthread_rwlock_wrlock(&x->lock);
        const struct blob_row *known = index_overlay(x, hash);
        if (known)
            old = *known;
        if (!known && (in_memory || epoch != x->epoch)) {
            pthread_rwlock_unlock(&x->lock);
            continue;
        }
        struct blob_row row = old;
        if (change(arg, &row)) {
            count(x, &old, &row);
            blob_table_put(&x->now, hash, &row);
        }
        bool full = x->now.n == INDEX_STEP_ROWS;
        pthread_rwlock_unlock(&x->lock);
        if (full)
            kick(x);
        return 0;
    }
}

void index_position_set(struct blob_index *x, struct blob_position p)
{
    pthread_rwlock_wrlock(&x->lock);
    x->position = p;
    pthread_rwlock_unlock(&x->lock);
}

struct blob_position index_position(struct blob_index *x)
{
    pthread_rwlock_rdlock(&x->lock);
    struct blob_position p = x->position;
    pthread_rwlock_unlock(&x->lock);
    return p;
}

size_t index_backlog(struct blob_index *x)
{
    pthread_rwlock_rdlock(&x->lock);
    size_t n = x->now.n + x->writing.n;
    pthread_rwlock_unlock(&x->lock);
    return n;
}

/* ---- lists ---- */

/* Moves a cursor to the first key after `after`; MDB_NOTFOUND at the end. */
static int cursor_after(MDB_cursor *c, const struct body_hash *after, MDB_val *key, MDB_val *value)
{
    if (!after)
        return mdb_cursor_get(c, key, value, MDB_FIRST);
    *key = key_of(after);
    int rc = mdb_cursor_get(c, key, value, MDB_SET_RANGE);
    if (rc || key->mv_size != BODY_HASH_SIZE || memcmp(key->mv_data, after->b, BODY_HASH_SIZE) != 0)
        return rc;
    return mdb_cursor_get(c, key, value, MDB_NEXT);
}

/* Calls each for keys after `after`, while it says true. */
static void disk_each(struct blob_index *x, MDB_dbi dbi, const struct body_hash *after,
                      bool (*each)(void *arg, const struct body_hash *hash, MDB_val value), void *arg)
{
    MDB_txn *txn;
    MDB_cursor *c;
    int rc;
    if (mdb_txn_begin(x->env, NULL, MDB_RDONLY, &txn))
        return;
    if (mdb_cursor_open(txn, dbi, &c) == 0) {
        MDB_val key, value;
        rc = cursor_after(c, after, &key, &value);
        for (; rc == 0; rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) {
            struct body_hash hash;
            if (key.mv_size != BODY_HASH_SIZE) {
                rc = MDB_CORRUPTED;
                break;
            }
            memcpy(hash.b, key.mv_data, BODY_HASH_SIZE);
            if (!each(arg, &hash, value))
                break;
        }
        mdb_cursor_close(c);
        note(x, rc);
    }
    mdb_txn_abort(txn);
}

struct places {
    struct blob_index *x;
    struct body_hash *hash;
    struct blob_place *place;
    size_t n, max;
};

static bool place_add(void *arg, const struct body_hash *hash, MDB_val value)
{
    struct places *p = arg;
    if (row_place_read(slice_make(hash->b, BODY_HASH_SIZE), slice_of(value), &p->place[p->n]))
        p->hash[p->n++] = *hash;
    else
        note(p->x, MDB_CORRUPTED);
    return p->n < p->max;
}

size_t index_places(struct blob_index *x, const struct body_hash *after, struct body_hash *hash,
                    struct blob_place *place, size_t max)
{
    struct places p = {x, hash, place, 0, max};
    if (max)
        disk_each(x, x->bodies, after, place_add, &p);
    return p.n;
}

/* Missing ones: the sorted rows of the tables, merged with LMDB's; a row overrules LMDB. */
struct merge {
    struct blob_table_slot *row; /* sorted by hash */
    size_t rows, at;
    struct body_hash *out;
    size_t n, max;
};

static int slot_cmp(const void *a, const void *b)
{
    return memcmp(((const struct blob_table_slot *)a)->hash.b, ((const struct blob_table_slot *)b)->hash.b,
                  BODY_HASH_SIZE);
}

static void rows_take(struct merge *m, const struct blob_table *t, const struct blob_table *newer,
                      const struct body_hash *after)
{
    for (size_t i = 0; i < t->cap; i++) {
        const struct blob_table_slot *s = &t->slots[i];
        if (s->used && (!after || memcmp(s->hash.b, after->b, BODY_HASH_SIZE) > 0) &&
            !(newer && blob_table_get(newer, &s->hash)))
            m->row[m->rows++] = *s;
    }
}

/* Rows before hash (NULL: all of them) that are missing go out. */
static void rows_before(struct merge *m, const struct body_hash *hash)
{
    while (m->at < m->rows && m->n < m->max && (!hash || memcmp(m->row[m->at].hash.b, hash->b, BODY_HASH_SIZE) < 0)) {
        if (m->row[m->at].row.missing)
            m->out[m->n++] = m->row[m->at].hash;
        m->at++;
    }
}

static bool missing_merge(void *arg, const struct body_hash *hash, MDB_val value)
{
    struct merge *m = arg;
    (void)value;
    rows_before(m, hash);
    bool overruled = m->at < m->rows && body_hash_eq(&m->row[m->at].hash, hash);
    if (!overruled && m->n < m->max)
        m->out[m->n++] = *hash;
    return m->n < m->max;
}

size_t index_missing_list(struct blob_index *x, const struct body_hash *after, struct body_hash *out, size_t max)
{
    struct merge m = {.out = out, .max = max};
    if (!max)
        return 0;
    pthread_rwlock_rdlock(&x->lock);
    m.row = mem_alloc((x->now.n + x->writing.n + 1) * sizeof *m.row);
    rows_take(&m, &x->now, NULL, after);
    rows_take(&m, &x->writing, &x->now, after);
    pthread_rwlock_unlock(&x->lock);
    qsort(m.row, m.rows, sizeof *m.row, slot_cmp);
    disk_each(x, x->missing, after, missing_merge, &m);
    rows_before(&m, NULL);
    mem_free(m.row);
    return m.n;
}

/* ---- writing a table, for blob_index_step.c ---- */

int index_row_write(struct blob_index *x, MDB_txn *txn, const struct blob_table_slot *s)
{
    uint8_t raw[ROW_PLACE_SIZE], absent[ROW_MISSING_SIZE];
    MDB_val key = key_of(&s->hash), place = {sizeof raw, raw}, mark = {sizeof absent, absent};
    row_place_write(&s->hash, &s->row.place, raw);
    row_missing_write(&s->hash, absent);
    int rc = s->row.place.segment ? mdb_put(txn, x->bodies, &key, &place, 0) : mdb_del(txn, x->bodies, &key, NULL);
    if (rc == 0 || rc == MDB_NOTFOUND)
        rc = s->row.missing ? mdb_put(txn, x->missing, &key, &mark, 0) : mdb_del(txn, x->missing, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}
