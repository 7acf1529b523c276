/* Our raft_io: raft_uv's disk half, our own network half, and the guards that libraft's disk half needs. Core thread.
 *
 *   libraft ──► guard (this) ──► raft_uv: append, truncate, snapshot_put, set_term, set_vote
 *                  └──► events.send: the peer links
 *
 * - load is checked against the mark and the store before libraft may vote.
 * - a log write that fails ends the process: raft_uv's retry of a failed write crashes, and a failed append leaves a
 * hole.
 * - a segment of the log that cannot be closed, and a log that cannot be cut, end the process: libraft takes no notice,
 * and loads what is left over at wrong indexes when it starts again.
 * - a vote on disk is not taken back by writing its term again.
 * - the mark follows every finished append and leads every truncation.
 * - a local snapshot_put is held until the store is durable at its index: only then may the log be cut.
 * - what libraft has cut off its log after a snapshot is left out of an AppendEntries that comes late: libraft takes it
 * for new, appends it at wrong indexes and crashes.
 * - an InstallSnapshot is dropped while a snapshot is taken or installed: libraft crashes or leaks otherwise. */
#ifndef REPLICATION_RAFT_IO_H
#define REPLICATION_RAFT_IO_H

#include "node/base/list.h"
#include "node/base/slice.h"
#include "replication/mark.h"

#include <raft.h>
#include <raft/uv.h>

struct raft_guard_events {
    void *arg;
    /* What was on disk at start, before libraft sees it. Not 0: start fails. */
    int (*loaded)(void *arg, uint64_t last_index, uint64_t last_term, bool empty);
    void (*send)(void *arg, const struct raft_message *m); /* encode or copy: m is gone after the call */
    void (*persisted)(void *arg, uint64_t index);          /* the log is on disk up to here */
    /* A follower says how far its log is on its disk, or refuses entries. False: libraft must not see it. */
    bool (*answered)(void *arg, uint64_t id, const struct raft_append_entries_result *a);
    void (*snapshot_wanted)(void *arg, uint64_t index); /* answer with raft_guard_snapshot_put */
    void (*fatal)(void *arg, int status, const char *why);
};

struct raft_guard {
    struct raft_io io;    /* what libraft is given; first, so that a raft_io leads to its guard */
    struct raft_io inner; /* raft_uv's own functions */
    struct raft_guard_events ev;
    struct mark *mark;
    uint64_t next;      /* index of the next entry appended */
    uint64_t persisted; /* log on disk up to here */
    uint64_t term;      /* on disk; 0: unknown */
    raft_io_recv_cb recv;
    struct list appends; /* under way, oldest first */
    struct list sends;   /* taken, their callbacks owed */
    struct {
        struct raft_io_snapshot_put *req;
        const struct raft_snapshot *snapshot;
        unsigned trailing;
        raft_io_snapshot_put_cb cb;
    } held;
    struct raft_tracer tracer;
    _Atomic bool cutting; /* a truncation is under way in libuv's pool */
    bool closed;
    bool leader_lost; /* the owner has no link to the leader any more */
};

/* After raft_uv_init(&g->io), before raft_init. */
void raft_guard_init(struct raft_guard *g, struct mark *mark, const struct raft_guard_events *ev);
/* Watches raft_uv for failures that it tells nobody. After raft_guard_init, before raft_init. */
void raft_guard_watch(struct raft_guard *g);
/* Steady-clock ms that the oldest log write has been under way; 0: none. */
uint64_t raft_guard_oldest_ms(const struct raft_guard *g);
/* Fires the callbacks of finished sends. Call once a loop turn. */
void raft_guard_flush(struct raft_guard *g);
/* The store is durable at the index asked for by snapshot_wanted. */
void raft_guard_snapshot_put(struct raft_guard *g, struct slice descriptor);
/* The term of an entry in the log or of the last snapshot; 0: unknown. (libraft has it, but no call for it.) */
uint64_t raft_guard_term_of(const struct raft *r, uint64_t index);
/* For each message that is sent: mends what libraft says wrong. */
void raft_guard_vote_correct(const struct raft *r, struct raft_message *m);
/* A LINK_RAFT payload from peer `id`. ERR_PROTOCOL: garbage. */
int raft_guard_receive(struct raft_guard *g, struct raft *r, uint64_t id, const char *address, struct slice payload);

/* A transport that connects nobody: the peer links do. */
void raft_guard_transport(struct raft_uv_transport *t);

#endif
