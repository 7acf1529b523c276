/* Between the files of the queue's runner; all on its loop but what is said to be for any thread.
 *
 *   queue.c           life: thread, wake-ups, ticks, draining
 *   queue_fast.c      reservations: items that begin leased (any thread)
 *   queue_lease.c     what is due is leased, round robin over destinations
 *   queue_void.c      leases of dead nodes, of earlier boots, run out ones; leases nobody here knows of
 *   queue_class.c     which delivery begins next: none of the next hops takes all slots
 *   queue_delivery.c  one leg: from its lease to its outcome
 *   queue_touch.c     touch with the cluster, before a mail goes out
 *   queue_target.c    where it goes: route, MX, addresses, one after another
 *   queue_pool.c      connections kept for the next mail, hosts that do not answer
 *   queue_body.c      its message, from the blob log or a peer
 *   queue_result.c    what became of it: failed, deferred, expired; the log's line
 *   queue_notice.c    notices of delivery status to the sender
 *   queue_outcome.c   outcomes, many in one command
 *
 *   delivery: WAITING ─► TARGET ⇄ (PARKED) ⇄ CONNECTING ─► BODY ─► SENDING ─► (CONFIRM) ─► NOTICE ─► OUTCOME ─► gone
 *                └─ untried ───────────────────────────────────────────────────────────────────────┘ */
#ifndef NODE_QUEUE_INTERNAL_H
#define NODE_QUEUE_INTERNAL_H

#include "node/address.h"
#include "node/io/dns.h"
#include "node/queue.h"
#include "node/queue_conn.h"
#include "node/queue_settings.h"
#include "store/command.pb-c.h"
#include "store/queue.h"

enum {
    QUEUE_BUCKETS = 1024,       /* of destinations, for reservations: a collision only delays */
    QUEUE_TABLE = 1024,         /* of deliveries, classes, hosts */
    QUEUE_LEASES_PER_SHARE = 4, /* legs leased to a destination, for each that may be delivered at once */
    QUEUE_TICK_MS = 100,
    QUEUE_DRAIN_MS = 10000,            /* for what is under way when the node stops */
    QUEUE_DRAIN_OUTCOME_MS = 5000,     /* and then for its outcomes */
    QUEUE_TOUCH_MS = 700,              /* touch counts for so long: less than makes a silent member dead */
    QUEUE_TOUCH_WAIT_MS = 3000,        /* a delivery waits that long for touch */
    QUEUE_ATTEMPT_MS = 25 * 60 * 1000, /* of a delivery from its begin: well within its lease */
    QUEUE_ADDRESSES_MAX = 5,           /* tried in one attempt */
    QUEUE_LEASE_SLACK_MS = 60000,
    QUEUE_IDLE_MS = 10000,
    QUEUE_MAILS_MAX = 100,            /* over one connection */
    QUEUE_BODIES_MAX = 128 << 20,     /* bytes of bodies in memory; one more body may be above it */
    QUEUE_BODY_KEEP_MAX = 256 << 10,  /* of a message that was just taken: kept for its turn */
    QUEUE_BODIES_KEPT_MAX = 32 << 20, /* of them all, beside QUEUE_BODIES_MAX */
    QUEUE_OUTCOME_BYTES = 60 * 1024,
    QUEUE_COMMAND_MS = 10000, /* of one try of a command */
};

/* ---- commands ---- */

struct queue_command {
    struct propose propose;
    struct queue *q;
    uint8_t *packed;
    /* status: of getting it committed, else the result's own. r: NULL when not committed. */
    void (*done)(struct queue_command *c, int status, const Merlion__Result *r);
    bool busy;
};
void queue_command_send(struct queue *q, struct queue_command *c, const Merlion__Command *m,
                        void (*done)(struct queue_command *c, int status, const Merlion__Result *r));

/* ---- where mail goes ---- */

/* Deliveries to one next hop: a destination, or a smarthost. */
struct queue_class {
    struct list bucket; /* in q->classes */
    struct list turn;   /* in q->turn while something waits */
    struct list waiting;
    unsigned running, members;
    bool smarthost;
    char name[];
};

