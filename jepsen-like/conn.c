#include "jepsen-like/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char *outcome_name(enum outcome o)
{
    static const char *const names[] = {"ok", "fail", "info"};
    return names[o];
}

void conn_close(struct conn *c)
{
    if (c->tls)
        conn_tls_close(c);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->start = c->end = 0;
}

void conn_limit(struct conn *c, unsigned timeout_ms)
{
    c->deadline = now_ns() + timeout_ms * NS_PER_MS;
}

bool conn_ready(struct conn *c, short events)
{
    for (;;) {
        uint64_t now = now_ns();
        if (now >= c->deadline)
            return false;
        struct pollfd p = {c->fd, events, 0};
        int n = poll(&p, 1, (int)((c->deadline - now) / NS_PER_MS) + 1);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

bool conn_open(struct conn *c, unsigned host, unsigned port, unsigned timeout_ms)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, error = 0;
    socklen_t n = sizeof error;
    a.sin_addr.s_addr = htonl(0x0a4d0000u | host);
    c->start = c->end = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    conn_limit(c, timeout_ms);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0)
        return true;
    if (errno == EINPROGRESS && conn_ready(c, POLLOUT) && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 &&
        !error)
        return true;
    conn_close(c);
    return false;
}

void conn_adopt(struct conn *c, int fd)
{
    int one = 1;
    c->fd = fd;
    c->start = c->end = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

bool conn_write(struct conn *c, const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n && c->fd >= 0) {
        ssize_t k = c->tls ? conn_tls_write(c, p, n) : send(c->fd, p, n, MSG_NOSIGNAL);
        if (k > 0) {
            p += k;
            n -= (size_t)k;
        } else if (c->tls || (errno != EAGAIN && errno != EINTR) || !conn_ready(c, POLLOUT)) {
            conn_close(c);
        }
    }
    return c->fd >= 0;
}

bool conn_print(struct conn *c, const char *format, ...)
{
    char line[2000];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof line)
        fail("a command is too long: %.60s", line);
    return conn_write(c, line, (size_t)n);
}

/* Some bytes more into in[], which is empty. */
static bool more(struct conn *c)
{
    while (c->fd >= 0) {
        ssize_t n = c->tls ? conn_tls_read(c, c->in, sizeof c->in) : recv(c->fd, c->in, sizeof c->in, 0);
        if (n > 0) {
            c->start = 0;
            c->end = (size_t)n;
            return true;
        }
        if (c->tls || n == 0 || (errno != EAGAIN && errno != EINTR) || !conn_ready(c, POLLIN))
            conn_close(c);
    }
    return false;
}

bool conn_line(struct conn *c, struct text *line)
{
    size_t before = line->n;
    for (;;) {
        if (c->start == c->end && !more(c))
            return false;
        char *p = c->in + c->start, *end = memchr(p, '\n', c->end - c->start);
        size_t n = end ? (size_t)(end - p) : c->end - c->start;
        text_append(line, p, n);
        c->start += n + (end != NULL);
        if (end) {
            if (line->n > before && line->p[line->n - 1] == '\r')
                line->p[--line->n] = 0;
            return true;
        }
        if (line->n - before > CONN_LINE_MAX) {
            conn_close(c);
            return false;
        }
    }
}

bool conn_bytes(struct conn *c, struct text *bytes, size_t n)
{
    while (n) {
        if (c->start == c->end && !more(c))
            return false;
        size_t k = c->end - c->start < n ? c->end - c->start : n;
        text_append(bytes, c->in + c->start, k);
        c->start += k;
        n -= k;
    }
    return true;
}

bool conn_wait(struct conn *c, unsigned timeout_ms)
{
    if (c->fd < 0 || c->start < c->end)
        return true;
    struct pollfd p = {c->fd, POLLIN, 0};
    if (c->tls && conn_tls_input(c))
        return true;
    return poll(&p, 1, (int)timeout_ms) > 0 && (!c->tls || conn_tls_input(c));
}

bool conn_idle(struct conn *c)
{
    return c->fd >= 0 && !conn_wait(c, 0);
}

/* ---- refusals ---- */

static _Thread_local bool refused;
static _Thread_local char reply_refused[200];
static atomic_uint refusals;
static atomic_bool refusals_told;

void refusal_note(const char *reply)
{
    refused = true;
    snprintf(reply_refused, sizeof reply_refused, "%.*s", (int)strcspn(reply, "\r\n"), reply);
}

const char *refusal_reply(void)
{
    return reply_refused;
}

bool refusal_take(void)
{
    bool was = refused;
    refused = false;
    return was;
}

void refusals_add(const char *format, ...)
{
    char line[500];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    refusals++;
    if (refusals_told)
        say("  refused: %s", line);
}

void refusals_say(bool on)
{
    refusals_told = on;
}

unsigned refusals_count(void)
{
    return refusals;
}
