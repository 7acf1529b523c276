/* The blob log: message bodies, LZ4-compressed, in append-only segment files, named by the SHA-256 of the message, each
 * stored once a node. Local to the node; the replicated state (store.h) says which bodies are referenced.
 *
 *   any thread: blob_encode, blob_read, blob_record_read, blob_has    (reads need no lock: bytes never change)
 *   writer:     its own thread; many appends share one fdatasync, then every done is posted home
 *   DIR/bodies/NNNNNNNN.seg   header, then records {magic, flags, hash, sizes, append time, checksum, bytes}
 *   DIR/local                 LMDB: hash -> (segment, offset, length), the position up to which the segments are in it, missing bodies
 * At open the segments are read from that position on; a torn tail (no sync was answered for it) is cut off. */
#ifndef STORE_BLOB_H
#define STORE_BLOB_H

#include "node/base/err.h"
#include "node/base/hash.h"
#include "node/base/mem.h"
#include "node/base/task.h"

struct blob_log;

struct blob_options {
    uint64_t segment_bytes; /* 0: 256 MiB */
    int64_t lease_ms;       /* an unreferenced body is kept this long after its append; 0: 2 h */
    uint64_t reserve_bytes; /* free space below which appends fail with ERR_NOSPACE; 0: 64 MiB */
    bool no_sync;           /* tests only */
    int64_t (*now_ms)(void); /* NULL: clock_wall_ms */
};
int blob_open(const char *dir, const struct blob_options *o, struct blob_log **b_r, struct err_detail *e);
/* Stops the writer after what is queued. Nobody may use it any more. */
void blob_close(struct blob_log **b);

/* The record of a body as it lies on disk and travels between nodes. Pure; any thread. */
struct bytes *blob_encode(const struct body_hash *hash, struct slice body);
/* Is this a whole, undamaged record? 0 with its hash and uncompressed size, or ERR_CORRUPT / ERR_PROTOCOL (lengths are checked
 * before anything is read). Does not decompress. */
int blob_record_check(struct slice record, struct body_hash *hash_r, uint64_t *size_r);
/* Decompresses and (verify) compares the SHA-256. *body_r has one reference. */
int blob_decode(struct slice record, bool verify, struct bytes **body_r);

struct blob_append {
    struct task task; /* run on home when durable: set task.run */
    struct task_queue *home;
    struct bytes *record; /* a reference that the caller keeps until completion */
    int status;           /* 0 (also when it was there already), ERR_NOSPACE, ERR_IO (the process must end) */
};
/* Any thread. The checksum was checked by the caller. */
void blob_append(struct blob_log *b, struct blob_append *a);

/* Any thread; may read from disk (use the compute pool where a miss would block a loop). 0, ERR_NOTFOUND, ERR_CORRUPT (the
 * body is then also noted as missing). */
int blob_read(struct blob_log *b, const struct body_hash *hash, struct bytes **body_r);
int blob_record_read(struct blob_log *b, const struct body_hash *hash, struct bytes **record_r);
bool blob_has(struct blob_log *b, const struct body_hash *hash);
/* Keeps a body that is there already for another lease (a proposer is about to refer to it). ERR_NOTFOUND. */
int blob_touch(struct blob_log *b, const struct body_hash *hash);

/* Missing bodies: referenced by the state and not (readably) here. Any thread. */
void blob_missing_add(struct blob_log *b, const struct body_hash *hash);
uint64_t blob_missing_count(struct blob_log *b);
/* Up to max hashes, in order from after `after` (NULL: start). Returns how many. An append removes its hash. */
size_t blob_missing_list(struct blob_log *b, const struct body_hash *after, struct body_hash *out, size_t max);

/* Frees space: segments with few live bytes are copied out and removed. is_live says whether the state refers to a body.
 * One segment a call; returns bytes freed. Own (background) thread of the caller. */
uint64_t blob_collect(struct blob_log *b, bool (*is_live)(void *arg, const struct body_hash *hash), void *arg);

struct blob_stats {
    uint64_t bodies, bytes, segments, appends, syncs, corrupt;
    uint64_t free_bytes; /* on the file system */
    int64_t oldest_write_ms; /* how long the oldest append has been under way; for the watchdog */
};
void blob_stats(struct blob_log *b, struct blob_stats *st_r);

#endif
