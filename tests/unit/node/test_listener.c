#include "support_echo.h"

#include "node/base/clock.h"
#include "node/base/log.h"
#include "node/listener_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct session_limits limits = {.line_max = 65536};
static char folder[] = "listener-test-XXXXXX";

/* Accepting loop on a thread, two workers, a listener of each kind. */
struct server {
    struct loop loop;
    struct workers *workers;
    struct listeners *listeners;
    struct tls *tls;
    struct metrics *metrics;
    uint16_t plain, starttls, implicit, proxy, proxy_tls;
    _Atomic bool drained, started;
};

static uint16_t listener_add(struct server *s, enum listener_tls tls, const char *trusted)
{
    struct listener_config c = {
        .address = "127.0.0.1", .protocol = LISTENER_IMAP, .tls = tls, .proxy = trusted != NULL};
    if (trusted) {
        assert_int_equal(network_parse(slice_str(trusted), &c.trusted[0]), 0);
        c.trusted_n = 1;
    }
    uint16_t port;
    struct err_detail e = {{0}};
    assert_int_equal(listener_open(s->listeners, &c, &port, &e), 0);
    assert_true(port > 0);
    return port;
}

static void server_open(struct server *s, unsigned max, unsigned max_address, const char *trusted)
{
    memset(s, 0, sizeof *s);
    struct err_detail e;
    assert_int_equal(loop_init(&s->loop, "accept"), 0);
    struct workers_config wc = {.n = 2, .backend_new = echo_backend_new};
    assert_int_equal(workers_start(&wc, &s->workers), 0);
    struct tls_config tc = {.data = folder, .host_name = "mx.test"};
    assert_int_equal(tls_new(&tc, &s->tls, &e), 0);
    s->metrics = metrics_new();
    struct listeners_options o = {.host_name = "mx.test",
                                  .limits = &limits,
                                  .tls = s->tls,
                                  .metrics = s->metrics,
                                  .connections_max = max,
                                  .connections_per_address_max = max_address,
                                  .session_new = echo_session_new};
    s->listeners = listeners_new(&s->loop, s->workers, &o);
    s->plain = listener_add(s, LISTENER_TLS_NONE, NULL);
    s->starttls = listener_add(s, LISTENER_TLS_STARTTLS, NULL);
    s->implicit = listener_add(s, LISTENER_TLS_IMPLICIT, NULL);
    s->proxy = listener_add(s, LISTENER_TLS_NONE, trusted);
    s->proxy_tls = listener_add(s, LISTENER_TLS_IMPLICIT, trusted);
    assert_int_equal(loop_start(&s->loop), 0);
}

struct order {
    struct task task;
    struct server *server;
    unsigned quiet_ms, deadline_ms;
};

static void on_drained(void *arg)
{
    struct server *s = arg;
    s->drained = true;
}

static void drain_run(struct task *t)
{
    struct order *o = (struct order *)t;
    listeners_drain(o->server->listeners, o->quiet_ms, o->deadline_ms, on_drained, o->server);
}

static void server_drain(struct server *s, unsigned quiet_ms, unsigned deadline_ms, struct order *o)
{
    *o = (struct order){.task.run = drain_run, .server = s, .quiet_ms = quiet_ms, .deadline_ms = deadline_ms};
    task_post(&s->loop.queue, &o->task);
}

/* The loop stands still meanwhile. */
struct pause {
    struct task task;
    _Atomic bool begun, over;
};

static void pause_run(struct task *t)
{
    struct pause *p = (struct pause *)t;
    p->begun = true;
    while (!p->over)
        usleep(1000);
}

