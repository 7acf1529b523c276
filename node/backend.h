/* protocol/backend.h over the real thing: views on the store, bodies from the blob log or a peer, writes through
 * replication. One backend a worker; what they share is `struct services`. */
#ifndef NODE_BACKEND_H
#define NODE_BACKEND_H

#include "node/auth_cache.h"
#include "node/compute.h"
#include "node/io/loop.h"
#include "node/throttle.h"
#include "protocol/backend.h"
#include "replication/replication.h"
#include "store/blob.h"
#include "store/store.h"

enum { SERVICES_WORKERS_MAX = 64 };
struct queue;

/* What a node is made of. Made by main before the workers, freed after them. */
struct services {
    struct store *store;
    struct blob_log *blobs;
    struct replication *replication;
    struct queue *queue; /* NULL until the node is a member */
    struct compute *compute;
    struct auth_cache *auth_cache;
    struct throttle *throttle;
    /* The state is not being copied or replayed: a body that it does not refer to is not needed. Set by main. */
    _Atomic bool references_known;
    unsigned write_wait_ms;
    uint64_t in_flight_max; /* bytes of message bodies being taken in, over all sessions */
    _Atomic uint64_t in_flight;
    _Atomic unsigned writes;                              /* writes with bodies under way */
    struct worker_backend *workers[SERVICES_WORKERS_MAX]; /* complete before mail flows; then fixed */
    unsigned worker_n;
};

/* The backend of one worker, to be used on its loop only. Registers itself in services. Main thread. */
struct backend *backend_new(struct services *s, struct loop *loop);
/* After all sessions of the worker are gone and its loop has ended. */
void backend_free(struct backend **b);
/* Wakes whoever watches the mailbox, on every worker. Any thread. */
void services_mailbox_changed(struct services *s, uint64_t mailbox);

#endif
