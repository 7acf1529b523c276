#include "store/state.h"
#include "store/stream.h"

enum { COMMIT_BYTES = 16 << 20 }; /* of payload in one transaction: bounds its dirty pages */

enum stage { STAGE_HEADER, STAGE_BLOCKS, STAGE_COMPLETE, STAGE_FINISHED, STAGE_FAILED };

struct store_import {
    enum stage stage;
    char *dir;
    struct store_env *env;
    MDB_txn *txn;
    size_t uncommitted;
    struct buf in, sum_scratch;
    struct store_position position;
    struct sum128 digest;
    uint64_t records;
    bool has_state;
};

static int fail(struct store_import *i, struct err_detail *e, int rc, const char *what)
{
    i->stage = STAGE_FAILED;
    return err_set(e, rc, "copy of the state: %s", what);
}

int store_import_begin(const char *dir, struct store_import **i_r, struct err_detail *e)
{
    struct store_import *i = mem_zalloc(sizeof *i);
    i->dir = mem_strdup(dir);
    char *path = store_files_path(dir, "state.incoming");
    store_files_remove(path);
    int rc = store_env_open(path, NULL, MDB_NOSYNC, &i->env, e);
    mem_free(path);
    if (rc)
        store_import_abort(&i);
    else
        *i_r = i;
    return rc;
}

static int commit(struct store_import *i)
{
    int rc = i->txn ? mdb_txn_commit(i->txn) : 0;
    i->txn = NULL;
    i->uncommitted = 0;
    return store_env_error(rc);
}

static int header_take(struct store_import *i, struct slice h, struct err_detail *e)
{
    struct reader r = {.in = slice_from(h, 4)};
    if (memcmp(h.p, "MLX", 3))
        return fail(i, e, ERR_PROTOCOL, "not one at all");
    if (h.p[3] != STREAM_VERSION)
        return fail(i, e, ERR_VERSION, "its form is of another version");
    i->position.index = read_u64(&r);
    i->position.term = read_u64(&r);
    i->position.digest.lo = read_u64(&r);
    i->position.digest.hi = read_u64(&r);
    i->position.format = read_u32(&r);
    i->position.time_ms = (int64_t)read_u64(&r);
    if (read_u64(&r) != checksum64(slice_first(h, STREAM_HEADER - 8)))
        return fail(i, e, ERR_CORRUPT, "the header is damaged");
    if (i->position.format < STORE_FORMAT_MIN || i->position.format > STORE_FORMAT_MAX)
        return fail(i, e, ERR_VERSION, "this program does not know its format");
    i->stage = STAGE_BLOCKS;
    return 0;
}

/* The header has been checked against what this program knows; the state must be what it promised. */
static bool state_promised(const struct store_import *i, struct slice value)
{
    struct state_record st;
    return record_state_read(value, &st) && st.format == i->position.format && st.time_ms == i->position.time_ms;
}

static int record_take(struct store_import *i, struct reader *r, struct err_detail *e)
{
    unsigned table = read_u8(r);
    size_t key_n = read_u16(r), value_n = read_u32(r);
    if (key_n > KEY_MAX || value_n > STREAM_VALUE_MAX)
        return fail(i, e, ERR_PROTOCOL, "a record is too long");
    struct slice key = read_exact(r, key_n), value = read_exact(r, value_n);
    if (r->failed || table <= TABLE_POSITION || table >= TABLE_N || !record_valid(table, key, value))
        return fail(i, e, ERR_PROTOCOL, "a record makes no sense");
    if (table == TABLE_STATE && !state_promised(i, value))
        return fail(i, e, ERR_PROTOCOL, "its state is not that of the header");
    MDB_val k = val_of(key), v = val_of(value);
    int rc = mdb_put(i->txn, i->env->dbi[table], &k, &v, MDB_APPEND);
    if (rc)
        return fail(i, e, rc == MDB_KEYEXIST ? ERR_PROTOCOL : store_env_error(rc), mdb_strerror(rc));
    sum128_add(&i->digest, record_sum(&i->sum_scratch, table, key, value));
    i->records++;
    i->has_state |= table == TABLE_STATE;
    return 0;
}

static int block_take(struct store_import *i, struct slice payload, uint64_t checksum, struct err_detail *e)
{
    if (checksum64(payload) != checksum)
        return fail(i, e, ERR_CORRUPT, "a block is damaged");
    int rc = i->txn ? 0 : mdb_txn_begin(i->env->env, NULL, 0, &i->txn);
    if (rc)
        return fail(i, e, store_env_error(rc), mdb_strerror(rc));
    struct reader r = {.in = payload};
    while (r.in.n)
        if ((rc = record_take(i, &r, e)))
            return rc;
    i->uncommitted += payload.n;
    if (i->uncommitted >= COMMIT_BYTES && (rc = commit(i)))
        return fail(i, e, rc, "commit");
    return 0;
}

