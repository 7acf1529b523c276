/* The mark: up to where this node has told others that its log is on disk. Kept beside libraft's log, in DIR/raft.mark,
 * because libraft silently cuts short a damaged open segment: a node that lost acknowledged entries and still votes can
 * undo a commit.
 *
 * Two slots of 4096 bytes, written in turn, each {u32 magic, u32 version, u64 sequence, u64 index, u64 term, u64
 * checksum}. A raise is a plain pwrite after each finished log write and before its answer, without a sync: no cost on
 * the hot path. It survives the death of the process at once; the applier syncs it about once a second, so that after a
 * power cut it is at most that much behind. Being behind is always safe: it only detects less. It must never be ahead
 * of the log, so lowering it (the log is about to be cut) is synced first.
 *
 * Detects: a log that ends before the mark (cut segment, lost or restored files), on the next start. */
#ifndef REPLICATION_MARK_H
#define REPLICATION_MARK_H

#include "node/base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { MARK_SLOT = 4096, MARK_BYTES = 40 };

struct mark {
    int fd;
    uint64_t index, term, sequence; /* core thread */
    bool fresh;                     /* made by mark_open just now */
    _Atomic bool dirty;             /* written since the last sync */
};

/* Opens or makes PATH. ERR_CORRUPT when no slot of an existing file can be read. */
int mark_open(struct mark *m, const char *path, struct err_detail *e);
void mark_close(struct mark *m);
int mark_raise(struct mark *m, uint64_t index, uint64_t term);
/* Synced when it returns. */
int mark_lower(struct mark *m, uint64_t index, uint64_t term);
/* Any thread. */
int mark_sync(struct mark *m);

#endif
