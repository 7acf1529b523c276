/* The form in which a whole state travels. Numbers little-endian.
 *
 *   header   "MLX" version u8, index, term, digest lo, hi u64 × 4, format u32, time ms u64, checksum u64 of all before
 *   block    n u32 (1 … STREAM_BLOCK_MAX), checksum u64 of the payload, payload of n bytes: records
 *   record   table u8, key length u16, value length u32, key, value       keys ascend within a table
 *   trailer  0 u32, number of records u64, digest lo, hi u64 × 2, checksum u64 of all before
 *
 * A record lies in one block. The position record is not sent: the header has what is in it. */
#ifndef STORE_STREAM_H
#define STORE_STREAM_H

#include "store/schema.h"

enum {
    STREAM_VERSION = 1,
    STREAM_HEADER = 4 + 4 * 8 + 4 + 8 + 8,
    STREAM_BLOCK_HEAD = 4 + 8,
    STREAM_TRAILER = 4 + 8 + 2 * 8 + 8,
    STREAM_RECORD_HEAD = 1 + 2 + 4,
    STREAM_BLOCK = 64 * 1024, /* a block is closed when it has grown past this */
    STREAM_VALUE_MAX = (1 << 28) + (1 << 16),
    STREAM_BLOCK_MAX = STREAM_VALUE_MAX + STREAM_BLOCK + STREAM_RECORD_HEAD + KEY_MAX,
};

#endif
