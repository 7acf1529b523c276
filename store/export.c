#include "store/env.h"
#include "store/stream.h"

struct store_export {
    struct store_view *view;
    struct store_position position;
    unsigned table; /* TABLE_N: all are out, the trailer too */
    MDB_cursor *cursor;
    struct buf block, out; /* records of the block being made; bytes not handed over yet */
    uint64_t records;
};

static void checksum_put(struct buf *b)
{
    buf_put_u64(b, checksum64(buf_slice(b)));
}

static void header_put(struct buf *b, const struct store_position *p)
{
    buf_append(b, "MLX", 3);
    buf_put_u8(b, STREAM_VERSION);
    buf_put_u64(b, p->index);
    buf_put_u64(b, p->term);
    buf_put_u64(b, p->digest.lo);
    buf_put_u64(b, p->digest.hi);
    buf_put_u32(b, p->format);
    buf_put_u64(b, (uint64_t)p->time_ms);
    checksum_put(b);
}

static void trailer_put(struct store_export *x)
{
    struct buf b = {0};
    buf_put_u32(&b, 0);
    buf_put_u64(&b, x->records);
    buf_put_u64(&b, x->position.digest.lo);
    buf_put_u64(&b, x->position.digest.hi);
    checksum_put(&b);
    buf_append_slice(&x->out, buf_slice(&b));
    buf_close(&b);
}

static void record_put(struct buf *b, unsigned table, struct slice key, struct slice value)
{
    buf_put_u8(b, (uint8_t)table);
    buf_put_u16(b, (uint16_t)key.n);
    buf_put_u32(b, (uint32_t)value.n);
    buf_append_slice(b, key);
    buf_append_slice(b, value);
}

static int position_read(struct store_view *v, struct store_position *p_r)
{
    struct slice value;
    struct position_record p = {0};
    struct state_record st = {.format = STORE_FORMAT_MIN};
    if (view_get(v, TABLE_POSITION, key_position(), &value) && !record_position_read(value, &p))
        return ERR_CORRUPT;
    if (view_get(v, TABLE_STATE, key_state(), &value) && !record_state_read(value, &st))
        return ERR_CORRUPT;
    *p_r = (struct store_position){p.index, p.term, p.digest, st.format, st.time_ms};
    return 0;
}

/* What the tables take on disk: a little more than what is sent. */
static uint64_t bytes_estimate(struct store_view *v)
{
    uint64_t bytes = 0;
    MDB_stat st;
    for (unsigned t = TABLE_POSITION + 1; t < TABLE_N; t++)
        if (mdb_stat(v->txn, v->env->dbi[t], &st) == 0)
            bytes += (st.ms_leaf_pages + st.ms_overflow_pages) * st.ms_psize;
    return bytes;
}

int store_export_begin(struct store *s, struct store_export **x_r, struct store_position *p_r, uint64_t *bytes_total_r)
{
    struct store_export *x = mem_zalloc(sizeof *x);
    x->table = TABLE_POSITION;
    int rc = store_view_open(s, &x->view);
    if (rc == 0)
        rc = position_read(x->view, &x->position);
    if (rc) {
        store_export_end(&x);
        return rc;
    }
    header_put(&x->out, &x->position);
    *p_r = x->position;
    *bytes_total_r = bytes_estimate(x->view);
    *x_r = x;
    return 0;
}

/* The next record, over all tables; false after the last one. */
static bool record_next(struct store_export *x, struct slice *key_r, struct slice *value_r)
{
    if (x->cursor && cursor_next(x->cursor, key_r, value_r))
        return true;
    while (x->table + 1 < TABLE_N) {
        x->table++;
        if (x->cursor)
            mdb_cursor_close(x->cursor);
        x->cursor = view_cursor(x->view, x->table);
        if (cursor_seek(x->cursor, slice_make(NULL, 0), key_r, value_r))
            return true;
    }
    x->table = TABLE_N;
    return false;
}

static void block_close(struct store_export *x)
{
    struct slice payload = buf_slice(&x->block);
    if (payload.n == 0)
        return;
    buf_put_u32(&x->out, (uint32_t)payload.n);
    buf_put_u64(&x->out, checksum64(payload));
    buf_append_slice(&x->out, payload);
    buf_clear(&x->block);
}

static int block_make(struct store_export *x)
{
    struct slice key, value;
    while (buf_len(&x->block) < STREAM_BLOCK) {
        if (!record_next(x, &key, &value)) {
            block_close(x);
            trailer_put(x);
            return 0;
        }
        if (value.n > STREAM_VALUE_MAX)
            return ERR_TOOBIG;
        record_put(&x->block, x->table, key, value);
        x->records++;
    }
    block_close(x);
    return 0;
}

int store_export_next(struct store_export *x, size_t max, struct buf *out, bool *done_r)
{
    while (buf_len(&x->out) < max && x->table != TABLE_N) {
        int rc = block_make(x);
        if (rc)
            return rc;
    }
    struct slice part = slice_first(buf_slice(&x->out), max);
    buf_append_slice(out, part);
    buf_consume(&x->out, part.n);
    *done_r = x->table == TABLE_N && buf_len(&x->out) == 0;
    return 0;
}

void store_export_end(struct store_export **xp)
{
    struct store_export *x = *xp;
    *xp = NULL;
    if (!x)
        return;
    if (x->cursor)
        mdb_cursor_close(x->cursor);
    store_view_close(&x->view);
    buf_close(&x->block);
    buf_close(&x->out);
    mem_free(x);
}
