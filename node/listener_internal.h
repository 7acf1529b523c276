/* Between listener.c (accepting, draining) and listener_conn.c, listener_host.c (a connection on its worker). */
#ifndef NODE_LISTENER_INTERNAL_H
#define NODE_LISTENER_INTERNAL_H

#include "node/io/stream.h"
#include "node/listener.h"
#include "node/listener_limit.h"

enum {
    HANDSHAKE_MS = 30000,   /* for the PROXY header, and for TLS */
    GOODBYE_MS = 10000,     /* a client that reads no more, after a goodbye was said */
    STALL_MS = 300000,      /* no octet of waiting output was taken (RFC 5321 4.5.3.2.6 gives a block 3 minutes) */
    LINGER_MS = 10000,      /* last output of an orderly end */
    DRAIN_LINGER_MS = 2000, /* the same while draining: the worker's end waits for it */
    CUT_LINGER_MS = 500,
};

struct listeners {
    struct loop *loop;
    struct workers *workers;
    struct listeners_options options;
    char *host_name;
    struct metrics *own_metrics; /* when none was given */
    struct list all;             /* struct listener; the accepting loop's */
    struct address_counts *addresses;
    _Atomic unsigned open; /* connections accepted and not yet freed */
    _Atomic bool draining;
    _Atomic unsigned drain_quiet_ms;
    _Atomic uint64_t next_id;
    uint32_t boot;
    struct drain *drain;
    _Atomic unsigned open_by[LISTENER_PROTOCOLS];
    struct counter *total[LISTENER_PROTOCOLS], *bytes_in[LISTENER_PROTOCOLS], *bytes_out[LISTENER_PROTOCOLS];
    struct counter *refused_total, *refused_address, *refused_proxy, *tls_failed, *timeouts;
};

struct acceptor;

struct listener {
    struct list link;
    struct listeners *all;
    struct listener_config config; /* fixed */
    struct acceptor *acceptor;     /* NULL once it stopped */
};

/* What a connection waits for before it has a session, and while it changes to TLS. */
enum conn_state { CONN_PROXY, CONN_TLS, CONN_SESSION, CONN_STARTTLS, CONN_CLOSED };

/* Of its worker's thread. */
struct conn {
    struct session_host host; /* first */
    struct list link, ready;  /* in the worker's lists */
    struct worker *worker;
    struct listener *listener;
    struct listeners *all;
    struct session *session;
    struct stream *stream; /* NULL when closed */
    enum conn_state state;
    int64_t opened_ms, active_ms, limit_ms; /* uv_now; limit_ms: cut then (0: none) */
    int64_t taken_ms;                       /* when the client last took output, or none waited for it */
    int64_t ending_ms;                      /* since when it is to end, as the node drains; 0: it is not */
    uint64_t seen_in, seen_out;             /* traffic accounted for */
    char address[64];
    uint16_t port;
    bool counted;   /* in the address counts */
    bool stalled;   /* input was left because the session could not take it */
    bool eof;       /* the client sends no more */
    bool timed_out; /* said so */
    bool released;  /* to be freed at the next turn */
};

/* Takes an accepted socket over, on the worker's thread. */
void conn_open(struct worker *w, struct listener *l, int fd);
void conn_turn(struct conn *c);
void conn_tick(struct conn *c);
void conn_shutdown(struct conn *c); /* drain: ask the session to end */
void conn_cut(struct conn *c, const char *why);
void conn_close(struct conn *c, unsigned linger_ms, const char *why);
void conn_limit(struct conn *c, int64_t ms); /* cut in so many ms */
/* What a client over the limits is told in plaintext. */
struct slice refusal_text(enum listener_protocol p);

/* listener_host.c */
void host_session_start(struct conn *c);
size_t host_read(struct conn *c, struct slice in);
void host_pump(struct conn *c);
void host_tls_ready(struct conn *c);

/* Puts a connection on its worker's ready list. */
void worker_ready(struct worker *w, struct list *item);

#endif
