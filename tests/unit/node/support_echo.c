#include "support_echo.h"

#include "node/base/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct echo {
    struct session session; /* first */
    uv_loop_t *loop;
    uv_timer_t *timer;
    size_t big; /* still to be produced */
    int64_t idle_ms;
    bool stubborn, leaving;
};

_Atomic int echo_alive, echo_drained, echo_tls_started;

static void produce(struct echo *e)
{
    uint8_t block[4096];
    memset(block, 'b', sizeof block);
    while (e->big > 0 && buf_len(&e->session.out) < SESSION_OUT_HIGH) {
        size_t n = e->big < sizeof block ? e->big : sizeof block;
        buf_append(&e->session.out, block, n);
        e->big -= n;
    }
    e->session.blocked = e->big > 0;
}

static void timer_gone(uv_handle_t *h)
{
    mem_free(h);
}

static void waited(uv_timer_t *t)
{
    struct echo *e = t->data;
    uv_close((uv_handle_t *)t, timer_gone);
    if (!session_op_end(&e->session))
        return;
    e->session.blocked = false;
    buf_append_str(&e->session.out, "waited\r\n");
    if (e->leaving) {
        buf_append_str(&e->session.out, "421 bye\r\n");
        e->session.closing = true;
    }
    e->session.host->wake(e->session.host);
}

static void wait_start(struct echo *e)
{
    uv_timer_t *t = mem_alloc(sizeof *t);
    uv_timer_init(e->loop, t);
    t->data = e;
    uv_timer_start(t, waited, 100, 0);
    session_op_begin(&e->session);
    e->session.blocked = true;
}

static void command(struct echo *e, const char *line)
{
    struct session *s = &e->session;
    if (strncmp(line, "ECHO ", 5) == 0) {
        buf_printf(&s->out, "%s\r\n", line + 5);
    } else if (strcmp(line, "WHO") == 0) {
        buf_printf(&s->out, "%s %u %s %s\r\n", s->peer.address, s->peer.port, s->peer.tls ? s->peer.tls_version : "-",
                   s->peer.local_name);
    } else if (strncmp(line, "BIG ", 4) == 0) {
        e->big = strtoul(line + 4, NULL, 10);
        produce(e);
    } else if (strcmp(line, "STARTTLS") == 0) {
        buf_append_str(&s->out, s->peer.tls_available ? "go\r\n" : "no\r\n");
        s->starttls = s->peer.tls_available;
    } else if (strcmp(line, "WAIT") == 0) {
        wait_start(e);
    } else if (strncmp(line, "IDLE ", 5) == 0) {
        e->idle_ms = strtol(line + 5, NULL, 10);
    } else if (strcmp(line, "STUBBORN") == 0) {
        e->stubborn = true;
    } else if (strcmp(line, "QUIT") == 0) {
        buf_append_str(&s->out, "bye\r\n");
        s->closing = true;
    } else {
        buf_append_str(&s->out, "what?\r\n");
    }
}

static size_t input(struct session *s, struct slice in)
{
    struct echo *e = (struct echo *)s;
    char line[256];
    size_t n = slice_find(in, '\n');
    if (n == in.n)
        return 0;
    struct slice text = slice_first(in, n);
    if (text.n > 0 && text.p[text.n - 1] == '\r')
        text.n--;
    snprintf(line, sizeof line, "%.*s", (int)text.n, (const char *)text.p);
    command(e, line);
    return n + 1;
}

static void drained(struct session *s)
{
    struct echo *e = (struct echo *)s;
    echo_drained++;
    bool was = s->blocked && e->big > 0;
    if (was)
        produce(e);
    if (was && !s->blocked)
        s->host->wake(s->host);
}

static void tls_started(struct session *s)
{
    (void)s;
    echo_tls_started++;
}

static void timed_out(struct session *s)
{
    buf_append_str(&s->out, "timeout\r\n");
    s->closing = true;
}

static void shut(struct session *s)
{
    struct echo *e = (struct echo *)s;
    if (e->stubborn)
        return;
    e->leaving = true;
    if (s->pending > 0)
        return;
    buf_append_str(&s->out, "421 bye\r\n");
    s->closing = true;
}

static int64_t idle_timeout_ms(struct session *s)
{
    return ((struct echo *)s)->idle_ms;
}

static void session_closed(struct session *s)
{
    ENSURE(!s->closed);
    s->closed = true;
}

static void session_free(struct session *s)
{
    ENSURE(s->closed && s->pending == 0);
    buf_close(&s->out);
    mem_free(s);
    echo_alive--;
}

static const struct session_ops ops = {"echo", input,           drained,        tls_started, timed_out,
                                       shut,   idle_timeout_ms, session_closed, session_free};

struct session *echo_session_new(enum listener_protocol p, struct session_host *h, struct backend *b,
                                 const struct session_peer *peer, const struct session_limits *limits)
{
    (void)p;
    (void)limits;
    struct echo *e = mem_zalloc(sizeof *e);
    e->session = (struct session){.ops = &ops, .host = h, .backend = b, .peer = *peer};
    e->loop = (uv_loop_t *)b;
    e->idle_ms = 60000;
    echo_alive++;
    buf_append_str(&e->session.out, "hello\r\n");
    return &e->session;
}

struct backend *echo_backend_new(void *arg, struct loop *loop)
{
    (void)arg;
    return (struct backend *)&loop->uv;
}