#define wait_for(cond)                                                                                                 \
    do {                                                                                                               \
        int64_t until_ = clock_steady_ms() + 30000;                                                                    \
        while (!(cond)) {                                                                                              \
            if (clock_steady_ms() > until_)                                                                            \
                fail_msg("timed out: %s", #cond);                                                                      \
            usleep(2000);                                                                                              \
        }                                                                                                              \
    } while (0)

static void server_end(struct server *s)
{
    wait_for(s->drained);
    assert_int_equal(listeners_connections(s->listeners), 0);
    assert_int_equal(echo_alive, 0);
    workers_free(&s->workers);
    loop_stop(&s->loop);
    loop_join(&s->loop);
    listeners_free(&s->listeners);
    loop_run(&s->loop);
    loop_close(&s->loop);
    tls_free(&s->tls);
    metrics_free(&s->metrics);
}

static void server_close(struct server *s)
{
    struct order o;
    server_drain(s, 0, 0, &o);
    server_end(s);
}

static double metric(struct server *s, const char *name)
{
    struct buf out = {0};
    metrics_write(s->metrics, &out);
    buf_append_byte(&out, 0);
    char start[128];
    snprintf(start, sizeof start, "\n%s", name);
    char *at = strstr((char *)(uintptr_t)buf_slice(&out).p, start);
    double v = at ? strtod(at + strlen(start), NULL) : -1;
    buf_close(&out);
    return v;
}

struct client {
    int fd;
    SSL *ssl;
};

static struct client dial(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f000001)};
    struct client c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct timeval limit = {.tv_sec = 30};
    int on = 1;
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(connect(c.fd, (struct sockaddr *)&a, sizeof a), 0);
    return c;
}

static void hang_up(struct client *c)
{
    SSL_free(c->ssl);
    close(c->fd);
    *c = (struct client){.fd = -1};
}

static void say(struct client *c, const char *text)
{
    int n = (int)strlen(text);
    assert_int_equal(c->ssl ? SSL_write(c->ssl, text, n) : send(c->fd, text, (size_t)n, MSG_NOSIGNAL), n);
}

static int take(struct client *c, char *out, int n)
{
    return c->ssl ? SSL_read(c->ssl, out, n) : (int)recv(c->fd, out, (size_t)n, 0);
}

/* The next line is this one. */
static void hear(struct client *c, const char *line)
{
    char got[300];
    size_t n = 0;
    while (n < sizeof got - 1 && take(c, got + n, 1) == 1)
        if (got[n++] == '\n')
            break;
    got[n] = 0;
    while (n > 0 && (got[n - 1] == '\n' || got[n - 1] == '\r'))
        got[--n] = 0;
    assert_string_equal(got, line);
}

static void hear_end(struct client *c)
{
    char got;
    int n = take(c, &got, 1);
    if (n > 0)
        fail_msg("more came: %c", got);
}

static void client_tls(struct client *c)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    c->ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    SSL_set_fd(c->ssl, c->fd);
    assert_int_equal(SSL_connect(c->ssl), 1);
}

static void who(struct client *c, const char *address, unsigned port, const char *tls)
{
    char want[200];
    snprintf(want, sizeof want, "%s %u %s mx.test", address, port, tls);
    say(c, "WHO\r\n");
    hear(c, want);
}

static uint16_t own_port(const struct client *c)
{
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    getsockname(c->fd, (struct sockaddr *)&a, &n);
    return ntohs(a.sin_port);
}

static void plain(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    struct client c = dial(s.plain);
    hear(&c, "hello");
    static const char text[] = "ECHO one\r\nECHO two\r\nSTARTTLS\r\n";
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        char one[2] = {text[i], 0};
        say(&c, one);
    }
    hear(&c, "one");
    hear(&c, "two");
    hear(&c, "no"); /* no TLS on this listener */
    who(&c, "127.0.0.1", own_port(&c), "-");
    assert_int_equal(metric(&s, "merlion_connections{protocol=\"imap\"} "), 1);
    say(&c, "ECHO last\r\nQUIT\r\nECHO never\r\n");
    hear(&c, "last");
    hear(&c, "bye");
    hear_end(&c);
    hang_up(&c);
    wait_for(metric(&s, "merlion_received_bytes_total{protocol=\"imap\"} ") > 40);
    assert_int_equal(metric(&s, "merlion_connections_total{protocol=\"imap\"} "), 1);
    server_close(&s);
}

static void tls(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    struct client c = dial(s.implicit);
    client_tls(&c);
    hear(&c, "hello");
    who(&c, "127.0.0.1", own_port(&c), "TLSv1.3");
    say(&c, "QUIT\r\n");
    hear(&c, "bye");
    hear_end(&c);
    hang_up(&c);
    c = dial(s.implicit); /* not TLS at all */
    say(&c, "A1 CAPABILITY\r\n");
    char alert[16];
    while (take(&c, alert, sizeof alert) > 0)
        ;
    hang_up(&c);
    wait_for(metric(&s, "merlion_tls_handshake_failures_total ") == 1);
    c = dial(s.implicit); /* gone in the middle of a handshake */
    hang_up(&c);
    wait_for(metric(&s, "merlion_tls_handshake_failures_total ") == 2);
    server_close(&s);
}

