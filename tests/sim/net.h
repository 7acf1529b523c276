/* Between net.c (packets between hosts), net_stream.c (streams on a loop), net_listener.c and identity.c.
 *
 * link.c itself is the production's: what is replaced is what lies below it, stream.h and the sockets of link_listen.
 * A connection has two sides, 0 dialled, 1 accepted. What a side writes travels as packets, one a frame:
 *
 *   0 ── SYN ──► 1 ── ACCEPT (certificate) ──► 0 ── READY (certificate) ──► 1     then DATA both ways, FIN, RST */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "node/io/stream.h"
#include "tests/sim/sim.h"

/* What a certificate says, whom it was signed by; identity.c. All zero: none. */
struct sim_cert {
    uint64_t ca, cluster, node;
};
/* What an SSL_CTX points to here. */
struct sim_context {
    unsigned refs;
    struct sim_cert cert;
};

enum packet_kind { PACKET_SYN, PACKET_ACCEPT, PACKET_READY, PACKET_DATA, PACKET_FIN, PACKET_RST };

struct stream;
struct net_side {
    struct stream *stream; /* NULL: not there yet, closed, or its host died */
    unsigned host;
    int64_t last_at;      /* the latest packet arrives here then: the next one not before */
    uint64_t sent, acked; /* bytes of DATA from here, and how far the other side has them */
};
struct net_conn {
    unsigned refs; /* streams, packets under way */
    unsigned port;
    struct net_side side[2];
};
struct packet {
    struct net_conn *conn;
    unsigned to; /* side */
    enum packet_kind kind;
    uint8_t type; /* of the frame */
    struct sim_cert cert;
    uint64_t end; /* of the sender's bytes, this packet's included */
    size_t n;
    uint8_t p[];
};

/* ---- net.c ---- */
struct net_conn *net_conn_new(unsigned from, unsigned to, unsigned port);
void net_conn_unref(struct net_conn *c);
/* From that side to the other one. data: one frame. */
void net_send(struct net_conn *c, unsigned side, enum packet_kind kind, const struct sim_cert *cert, struct slice data);
/* To the side itself, from its loop: what its own kernel tells. */
void net_tell(struct net_conn *c, unsigned side, enum packet_kind kind);
void packet_free(struct packet *p);

/* ---- net_stream.c: on the side's loop ---- */
uv_loop_t *net_stream_loop(const struct stream *s);
void net_stream_take(struct stream *s, const struct packet *p);
void net_stream_acked(struct stream *s);
/* Of the other end, once TLS is ready. */
const struct sim_cert *net_stream_peer(const struct stream *s);

/* ---- net_listener.c ---- */
uv_loop_t *net_listener_loop(unsigned host, unsigned port); /* NULL: nobody listens */
/* From that loop. Nobody listens there any more, or too many wait: refused. */
void net_listener_take(struct net_conn *c);
bool net_listener_any(unsigned host);
void net_listener_crash(unsigned host);

#endif
