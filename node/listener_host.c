/* Hosts a session (protocol/session.h): feeds it, carries its output, starts TLS, closes. */
#include "node/listener_internal.h"

#include "node/base/clock.h"
#include "node/base/log.h"

#include <stdio.h>

enum { OUT_KEEP = 1024, READ_SLACK = 16 * 1024 };

static void wake(struct session_host *h)
{
    struct conn *c = (struct conn *)h;
    worker_ready(c->worker, &c->ready);
}

static void released(struct session_host *h)
{
    struct conn *c = (struct conn *)h;
    c->released = true;
    worker_ready(c->worker, &c->ready);
}

static int64_t now_ms(struct session_host *h)
{
    (void)h;
    return clock_wall_ms();
}

static void peer_tls(struct session_peer *p, SSL *ssl)
{
    p->tls = true;
    p->tls_available = false;
    snprintf(p->tls_version, sizeof p->tls_version, "%s", SSL_get_version(ssl));
    snprintf(p->tls_cipher, sizeof p->tls_cipher, "%s", SSL_get_cipher_name(ssl));
}

static struct session *session_make(enum listener_protocol p, struct session_host *h, struct backend *b,
                                    const struct session_peer *peer, const struct session_limits *limits)
{
    switch (p) {
    case LISTENER_IMAP:
        return imap_session_new(h, b, peer, limits);
    case LISTENER_POP3:
        return pop3_session_new(h, b, peer, limits);
    case LISTENER_RELAY:
        return smtp_session_new(h, b, peer, limits, SMTP_RELAY);
    case LISTENER_SUBMISSION:
        return smtp_session_new(h, b, peer, limits, SMTP_SUBMISSION);
    default:
        return smtp_session_new(h, b, peer, limits, SMTP_LMTP);
    }
}

void host_session_start(struct conn *c)
{
    struct listeners *l = c->all;
    const struct listener_config *config = &c->listener->config;
    struct session_peer peer = {.port = c->port, .tls_available = config->tls == LISTENER_TLS_STARTTLS};
    snprintf(peer.address, sizeof peer.address, "%s", c->address);
    snprintf(peer.local_name, sizeof peer.local_name, "%s", l->host_name);
    snprintf(peer.id, sizeof peer.id, "%08x-%llx", l->boot, (unsigned long long)atomic_fetch_add(&l->next_id, 1));
    if (stream_ssl(c->stream))
        peer_tls(&peer, stream_ssl(c->stream));
    log_event(LOG_INFO, "session opened", LOG_S("session", peer.id),
              LOG_S("protocol", listener_protocol_name(config->protocol)), LOG_S("client", peer.address),
              LOG_U("port", peer.port), LOG_S("tls", peer.tls ? peer.tls_version : "none"));
    c->host = (struct session_host){.wake = wake, .released = released, .now_ms = now_ms};
    c->state = CONN_SESSION;
    c->limit_ms = 0;
    c->active_ms = (int64_t)uv_now(&c->worker->loop.uv);
    c->session = (l->options.session_new ? l->options.session_new : session_make)(
        config->protocol, &c->host, c->worker->backend, &peer, l->options.limits);
    /* A line that is just within its limit must fit whole. */
    if (l->options.limits->line_max + READ_SLACK > STREAM_READ_MAX)
        stream_read_max_set(c->stream, l->options.limits->line_max + READ_SLACK);
    if (c->ending_ms)
        c->session->ops->shutdown(c->session);
    worker_ready(c->worker, &c->ready);
}

static bool takes_input(const struct conn *c)
{
    const struct session *s = c->session;
    return c->state == CONN_SESSION && !s->blocked && !s->starttls && !s->closing &&
           buf_len(&s->out) < SESSION_OUT_HIGH;
}

/* Output moves on as far as the client takes it. */
static void carry(struct conn *c)
{
    struct session *s = c->session;
    while (buf_len(&s->out) > 0 && stream_queued(c->stream) < STREAM_OUT_LOW) {
        bool held = buf_len(&s->out) >= SESSION_OUT_LOW;
        stream_write(c->stream, buf_slice(&s->out));
        if (s->out.cap > OUT_KEEP)
            buf_close(&s->out); /* an idle session keeps no buffer */
        else
            buf_clear(&s->out);
        if (held && !s->closing)
            s->ops->drained(s);
    }
}

static void start_tls(struct conn *c)
{
    if (!c->all->options.tls || stream_ssl(c->stream)) {
        conn_close(c, CUT_LINGER_MS, "cannot start TLS");
        return;
    }
    c->state = CONN_STARTTLS;
    conn_limit(c, HANDSHAKE_MS);
    SSL_CTX *ctx = tls_context(c->all->options.tls);
    int rc = stream_tls_accept(c->stream, ctx);
    SSL_CTX_free(ctx);
    if (rc < 0)
        conn_close(c, 0, err_text(rc));
}

/* With the output gone: what the session asked for. */
static void settle(struct conn *c)
{
    struct session *s = c->session;
    if (c->state != CONN_SESSION || buf_len(&s->out) > 0)
        return;
    if (s->starttls)
        start_tls(c);
    else if (s->closing)
        conn_close(c, atomic_load(&c->all->draining) ? DRAIN_LINGER_MS : LINGER_MS,
                   c->timed_out ? "timed out" : "goodbye");
    else if (c->eof && !s->blocked && s->pending == 0 && !c->stalled)
        conn_close(c, LINGER_MS, "closed by client");
}

size_t host_read(struct conn *c, struct slice in)
{
    if (c->state != CONN_SESSION)
        return 0;
    c->active_ms = (int64_t)uv_now(&c->worker->loop.uv);
    size_t used = 0;
    while (takes_input(c) && used < in.n) {
        size_t n = c->session->ops->input(c->session, slice_from(in, used));
        ENSURE(n <= in.n - used);
        used += n;
        carry(c);
        if (n == 0)
            break;
    }
    c->stalled = used < in.n && !takes_input(c);
    settle(c);
    return used;
}

void host_pump(struct conn *c)
{
    carry(c);
    if (c->stalled && takes_input(c)) {
        c->stalled = false;
        stream_resume(c->stream); /* offers what was left */
        if (c->eof)
            return; /* and settles then */
    }
    settle(c);
}

void host_tls_ready(struct conn *c)
{
    if (c->state == CONN_TLS) {
        host_session_start(c);
        return;
    }
    struct session *s = c->session;
    c->state = CONN_SESSION;
    c->stalled = false;
    s->starttls = false;
    peer_tls(&s->peer, stream_ssl(c->stream));
    s->ops->tls_started(s);
    if (c->ending_ms)
        s->ops->shutdown(s);
    host_pump(c);
}