/* A mail host at one address, reached in one way. */
struct queue_host_key {
    const char *address, *source, *name, *user, *password;
    enum smtp_tls_policy tls;
};
struct queue_host {
    struct queue *q;
    struct list bucket; /* in q->hosts */
    struct list idle;   /* connections, by queue_link.host */
    struct list parked; /* deliveries that wait for one */
    struct queue_host_key key;
    char *text; /* the key as one text */
    unsigned conns, failures;
    int64_t bad_until_ms, plain_until_ms; /* steady; plain: TLS is broken there, not offered */
    struct smtp_outcome bad;              /* what it did */
};

struct queue_target {
    char name[DNS_NAME_MAX + 1];
    bool numeric; /* the name is the address */
};

/* ---- one delivery ---- */

enum delivery_state {
    DELIVERY_WAITING,
    DELIVERY_TARGET,
    DELIVERY_PARKED,
    DELIVERY_CONNECTING,
    DELIVERY_BODY,
    DELIVERY_SENDING,
    DELIVERY_CONFIRM,
    DELIVERY_NOTICE,
    DELIVERY_OUTCOME,
};

struct queue_body {
    struct compute_job job;
    struct body_get get;
    struct queue *q;
    struct body_hash hash;
    struct bytes *body;
    int status;
    void (*done)(struct queue_body *b, int status, struct bytes *body); /* the body's reference goes along */
};

struct queue_link; /* a connection's place in the pool */

struct delivery {
    struct list bucket; /* in q->deliveries */
    struct list place;  /* in its class, its host's parked, or the outcomes */
    struct queue *q;
    struct queue_class *class;
    enum delivery_state state;
    uint64_t item;
    uint32_t leg, attempt;
    unsigned share;                        /* its place among the reservations' buckets */
    bool has_slot, withheld, stale, alone; /* alone: its outcome in a command of its own */

    /* While it is under way: of the view, in the arena. */
    struct arena arena;
    struct store_queue_item i;
    struct slice destination;
    bool warned;
    struct smtp_client_mail mail;
    uint32_t *places; /* of its recipients in the leg */
    int64_t begun_ms; /* queue_clock_ms */
    int64_t begun_steady_ms;

    /* Its route, in the arena. */
    struct route route;
    const char *source;
    struct dns_lookup lookup;
    struct queue_target *targets;
    unsigned target_n, target;
    char (*addresses)[160]; /* of the present target, with ports */
    unsigned address_n, address, tried;
    struct smtp_outcome trouble; /* the best reason so far why it did not work; code and text */
    bool has_trouble;
    char host_name[DNS_NAME_MAX + 1], host_address[160], tls_text[128]; /* the last one tried */

    struct queue_host *host; /* while it has a link, or is parked there; else forgotten hosts are freed */
    struct queue_link *link;
    bool reused, fresh_tried;
    int64_t confirm_until_ms;

    struct queue_body body_get;
    struct bytes *body;
    bool body_counted, body_kept; /* in q->body_bytes, q->kept_bytes */

    struct notice *notice; /* being made, and made */
    bool untried;
    Merlion__QueueLegOutcome *outcome; /* in the arena */
    size_t outcome_bytes;
    int64_t outcome_ms; /* steady, since when it waits */
};

/* ---- the queue ---- */

struct queue_metrics;
enum { QUEUE_UNKNOWN_MAX = 256 };

struct queue {
    struct loop loop;
    struct services *services;
    char *hostname;
    unsigned deliveries_max, leases_max;
    struct dns *dns;
    SSL_CTX *tls_any, *tls_verify;
    struct queue_settings settings;
    unsigned nodes; /* that share the work */

    uv_timer_t tick, lease_timer, retry_timer, outcome_timer;
    struct task wake_task;
    _Atomic bool wake_posted, draining, flush, stop_wanted;
    bool drain_begun, stopped, dispatching;
    int64_t drain_ms;     /* steady clock */
    unsigned jobs, ticks; /* jobs: asynchronous work that must come home before the end */

    struct read_barrier touch; /* while `touching` */
    bool touching;
    int64_t touch_asked_ms, touch_ms; /* steady: of the last one, of the last one that came through */

