/* Life of a stream and its reading half.
 *
 *   stream_accept ──────────────┐
 *   stream_connect ─► dialling ─┴► up ─► (peer closed | failed: `closed` event) ─► stream_close ─► lingering ─►
 * finished
 *
 * stream_close is legal in every state. Memory is freed when libuv has let go of every handle and request (refs), so
 * that it stays valid until control is back in the loop. */
#include "node/io/stream_internal.h"

#include <netinet/in.h>

static _Thread_local uint8_t read_buffer[STREAM_BATCH];

void stream_unref(struct stream *s)
{
    ENSURE(s->refs > 0);
    if (--s->refs > 0)
        return;
    ENSURE(s->closing);
    SSL_free(s->ssl);
    stream_out_clear(s);
    buf_close(&s->in);
    buf_close(&s->cipher);
    buf_close(&s->wire);
    buf_close(&s->flight);
    mem_free(s->why);
    mem_free(s);
}

static void handle_closed(uv_handle_t *h)
{
    stream_unref(h->data);
}

static void tcp_closed(uv_handle_t *h)
{
    struct stream *s = h->data;
    mem_free(h);
    stream_unref(s);
}

/* Lets go of the socket. Only when closing. */
void stream_finish(struct stream *s)
{
    if (s->finished)
        return;
    s->finished = true;
    stream_dial_cancel(s);
    if (s->tcp)
        uv_close((uv_handle_t *)s->tcp, tcp_closed);
    s->tcp = NULL;
    if (s->linger_open)
        uv_close((uv_handle_t *)&s->linger, handle_closed);
    uv_close((uv_handle_t *)&s->idle, handle_closed);
}

static void run_deferred(uv_idle_t *idle)
{
    struct stream *s = idle->data;
    uv_idle_stop(idle);
    if (!s->failed && !s->closing && s->ssl && s->tls_start && s->plain_left == 0) {
        s->tls_start = false;
        stream_tls_feed(s, (struct slice){0});
        stream_reading_update(s);
    }
    if (s->offer_again && !s->failed && !s->closing && !s->paused) {
        s->offer_again = false;
        if (buf_len(&s->in) > 0)
            stream_offer(s, (struct slice){0});
        if (s->ssl && !s->closing && !s->eof)
            stream_tls_feed(s, (struct slice){0});
        stream_reading_update(s);
    }
    stream_flush(s);
    if (s->report && !s->reported && !s->closing) {
        s->reported = true;
        s->ev->closed(s->arg, s->status, s->why);
    }
}

void stream_arm(struct stream *s)
{
    if (!s->finished)
        uv_idle_start(&s->idle, run_deferred);
}

struct stream *stream_make(uv_loop_t *loop, const struct stream_events *ev, void *arg)
{
    struct stream *s = mem_zalloc(sizeof *s);
    s->loop = loop;
    s->ev = ev;
    s->arg = arg;
    s->in_max = STREAM_READ_MAX;
    uv_idle_init(loop, &s->idle);
    s->idle.data = s;
    s->refs = 1;
    return s;
}

struct stream *stream_accept(uv_loop_t *loop, uv_tcp_t *tcp, const struct stream_events *ev, void *arg)
{
    struct stream *s = stream_make(loop, ev, arg);
    s->tcp = tcp;
    tcp->data = s;
    s->refs++;
    stream_open(s);
    return s;
}

void stream_open(struct stream *s)
{
    s->up = true;
    uv_tcp_nodelay(s->tcp, 1);
    uv_tcp_keepalive(s->tcp, 1, 120);
    stream_arm(s);
    stream_reading_update(s);
}

static void report(struct stream *s, int status, const char *why)
{
    if (s->report)
        return;
    s->report = true;
    s->status = status;
    s->why = mem_strdup(why);
    stream_arm(s);
}

void stream_fail(struct stream *s, int status, const char *why)
{
    if (s->failed)
        return;
    s->failed = true;
    stream_reading_update(s);
    if (s->closing)
        stream_finish(s);
    else
        report(s, status, why);
}

void stream_ended(struct stream *s)
{
    s->eof = true;
    stream_reading_update(s);
    if (!s->closing)
        report(s, 0, "closed by peer");
    else if (s->shut)
        stream_finish(s);
}

bool stream_input_full(const struct stream *s)
{
    return s->paused || buf_len(&s->in) >= s->in_max;
}

