/* A client that does not read what it asked for is cut, in the middle of a command too; a slow one is not. */
#include "support_echo.h"

#include "node/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STALL_MS = 1500, BIG = 400 * 1000 * 1000 };

static const struct session_limits limits = {.line_max = 65536};

struct server {
    struct loop loop;
    struct workers *workers;
    struct listeners *listeners;
    uint16_t port;
    _Atomic bool drained;
};

static void server_open(struct server *s)
{
    struct err_detail e = {{0}};
    *s = (struct server){0};
    assert_int_equal(loop_init(&s->loop, "accept"), 0);
    struct workers_config wc = {.n = 1, .backend_new = echo_backend_new};
    assert_int_equal(workers_start(&wc, &s->workers), 0);
    struct listeners_options o = {
        .host_name = "mx.test", .limits = &limits, .stall_ms = STALL_MS, .session_new = echo_session_new};
    s->listeners = listeners_new(&s->loop, s->workers, &o);
    struct listener_config c = {.address = "127.0.0.1", .protocol = LISTENER_IMAP, .tls = LISTENER_TLS_NONE};
    assert_int_equal(listener_open(s->listeners, &c, &s->port, &e), 0);
    assert_int_equal(loop_start(&s->loop), 0);
}

static void on_drained(void *arg)
{
    ((struct server *)arg)->drained = true;
}

struct order {
    struct task task;
    struct server *server;
};

static void drain_run(struct task *t)
{
    struct server *s = ((struct order *)t)->server;
    listeners_drain(s->listeners, 0, 0, on_drained, s);
}

static void server_close(struct server *s)
{
    struct order o = {.task.run = drain_run, .server = s};
    task_post(&s->loop.queue, &o.task);
    while (!s->drained)
        usleep(2000);
    workers_free(&s->workers);
    loop_stop(&s->loop);
    loop_join(&s->loop);
    listeners_free(&s->listeners);
    loop_run(&s->loop);
    loop_close(&s->loop);
}

static int ask(const struct server *s, const char *line, bool narrow)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 4096;
    assert_true(fd >= 0);
    if (narrow)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(write(fd, line, strlen(line)), (ssize_t)strlen(line));
    return fd;
}

static bool gone_within(int64_t ms)
{
    int64_t until = clock_steady_ms() + ms;
    while (echo_alive > 0 && clock_steady_ms() < until)
        usleep(5000);
    return echo_alive == 0;
}

static void stalled(void **state)
{
    struct server s;
    char line[40];

    (void)state;
    server_open(&s);
    snprintf(line, sizeof line, "BIG %d\n", BIG);
    int fd = ask(&s, line, true); /* blocked amid its answer */
    usleep(300000);
    assert_int_equal(echo_alive, 1);
    assert_true(gone_within(STALL_MS + 30000));
    close(fd);
    server_close(&s);
}

/* Takes some now and then, for longer than the limit. (The kernel's buffer hides what is slower than this test may be.)
 */
static void slow(void **state)
{
    struct server s;
    char line[40];
    static char block[64 * 1024];

    (void)state;
    server_open(&s);
    snprintf(line, sizeof line, "BIG %d\n", BIG);
    int fd = ask(&s, line, false);
    for (int64_t until = clock_steady_ms() + 2 * STALL_MS; clock_steady_ms() < until; usleep(5000))
        assert_true(read(fd, block, sizeof block) > 0);
    assert_int_equal(echo_alive, 1);
    close(fd);
    assert_true(gone_within(30000));
    server_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stalled), cmocka_unit_test(slow)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
