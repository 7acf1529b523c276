/* A connection on its worker: what comes before the session, the timers, the end. */
#include "node/listener_internal.h"

#include "node/base/log.h"
#include "node/base/task.h"

#include <stdio.h>
#include <unistd.h>

static int64_t now(const struct conn *c)
{
    return (int64_t)uv_now(&c->worker->loop.uv);
}

void conn_limit(struct conn *c, int64_t ms)
{
    c->limit_ms = now(c) + ms;
}

struct slice refusal_text(enum listener_protocol p)
{
    switch (p) {
    case LISTENER_IMAP:
        return SLICE_LITERAL("* BYE [UNAVAILABLE] Too many connections, try again later\r\n");
    case LISTENER_POP3:
        return SLICE_LITERAL("-ERR [SYS/TEMP] Too many connections, try again later\r\n");
    default:
        return SLICE_LITERAL("421 4.3.2 Too many connections, try again later\r\n");
    }
}

static void conn_account(struct conn *c)
{
    uint64_t in, out;
    enum listener_protocol p = c->listener->config.protocol;
    stream_traffic(c->stream, &in, &out);
    counter_add(c->all->bytes_in[p], in - c->seen_in);
    counter_add(c->all->bytes_out[p], out - c->seen_out);
    c->seen_in = in;
    c->seen_out = out;
}

static void conn_free(struct conn *c)
{
    struct listeners *all = c->all;
    struct worker *w = c->worker;
    enum listener_protocol p = c->listener->config.protocol;
    list_remove(&c->link);
    list_remove(&c->ready);
    if (c->session)
        c->session->ops->free(c->session);
    if (c->counted)
        address_counts_remove(all->addresses, c->address);
    mem_free(c);
    atomic_fetch_sub(&all->open_by[p], 1);
    atomic_fetch_sub(&w->assigned, 1);
    atomic_fetch_sub(&all->open, 1); /* last: the drain waits for it */
}

static void conn_log(const struct conn *c, const char *why)
{
    const char *protocol = listener_protocol_name(c->listener->config.protocol);
    if (c->session)
        log_event(LOG_INFO, "session closed", LOG_S("session", c->session->peer.id), LOG_S("protocol", protocol),
                  LOG_S("client", c->address), LOG_S("user", c->session->user), LOG_S("why", why),
                  LOG_I("ms", now(c) - c->opened_ms), LOG_U("in", c->seen_in), LOG_U("out", c->seen_out));
    else
        log_event(LOG_INFO, "connection refused", LOG_S("protocol", protocol), LOG_S("client", c->address),
                  LOG_S("why", why));
}

void conn_close(struct conn *c, unsigned linger_ms, const char *why)
{
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    conn_account(c);
    conn_log(c, why);
    stream_close(c->stream, linger_ms);
    c->stream = NULL;
    if (c->session)
        c->session->ops->close(c->session);
    if (!c->session || c->session->pending == 0)
        c->released = true;
    if (c->released)
        worker_ready(c->worker, &c->ready);
}

void conn_cut(struct conn *c, const char *why)
{
    conn_close(c, CUT_LINGER_MS, why);
}

void conn_shutdown(struct conn *c)
{
    c->ending_ms = now(c);
    if (c->state == CONN_SESSION) {
        c->session->ops->shutdown(c->session);
        worker_ready(c->worker, &c->ready);
    } else if (atomic_load(&c->all->drain_quiet_ms) == 0) {
        conn_cut(c, "shutting down");
    } /* else it is told when it has a session */
}

void conn_turn(struct conn *c)
{
    if (c->released)
        conn_free(c);
    else if (c->state == CONN_SESSION)
        host_pump(c);
}

/* True when it was closed: a client that takes nothing of what waits for it, in a goodbye or amid a message, holds that
 * memory. Its session may be blocked all the while, by nothing but the client. */
static bool stall_check(struct conn *c, bool waits, bool taken)
{
    unsigned allowed = c->all->options.stall_ms ? c->all->options.stall_ms : STALL_MS;
    if (!waits || taken)
        c->taken_ms = now(c);
    if (now(c) - c->taken_ms < allowed)
        return false;
    counter_add(c->all->timeouts, 1);
    conn_close(c, 0, "takes no output");
    return true;
}

/* How long the client may be silent, and since when it is: a node that drains waits for the active ones alone. */
static bool silent_too_long(const struct conn *c, int64_t allowed)
{
    int64_t since = c->active_ms, quiet = atomic_load(&c->all->drain_quiet_ms);
    if (c->ending_ms && (allowed < 0 || allowed > quiet)) {
        allowed = quiet;
        since = c->active_ms > c->ending_ms ? c->active_ms : c->ending_ms;
    }
    return allowed >= 0 && now(c) - since >= allowed;
}

