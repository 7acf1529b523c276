/* The applier thread: committed entries into the store, in order, many in one LMDB transaction.
 *
 *   core ──give──► [entries] ──batch──► store_apply × n, commit ──news──► core: results of own requests, applied index
 *
 * Only entries that are on this node's own disk are applied (libraft commits what a majority holds, which may not
 * include us yet): so the store is never ahead of the log after a crash. While the node is syncing, entries are held
 * back until a copy of a peer's store is swapped in. */
#ifndef REPLICATION_APPLIER_H
#define REPLICATION_APPLIER_H

#include "node/base/task.h"
#include "replication/mark.h"
#include "store/blob.h"
#include "store/store.h"

enum {
    APPLIER_BATCH_ENTRIES = 512,
    APPLIER_BATCH_BYTES = 4 * 1024 * 1024,
    APPLIER_HELD_BYTES = 256 * 1024 * 1024, /* held back while syncing; more are dropped and the copy must be newer */
    APPLIER_DIGESTS = 32,
    APPLIER_NOWHERE = 64,
};

struct applier_entry {
    struct applier_entry *next;
    uint64_t index, term;
    size_t n;
    uint8_t p[];
};

struct applier_config {
    struct store *store;
    struct blob_log *blobs;
    struct mark *mark;    /* synced about once a second */
    const char *data_dir; /* its file system's free space is watched */
    uint64_t node, boot;  /* whose results are news */
    struct task_queue *home;
    void *arg;
    void (*news)(void *arg); /* on home: call applier_take */
    /* On the applier thread. */
    void (*missing)(void *arg); /* a body is missing: fetch it */
    void (*mailbox_changed)(void *arg, uint64_t mailbox, uint64_t account);
    void (*cluster_changed)(void *arg);
    void (*queue_changed)(void *arg, bool retry);
    void (*fatal)(void *arg, int status, const char *why);
};

struct applier;
int applier_start(const struct applier_config *c, struct applier **a_r);
/* Finishes the batch under way; joins. Blob appends that are under way still post to home. */
void applier_stop(struct applier *a);
void applier_free(struct applier **a); /* after home ran for the last time */

/* Core. Takes the list of entries, in order. committed: libraft's last applied index (entries of other kinds count), of
 * that term; persisted: how far the own log is on disk. */
void applier_give(struct applier *a, struct applier_entry *first, uint64_t committed, uint64_t term,
                  uint64_t persisted);
/* Makes the store durable once it is at index; news says when. */
void applier_snapshot(struct applier *a, uint64_t index);
/* Holds entries back: the store misses what is before min_index. */
void applier_hold(struct applier *a, uint64_t min_index);
/* The copy of a peer's store; taken. It is swapped in as soon as the own log reaches it. */
void applier_import(struct applier *a, struct store_import *i, const struct store_position *p);

struct applier_result {
    struct applier_result *next;
    uint64_t seq, index;
    bool early; /* applied, and not yet in the store's views: it comes once more when it is */
    struct bytes *result;
};
struct applier_news {
    struct applier_result *results; /* the taker's */
    uint64_t applied;
    bool cluster_changed;
    bool snapshot_done;
    uint64_t snapshot_index;
    struct store_position snapshot;
    bool import_done;  /* swapped in: no longer syncing */
    bool import_short; /* the copy was too old: fetch one from import_min on */
    uint64_t import_min;
};
void applier_take(struct applier *a, struct applier_news *n_r);

/* Any thread. */
uint64_t applier_applied(const struct applier *a);
uint64_t applier_pending(const struct applier *a); /* bodies under way to the blob log */
uint64_t applier_refused(const struct applier *a); /* bodies that found no space yet */
uint64_t applier_disk_free(const struct applier *a);
/* No member had this missing body just now: unless the state refers to it, it is missed no more. Of more than
 * APPLIER_NOWHERE at once the rest is forgotten: whoever looks for them will say so again. */
void applier_body_nowhere(struct applier *a, const struct body_hash *hash);
/* The state's digest right after the marker entry at index. ERR_NOTFOUND: no marker there, or too long ago. */
int applier_digest(struct applier *a, uint64_t index, struct sum128 *digest_r);

/* A marker: an entry without commands, at which every replica takes its digest. Fills b. */
void applier_marker(struct buf *b);

#endif
