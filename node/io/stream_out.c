/* The output queue. Writers only queue; the loop sends what has gathered by then with few system calls. */
#include "node/io/stream_internal.h"

enum { IOV_MAX_HERE = 32, GOODBYE_MS = 1000 };

struct slice chunk_slice(const struct chunk *c)
{
    return c->bytes ? slice_from(bytes_slice(c->bytes), c->offset) : buf_slice(&c->own);
}

static void chunk_free(struct chunk *c)
{
    bytes_unref(&c->bytes);
    buf_close(&c->own);
    mem_free(c);
}

static struct chunk *chunk_add(struct stream *s)
{
    struct chunk *c = mem_zalloc(sizeof *c);
    if (s->last)
        s->last->next = c;
    else
        s->first = c;
    s->last = c;
    return c;
}

void stream_out_clear(struct stream *s)
{
    while (s->first) {
        struct chunk *c = s->first;
        s->first = c->next;
        chunk_free(c);
    }
    s->last = NULL;
    s->out_n = s->plain_left = 0;
}

static void queued(struct stream *s, size_t n)
{
    s->out_n += n;
    if (stream_queued(s) >= STREAM_OUT_LOW)
        s->above = true;
    stream_arm(s);
}

void stream_write(struct stream *s, struct slice data)
{
    ENSURE(!s->closing);
    if (data.n == 0 || s->failed)
        return;
    struct chunk *c = s->last;
    if (!c || c->bytes || c->pinned || buf_len(&c->own) + data.n > STREAM_CHUNK_MAX)
        c = chunk_add(s);
    buf_append_slice(&c->own, data);
    queued(s, data.n);
}

void stream_write_bytes(struct stream *s, struct bytes *b)
{
    ENSURE(!s->closing);
    if (b->n == 0 || s->failed)
        return;
    struct chunk *c = chunk_add(s);
    c->bytes = bytes_ref(b);
    queued(s, b->n);
}

size_t stream_queued(const struct stream *s)
{
    return s->out_n + buf_len(&s->wire) + buf_len(&s->flight);
}

void stream_chunk_consume(struct stream *s, size_t n)
{
    ENSURE(n <= s->out_n);
    s->out_n -= n;
    while (n > 0) {
        struct chunk *c = s->first;
        size_t have = chunk_slice(c).n, take = n < have ? n : have;
        if (c->bytes)
            c->offset += take;
        else
            buf_consume(&c->own, take);
        n -= take;
        if (take < have)
            return;
        s->first = c->next;
        if (!s->first)
            s->last = NULL;
        chunk_free(c);
    }
}

/* What goes out in plaintext. Returns the number of vectors. */
static unsigned gather(struct stream *s, uv_buf_t *iov, size_t *n_r, bool pin)
{
    size_t limit = s->ssl ? s->plain_left : s->out_n, n = 0;
    unsigned count = 0;
    if (limit > STREAM_FLUSH_MAX)
        limit = STREAM_FLUSH_MAX;
    for (struct chunk *c = s->first; c && count < IOV_MAX_HERE && n < limit; c = c->next) {
        struct slice p = slice_first(chunk_slice(c), limit - n);
        iov[count++] = uv_buf_init((char *)(uintptr_t)p.p, (unsigned)p.n);
        c->pinned = c->pinned || pin;
        n += p.n;
    }
    *n_r = n;
    return count;
}

static void plain_sent(struct stream *s, size_t n)
{
    s->total_out += n;
    stream_chunk_consume(s, n);
    if (!s->ssl)
        return;
    s->plain_left -= n;
    if (s->plain_left == 0) {
        stream_reading_update(s);
        stream_arm(s);
    }
}

static void write_done(uv_write_t *w, int status)
{
    struct stream *s = w->data;
    s->writing = false;
    if (status < 0) {
        /* Under stream_finish libuv cancels the write: nobody is left to tell. */
        if (!s->finished)
            stream_fail(s, err_from_errno(-status), uv_strerror(status));
    } else if (buf_len(&s->flight) > 0) {
        s->total_out += buf_len(&s->flight);
        buf_close(&s->flight);
    } else {
        plain_sent(s, s->pinned_n);
    }
    if (!s->failed && !s->finished)
        stream_flush(s);
    stream_unref(s);
}

