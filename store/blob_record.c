#include "store/blob_record.h"

#include "node/base/buf.h"

#include <lz4.h>

_Static_assert(LZ4_COMPRESSBOUND(BLOB_BODY_MAX) > 0, "a body fits LZ4's block");

/* LZ4 cannot expand by more than this, so a short record cannot ask for much memory. */
enum { LZ4_RATIO_MAX = 255 };

int record_header_parse(const uint8_t *in, struct record_header *h_r)
{
    if (get_le32(in) != RECORD_MAGIC)
        return ERR_CORRUPT;
    if (get_le32(in + 4) != (uint32_t)checksum64(slice_make(in + 8, RECORD_HEADER_SIZE - 8)))
        return ERR_CORRUPT;
    if (in[24] != RECORD_VERSION || (in[25] & ~RECORD_LZ4) || in[26] || in[27])
        return ERR_PROTOCOL;
    *h_r = (struct record_header){
        .time_ms = (int64_t)get_le64(in + 8),
        .checksum = get_le64(in + 16),
        .flags = in[25],
        .payload = get_le32(in + 28),
        .size = get_le64(in + 32),
    };
    memcpy(h_r->hash.b, in + 40, BODY_HASH_SIZE);
    if (h_r->size > BLOB_BODY_MAX || h_r->payload > h_r->size)
        return ERR_PROTOCOL;
    if (!(h_r->flags & RECORD_LZ4))
        return h_r->payload == h_r->size ? 0 : ERR_PROTOCOL;
    return h_r->size <= (uint64_t)h_r->payload * LZ4_RATIO_MAX ? 0 : ERR_PROTOCOL;
}

void record_header_write(const struct record_header *h, uint8_t *out)
{
    memset(out, 0, RECORD_HEADER_SIZE);
    put_le32(out, RECORD_MAGIC);
    put_le64(out + 8, (uint64_t)h->time_ms);
    put_le64(out + 16, h->checksum);
    out[24] = RECORD_VERSION;
    out[25] = h->flags;
    put_le32(out + 28, h->payload);
    put_le64(out + 32, h->size);
    memcpy(out + 40, h->hash.b, BODY_HASH_SIZE);
    put_le32(out + 4, (uint32_t)checksum64(slice_make(out + 8, RECORD_HEADER_SIZE - 8)));
}

struct bytes *blob_encode(const struct body_hash *hash, struct slice body)
{
    ENSURE(body.n <= BLOB_BODY_MAX);
    int bound = LZ4_compressBound((int)body.n);
    uint8_t *packed = mem_alloc((size_t)bound + 1);
    int packed_n = body.n ? LZ4_compress_default((const char *)body.p, (char *)packed, (int)body.n, bound) : 0;
    struct slice payload = body;
    struct record_header h = {.size = body.n, .hash = *hash};
    if (packed_n > 0 && (size_t)packed_n < body.n) {
        payload = slice_make(packed, (size_t)packed_n);
        h.flags = RECORD_LZ4;
    }
    h.payload = (uint32_t)payload.n;
    h.checksum = checksum64(payload);
    struct bytes *record = bytes_new(RECORD_HEADER_SIZE + payload.n);
    record_header_write(&h, record->p);
    if (payload.n)
        memcpy(record->p + RECORD_HEADER_SIZE, payload.p, payload.n);
    mem_free(packed);
    return record;
}

static int check(struct slice record, struct record_header *h_r)
{
    if (record.n < RECORD_HEADER_SIZE)
        return ERR_PROTOCOL;
    int err = record_header_parse(record.p, h_r);
    if (err)
        return err;
    if (record.n - RECORD_HEADER_SIZE != h_r->payload)
        return ERR_PROTOCOL;
    return checksum64(slice_from(record, RECORD_HEADER_SIZE)) == h_r->checksum ? 0 : ERR_CORRUPT;
}

int blob_record_check(struct slice record, struct body_hash *hash_r, uint64_t *size_r)
{
    struct record_header h;
    int err = check(record, &h);
    if (err)
        return err;
    *hash_r = h.hash;
    *size_r = h.size;
    return 0;
}

int blob_decode(struct slice record, bool verify, struct bytes **body_r)
{
    struct record_header h;
    int err = check(record, &h);
    if (err)
        return err;
    struct bytes *body = bytes_new((size_t)h.size);
    struct slice payload = slice_from(record, RECORD_HEADER_SIZE);
    if (h.flags & RECORD_LZ4) {
        int n = LZ4_decompress_safe((const char *)payload.p, (char *)body->p, (int)payload.n, (int)h.size);
        err = n >= 0 && (uint64_t)n == h.size ? 0 : ERR_CORRUPT;
    } else if (payload.n) {
        memcpy(body->p, payload.p, payload.n);
    }
    if (!err && verify) {
        struct body_hash hash = body_hash_of(bytes_slice(body));
        err = body_hash_eq(&hash, &h.hash) ? 0 : ERR_CORRUPT;
    }
    if (err) {
        bytes_unref(&body);
        return err;
    }
    *body_r = body;
    return 0;
}
