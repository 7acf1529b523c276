/* The mail listeners: accept on one loop, hand each connection to a worker, host the protocol session there
 * (protocol/session.h), with PROXY protocol, TLS, idle timers, limits and draining.
 *
 *   accepted ─► [PROXY header] ─► [TLS handshake] ─► session ─► closing ─► released (last operation ended) ─► freed
 */
#ifndef NODE_LISTENER_H
#define NODE_LISTENER_H

#include "node/metrics.h"
#include "node/proxy.h"
#include "node/tls.h"
#include "node/worker.h"
#include "protocol/session.h"

enum listener_protocol {
    LISTENER_IMAP,
    LISTENER_POP3,
    LISTENER_RELAY, /* SMTP from other servers */
    LISTENER_SUBMISSION,
    LISTENER_LMTP,
    LISTENER_PROTOCOLS
};
enum listener_tls { LISTENER_TLS_NONE, LISTENER_TLS_STARTTLS, LISTENER_TLS_IMPLICIT };

struct listener_config {
    char address[64]; /* numeric, IPv4 or IPv6 */
    uint16_t port;    /* 0: any free one */
    enum listener_protocol protocol;
    enum listener_tls tls;
    bool proxy; /* every connection starts with a PROXY header, and comes from one of `trusted` or is cut */
    struct network trusted[PROXY_NETWORKS_MAX];
    unsigned trusted_n;
};

/* "imap", "pop3", "smtp", "submission", "lmtp"; ERR_INVALID. */
int listener_protocol_parse(struct slice name, enum listener_protocol *p_r);
const char *listener_protocol_name(enum listener_protocol p);
/* "none", "starttls", "implicit"; ERR_INVALID. */
int listener_tls_parse(struct slice name, enum listener_tls *t_r);
/* "192.0.2.1:143", "[::]:993", "*:25" (every address, both families) into address and port; ERR_INVALID. */
int listener_address_parse(struct slice text, struct listener_config *c);

struct listeners;

struct listeners_options {
    const char *host_name;                /* public name, for banners; copied */
    const struct session_limits *limits;  /* must live on */
    struct tls *tls;                      /* needed when any listener has TLS */
    struct metrics *metrics;              /* may be NULL */
    unsigned connections_max;             /* 0: no limit */
    unsigned connections_per_address_max; /* 0: no limit */
    unsigned stall_ms;                    /* a client that takes no output for so long is cut; 0: 5 minutes */
    /* NULL: the real sessions. For tests. */
    struct session *(*session_new)(enum listener_protocol p, struct session_host *h, struct backend *b,
                                   const struct session_peer *peer, const struct session_limits *limits);
};

/* `loop`: where connections are accepted; the functions below are called on its thread (or before it runs). */
struct listeners *listeners_new(struct loop *loop, struct workers *workers, const struct listeners_options *o);
/* Starts to accept. *port_r (may be NULL): the port taken. ERR_INVALID, ERR_DENIED, ERR_EXISTS (in use) with detail. */
int listener_open(struct listeners *l, const struct listener_config *c, uint16_t *port_r, struct err_detail *e);
/* Stops accepting (who has connected by then is served), asks every session to end, ends those whose client is silent
 * for quiet_ms from now on, cuts what is left after deadline_ms; then calls done, once, from the loop. (Operations that
 * outlast even that by 5 s are not waited for.) */
void listeners_drain(struct listeners *l, unsigned quiet_ms, unsigned deadline_ms, void (*done)(void *arg), void *arg);
/* After a drain that is done, listener_open may be used again: sessions are taken as before. */
unsigned listeners_connections(const struct listeners *l); /* any thread */
/* After the drain was done and the workers were freed; the loop must turn once more before it is closed. */
void listeners_free(struct listeners **l);

#endif