    /* reservations: any thread */
    _Atomic unsigned used;                  /* legs leased to this node, or about to be */
    _Atomic unsigned shares[QUEUE_BUCKETS]; /* of them: by destination */
    _Atomic unsigned share_max;
    _Atomic bool held[QUEUE_BUCKETS]; /* something there is held by its route: not worth a reservation */
    _Atomic uint64_t node, boot;      /* 0: not known yet */
    _Atomic int64_t lifetime_ms;
    _Atomic bool ready; /* the format is there, the node is in the cluster */

    struct list deliveries[QUEUE_TABLE], classes[QUEUE_TABLE], hosts[QUEUE_TABLE];
    struct list turn;   /* classes that have something waiting */
    struct list unseen; /* leased items that no view shows yet: struct queue_leased_item */
    struct list bodies_waiting, confirming;
    struct list idle; /* connections, the one idle for longest first: queue_link.idle */
    unsigned running, idle_n;
    _Atomic unsigned running_now, conns, idle_now, marked;
    _Atomic uint64_t body_bytes; /* read because their turn came */
    _Atomic uint64_t kept_bytes; /* handed over when they were taken; any thread */
    _Atomic uint64_t delivered, deferred, failed;

    struct queue_command lease, voiding, outcome;
    struct list outcomes; /* deliveries whose outcome waits */
    unsigned outcome_n;   /* of them */
    struct list outcomes_sent;
    struct list refused; /* those that the state machine does not want, until their leases are over */
    bool lease_armed;
    int64_t next_due_ms, lease_not_before_ms; /* queue_time_ms; steady */
    int64_t look_ms;                          /* where the last look ended, as there was too much: due time, name */
    char *look_name;                          /* NULL: it saw all that is due */
    unsigned lease_n;
    struct lease_want *lease_wants;
    int64_t void_next_ms, sweep_next_ms, run_out_next_ms;
    uint64_t stranger;   /* holds leases and is no member (any more) */
    int64_t stranger_ms; /* steady, seen first */
    bool own_clear;      /* no leases of earlier boots, as far as was seen */
    unsigned unknown_n;
    struct {
        uint64_t item;
        uint32_t leg;
    } unknown[QUEUE_UNKNOWN_MAX];
    struct queue_metrics *metrics;
};

/* How old items are goes by the cluster's clock: this node's own may be days off, and mail would be bounced. */
static inline int64_t queue_clock_ms(struct queue *q)
{
    return replication_clock_ms(q->services->replication);
}

/* Leases and due times are the state machine's, whose time may be ahead of that clock. */
static inline int64_t queue_time_ms(struct queue *q)
{
    return replication_time_ms(q->services->replication);
}

static inline struct task_queue *queue_home(struct queue *q)
{
    return &q->loop.queue;
}

/* queue.c */
void queue_job_begin(struct queue *q); /* something is on its way to another thread */
void queue_job_end(struct queue *q);
void queue_settings_refresh(struct queue *q, struct store_view *v);

/* queue_fast.c */
unsigned queue_share_of(struct slice destination);
/* Takes up to n of what is free, for a lease; returns how many. */
unsigned queue_room_take(struct queue *q, unsigned share, unsigned n);
unsigned queue_room_free(struct queue *q);
void queue_room_give(struct queue *q, unsigned share, unsigned n);
/* A reference to a message that was just taken, or NULL when it is large, or too much is kept. Any thread. */
struct bytes *queue_body_keep(struct queue *q, struct bytes *body);
void queue_body_drop(struct queue *q, struct bytes **body);
void queue_unseen_check(struct queue *q);
void queue_unseen_drop(struct queue *q);

/* queue_lease.c */
void queue_lease_soon(struct queue *q, unsigned spread_ms); /* looks for due legs after 0 – spread_ms */
void queue_lease_free(struct queue *q);

/* queue_void.c */
void queue_void_tick(struct queue *q, const struct replication_now *now);

/* queue_class.c */
struct queue_class *queue_class_get(struct queue *q, struct slice destination);
void queue_class_put(struct queue *q, struct queue_class *c); /* frees it when nothing belongs to it */
void queue_class_add(struct queue_class *c, struct delivery *d);
unsigned queue_class_limit(const struct queue *q, const struct queue_class *c);
void queue_dispatch(struct queue *q); /* begins deliveries while there are slots */