void stream_offer(struct stream *s, struct slice data)
{
    bool kept = buf_len(&s->in) > 0;
    if (kept) {
        buf_append_slice(&s->in, data);
        data = buf_slice(&s->in);
    }
    s->offering = true;
    size_t used = s->ev->read(s->arg, data);
    s->offering = false;
    ENSURE(used <= data.n);
    if (s->closing || s->drop)
        buf_close(&s->in);
    else if (kept)
        buf_consume(&s->in, used);
    else
        buf_append_slice(&s->in, slice_from(data, used));
    if (s->rest_is_tls)
        stream_tls_rest(s);
    s->drop = false;
    if (buf_len(&s->in) == 0)
        buf_close(&s->in); /* an idle connection keeps no buffer */
}

static void alloc_cb(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    (void)h;
    (void)suggested;
    *buf = uv_buf_init((char *)read_buffer, sizeof read_buffer);
}

static void read_cb(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf)
{
    struct stream *s = tcp->data;
    if (n == 0)
        return;
    if (n < 0) {
        /* A reset after our own goodbye, or instead of a close, says no more than a close. */
        if (n == UV_EOF)
            stream_ended(s);
        else
            stream_fail(s, err_from_errno((int)-n), uv_strerror((int)n));
        return;
    }
    s->total_in += (uint64_t)n;
    if (s->closing)
        return;
    struct slice data = slice_make(buf->base, (size_t)n);
    if (s->ssl)
        stream_tls_feed(s, data);
    else
        stream_offer(s, data);
    stream_reading_update(s);
}

void stream_reading_update(struct stream *s)
{
    if (!s->tcp || s->finished)
        return;
    bool want = s->up && !s->failed && !s->eof && s->plain_left == 0;
    if (want && !s->closing)
        want = !stream_input_full(s) && buf_len(&s->cipher) == 0;
    if (want == s->reading)
        return;
    s->reading = want;
    if (!want)
        uv_read_stop((uv_stream_t *)s->tcp);
    else if (uv_read_start((uv_stream_t *)s->tcp, alloc_cb, read_cb) < 0)
        stream_fail(s, ERR_IO, "cannot read");
}

void stream_pause(struct stream *s)
{
    s->paused = true;
    stream_reading_update(s);
}

void stream_resume(struct stream *s)
{
    s->paused = false;
    s->offer_again = true;
    stream_arm(s);
}

void stream_read_max_set(struct stream *s, size_t n)
{
    s->in_max = n;
    stream_resume(s);
}

void stream_linger_over(uv_timer_t *t)
{
    stream_finish(t->data);
}

void stream_close(struct stream *s, unsigned linger_ms)
{
    ENSURE(!s->closing);
    s->closing = true;
    s->ev = NULL;
    bool talks = s->up && !s->failed && (!s->ssl || s->tls_ready || s->plain_left > 0);
    if (!s->offering) {
        buf_close(&s->in);
        buf_close(&s->cipher);
    }
    if (talks && linger_ms == 0)
        stream_flush(s);
    if (!talks || linger_ms == 0) {
        stream_finish(s);
        return;
    }
    uv_timer_init(s->loop, &s->linger);
    s->linger.data = s;
    s->linger_open = true;
    s->refs++;
    uv_timer_start(&s->linger, stream_linger_over, linger_ms, 0);
    stream_reading_update(s); /* read on to the peer's close: closing over unread input would reset the connection */
    stream_arm(s);
}

SSL *stream_ssl(struct stream *s)
{
    return s->ssl;
}

void stream_traffic(const struct stream *s, uint64_t *in_r, uint64_t *out_r)
{
    *in_r = s->total_in;
    *out_r = s->total_out;
}

void stream_peer_address(const struct stream *s, char *out, size_t n, uint16_t *port_r)
{
    struct sockaddr_storage a = {0};
    int size = sizeof a;
    uint16_t port = 0;
    if (n > 0)
        out[0] = 0;
    if (s->tcp && uv_tcp_getpeername(s->tcp, (struct sockaddr *)&a, &size) == 0) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&a;
        const struct sockaddr_in *four = (const struct sockaddr_in *)&a;
        if (a.ss_family == AF_INET) {
            uv_ip4_name(four, out, n);
            port = ntohs(four->sin_port);
        } else if (a.ss_family == AF_INET6) {
            /* An IPv4 client on a dual-stack socket goes by its IPv4 address. */
            if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
                uv_inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], out, n);
            else
                uv_ip6_name(six, out, n);
            port = ntohs(six->sin6_port);
        }
    }
    if (port_r)
        *port_r = port;
}