/* Silence is silence of the client: not while it is we who work, nor while it takes our output. */
static void idle_check(struct conn *c)
{
    uint64_t before = c->seen_out;
    conn_account(c);
    struct session *s = c->session;
    bool waits = stream_queued(c->stream) > 0 || buf_len(&s->out) > 0, taken = c->seen_out != before;
    if (stall_check(c, waits, taken))
        return;
    if (s->pending > 0 || (s->blocked && !waits) || (waits && taken))
        c->active_ms = now(c);
    if (c->timed_out || s->closing || !silent_too_long(c, s->ops->idle_timeout_ms(s)))
        return;
    c->timed_out = true;
    if (!c->ending_ms)
        counter_add(c->all->timeouts, 1);
    conn_limit(c, GOODBYE_MS);
    s->ops->timed_out(s);
    host_pump(c);
}

void conn_tick(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    if (c->limit_ms && now(c) >= c->limit_ms)
        conn_close(c, 0, "timed out");
    else if (c->state == CONN_SESSION)
        idle_check(c);
    else if (c->ending_ms && silent_too_long(c, -1))
        conn_cut(c, "shutting down");
}

static void refuse(struct conn *c, struct counter *counter, const char *why)
{
    counter_add(counter, 1);
    if (c->listener->config.tls != LISTENER_TLS_IMPLICIT)
        stream_write(c->stream, refusal_text(c->listener->config.protocol));
    conn_close(c, CUT_LINGER_MS, why);
}

/* The client's address is known: limits, then TLS or the session. */
static void conn_begin(struct conn *c)
{
    if (!address_counts_add(c->all->addresses, c->address, c->all->options.connections_per_address_max)) {
        refuse(c, c->all->refused_address, "too many connections from this address");
        return;
    }
    c->counted = true;
    counter_add(c->all->total[c->listener->config.protocol], 1);
    if (c->listener->config.tls != LISTENER_TLS_IMPLICIT) {
        host_session_start(c);
        return;
    }
    SSL_CTX *ctx = tls_context(c->all->options.tls);
    c->state = CONN_TLS;
    conn_limit(c, HANDSHAKE_MS);
    int rc = stream_tls_accept_rest(c->stream, ctx);
    SSL_CTX_free(ctx);
    if (rc < 0)
        conn_close(c, 0, err_text(rc));
}

static size_t proxy_read(struct conn *c, struct slice in)
{
    struct proxy_header h;
    size_t used;
    int rc = proxy_parse(in, &h, &used);
    if (rc > 0)
        return 0;
    if (rc < 0) {
        counter_add(c->all->refused_proxy, 1);
        conn_close(c, 0, "malformed PROXY header");
        return in.n;
    }
    if (!h.local) {
        snprintf(c->address, sizeof c->address, "%s", h.address);
        c->port = h.port;
    }
    conn_begin(c);
    if (c->state == CONN_SESSION)
        stream_resume(c->stream); /* the rest is the client's first bytes */
    return used;
}

static size_t on_read(void *arg, struct slice in)
{
    struct conn *c = arg;
    if (c->state == CONN_PROXY)
        return proxy_read(c, in);
    return host_read(c, in);
}

static void on_drained(void *arg)
{
    struct conn *c = arg;
    if (c->state == CONN_SESSION)
        host_pump(c);
}

static void on_tls_ready(void *arg)
{
    struct conn *c = arg;
    c->limit_ms = 0;
    host_tls_ready(c);
}

static void on_closed(void *arg, int status, const char *why)
{
    struct conn *c = arg;
    if (c->state == CONN_TLS || c->state == CONN_STARTTLS)
        counter_add(c->all->tls_failed, 1);
    if (status < 0 || c->state != CONN_SESSION) {
        conn_close(c, 0, why);
        return;
    }
    c->eof = true;
    host_pump(c);
}

static const struct stream_events events = {on_read, on_drained, on_tls_ready, on_closed};

static bool trusted(const struct listener_config *l, const char *address)
{
    for (unsigned i = 0; i < l->trusted_n; i++)
        if (network_has(&l->trusted[i], address))
            return true;
    return false;
}

void conn_open(struct worker *w, struct listener *l, int fd)
{
    struct conn *c = mem_zalloc(sizeof *c);
    c->worker = w;
    c->listener = l;
    c->all = l->all;
    list_init(&c->ready);
    list_append(&w->connections, &c->link);
    atomic_fetch_add(&l->all->open_by[l->config.protocol], 1);
    c->opened_ms = c->active_ms = c->taken_ms = now(c);
    uv_tcp_t *tcp = mem_alloc(sizeof *tcp);
    ENSURE(uv_tcp_init(&w->loop.uv, tcp) == 0);
    if (uv_tcp_open(tcp, fd) < 0)
        close(fd); /* the stream will find out */
    c->stream = stream_accept(&w->loop.uv, tcp, &events, c);
    stream_peer_address(c->stream, c->address, sizeof c->address, &c->port);
    if (!l->config.proxy) {
        conn_begin(c);
    } else if (!trusted(&l->config, c->address)) {
        counter_add(l->all->refused_proxy, 1);
        conn_close(c, 0, "not a trusted proxy");
    } else {
        c->state = CONN_PROXY;
        conn_limit(c, HANDSHAKE_MS);
    }
}
