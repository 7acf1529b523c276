/* Inside bulk*.c. Everything belongs to the bulk loop's thread unless it says otherwise.
 *
 *   bulk.c          life, peers, ticks
 *   bulk_put.c      body_put: own log and all members, until a majority of voters has it
 *   bulk_get.c      body_get: asks peers in turn, verifies, appends
 *   bulk_missing.c  background fetch of what apply found missing
 *   bulk_recheck.c  all references compared with the bodies here, after a crash
 *   bulk_serve.c    the other end: connections that peers dialled
 *   bulk_export.c   the other end of a state transfer
 *   bulk_import.c   state transfer into this node */
#ifndef REPLICATION_BULK_IMPL_H
#define REPLICATION_BULK_IMPL_H

#include "node/base/clock.h"
#include "node/base/list.h"
#include "node/base/log.h"
#include "node/io/loop.h"
#include "replication/bulk_worker.h"
#include "replication/internal.h"

enum {
    BULK_PEERS_MAX = REPLICATION_MEMBERS_MAX,
    BULK_TICK_MS = 50,       /* while anything is under way */
    BULK_TICK_IDLE_MS = 500, /* else: bodies found damaged by a reader are noticed that late */
    BULK_DEADLINE_MS = 30000,
    BULK_PUT_WINDOW = 16 * 1024 * 1024,   /* sent to one peer and not answered; one larger body goes alone */
    BULK_RECEIVE_MAX = 128 * 1024 * 1024, /* from one peer and not durable yet */
    BULK_READERS = 2,                     /* threads */
    BULK_READS_MAX = 8,                   /* of one peer at the readers */
    BULK_READS_QUEUED_MAX = 1024,         /* of one peer */
    BULK_GET_MS = 5000,                   /* an answer with a body; then the next peer is asked */
    BULK_GET_ROUNDS = 5,                  /* every member asked that often, over 1.5 s, and has none: not found */
    BULK_MISSING_WINDOW = 32,             /* background fetches under way */
    BULK_MISSING_BATCH = 64,
    BULK_MISSING_DELAY_MS = 200, /* a body noted as missing mostly is on its way */
    BULK_STATE_PART = 256 * 1024,
    BULK_STATE_WINDOW = 4 * 1024 * 1024, /* sent and not taken */
    BULK_STATE_STALL_MS = 15000,
    BULK_EXPORTS_MAX = 2,
    BULK_LOG_MS = 5000, /* between two lines of progress */
};

struct peer {
    struct bulk *b;
    struct bulk_peer info;
    struct link *link;
    struct list waiting; /* struct leg: bodies to send when the link allows */
    size_t window;       /* bytes of bodies sent and not answered */
};

/* A connection that a peer dialled. */
struct conn {
    struct bulk *b;
    struct list item;
    struct link *link; /* NULL: down */
    struct link_hello hello;
    unsigned refs; /* itself while up, and what is under way for it */
    size_t receiving;
    struct list reads; /* struct read_job, not at a reader yet */
    unsigned reads_queued, reads_running;
    struct export *export;
};

struct missing {
    struct body_hash batch[BULK_MISSING_BATCH], cursor;
    size_t n, at;
    bool in_round, more; /* more: begin the next batch after cursor */
    unsigned active, failed;
    unsigned backoff_ms;
    int64_t next_ms, logged_ms; /* next_ms: of the next round; 0: none due */
    uint64_t fetched;
    struct task fill, kick; /* posted to our own queue, at most once at a time */
    bool fill_posted;
    atomic_bool kick_posted;
};

struct bulk {
    struct loop loop;
    struct bulk_config c;
    struct link_listener *listener;
    uv_timer_t tick;
    bool ticking_fast, stopping, members_known, self_voter;
    struct peer *peers[BULK_PEERS_MAX];
    unsigned peer_n, rotor;
    struct list puts, gets, conns;
    size_t outstanding; /* tasks at other threads that come back */
    struct missing missing;
    struct fetch *fetch;
    struct task recheck; /* at the checker while rechecking */
    bool rechecking;
    int64_t recheck_next_ms;
    atomic_bool recheck_stop;
    unsigned exports;
    uint64_t state_requests;
    struct bulk_worker readers[BULK_READERS], exporter, importer, checker;
    unsigned reader_next;
};

static inline void bulk_home(struct bulk *b, struct task *t)
{
    task_post(&b->loop.queue, t);
}
/* Something is under way: tick often. */
void bulk_busy(struct bulk *b);
struct peer *bulk_peer_find(struct bulk *b, uint64_t id);
/* The next peer in turn whose link is up and whose id is in none of the n in `but`; NULL: none. */
struct peer *bulk_peer_next(struct bulk *b, const uint64_t *but, unsigned n);
void bulk_read_post(struct bulk *b, struct task *t); /* to one of the readers */
void bulk_fatal(struct bulk *b, int status, const char *why);
/* Milliseconds left until a steady time, at least 1. */
unsigned bulk_left_ms(int64_t deadline_ms);

/* bulk_put.c */
void put_peer_added(struct bulk *b, struct peer *p);
void put_peer_flush(struct peer *p);
void put_peer_removed(struct peer *p); /* after its link was closed */
void put_members_changed(struct bulk *b);
void put_tick(struct bulk *b, int64_t now);
void put_stop(struct bulk *b);
/* bulk_get.c */
void get_background(struct bulk *b, const struct body_hash *hash);
void get_peer_up(struct bulk *b);
void get_tick(struct bulk *b, int64_t now);
void get_stop(struct bulk *b);
/* bulk_missing.c */
void missing_init(struct bulk *b);
void missing_done(struct bulk *b, const struct body_hash *hash, bool found);
void missing_tick(struct bulk *b, int64_t now);
/* bulk_recheck.c */
void recheck_init(struct bulk *b);
void recheck_tick(struct bulk *b, int64_t now);
/* bulk_serve.c */
void serve_accepted(void *arg, struct link *l, const struct link_hello *peer);
void serve_members_changed(struct bulk *b);
void serve_tick(struct bulk *b, int64_t now);
void serve_stop(struct bulk *b);
void conn_unref(struct conn *c);
/* bulk_export.c */
void export_begin(struct conn *c, uint64_t request, uint64_t min_index);
void export_ack(struct export *x, uint64_t request, uint64_t taken);
void export_push(struct export *x); /* the link has room again */
void export_tick(struct export *x, int64_t now);
void export_stop(struct export *x); /* its connection is gone */
/* LINK_STATE_PART: u8 kind, then BEGIN: u64 index, u64 term, u64 bytes (an estimate); DATA: bytes; END: nothing;
 * FAILED: i32 status. */
enum state_part { STATE_BEGIN = 1, STATE_DATA = 2, STATE_END = 3, STATE_FAILED = 4 };
/* bulk_import.c */
void fetch_part(struct bulk *b, struct link *l, uint64_t request, struct slice payload);
void fetch_peer_down(struct bulk *b, const struct link *l);
void fetch_tick(struct bulk *b, int64_t now);
void fetch_stop(struct bulk *b);

#endif
