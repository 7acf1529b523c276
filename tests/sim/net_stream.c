/* stream.h for link.c: bytes are cut into link frames, and each frame is a packet. TLS is two certificates that are
 * shown to each other. */
#include "replication/link_frame.h"
#include "tests/sim/net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that a kernel takes ahead of the peer's acknowledgement. */
enum { KERNEL_BYTES = 256 * 1024 };

struct stream {
    uv_loop_t *loop;
    const struct stream_events *ev;
    void *arg;
    struct net_conn *conn; /* NULL: the address was none */
    unsigned side;
    struct sim_context *context; /* borrowed: the link's identity outlives it */
    struct sim_cert peer;
    struct buf out, in; /* a frame that is not whole yet; what was not consumed */
    void (*connected)(void *arg);
    bool up, tls, failed, reported, above;
};

uv_loop_t *net_stream_loop(const struct stream *s)
{
    return s->loop;
}

const struct sim_cert *net_stream_peer(const struct stream *s)
{
    return &s->peer;
}

static struct stream *stream_new(uv_loop_t *loop, const struct stream_events *ev, void *arg)
{
    struct stream *s = mem_zalloc(sizeof *s);
    s->loop = loop;
    s->ev = ev;
    s->arg = arg;
    return s;
}

/* "hostN:port". */
static bool address_parse(const char *address, unsigned *host_r, unsigned *port_r)
{
    char rest;
    return sscanf(address, "host%u:%u%c", host_r, port_r, &rest) == 2 && *host_r < SIM_HOSTS_MAX;
}

struct stream *stream_connect(uv_loop_t *loop, const char *address, SSL_CTX *ctx, const char *server_name,
                              const struct stream_events *ev, void *arg, void (*connected)(void *arg))
{
    struct stream *s = stream_new(loop, ev, arg);
    unsigned host, port, own = sim_host_index(sim_host_now());
    (void)server_name;
    s->connected = connected;
    s->context = (struct sim_context *)ctx;
    bool valid = address_parse(address, &host, &port);
    s->conn = net_conn_new(own, valid ? host : own, valid ? port : 0);
    s->conn->side[0].stream = s;
    net_send(s->conn, 0, PACKET_SYN, NULL, (struct slice){0});
    return s;
}

struct stream *stream_accept(uv_loop_t *loop, uv_tcp_t *tcp, const struct stream_events *ev, void *arg)
{
    struct stream *s = stream_new(loop, ev, arg);
    s->conn = tcp->data;
    s->side = 1;
    s->up = true;
    s->conn->side[1].stream = s;
    s->conn->refs++;
    mem_free(tcp);
    return s;
}

int stream_tls_accept(struct stream *s, SSL_CTX *ctx)
{
    s->context = (struct sim_context *)ctx;
    net_send(s->conn, s->side, PACKET_ACCEPT, &s->context->cert, (struct slice){0});
    return 0;
}

SSL *stream_ssl(struct stream *s)
{
    return (SSL *)s;
}

/* ---- output ---- */

static void frames_send(struct stream *s)
{
    for (;;) {
        struct link_frame f;
        size_t size;
        int rv = link_frame_parse(buf_slice(&s->out), LINK_FRAME_MAX, &f, &size);
        ENSURE(rv >= 0);
        if (rv == LINK_FRAME_MORE)
            return;
        net_send(s->conn, s->side, PACKET_DATA, NULL, slice_first(buf_slice(&s->out), size));
        buf_consume(&s->out, size);
    }
}

void stream_write(struct stream *s, struct slice data)
{
    if (s->failed || data.n == 0)
        return;
    buf_append_slice(&s->out, data);
    frames_send(s);
    if (stream_queued(s) >= STREAM_OUT_LOW)
        s->above = true;
}

void stream_write_bytes(struct stream *s, struct bytes *b)
{
    stream_write(s, bytes_slice(b));
}

size_t stream_queued(const struct stream *s)
{
    const struct net_side *d = &s->conn->side[s->side];
    uint64_t away = d->sent - d->acked;
    return buf_len(&s->out) + (away > KERNEL_BYTES ? (size_t)(away - KERNEL_BYTES) : 0);
}

static void drained(void *arg)
{
    struct net_conn *c = arg;
    unsigned own = sim_host_index(sim_host_now());
    for (unsigned side = 0; side < 2; side++) {
        struct stream *s = c->side[side].stream;
        if (s && s->above && !s->failed && c->side[side].host == own && stream_queued(s) < STREAM_OUT_LOW) {
            s->above = false;
            if (s->ev->drained)
                s->ev->drained(s->arg);
        }
    }
    net_conn_unref(c);
}

void net_stream_acked(struct stream *s)
{
    if (!s->above || stream_queued(s) >= STREAM_OUT_LOW)
        return;
    s->conn->refs++;
    sim_loop_post(s->loop, drained, s->conn);
}

/* ---- input ---- */

static void closed(struct stream *s, int status, const char *why)
{
    s->failed = true;
    if (s->reported)
        return;
    s->reported = true;
    s->ev->closed(s->arg, status, why);
}

/* The stream may be gone after this. */
static void certificate_take(struct stream *s, const struct sim_cert *cert)
{
    if (s->tls)
        return;
    if (cert->ca != s->context->cert.ca) {
        closed(s, ERR_PROTOCOL, "TLS: certificate verify failed");
        return;
    }
    s->peer = *cert;
    s->up = s->tls = true;
    if (s->side == 0)
        net_send(s->conn, 0, PACKET_READY, &s->context->cert, (struct slice){0});
    if (s->connected)
        s->connected(s->arg);
    if (s->conn->side[s->side].stream == s && s->ev->tls_ready)
        s->ev->tls_ready(s->arg);
}

static void data_take(struct stream *s, struct slice data)
{
    if (buf_len(&s->in) == 0) {
        struct net_conn *c = s->conn;
        unsigned side = s->side;
        size_t used = s->ev->read(s->arg, data);
        if (c->side[side].stream == s)
            buf_append_slice(&s->in, slice_from(data, used));
        return;
    }
    struct buf all = s->in;
    s->in = (struct buf){0};
    buf_append_slice(&all, data);
    data_take(s, buf_slice(&all));
    buf_close(&all);
}

/* The packet holds the connection. */
void net_stream_take(struct stream *s, const struct packet *p)
{
    if (s->failed)
        return;
    switch (p->kind) {
    case PACKET_ACCEPT:
    case PACKET_READY:
        certificate_take(s, &p->cert);
        break;
    case PACKET_DATA:
        if (s->tls)
            data_take(s, slice_make(p->p, p->n));
        break;
    case PACKET_FIN:
        closed(s, 0, "closed by peer");
        break;
    case PACKET_RST:
        closed(s, err_from_errno(s->up ? ECONNRESET : ECONNREFUSED),
               s->up ? "connection reset by peer" : "connection refused");
        break;
    case PACKET_SYN:
        break;
    }
}

/* ---- end ---- */

void stream_close(struct stream *s, unsigned linger_ms)
{
    (void)linger_ms; /* what was written is on its way */
    if (!s->reported)
        net_send(s->conn, s->side, PACKET_FIN, NULL, (struct slice){0});
    s->conn->side[s->side].stream = NULL;
    net_conn_unref(s->conn);
    buf_close(&s->out);
    buf_close(&s->in);
    mem_free(s);
}
