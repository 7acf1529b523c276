/* A body's record, as it lies in a segment and travels between nodes. All numbers little-endian.
 *
 *    0  u32  magic "MBLR"
 *    4  u32  check: low half of XXH3 of bytes 8 to 71
 *    8  i64  append time, ms since the epoch, by the clock of the node that holds it; 0 in a record that travels
 *   16  u64  checksum: XXH3 of the payload
 *   24  u8   version, 1
 *   25  u8   flags: 1 = the payload is an LZ4 block, else the body itself
 *   26  u16  zero
 *   28  u32  payload bytes
 *   32  u64  body bytes
 *   40  ...  SHA-256 of the body
 *   72  ...  payload; in a segment then zeros up to a multiple of 8
 *
 * The payload's checksum is apart from the header's, so that an append stamps its time by making 72 bytes anew without
 * reading the payload, and so that damage to a payload leaves its name and the place of the next record trustworthy. */
#ifndef STORE_BLOB_RECORD_H
#define STORE_BLOB_RECORD_H

#include "store/blob.h"

enum {
    RECORD_HEADER_SIZE = 72,
    RECORD_ALIGN = 8,
    RECORD_MAGIC = 0x524c424d,
    RECORD_VERSION = 1,
    RECORD_LZ4 = 1,
};

struct record_header {
    int64_t time_ms;
    uint64_t checksum;
    uint8_t flags;
    uint32_t payload;
    uint64_t size;
    struct body_hash hash;
};

/* Any RECORD_HEADER_SIZE bytes: 0, or ERR_CORRUPT, or ERR_PROTOCOL for a whole header that makes no sense or is of a
 * version unknown here. After 0 the lengths are within their limits. */
int record_header_parse(const uint8_t *in, struct record_header *h_r);
void record_header_write(const struct record_header *h, uint8_t *out);

static inline uint64_t record_length(const struct record_header *h)
{
    return RECORD_HEADER_SIZE + (uint64_t)h->payload;
}
static inline uint64_t record_padded(uint64_t length)
{
    return (length + (RECORD_ALIGN - 1)) & ~(uint64_t)(RECORD_ALIGN - 1);
}

#endif
