/* Replication, as the rest of the node sees it: propose a command, make sure of being up to date, put and get
 * bodies, change members. Hides libraft, peers, leaders, elections, retries.
 *
 *      any thread ──task──► core loop: raft, control links (propose, forward, read index, membership)
 *                           bulk loop: bulk links (bodies, state transfer)
 *                           applier thread: store_apply; then answers
 *
 * Every request embeds a task; it is posted to `home` when complete, with `status` set. A request is completed exactly
 * once, within its time limit. */
#ifndef REPLICATION_REPLICATION_H
#define REPLICATION_REPLICATION_H

#include "node/base/err.h"
#include "node/base/hash.h"
#include "node/base/mem.h"
#include "node/base/task.h"

#include <stdint.h>

struct replication;
struct store;
struct blob_log;

struct replication_config {
    const char *data_dir;   /* raft log in DIR/raft, identity in DIR/node, state and bodies beside */
    const char *name;       /* node name */
    const char *listen;     /* peer address to bind, host:port */
    const char *advertise;  /* peer address told to others */
    unsigned heartbeat_ms;  /* 100 */
    unsigned election_ms;   /* 500 */
    unsigned write_wait_ms; /* 30000: how long a write waits for a leader */
    unsigned snapshot_threshold, snapshot_trailing; /* entries: 8192, 16384; 0: default */
    unsigned voters_target;                         /* 3 */
    unsigned replace_after_ms;   /* 60000: a voter silent for longer is replaced when a standby has caught up */
    unsigned dead_after_ms;      /* 1000: a member silent for longer is in replication_now.dead */
    unsigned format_max;         /* command format up to which this node goes; 0: all it knows. For tests of upgrades */
    uint64_t disk_reserve_bytes; /* free space below which new mail is refused and leadership given away */
    /* Called (core thread) on events; must not block. */
    void *arg;
    void (*mailbox_changed)(void *arg, uint64_t mailbox, uint64_t account); /* applier thread */
    void (*cluster_changed)(void *arg);                                     /* applier thread */
    void (*queue_changed)(void *arg, bool retry);          /* applier thread: the queue may have work (store_events) */
    void (*fatal)(void *arg, int status, const char *why); /* storage or invariant trouble: end the process now */
};

/* Opens what is on disk; starts threads, listens and connects when the node belongs to a cluster. */
int replication_start(const struct replication_config *c, struct store *s, struct blob_log *b, struct replication **r_r,
                      struct err_detail *e);
/* Hands leadership over (at most 3 s), stops. Blocks; main thread. All pending requests are completed (ERR_CANCELED).
 */
void replication_stop(struct replication **r);

/* ---- a node's identity: DIR/node (certificate, key, CA, ids), written by init or join ---- */
bool replication_is_member(const char *data_dir);
/* Makes a cluster of this node alone: CA, certificate, first Raft configuration. Offline or before start. ca_*_pem are
 * for the settings "ca.cert", "ca.key" that the caller proposes afterwards (mem_free). */
int replication_cluster_init(const char *data_dir, const char *name, const char *advertise, char **ca_cert_pem_r,
                             char **ca_key_pem_r, struct err_detail *e);
/* Writes DIR/node from a join token. The node must not be a member, and the token be for a node of that name. */
int replication_join(const char *data_dir, const char *name, const char *token, struct err_detail *e);

/* ---- requests ---- */

struct propose {
    struct task task;
    struct task_queue *home;
    /* packed merlion.Command without id and time: replication adds both (fields 1 and 2 appended). Owned by the caller.
     */
    struct slice command;
    int64_t deadline_ms; /* steady clock; 0: write_wait_ms from now */
    bool early; /* answer as soon as it is applied, a moment before this node's views show it (read barriers wait
                   for the views); false: the views show it */
    int status; /* of getting it committed: 0; ERR_UNAVAILABLE, ERR_NOSPACE, ERR_TOOBIG, ERR_CANCELED: it did not
                   and will not take effect; ERR_TIMEOUT: not known, it may have or still may */
    struct bytes *result; /* status 0: packed merlion.Result; the caller unrefs */
    uint64_t index;       /* where it was applied */
    /* status 0: who votes by now, as a number. Another one than body_put said: a disk that counted may be gone, so the
     * body is put once more before anybody is told that the write is done. */
    uint64_t voters;
    void *impl;
};
/* Any thread. Takes effect at most once, however often it is sent again inside. */
void replication_propose(struct replication *r, struct propose *p);

