/* Any bytes as a blob record, and as a body: a record that passes decodes or is found damaged; a body comes back. */
#include "node/base/buf.h"
#include "node/base/mem.h"
#include "store/blob_record.h"
#include "tests/fuzz/fuzz.h"

/* A record around these bytes, so that damage reaches the decompressor. */
static void wrapped(struct slice in)
{
    struct fuzz_dice dice = fuzz_dice_take(&in);
    struct record_header h = {.checksum = checksum64(in),
                              .flags = (uint8_t)fuzz_roll(&dice, 2),
                              .payload = (uint32_t)in.n,
                              .size = fuzz_roll(&dice, 4) ? fuzz_roll(&dice, 70000) : in.n,
                              .hash = body_hash_of(in)};
    struct buf record = {0};
    record_header_write(&h, buf_reserve(&record, RECORD_HEADER_SIZE));
    buf_commit(&record, RECORD_HEADER_SIZE);
    buf_append_slice(&record, in);
    struct bytes *body = NULL;
    if (blob_decode(buf_slice(&record), fuzz_roll(&dice, 2), &body) == 0)
        ENSURE(body->n == h.size);
    bytes_unref(&body);
    buf_close(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct bytes *body = NULL;
    struct body_hash hash;
    uint64_t size;
    if (blob_record_check(in, &hash, &size) == 0 && blob_decode(in, true, &body) == 0)
        ENSURE(body->n == size);
    bytes_unref(&body);
    wrapped(in);
    hash = body_hash_of(in);
    struct bytes *record = blob_encode(&hash, in);
    ENSURE(blob_record_check(bytes_slice(record), &hash, &size) == 0 && size == n);
    ENSURE(blob_decode(bytes_slice(record), true, &body) == 0 && slice_eq(bytes_slice(body), in));
    bytes_unref(&body);
    bytes_unref(&record);
    return 0;
}
