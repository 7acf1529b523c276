#include "node/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void health(void *arg, struct http_reply *r)
{
    (void)arg;
    buf_append_str(&r->body, "ok\n");
}

static void not_ready(void *arg, struct http_reply *r)
{
    r->status = 503;
    buf_append_str(&r->body, arg);
}

static char reason_text[] = "no quorum\n";
static const struct http_route routes[] = {{"/healthz", "alive", health, NULL},
                                           {"/readyz", "serves clients", not_ready, reason_text}};

struct server {
    struct loop loop;
    struct http *http;
    uint16_t port;
};

static void stop_task(struct task *t);
struct stop {
    struct task task;
    struct server *server;
};

static void stop_task(struct task *t)
{
    struct server *s = ((struct stop *)t)->server;
    http_close(&s->http);
    loop_stop(&s->loop);
}

static void server_open(struct server *s)
{
    struct err_detail e;
    assert_int_equal(loop_init(&s->loop, "http"), 0);
    assert_int_equal(http_open(&s->loop, "127.0.0.1:0", routes, 2, &s->http, &e), 0);
    s->port = http_port(s->http);
    assert_int_equal(loop_start(&s->loop), 0);
}

static void server_close(struct server *s)
{
    struct stop t = {.task.run = stop_task, .server = s};
    task_post(&s->loop.queue, &t.task);
    loop_join(&s->loop);
    loop_close(&s->loop);
}

static int dial(const struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(s->port), .sin_addr.s_addr = htonl(0x7f000001)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 30};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* Sends in pieces of `step`, reads to the end of the connection. */
static size_t talk(const struct server *s, const char *text, size_t n, size_t step, char *out, size_t out_n)
{
    int fd = dial(s);
    for (size_t at = 0; at < n; at += step) {
        if (send(fd, text + at, step < n - at ? step : n - at, MSG_NOSIGNAL) < 0)
            break;
        if (step < n)
            usleep(200);
    }
    size_t got = 0;
    for (ssize_t r; got + 1 < out_n && (r = recv(fd, out + got, out_n - 1 - got, 0)) > 0;)
        got += (size_t)r;
    out[got] = 0;
    close(fd);
    return got;
}

static const struct {
    const char *request, *status, *body;
} rows[] = {
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK", "\r\n\r\nok\n"},
    {"GET /healthz?verbose HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK", "\r\n\r\nok\n"},
    {"GET http://x/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK", "\r\n\r\nok\n"},
    {"GET /healthz HTTP/1.0\r\n\r\n", "200 OK", "Connection: close"},
    {"GET /healthz HTTP/1.0\n\n", "200 OK", "ok"},
    {"\r\nGET / HTTP/1.0\r\n\r\n", "200 OK", "/readyz          serves clients\n"},
    {"GET /readyz HTTP/1.0\r\n\r\n", "503 Service Unavailable", "no quorum\n"},
    {"HEAD /healthz HTTP/1.0\r\n\r\n", "200 OK", "Content-Length: 3\r\n"},
    {"GET /other HTTP/1.0\r\n\r\n", "404 Not Found", "404"},
    {"POST /healthz HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "405 Method", "Allow: GET, HEAD"},
    {"GET /healthz HTTP/1.1\r\n\r\n", "400 Bad", ""},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400 Bad", ""},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde", "400 Bad", ""},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 Bad", ""},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", "400 Bad", ""},
    {"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", "400 Bad", ""},
    {"GET healthz HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad", ""},
    {"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", "505 ", ""},
    {"GET /healthz\r\n\r\n", "400 Bad", ""},
    {"G\001T / HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad", ""},
    {"\026\003\001\002\n\n", "400 Bad", ""},
    {" \n\n", "400 Bad", ""},
};

static void requests(void **state)
{
    (void)state;
    struct server s;
    server_open(&s);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t step = 1; step <= 4096; step *= 4096) {
            char out[4096], want[64];
            size_t n = talk(&s, rows[i].request, strlen(rows[i].request), step, out, sizeof out);
            snprintf(want, sizeof want, "HTTP/1.1 %s", rows[i].status);
            if (n == 0 || strncmp(out, want, strlen(want)) != 0 || !strstr(out, rows[i].body))
                fail_msg("row %zu, step %zu: %s", i, step, out);
            if (strncmp(rows[i].request, "HEAD", 4) == 0)
                assert_null(strstr(out, "ok\n"));
        }
    server_close(&s);
}

static void keep_alive(void **state)
{
    (void)state;
    struct server s;
    server_open(&s);
    static const char text[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\n"
                               "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for (size_t step = 1; step < sizeof text; step += 17) {
        char out[4096];
        talk(&s, text, sizeof text - 1, step, out, sizeof out);
        char *first = strstr(out, "200 OK"), *second = strstr(out, "404 Not"), *third = strstr(first + 1, "200 OK");
        assert_true(first && second > first && third > second);
    }
    server_close(&s);
}

static void limits(void **state)
{
    (void)state;
    struct server s;
    server_open(&s);
    static char text[20000], out[4096];
    memset(text, 'a', sizeof text);
    memcpy(text, "GET /", 5);
    talk(&s, text, sizeof text, sizeof text, out, sizeof out);
    assert_true(strncmp(out, "HTTP/1.1 431 ", 13) == 0);
    int fds[80]; /* over the limit: cut, and room again afterwards */
    for (int i = 0; i < 80; i++)
        fds[i] = dial(&s);
    char c;
    assert_int_equal(recv(fds[79], &c, 1, 0), 0);
    for (int i = 0; i < 80; i++)
        close(fds[i]);
    for (int i = 0; i < 100 && strncmp(out, "HTTP/1.1 200 ", 13) != 0; i++, usleep(100000))
        talk(&s, rows[0].request, strlen(rows[0].request), 4096, out, sizeof out);
    assert_true(strncmp(out, "HTTP/1.1 200 ", 13) == 0);
    int open = dial(&s); /* still there at the end */
    server_close(&s);
    close(open);
}

static void bad_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {"",       "127.0.0.1",      "127.0.0.1:", "localhost:80",  "127.0.0.1:65536",
                                      "::1:80", "[127.0.0.1]:80", "[::1:80",    "198.51.100.1:1"};
    struct loop l;
    assert_int_equal(loop_init(&l, "x"), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct http *h;
        struct err_detail e = {{0}};
        assert_true(http_open(&l, bad[i], routes, 2, &h, &e) < 0);
        assert_null(h);
        assert_true(strlen(e.text) > 0);
    }
    loop_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(requests), cmocka_unit_test(keep_alive),
                                       cmocka_unit_test(limits), cmocka_unit_test(bad_addresses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