/* The kernel took all it would: libuv waits until it takes more. */
static void write_wait(struct stream *s, uv_buf_t *iov, unsigned count)
{
    s->write.data = s;
    int rc = uv_write(&s->write, (uv_stream_t *)s->tcp, iov, count, write_done);
    if (rc < 0) {
        stream_fail(s, err_from_errno(-rc), uv_strerror(rc));
        return;
    }
    s->writing = true;
    s->refs++;
}

/* Bytes taken by the kernel; 0 when it takes none now; fails the stream on errors. */
static size_t try_write(struct stream *s, uv_buf_t *iov, unsigned count)
{
    int rc = uv_try_write((uv_stream_t *)s->tcp, iov, count);
    if (rc < 0 && rc != UV_EAGAIN)
        stream_fail(s, err_from_errno(-rc), uv_strerror(rc));
    return rc < 0 ? 0 : (size_t)rc;
}

static size_t flush_plain(struct stream *s)
{
    uv_buf_t iov[IOV_MAX_HERE];
    size_t n;
    unsigned count = gather(s, iov, &n, false);
    if (count == 0)
        return 0;
    size_t sent = try_write(s, iov, count);
    if (sent > 0)
        plain_sent(s, sent);
    if (s->failed || sent == n)
        return sent;
    count = gather(s, iov, &n, true);
    s->pinned_n = n;
    write_wait(s, iov, count);
    return sent;
}

static size_t flush_wire(struct stream *s)
{
    if (s->tls_ready)
        stream_tls_encrypt(s);
    size_t n = buf_len(&s->wire);
    if (n == 0 || s->failed)
        return 0;
    uv_buf_t iov = uv_buf_init((char *)(uintptr_t)buf_slice(&s->wire).p, (unsigned)n);
    size_t sent = try_write(s, &iov, 1);
    s->total_out += sent;
    buf_consume(&s->wire, sent);
    if (s->failed)
        return 0;
    if (sent == n) {
        buf_close(&s->wire);
        return sent;
    }
    s->flight = s->wire;
    s->wire = (struct buf){0};
    iov = uv_buf_init((char *)(uintptr_t)buf_slice(&s->flight).p, (unsigned)buf_len(&s->flight));
    write_wait(s, &iov, 1);
    return sent;
}

static void shut_done(uv_shutdown_t *r, int status)
{
    struct stream *s = r->data;
    if (!s->finished && (status < 0 || s->eof || s->failed))
        stream_finish(s);
    stream_unref(s);
}

/* All is sent: say so, and let the peer close first or the linger time pass. */
static void goodbye(struct stream *s)
{
    if (s->shut || s->finished)
        return;
    s->shut = true;
    if (uv_timer_get_due_in(&s->linger) > GOODBYE_MS)
        uv_timer_start(&s->linger, stream_linger_over, GOODBYE_MS, 0);
    s->shutdown.data = s;
    if (uv_shutdown(&s->shutdown, (uv_stream_t *)s->tcp, shut_done) < 0) {
        stream_finish(s);
        return;
    }
    s->refs++;
}

static bool flush_some(struct stream *s)
{
    size_t total = 0, n;
    do {
        n = !s->ssl || s->plain_left > 0 ? flush_plain(s) : flush_wire(s);
        total += n;
    } while (n > 0 && !s->writing && !s->failed && total < STREAM_FLUSH_MAX);
    return n > 0 && !s->writing && !s->failed;
}

void stream_flush(struct stream *s)
{
    if (!s->up || s->failed || s->finished)
        return;
    if (!s->writing && flush_some(s))
        stream_arm(s);
    if (s->failed)
        return;
    if (s->closing) {
        if (stream_queued(s) > 0)
            return;
        if (s->tls_ready && !s->notified) {
            s->notified = true;
            stream_tls_notify(s);
            flush_some(s);
        }
        if (s->linger_open && stream_queued(s) == 0 && !s->writing)
            goodbye(s);
        return;
    }
    if (s->above && stream_queued(s) < STREAM_OUT_LOW) {
        s->above = false;
        if (s->ev->drained)
            s->ev->drained(s->arg);
    }
}
