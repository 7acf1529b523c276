#include "store/blob_row.h"

#include "node/base/buf.h"

enum { VERSION_BARE = 1, VERSION = 2, PLACE_SUM_AT = 20, STATE_BODY = 28 };

/* Of the key and the value, with zeros where it goes; at most ROW_PLACE_SIZE bytes of value. */
static uint32_t row_sum(const uint8_t *key, const uint8_t *value, size_t n, size_t at)
{
    uint8_t all[BODY_HASH_SIZE + ROW_PLACE_SIZE];
    memcpy(all, key, BODY_HASH_SIZE);
    memcpy(all + BODY_HASH_SIZE, value, n);
    put_le32(all + BODY_HASH_SIZE + at, 0);
    return (uint32_t)checksum64(slice_make(all, BODY_HASH_SIZE + n));
}

void row_place_write(const struct body_hash *hash, const struct blob_place *p, uint8_t out[ROW_PLACE_SIZE])
{
    memset(out, 0, ROW_PLACE_SIZE);
    out[0] = VERSION;
    put_le32(out + 4, p->segment);
    put_le64(out + 8, p->offset);
    put_le32(out + 16, p->length);
    put_le64(out + 24, (uint64_t)p->time_ms);
    put_le32(out + PLACE_SUM_AT, row_sum(hash->b, out, ROW_PLACE_SIZE, PLACE_SUM_AT));
}

bool row_place_read(struct slice key, struct slice value, struct blob_place *p_r)
{
    const uint8_t *in = value.p;
    if (key.n != BODY_HASH_SIZE || value.n != ROW_PLACE_SIZE || (in[0] != VERSION && in[0] != VERSION_BARE))
        return false;
    uint32_t sum = in[0] == VERSION ? row_sum(key.p, in, ROW_PLACE_SIZE, PLACE_SUM_AT) : 0;
    *p_r = (struct blob_place){
        .segment = get_le32(in + 4),
        .length = get_le32(in + 16),
        .offset = get_le64(in + 8),
        .time_ms = (int64_t)get_le64(in + 24),
    };
    return get_le32(in + PLACE_SUM_AT) == sum;
}

void row_missing_write(const struct body_hash *hash, uint8_t out[ROW_MISSING_SIZE])
{
    memset(out, 0, ROW_MISSING_SIZE);
    out[0] = VERSION;
    put_le32(out + 4, row_sum(hash->b, out, ROW_MISSING_SIZE, 4));
}

bool row_missing_read(struct slice key, struct slice value)
{
    if (key.n != BODY_HASH_SIZE)
        return false;
    if (value.n == 1)
        return value.p[0] == VERSION_BARE;
    return value.n == ROW_MISSING_SIZE && value.p[0] == VERSION &&
           get_le32(value.p + 4) == row_sum(key.p, value.p, ROW_MISSING_SIZE, 4);
}

void row_state_write(const struct blob_state *s, uint8_t out[ROW_STATE_SIZE])
{
    put_le32(out, VERSION);
    put_le32(out + 4, s->segment);
    put_le64(out + 8, s->offset);
    put_le32(out + 16, s->flags);
    put_le64(out + 20, (uint64_t)s->crashed_ms);
    put_le64(out + STATE_BODY, checksum64(slice_make(out, STATE_BODY)));
}

bool row_state_read(struct slice value, struct blob_state *s_r)
{
    const uint8_t *in = value.p;
    bool bare = value.n == STATE_BODY && get_le32(in) == VERSION_BARE;
    if (!bare && (value.n != ROW_STATE_SIZE || get_le32(in) != VERSION ||
                  get_le64(in + STATE_BODY) != checksum64(slice_make(in, STATE_BODY))))
        return false;
    *s_r = (struct blob_state){.segment = get_le32(in + 4),
                               .offset = get_le64(in + 8),
                               .flags = get_le32(in + 16),
                               .crashed_ms = (int64_t)get_le64(in + 20)};
    return true;
}
