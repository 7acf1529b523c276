#ifndef REPLICATION_APPLIER_INTERNAL_H
#define REPLICATION_APPLIER_INTERNAL_H

#include "replication/applier.h"

#include "node/base/list.h"

#include <pthread.h>

struct applier {
    struct applier_config c;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;

    /* Under the lock. */
    struct applier_entry *first, **last;
    size_t queued_bytes;
    uint64_t committed, committed_term, persisted;
    bool stop, holding;
    uint64_t hold_min; /* the copy must be at or past this */
    uint64_t snapshot_index;
    struct store_import *import;
    struct store_position import_position;
    struct applier_news news;
    struct applier_result **results_last;
    struct {
        uint64_t index;
        struct sum128 digest;
    } digests[APPLIER_DIGESTS];
    unsigned digests_n;
    struct body_hash nowhere[APPLIER_NOWHERE];
    unsigned nowhere_n;

    /* Applier thread. */
    uint64_t replay_until; /* entries up to here were applied before the start: only their bodies are looked at */
    uint64_t store_index;
    uint64_t current_index;
    bool failed, missing_seen;
    struct applier_result *batch_results, **batch_results_last;
    int64_t housekeeping_ms;
    struct list refused; /* under the lock: struct body_append, no space for them yet; oldest first */
    size_t refused_bytes;
    uint64_t blobs_wanted; /* blobs_issued when the snapshot's index was reached; 0: not reached */
    bool snapshot_reached;

    _Atomic uint64_t applied, disk_free;
    _Atomic uint64_t blobs_issued, blobs_done; /* bodies out of commands; all but unstored_n finish in order */
    _Atomic uint64_t refused_n;                /* in `refused`: issued, and not under way */
    _Atomic uint64_t unstored_n;               /* those, and those tried again just now */
    _Atomic bool posted;
    struct task task;
};

/* applier_bodies.c: what the state refers to must be here, or known to be missing. */
void applier_body_referenced(struct applier *a, const struct body_hash *hash, struct slice record);
/* Under the lock, between two batches. Returns whether it gave the lock away. */
bool applier_nowhere_step(struct applier *a);
/* Each second: bodies that found no space are tried again. */
void applier_bodies_retry(struct applier *a);
/* At the end: what found no space is in the log still. */
void applier_bodies_close(struct applier *a);
/* An entry that the store has already, met again after a restart. */
void applier_bodies_replay(struct applier *a, struct slice entry);

#endif