/* queue_delivery.c */
/* A leg that is leased to this node: takes it over unless it is known already. room: it has one in `used` and shares.
 * body: its message if that is at hand, else NULL; a reference is taken. False: not ours (the caller gives the room
 * back). */
bool delivery_adopt(struct queue *q, const struct store_queue_leg *l, bool room, struct bytes *body);
struct delivery *delivery_find(struct queue *q, uint64_t item, uint32_t leg);
void delivery_begin(struct delivery *d);
void delivery_unslot(struct delivery *d); /* it does not hold up others any more */
void delivery_connected(struct delivery *d, bool reused);
void delivery_conn_failed(struct delivery *d, enum queue_conn_trouble t, const struct smtp_outcome *o);
void delivery_confirm(struct delivery *d);
void delivery_confirm_tick(struct queue *q);
bool delivery_overdue_cut(struct delivery *d);
void delivery_done(struct delivery *d, bool again);
void delivery_body_room(struct queue *q);
void delivery_giveback(struct delivery *d); /* untried */
void delivery_cut(struct delivery *d);      /* the node stops */
void delivery_free(struct delivery *d);

/* queue_touch.c */
/* Views opened now show this node's leases as they are, or were QUEUE_TOUCH_MS ago. False: not known; it is asked for,
 * and delivery_confirm_tick called when the answer is there. */
bool queue_in_touch(struct queue *q);

/* queue_target.c */
void target_start(struct delivery *d);
/* The host that it tried last: a connection to it, a new one if fresh. */
void target_host_use(struct delivery *d, bool fresh);
void target_next(struct delivery *d); /* the next address, host; or gives up with what is known */
void target_trouble(struct delivery *d, const struct smtp_outcome *o);
void outcome_set(struct smtp_outcome *o, enum smtp_outcome_kind kind, int code, const char *enhanced,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

/* queue_pool.c */
struct queue_link {
    struct queue *q;
    struct queue_conn *conn;
    struct queue_host *host;
    struct delivery *user; /* NULL: idle */
    struct list host_link, idle;
    int64_t idle_since_ms;
};
struct queue_host *queue_host_get(struct queue *q, const struct queue_host_key *k);
/* An idle connection, or a new one, or (at the host's limit) the delivery is parked; or target_next, when the host is
 * marked. fresh: a new one in any case. */
void queue_host_use(struct queue_host *h, struct delivery *d, bool fresh);
void queue_link_release(struct queue_link *l); /* its mail is done: idle */
void queue_pool_tick(struct queue *q);
void queue_pool_flush(struct queue *q);
void queue_pool_close(struct queue *q); /* idle ones quit */
void queue_pool_free(struct queue *q);

/* queue_body.c */
void queue_body_get(struct queue *q, struct queue_body *b, const struct body_hash *hash,
                    void (*done)(struct queue_body *b, int status, struct bytes *body));

/* queue_result.c */
void result_all(struct delivery *d, const struct smtp_outcome *o); /* the same for every recipient */
void result_settle(struct delivery *d); /* outcomes are in mail.recipients: log, expiry, notices, outcome */

/* queue_notice.c */
/* Makes the notice; then the outcome goes on. kinds[i]: DSN action of recipient i, or -1. */
void notices_make(struct delivery *d, const int *kinds, int64_t now_ms);
void notices_free(struct delivery *d);
/* Its outcome is committed, and these vote by now (propose.voters): a body that was counted by others is put again. */
void notice_keep(struct delivery *d, uint64_t voters);
/* Adds it to the outcome. */
void notices_pack(struct delivery *d, Merlion__QueueLegOutcome *o);

/* queue_outcome.c */
void outcome_add(struct delivery *d); /* its outcome is packed: commit it, then free the delivery */
void outcome_flush(struct queue *q);
bool outcome_pending(const struct queue *q);
void outcome_refused_tick(struct queue *q); /* now and then */

/* queue_metrics.c */
void queue_metrics_open(struct queue *q, struct metrics *m);
void queue_metrics_close(struct queue *q);
void queue_metrics_count(struct queue *q, struct slice destination, enum smtp_outcome_kind kind, int64_t delay_ms);
void queue_metrics_refresh(struct queue *q, struct store_view *v, int64_t now_ms);

#endif
