/* The queue's runner: delivers mail to elsewhere. One thread a node, with a loop of its own; all that lasts is
 * replicated state (store/queue.h), so any node can go on where another one died.
 *
 *   worker: queue_reserve ─► propose Deliver{enqueue{lease}} ─► queue_leased ──┐ (fast path: no lease command)
 *   timer, queue_wake ─► due destinations in a view ─► propose QueueLease ─────┴─► deliveries ─► propose QueueOutcome
 *
 * A delivery is one leg of an item on its way to one mail host. At most `deliveries` run at once, and at most
 * QUEUE_LEASES_PER_DELIVERY times as many legs are leased to this node: what else waits costs nothing here. */
#ifndef NODE_QUEUE_H
#define NODE_QUEUE_H

#include "node/address.h"
#include "node/backend.h"
#include "node/metrics.h"

struct queue;

enum { QUEUE_LEASES_PER_DELIVERY = 3, QUEUE_DELIVERIES_DEFAULT = 100, QUEUE_LEASE_MS = 30 * 60 * 1000 };

struct queue_config {
    struct services *services; /* outlives the queue; services->replication is there */
    struct metrics *metrics;   /* outlives the queue */
    const char *hostname;      /* HELO, and who reports in notices */
    const char *resolvers;     /* "address[:port], …"; NULL: the system's */
    const char *ca_file;       /* PEM to verify mail hosts with; NULL: the system's store */
    unsigned deliveries;       /* 0: default */
};

/* Starts the thread. Strings are copied. When replication runs. 0, or an error with detail and *q_r NULL. */
int queue_new(const struct queue_config *c, struct queue **q_r, struct err_detail *e);
/* Something became due (replication_config.queue_changed). Any thread; cheap. */
void queue_wake(struct queue *q);
/* Takes no new leases, gives back what was not begun; what is under way goes on (at most 10 s). Any thread, at once. */
void queue_drain(struct queue *q);
/* Drains if that did not happen yet, waits for the end, ends the thread. Blocks. Before replication_stop. Workers may
 * still call queue_reserve (false) and so on. */
void queue_stop(struct queue *q);
/* After queue_stop, after the workers are gone and when nobody asks for metrics any more. */
void queue_free(struct queue **q);

/* ---- the fast path: an item begins leased to the node that accepts it ---- */

/* The destination of an address (QueueLeg.destination): its domain with A-labels in lower case, or an address literal
 * as it is; "" without one. Returns out. Pure. */
const char *queue_destination(struct slice address, char out[ADDRESS_TEXT_MAX]);

/* Room for the legs of one item. Free it with queue_leased or queue_unreserve. */
struct queue_reservation {
    uint64_t node, boot;
    int64_t until_ms; /* the three of Enqueue.lease */
};
/* Room for all legs, by destinations (as in QueueLeg.destination), or NULL: then the item is enqueued without lease and
 * waits for its turn. Any thread. */
struct queue_reservation *queue_reserve(struct queue *q, const struct slice *destinations, unsigned n);
/* The command failed, or it is not known whether it took effect (if so, the queue finds the lease by itself). */
void queue_unreserve(struct queue *q, struct queue_reservation **r);
/* The command took effect at `index` (struct propose) and made `item` (Result.id). body: the item's message, whole,
 * which need not be read again then; a reference is taken if there is room. Any thread. */
void queue_leased(struct queue *q, struct queue_reservation **r, uint64_t item, uint64_t index, struct bytes *body);

/* How long mail is tried (setting queue.lifetime, as the queue's thread saw it last). Any thread. */
int64_t queue_lifetime_ms(struct queue *q);

/* ---- for the operator ---- */

struct queue_stats {
    unsigned deliveries, deliveries_max; /* under way */
    unsigned leased, leased_max;         /* legs leased to this node */
    unsigned connections, connections_idle;
    unsigned hosts_marked;                /* not tried for a while, as they did not answer */
    uint64_t bytes;                       /* of bodies in memory */
    uint64_t delivered, deferred, failed; /* recipients, since the start */
};
void queue_stats(struct queue *q, struct queue_stats *s_r); /* any thread */
/* Hosts that did not answer are tried again at once, broken TLS is offered again, DNS is asked afresh. Any thread. */
void queue_flush_host_marks(struct queue *q);

#endif