/* What is pipelined in plaintext behind STARTTLS is not obeyed, neither before TLS nor after. */
static void starttls(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    echo_tls_started = 0;
    struct client c = dial(s.starttls);
    hear(&c, "hello");
    say(&c, "ECHO plain\r\nSTARTTLS\r\nECHO injected\r\n");
    hear(&c, "plain");
    hear(&c, "go");
    client_tls(&c);
    say(&c, "ECHO secret\r\n");
    hear(&c, "secret");
    assert_int_equal(echo_tls_started, 1);
    who(&c, "127.0.0.1", own_port(&c), "TLSv1.3");
    say(&c, "STARTTLS\r\nECHO on\r\n"); /* not twice */
    hear(&c, "no");
    hear(&c, "on");
    hang_up(&c);
    server_close(&s);
}

static void proxied(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    static const char header[] = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 143\r\n";
    struct client c = dial(s.proxy);
    char first[128];
    snprintf(first, sizeof first, "%sECHO coalesced\r\n", header);
    say(&c, first);
    hear(&c, "hello");
    hear(&c, "coalesced");
    who(&c, "192.0.2.1", 56324, "-");
    hang_up(&c);
    c = dial(s.proxy); /* byte by byte */
    for (size_t i = 0; i + 1 < sizeof header; i++) {
        char one[2] = {header[i], 0};
        say(&c, one);
    }
    hear(&c, "hello");
    who(&c, "192.0.2.1", 56324, "-");
    hang_up(&c);
    c = dial(s.proxy); /* a health check */
    say(&c, "PROXY UNKNOWN\r\n");
    hear(&c, "hello");
    who(&c, "127.0.0.1", own_port(&c), "-");
    hang_up(&c);
    c = dial(s.proxy);
    say(&c, "ECHO direct\r\n");
    hear_end(&c);
    hang_up(&c);
    wait_for(metric(&s, "merlion_connections_refused_total{reason=\"proxy\"} ") == 1);
    server_close(&s);
}

/* The header and the start of TLS arrive together, or the header in two parts. */
static void proxied_tls(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    static const char header[] = "PROXY TCP6 2001:db8::7 2001:db8::1 4000 993\r\n";
    const size_t header_n = sizeof header - 1;
    for (size_t split = 0; split < 400; split += 23) {
        struct client c = dial(s.proxy_tls);
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        c.ssl = SSL_new(ctx);
        SSL_CTX_free(ctx);
        BIO *out = BIO_new(BIO_s_mem());
        SSL_set_bio(c.ssl, BIO_new(BIO_s_mem()), out);
        assert_int_equal(SSL_connect(c.ssl), -1);
        char *hello, both[4096];
        size_t n = (size_t)BIO_get_mem_data(out, &hello);
        memcpy(both, header, header_n);
        memcpy(both + header_n, hello, n);
        n += header_n;
        size_t first = split < n ? split : n;
        if (first > 0)
            assert_int_equal(send(c.fd, both, first, 0), first);
        usleep(2000);
        assert_int_equal(send(c.fd, both + first, n - first, 0), n - first);
        SSL_set_fd(c.ssl, c.fd);
        assert_int_equal(SSL_connect(c.ssl), 1);
        hear(&c, "hello");
        who(&c, "2001:db8::7", 4000, "TLSv1.3");
        hang_up(&c);
    }
    server_close(&s);
}

static void untrusted_proxy(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "192.0.2.0/24");
    struct client c = dial(s.proxy);
    hear_end(&c);
    hang_up(&c);
    wait_for(metric(&s, "merlion_connections_refused_total{reason=\"proxy\"} ") == 1);
    server_close(&s);
}

/* A large answer to a client that takes its time: the session is made to wait, nothing is lost, commands behind follow.
 */
