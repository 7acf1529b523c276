/* Inside link*.c: the state of one link. All on the loop that it was made on.
 *
 *   outgoing: IDLE ──redial──► CONNECTING ──TLS──► HELLO ──hello──► UP
 *              ▲                   │                 │              │
 *              └───────────────────┴── closed/late ──┴──────────────┘
 *   accepted: CONNECTING ──TLS──► HELLO ──hello, ok()──► UP ──► DOWN (stays there until link_close)  */
#ifndef REPLICATION_LINK_IMPL_H
#define REPLICATION_LINK_IMPL_H

#include "node/base/list.h"
#include "node/base/task.h"
#include "node/io/stream.h"
#include "replication/link_frame.h"

enum link_state { LINK_STATE_IDLE, LINK_STATE_CONNECTING, LINK_STATE_HELLO, LINK_STATE_UP, LINK_STATE_DOWN };
enum {
    LINK_HANDSHAKE_MS = 5000, /* from connecting to the peer's hello */
    LINK_BACKOFF_MIN_MS = 50,
    LINK_BACKOFF_MAX_MS = 1000,
    LINK_STABLE_MS = 1000, /* up for that long: the backoff starts over */
    LINK_DEAD_MIN_MS = 200,
    LINK_DEAD_MAX_MS = 60000,
    LINK_BUCKETS = 64, /* chains of open requests, by number */
};

struct link {
    uv_loop_t *loop;
    uv_timer_t timer;
    int64_t timer_due_ms; /* steady; when the timer was meant to fire */
    const struct link_identity *id;
    enum link_class class;
    enum link_state state;
    bool outgoing, closed;
    uint64_t peer; /* 0: accepted, not known yet */
    char address[160];
    unsigned dead_ms, backoff_ms;
    const struct link_events *ev;
    void *arg;
    int (*ok)(void *arg, const struct link_hello *peer); /* outgoing; may be NULL */
    void *ok_arg;
    void (*failed)(void *arg, struct link *l, int status, const char *why); /* outgoing; may be NULL */
    void *failed_arg;
    bool any_peer;                  /* outgoing; `peer` is who was met last */
    struct link_listener *listener; /* until accepted() */
    struct list item;               /* in the listener's pending ones */
    struct stream *stream;          /* NULL: not connected */
    struct buf in;                  /* a frame that is not whole yet */
    struct list requests[LINK_BUCKETS];
    uint64_t request_last;
    int64_t request_due_ms; /* no open request times out before */
    int64_t state_ms, seen_ms, sent_ms;
    int64_t alive_ms; /* seen_ms, or later: what the peer's silence is counted from */
    int logged;       /* status in the last line of the log; 1: none yet, 0: up */
};

struct link *link_new(uv_loop_t *loop, const struct link_identity *id, enum link_class class);
/* Takes over an accepted connection; ends in the listener's accepted() or vanishes. */
void link_accept(struct link_listener *listener, uv_tcp_t *tcp);

/* ---- link_listener.c ---- */
struct link_listener {
    uv_tcp_t tcp;
    const struct link_identity *id;
    enum link_class class;
    struct link_listener_events ev;
    void *arg;
    struct list pending; /* links in their handshake */
    unsigned pending_n;
};

/* A request under way, in struct link's buckets by number. */
struct request {
    struct list item;
    uint64_t number;
    int64_t due_ms;
    link_answer_cb cb;
    void *arg;
};

/* link.c: the timer runs for what is due first. */
void link_timer_set(struct link *l);

#endif
