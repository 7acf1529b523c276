/* The blob log: message bodies, LZ4-compressed, in append-only segment files, named by the SHA-256 of the message, each
 * stored once a node. Local to the node; the replicated state (store.h) says which bodies are referenced.
 *
 *   any thread: blob_encode, blob_read, blob_record_read, blob_has    (no lock is held over reading: bytes never
 * change) writer:     its own thread; many appends share one fdatasync, then every done is posted home indexer:    its
 * own thread; writes what is new into LMDB every second or 1,000 bodies DIR/bodies/NNNNNNNN.seg   header, then records
 * (store/blob_record.h) DIR/local                 LMDB (store/blob_index.h): hash -> place, missing bodies, the
 * position up to which segments are in it At open the segments are read from that position on; a torn tail (no sync was
 * answered for it) is cut off. A damaged record with a whole one after it is no torn tail: it is skipped, logged, and
 * noted as missing when its header is whole.
 *
 * After a crash: bodies are as durable as was answered. Notes of missing bodies and touches may be a second old;
 * nothing is freed until a lease has passed since the opening, and blob_recheck_needed says that references have to be
 * compared with bodies again. */
#ifndef STORE_BLOB_H
#define STORE_BLOB_H

#include "node/base/err.h"
#include "node/base/hash.h"
#include "node/base/list.h"
#include "node/base/mem.h"
#include "node/base/task.h"
#include "store/watch.h"

struct blob_log;

enum { BLOB_BODY_MAX = 1 << 30 }; /* bytes of a body; limits on messages are well below */

struct blob_options {
    uint64_t segment_bytes;  /* 0: 256 MiB */
    int64_t lease_ms;        /* an unreferenced body is kept this long after its append; 0: 2 h */
    uint64_t reserve_bytes;  /* free space below which appends fail with ERR_NOSPACE; 0: 64 MiB */
    bool no_sync;            /* tests only */
    int64_t (*now_ms)(void); /* NULL: clock_wall_ms */
};
int blob_open(const char *dir, const struct blob_options *o, struct blob_log **b_r, struct err_detail *e);
/* Stops the writer after what is queued. Nobody may use it any more. */
void blob_close(struct blob_log **b);

/* The record of a body as it lies on disk and travels between nodes. Pure; any thread. At most BLOB_BODY_MAX bytes. */
struct bytes *blob_encode(const struct body_hash *hash, struct slice body);
/* Is this a whole, undamaged record? 0 with its hash and uncompressed size, or ERR_CORRUPT / ERR_PROTOCOL (lengths are
 * checked before anything is read). Does not decompress. */
int blob_record_check(struct slice record, struct body_hash *hash_r, uint64_t *size_r);
/* Decompresses and (verify) compares the SHA-256. *body_r has one reference. */
int blob_decode(struct slice record, bool verify, struct bytes **body_r);

struct blob_append {
    struct task task; /* run on home when durable: set task.run */
    struct task_queue *home;
    struct bytes *record;  /* a reference that the caller keeps until completion */
    struct list under_way; /* the log's own */
    int status; /* 0 (also when it was there already), ERR_NOSPACE, ERR_PROTOCOL or ERR_CORRUPT (not a record's
                   header), ERR_IO (the process must end: every later append fails too) */
};
/* Any thread. The caller has checked the record: blob_record_check for one of its own, blob_decode with verify for one
 * that a peer sent, as only that proves that the bytes are what the name says. A body that is there already gets a new
 * lease. */
void blob_append(struct blob_log *b, struct blob_append *a);

/* The process must end: bodies cannot be written any more, or their index has failed. Any thread. */
bool blob_failed(struct blob_log *b);

/* Any thread; may read from disk (use the compute pool where a miss would block a loop). What is still being appended
 * is read too: a body that rode in a command is shown to clients before the log has synced it. 0, ERR_NOTFOUND,
 * ERR_CORRUPT (also for a read error of the disk; the body is then noted as missing, blob_has says false, and an append
 * heals it).
 */
int blob_read(struct blob_log *b, const struct body_hash *hash, struct bytes **body_r);
/* Its append time is 0, so the record of a body is the same on all nodes. */
int blob_record_read(struct blob_log *b, const struct body_hash *hash, struct bytes **record_r);
bool blob_has(struct blob_log *b, const struct body_hash *hash);
/* Keeps a body that is there already for another lease (a proposer is about to refer to it). ERR_NOTFOUND. */
int blob_touch(struct blob_log *b, const struct body_hash *hash);

/* Missing bodies: referenced by the state and not (readably) here. Any thread. Durable with the next step of the index.
 * A body that is here is not noted. */
void blob_missing_add(struct blob_log *b, const struct body_hash *hash);
/* The state no longer refers to it (or never did: damage may name a body of which nobody ever heard). */
void blob_missing_drop(struct blob_log *b, const struct body_hash *hash);
uint64_t blob_missing_count(struct blob_log *b);
/* Up to max hashes, in order from after `after` (NULL: start). Returns how many. An append removes its hash. */
size_t blob_missing_list(struct blob_log *b, const struct body_hash *after, struct body_hash *out, size_t max);

/* True when notes of missing bodies may lack some: the node crashed, or damage was found that names no body. The node
 * then compares all references of the state (store_content_each) with blob_has, calls blob_missing_add for what lacks,
 * and says done. Stays true over restarts until then. */
bool blob_recheck_needed(struct blob_log *b);
void blob_recheck_done(struct blob_log *b);
/* Makes notes and touches so far durable. Any thread; blocks for some syncs. 0 or ERR_IO, ERR_NOSPACE. */
int blob_index_flush(struct blob_log *b);

/* Frees space: segments of which less than half is live are copied out and removed. is_live says whether the state
 * refers to a body. One segment a call; returns bytes freed, 0 when no segment is sparse. Own (background) thread of
 * the caller, one at a time. */
uint64_t blob_collect(struct blob_log *b, bool (*is_live)(void *arg, const struct body_hash *hash), void *arg);

/* Is the index on disk what was written? ERR_CORRUPT, with where in e: the process must end; the next opening makes the
 * index anew from the segments. ERR_CANCELED; else it cannot be told. Any thread; watch may be NULL. */
int blob_check(struct blob_log *b, const struct store_watch *watch, struct err_detail *e);
/* Without opening it. live: another process may have it open. */
int blob_check_files(const char *dir, bool live, const struct store_watch *watch, struct err_detail *e);

struct blob_stats {
    uint64_t bodies, bytes, segments, appends, syncs, corrupt;
    uint64_t free_bytes;     /* on the file system */
    int64_t oldest_write_ms; /* how long the oldest append has been under way; for the watchdog */
};
void blob_stats(struct blob_log *b, struct blob_stats *st_r);

#endif