static void backpressure(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        struct client c = dial(with_tls ? s.implicit : s.plain);
        if (with_tls)
            client_tls(&c);
        hear(&c, "hello");
        echo_drained = 0;
        say(&c, "BIG 30000000\r\nECHO after\r\n");
        usleep(300000);
        int before = echo_drained; /* the kernel takes some megabytes */
        assert_true(before < 30000000 / SESSION_OUT_HIGH - 10);
        static char got[65536];
        size_t n = 0;
        while (n < 30000000) {
            size_t want = 30000000 - n < sizeof got ? 30000000 - n : sizeof got;
            int r = take(&c, got, (int)want);
            assert_true(r > 0);
            for (int i = 0; i < r; i++)
                if (got[i] != 'b')
                    fail_msg("at %zu", n + (size_t)i);
            n += (size_t)r;
        }
        hear(&c, "after");
        assert_true(echo_drained > before);
        hang_up(&c);
    }
    server_close(&s);
}

static void idle(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    struct client c = dial(s.plain);
    hear(&c, "hello");
    int64_t start = clock_steady_ms();
    say(&c, "IDLE 300\r\n");
    hear(&c, "timeout");
    hear_end(&c);
    int64_t took = clock_steady_ms() - start;
    assert_true(took >= 290 && took < 60000);
    hang_up(&c);
    assert_int_equal(metric(&s, "merlion_session_timeouts_total "), 1);
    server_close(&s);
}

static void blocked(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    struct client c = dial(s.plain);
    say(&c, "WAIT\r\nECHO after\r\nWAIT\r\nECHO again\r\nQUIT\r\n");
    shutdown(c.fd, SHUT_WR); /* a client that says all at once and ends: still gets its answers */
    static const char *const lines[] = {"hello", "waited", "after", "waited", "again", "bye"};
    for (int i = 0; i < 6; i++)
        hear(&c, lines[i]);
    hear_end(&c);
    hang_up(&c);
    c = dial(s.plain); /* incomplete line at the end: closed, not waited for */
    say(&c, "WAIT\r\nECHO half");
    shutdown(c.fd, SHUT_WR);
    hear(&c, "hello");
    hear(&c, "waited");
    hear_end(&c);
    hang_up(&c);
    c = dial(s.plain); /* vanishes during an operation */
    hear(&c, "hello");
    say(&c, "WAIT\r\n");
    usleep(20000);
    struct linger reset = {.l_onoff = 1};
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    hang_up(&c);
    wait_for(echo_alive == 0);
    server_close(&s);
}

static void connection_limits(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 3, 2, "127.0.0.0/8");
    struct client a = dial(s.plain), b = dial(s.plain);
    hear(&a, "hello");
    hear(&b, "hello");
    struct client c = dial(s.plain); /* third of this address */
    hear(&c, "* BYE [UNAVAILABLE] Too many connections, try again later");
    hear_end(&c);
    hang_up(&c);
    wait_for(listeners_connections(s.listeners) == 2);
    c = dial(s.proxy); /* another address */
    say(&c, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    hear(&c, "hello");
    struct client d = dial(s.plain); /* fourth of all */
    hear(&d, "* BYE [UNAVAILABLE] Too many connections, try again later");
    hear_end(&d);
    hang_up(&d);
    assert_int_equal(metric(&s, "merlion_connections_refused_total{reason=\"address\"} "), 1);
    assert_int_equal(metric(&s, "merlion_connections_refused_total{reason=\"total\"} "), 1);
    hang_up(&a);
    wait_for(listeners_connections(s.listeners) == 2);
    a = dial(s.plain); /* room again */
    hear(&a, "hello");
    hang_up(&a);
    hang_up(&b);
    hang_up(&c);
    server_close(&s);
}

static void spread(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    struct client c[40];
    for (int i = 0; i < 40; i++) {
        c[i] = dial(s.plain);
        hear(&c[i], "hello");
    }
    assert_int_equal(workers_get(s.workers, 0)->assigned, 20);
    assert_int_equal(workers_get(s.workers, 1)->assigned, 20);
    for (int i = 0; i < 40; i++)
        hang_up(&c[i]);
    server_close(&s);
}