static int trailer_take(struct store_import *i, struct slice t, struct err_detail *e)
{
    struct reader r = {.in = slice_from(t, 4)};
    uint64_t records = read_u64(&r);
    struct sum128 digest = {.lo = read_u64(&r)};
    digest.hi = read_u64(&r);
    if (read_u64(&r) != checksum64(slice_first(t, STREAM_TRAILER - 8)))
        return fail(i, e, ERR_CORRUPT, "the trailer is damaged");
    if (records != i->records || !sum128_eq(digest, i->digest) || !sum128_eq(digest, i->position.digest))
        return fail(i, e, ERR_CORRUPT, "its digest is not that of its records");
    i->stage = STAGE_COMPLETE;
    return 0;
}

/* Takes one header, block or trailer from i->in. *more_r: there was a whole one. */
static int step(struct store_import *i, bool *more_r, struct err_detail *e)
{
    struct slice in = buf_slice(&i->in);
    size_t n = STREAM_HEADER;
    int rc;
    *more_r = false;
    if (i->stage == STAGE_BLOCKS) {
        if (in.n < 4)
            return 0;
        uint32_t payload = get_le32(in.p);
        if (payload > STREAM_BLOCK_MAX)
            return fail(i, e, ERR_PROTOCOL, "a block is too long");
        n = payload ? STREAM_BLOCK_HEAD + (size_t)payload : STREAM_TRAILER;
    }
    if (in.n < n)
        return 0;
    struct slice whole = slice_first(in, n);
    if (i->stage == STAGE_HEADER)
        rc = header_take(i, whole, e);
    else if (get_le32(whole.p) == 0)
        rc = trailer_take(i, whole, e);
    else
        rc = block_take(i, slice_from(whole, STREAM_BLOCK_HEAD), get_le64(whole.p + 4), e);
    buf_consume(&i->in, n);
    *more_r = rc == 0;
    return rc;
}

int store_import_feed(struct store_import *i, struct slice in, struct err_detail *e)
{
    bool more = true;
    int rc = 0;
    if (i->stage == STAGE_FAILED)
        return err_set(e, ERR_PROTOCOL, "copy of the state: it failed before");
    buf_append_slice(&i->in, in);
    while (rc == 0 && more && (i->stage == STAGE_HEADER || i->stage == STAGE_BLOCKS))
        rc = step(i, &more, e);
    if (rc == 0 && i->stage >= STAGE_COMPLETE && buf_len(&i->in))
        rc = fail(i, e, ERR_PROTOCOL, "bytes after its end");
    return rc;
}

static int position_write(struct store_import *i)
{
    struct position_record p = {i->position.index, i->position.term, i->position.digest};
    struct buf b = {0};
    record_position_write(&b, &p);
    MDB_val k = val_of(key_position()), v = val_of(buf_slice(&b));
    int rc = i->txn ? 0 : mdb_txn_begin(i->env->env, NULL, 0, &i->txn);
    if (rc == 0)
        rc = mdb_put(i->txn, i->env->dbi[TABLE_POSITION], &k, &v, 0);
    buf_close(&b);
    return store_env_error(rc);
}

int store_import_finish(struct store_import *i, struct store_position *p_r, struct err_detail *e)
{
    if (i->stage != STAGE_COMPLETE)
        return err_set(e, ERR_PROTOCOL, "copy of the state: it is not complete");
    if (!i->has_state && i->records)
        return fail(i, e, ERR_PROTOCOL, "it has no state record");
    int rc = position_write(i);
    if (rc == 0)
        rc = commit(i);
    if (rc == 0)
        rc = store_env_error(mdb_env_sync(i->env->env, 1));
    if (rc)
        return fail(i, e, rc, "writing it");
    store_env_unref(&i->env);
    if ((rc = store_files_mark(i->dir, e)))
        return rc;
    i->stage = STAGE_FINISHED;
    *p_r = i->position;
    return 0;
}

static void import_free(struct store_import **ip)
{
    struct store_import *i = *ip;
    *ip = NULL;
    if (i->txn)
        mdb_txn_abort(i->txn);
    store_env_unref(&i->env);
    buf_close(&i->in);
    buf_close(&i->sum_scratch);
    mem_free(i->dir);
    mem_free(i);
}

void store_import_abort(struct store_import **ip)
{
    if (!*ip)
        return;
    char *path = store_files_path((*ip)->dir, "state.incoming");
    import_free(ip);
    store_files_remove(path);
    mem_free(path);
}

int store_import_swap(struct store *s, struct store_import **i, struct err_detail *e)
{
    ENSURE(!s->txn && (*i)->stage == STAGE_FINISHED && strcmp((*i)->dir, s->dir) == 0);
    int rc = store_files_swap(s->dir, e);
    if (rc == 0)
        rc = store_import_reopen(s, e);
    import_free(i);
    return rc;
}
