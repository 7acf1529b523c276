/* Between log.c (what is on the disk) and log_io.c (raft_io's functions above it). */
#ifndef SIM_LOG_H
#define SIM_LOG_H

#include "node/base/list.h"
#include "node/base/task.h"
#include "tests/sim/disk.h"

#include <raft.h>

struct log_entry {
    uint64_t term;
    uint16_t type;
    size_t n;
    uint8_t p[];
};

struct log_snapshot {
    uint64_t index, term, conf_index;
    size_t conf_n, n;
    uint8_t p[]; /* the encoded configuration, then the data */
};

/* A write in the order of the log. */
enum log_kind { LOG_APPEND_, LOG_TRUNCATE, LOG_INSTALL, LOG_SNAPSHOT };
struct log_op {
    struct list item;
    enum log_kind kind;
    uint64_t index;             /* append: of the first; truncate: the first to go; snapshot: its own */
    struct log_entry **entries; /* append */
    unsigned n, trailing;
    struct log_snapshot *snapshot;
    void *req; /* the raft_io_append or raft_io_snapshot_put */
    int status;
    bool done; /* it is all on disk; only its answer is owed */
};

/* Durable, but for what is under way. */
struct log_disk {
    char dir[512];
    uint64_t term, vote, version;
    bool storing; /* term and vote are being written: */
    uint64_t next_term, next_vote;
    struct log_snapshot *snapshot;
    uint64_t first; /* index of entries[0] */
    struct log_entry **entries;
    size_t n, cap;
    uint64_t bad;          /* index of an entry that was damaged; 0: none */
    bool bad_closed;       /* it lies in a closed segment */
    struct list under_way; /* ops that the kernel was given */
};

struct log_disk *log_disk(unsigned host);
void log_op_free(struct log_op *op);
/* What the op leaves on disk when it is done. */
void log_op_apply(struct log_disk *d, const struct log_op *op);
void log_meta_begin(struct log_disk *d, uint64_t term, uint64_t vote);
void log_meta_end(struct log_disk *d);
/* As raft_uv finds it at a start: a damaged tail is cut off. RAFT_CORRUPT: damaged before. */
int log_check(struct log_disk *d, char *errmsg);
void log_first_write(struct log_disk *d, struct log_entry *e);

/* ---- log_copy.c ---- */
struct log_entry *log_entry_of(uint64_t term, unsigned type, const struct raft_buffer *b);
int log_snapshot_of(const struct raft_snapshot *s, struct log_snapshot **copy_r); /* 0, or libraft's code */
struct raft_snapshot *log_snapshot_read(const struct log_disk *d);
struct raft_entry *log_entries_read(const struct log_disk *d); /* NULL: none */

#endif