static void drain(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    struct client silent = dial(s.plain), busy = dial(s.plain), stubborn = dial(s.plain), hello = dial(s.implicit),
                  header = dial(s.proxy);
    hear(&silent, "hello");
    hear(&busy, "hello");
    hear(&stubborn, "hello");
    say(&stubborn, "STUBBORN\r\nECHO x\r\n");
    hear(&stubborn, "x");
    say(&busy, "WAIT\r\n");
    usleep(20000);
    wait_for(listeners_connections(s.listeners) == 5);
    struct order o;
    int64_t start = clock_steady_ms();
    server_drain(&s, 600000, 3000, &o);
    hear(&silent, "421 bye");
    hear_end(&silent);
    hear(&busy, "waited"); /* what is under way is finished */
    hear(&busy, "421 bye");
    hear_end(&busy);
    assert_true(clock_steady_ms() - start < 2900);
    assert_false(s.drained);
    say(&stubborn, "ECHO still here\r\n");
    hear(&stubborn, "still here");
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(s.plain), .sin_addr.s_addr = htonl(0x7f000001)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), -1); /* nobody listens */
    close(fd);
    hear_end(&stubborn);
    hear_end(&hello);
    hear_end(&header);
    assert_true(clock_steady_ms() - start >= 2990);
    server_end(&s);
    hang_up(&silent);
    hang_up(&busy);
    hang_up(&stubborn);
    hang_up(&hello);
    hang_up(&header);
}

/* With time to end: what is under way goes on, also what is only about to become a session. */
static void drain_with_time(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    struct client stubborn = dial(s.plain), hello = dial(s.implicit);
    hear(&stubborn, "hello");
    say(&stubborn, "STUBBORN\r\nECHO x\r\n");
    hear(&stubborn, "x");
    wait_for(listeners_connections(s.listeners) == 2);
    struct order o;
    server_drain(&s, 600000, 600000, &o);
    wait_for(s.listeners->draining);
    usleep(1500000); /* the workers look at their connections once a second */
    client_tls(&hello);
    hear(&hello, "hello");
    hear(&hello, "421 bye");
    hear_end(&hello);
    say(&stubborn, "ECHO still here\r\n");
    hear(&stubborn, "still here");
    assert_false(s.drained);
    say(&stubborn, "QUIT\r\n");
    hear(&stubborn, "bye");
    hear_end(&stubborn);
    server_end(&s);
    hang_up(&stubborn);
    hang_up(&hello);
}

/* But nobody waits for the silent ones. */
static void drain_of_silent(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    struct client stubborn = dial(s.plain), hello = dial(s.implicit), header = dial(s.proxy);
    hear(&stubborn, "hello");
    say(&stubborn, "STUBBORN\r\nECHO x\r\n");
    hear(&stubborn, "x");
    wait_for(listeners_connections(s.listeners) == 3);
    struct order o;
    server_drain(&s, 200, 600000, &o);
    hear(&stubborn, "timeout");
    hear_end(&stubborn);
    hear_end(&hello);
    hear_end(&header);
    assert_int_equal(metric(&s, "merlion_session_timeouts_total "), 0); /* it was us who left */
    server_end(&s);
    hang_up(&stubborn);
    hang_up(&hello);
    hang_up(&header);
}

/* Connected for the kernel, not yet accepted by us: nobody is turned away. */
static void drain_backlog(void **state)
{
    (void)state;
    struct server s;
    struct client c[20];
    server_open(&s, 0, 0, "127.0.0.0/8");
    struct pause p = {.task.run = pause_run};
    task_post(&s.loop.queue, &p.task);
    wait_for(p.begun);
    for (int i = 0; i < 20; i++)
        c[i] = dial(s.plain);
    struct order o;
    server_drain(&s, 1000, 60000, &o); /* comes before the sockets are looked at */
    p.over = true;
    for (int i = 0; i < 20; i++) {
        hear(&c[i], "hello");
        hear(&c[i], "421 bye");
        hear_end(&c[i]);
        hang_up(&c[i]);
    }
    server_end(&s);
}

static void in_use(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, 0, 0, "127.0.0.0/8");
    struct listener_config c = {.address = "127.0.0.1", .port = s.plain};
    struct err_detail e = {{0}};
    assert_int_equal(listener_open(s.listeners, &c, NULL, &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "127.0.0.1"));
    server_close(&s);
}

static int setup(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf ./%s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),           cmocka_unit_test(tls),
        cmocka_unit_test(starttls),        cmocka_unit_test(proxied),
        cmocka_unit_test(proxied_tls),     cmocka_unit_test(untrusted_proxy),
        cmocka_unit_test(backpressure),    cmocka_unit_test(idle),
        cmocka_unit_test(blocked),         cmocka_unit_test(connection_limits),
        cmocka_unit_test(spread),          cmocka_unit_test(drain),
        cmocka_unit_test(drain_with_time), cmocka_unit_test(drain_of_silent),
        cmocka_unit_test(drain_backlog),   cmocka_unit_test(in_use),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