struct read_barrier {
    struct task task;
    struct task_queue *home;
    int64_t deadline_ms;
    int status; /* 0: this node's store shows everything acknowledged anywhere before the call */
    void *impl;
};
void replication_read(struct replication *r, struct read_barrier *b);

struct body_put {
    struct task task;
    struct task_queue *home;
    struct bytes *record; /* blob_encode; the caller keeps its reference until completion */
    int64_t deadline_ms;
    int status;      /* 0: durable on a majority of voters */
    uint64_t voters; /* who they were: for propose.voters */
    void *impl;
};
void replication_body_put(struct replication *r, struct body_put *p);

struct body_get {
    struct task task;
    struct task_queue *home;
    struct body_hash hash;
    int64_t deadline_ms;
    int status;
    struct bytes *body; /* decompressed, verified, and appended to our own log; the caller unrefs */
    void *impl;
};
/* From peers (the caller looked in its own blob log first). Urgent: ahead of background fetches. */
void replication_body_get(struct replication *r, struct body_get *g);

/* ---- members and leadership ---- */

enum member_action {
    MEMBER_INVITE,   /* name, address -> token (mem_free) */
    MEMBER_REMOVE,   /* name */
    MEMBER_ROLE,     /* name, role */
    LEADER_TRANSFER, /* name, or NULL: the best one */
};
struct member_request {
    struct task task;
    struct task_queue *home;
    enum member_action action;
    const char *name, *address;
    int role; /* 0 standby, 1 voter, 2 spare */
    bool force;
    int status;
    struct err_detail detail;
    char *token;
    void *impl;
};
void replication_member(struct replication *r, struct member_request *m);

enum { REPLICATION_MEMBERS_MAX = 16 };
struct member_status {
    uint64_t id;
    char name[64], address[128], version[32];
    int role; /* 0 standby, 1 voter, 2 spare, -1 invited */
    bool self, leader, reachable, serving;
    uint64_t applied, last, missing;
    struct sum128 digest; /* at digest_index */
    uint64_t digest_index;
    int64_t uptime_ms, seen_ms_ago; /* -1: never */
    char state[24]; /* "ok", "syncing", "healing", "unreachable", "catching-up", "draining", "disk-full", … */
};
struct replication_status {
    struct task task;
    struct task_queue *home;
    int64_t timeout_ms; /* how long to wait for peers' answers */
    /* With digests: every replica is asked for its digest at one index (all apply up to it first). */
    bool digests;
    int status;
    uint64_t cluster_id, term, commit, applied, leader; /* leader 0: none */
    unsigned n;
    struct member_status members[REPLICATION_MEMBERS_MAX];
    void *impl;
};
void replication_status(struct replication *r, struct replication_status *s);

/* Immediate, any thread: for /readyz, /metrics, admission. */
struct replication_now {
    bool is_leader, has_leader, syncing, disk_full, draining;
    bool level;   /* the state shows all that the own log had at the start: references to bodies are complete */
    bool healing; /* not level, as a damaged state was set aside at the start */
    uint64_t id, cluster_id, leader, term, commit, applied, missing;
    uint64_t proposals, entries, forwards, elections, read_barriers, transfers, oldest_write_ms;
    int role;
    int refused;   /* why the members do not let this node in (a used or expired join token …); 0: nobody said so */
    uint64_t boot; /* the number of this start: higher than those before */
    /* As leader, and in touch itself: members not heard from for dead_after_ms, or whose address refuses connections.
     */
    unsigned dead_n;
    uint64_t dead[REPLICATION_MEMBERS_MAX];
};
void replication_now(struct replication *r, struct replication_now *n_r);
/* The cluster's clock: what the middle one of the members' shows, as the leader knows it and tells the others. Until it
 * was heard of, or without replication (NULL): this node's own. For what must not go wrong with one node's clock, as
 * how long a message has waited. Any thread. */
int64_t replication_clock_ms(struct replication *r);
/* What a command that is proposed now says: the cluster's clock, or the state's time where that is ahead of it; it goes
 * on at half speed then. For what the state machine compares with its own time, as when a lease ends. Any thread. */
int64_t replication_time_ms(struct replication *r);
/* Serves no new client; gives leadership away. */
void replication_drain(struct replication *r);

#endif
