/* How rows of the index of bodies lie on disk. Version 2 has a checksum over key and value in each row: nothing else
 * would notice a damaged name or place. Version 1 stays readable. Little-endian.
 *
 *   bodies   hash     u8 version, 3 zero, u32 segment, u64 offset, u32 length, u32 checksum (1: zero), i64 lease time
 *   missing  hash     u8 version, (2:) 3 zero, u32 checksum
 *   local    "state"  u32 version, u32 segment, u64 offset, u32 flags (1 in use, 2 recheck), i64 time of the opening
 * after the last crash or 0, (2:) u64 checksum of all before */
#ifndef STORE_BLOB_ROW_H
#define STORE_BLOB_ROW_H

#include "node/base/slice.h"
#include "store/blob_table.h"

enum { ROW_PLACE_SIZE = 32, ROW_MISSING_SIZE = 8, ROW_STATE_SIZE = 36, ROW_IN_USE = 1, ROW_RECHECK = 2 };

struct blob_state {
    uint32_t segment, flags;
    uint64_t offset;
    int64_t crashed_ms;
};

void row_place_write(const struct body_hash *hash, const struct blob_place *p, uint8_t out[ROW_PLACE_SIZE]);
void row_missing_write(const struct body_hash *hash, uint8_t out[ROW_MISSING_SIZE]);
void row_state_write(const struct blob_state *s, uint8_t out[ROW_STATE_SIZE]);
/* false: not what was written. */
bool row_place_read(struct slice key, struct slice value, struct blob_place *p_r);
bool row_missing_read(struct slice key, struct slice value);
bool row_state_read(struct slice value, struct blob_state *s_r);

#endif
