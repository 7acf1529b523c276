/* Rows by body hash, in memory: what is newer than the index on disk. One owner at a time (its user's lock). All zero
 * is empty. */
#ifndef STORE_BLOB_TABLE_H
#define STORE_BLOB_TABLE_H

#include "node/base/hash.h"

/* Where a body's record is. segment 0: nowhere. */
struct blob_place {
    uint32_t segment;
    uint32_t length; /* of the record, without its padding */
    uint64_t offset;
    int64_t time_ms; /* of the append, or of the last touch: a lease starts here */
};

/* All that a node knows of a body. */
struct blob_row {
    struct blob_place place;
    bool missing;
};

struct blob_table_slot {
    struct body_hash hash;
    bool used;
    struct blob_row row;
};
struct blob_table {
    struct blob_table_slot *slots;
    size_t cap, n; /* cap is 0 or a power of two */
};

/* Valid until the next put or clear; NULL when there is none. */
struct blob_row *blob_table_get(const struct blob_table *t, const struct body_hash *hash);
void blob_table_put(struct blob_table *t, const struct body_hash *hash, const struct blob_row *row);
void blob_table_clear(struct blob_table *t); /* frees too */

#endif
