/* What happens: a cluster is made, clients write and read, faults come and go, all heals.
 *
 *   NODE_NONE ──init, or invite + join──► NODE_STARTING ──► NODE_UP ──stop──► NODE_STOPPING
 *                        ▲                   ▲   │ refuses   │ crash, fatal        │
 *                        │ under a new name  │   ▼           ▼                     │
 *                    NODE_ASIDE ◄── damaged ─┴─ NODE_DOWN ◄────────────────────────┘
 */
#ifndef SIM_SCRIPT_H
#define SIM_SCRIPT_H

#include "node/base/err.h"
#include "replication/replication.h"
#include "store/blob.h"
#include "store/store.h"
#include "tests/sim/check.h"
#include "tests/sim/sim.h"

#include <pthread.h>

enum { NODES = 5, ACCOUNTS = 3 };
enum node_state { NODE_NONE, NODE_STARTING, NODE_UP, NODE_STOPPING, NODE_DOWN, NODE_ASIDE };

/* Host i + 1 runs node i. The record is the scripts': it outlives the host's lives. */
struct sim_node {
    struct sim_host *host;
    unsigned generation; /* times it joined: part of its name, which is not used again */
    enum node_state state;
    char name[32], address[64];
    struct store *store;
    struct blob_log *blobs;
    struct replication *r;
    unsigned clients, sessions, busy, between; /* what runs on it, sessions among it; in a call; not blocked in it */
    bool damaged;                              /* its disk failed, or was changed: it may refuse to start */
    bool rotten;                               /* bits of its bodies were flipped: which, it knows when it reads them */
    int64_t troubled_us; /* until then it may end by itself: its disk fails or is slow, or it was paused */
    int64_t down_until_us;
    uint32_t format_max; /* of an older build; 0: this one's */
    uint64_t id, boot;   /* of its last start */
};
extern struct sim_node nodes[NODES];

enum fault {
    FAULT_CRASH,
    FAULT_POWER,
    FAULT_CRASH_ALL,
    FAULT_PAUSE,
    FAULT_CUT_ONE_WAY,
    FAULT_CUT_HOST,
    FAULT_CUT_HALVES,
    FAULT_NOISE,
    FAULT_CLOCK,
    FAULT_DISK_SLOW,
    FAULT_DISK_ERROR,
    FAULT_DISK_FULL,
    FAULT_FLIP,
    FAULT_ADD,
    FAULT_REMOVE,
    FAULT_ROLE,
    FAULT_TRANSFER,
    FAULT_STOP,
    FAULT_FORMAT,
    FAULTS
};

/* What this seed draws. */
struct plan {
    unsigned snapshot_threshold, snapshot_trailing, replace_after_ms;
    unsigned clients_per_node, think_ms, standbys, pause_max_ms;
    int64_t trouble_us;
    unsigned segment_bytes, collect_ms;
    int64_t lease_ms; /* of bodies that nothing refers to; 0: the usual one, which no seed outlasts */
    bool large_bodies, early, collect;
    unsigned weight[FAULTS]; /* 0: none of these */
};
extern struct plan plan;
void plan_draw(void);

/* ---- script_node.c ---- */
void nodes_init(void);
/* In the background, on the node's host: opens and starts it; clients begin when script_clients. */
void node_start(struct sim_node *n);
/* What its clients wait for has no known outcome. */
void node_crash(struct sim_node *n, bool power, int64_t down_us);
/* In the background: hands over and ends, as SIGTERM does. */
void node_stop(struct sim_node *n, int64_t down_us);
/* Gone for good: a new machine at its address. */
void node_wipe(struct sim_node *n);
struct sim_node *node_any(enum node_state state);                       /* NULL: none */
bool node_now(const struct sim_node *n, struct replication_now *now_r); /* false: it does not run */
void nodes_supervise(void);                                             /* starts what is down and due */
extern bool script_clients;                                             /* sessions run on nodes that are up */
extern bool script_queue;                                               /* the queue's runners, too */
void node_sessions(struct sim_node *n);                                 /* begin */
bool sessions_ended(bool all); /* nothing runs on nodes any more; else: but the queue */

/* ---- script_call.c: something done on a node's host while the scripts' host waits ---- */
typedef int call_fn(struct sim_node *n, void *arg);
/* Its result; ERR_TIMEOUT when the host died under it, or it took longer than that. arg must live on then: heap. */
int node_call(struct sim_node *n, call_fn *fn, void *arg, int64_t most_us);
/* token_r may be NULL; mem_free it. */
int node_member(struct sim_node *at, enum member_action action, const char *name, const char *address, int role,
                bool force, char **token_r);

/* ---- script_cluster.c: from the scripts' host; they take simulated time ---- */
void cluster_form(void);
/* Asks a running node for an invitation, and starts on an empty disk with it. False: not now. */
bool cluster_join(struct sim_node *n);
/* A node that refused its disk: its old self is removed, and it joins under a new name. False: not now. */
bool cluster_replace(struct sim_node *n);
/* All that belong to it are up, whole and as far as they must be: one disk may fail now. */
bool cluster_whole(void);
void cluster_damaged(void); /* one did */
/* It runs, and has applied all that there was when a disk failed last. */
bool cluster_caught_up(const struct sim_node *n);
/* All serve, at one index, with nothing missing. NULL, or what is not so. */
const char *cluster_unsettled(void);

/* ---- script_fault.c ---- */
void faults_run(void); /* for plan.trouble_us */
void faults_heal(void);

/* ---- script.c ---- */
void script_main(void *arg);
extern bool script_finished; /* to its end */

/* ---- client.c: a session on a node; runs on its host ---- */
void client_spawn(struct sim_node *n);
void client_queue_run(void *arg); /* client_queue.c: mail to elsewhere; arg is the node */
struct client;
struct client *client_new(struct sim_node *n);
void client_free(struct client **c);
/* The result's own status, or that of the request. result_r may be NULL. */
int client_propose(struct client *c, const Merlion__Command *command, Merlion__Result **result_r);
int client_read(struct client *c);
int client_body_put(struct client *c, const struct body_hash *hash, struct bytes *record);
/* client_op.c */
void client_act(struct client *c);
int client_setting(struct client *c, const char *name, const char *value);
int client_domain_add(struct client *c, const char *name);
int client_user_add(struct client *c, const char *address);

#endif
