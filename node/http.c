/*   accepted ─► head (10 s, 8 KiB) ─► reply ─► idle (60 s) ─► head …     any error: reply, close */
#include "node/http.h"

#include "node/base/list.h"
#include "node/base/mem.h"
#include "node/io/stream.h"
#include "node/listener_socket.h"

#include <stdio.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, HEAD_MAX = 8192, HEAD_MS = 10000, IDLE_MS = 60000, LINGER_MS = 1000 };
enum { QUEUED_MAX = 1024 * 1024 }; /* answers to pipelined requests that may wait */

struct http {
    struct loop *loop;
    uv_tcp_t *listener;
    uint16_t port;
    const struct http_route *routes;
    unsigned route_n, count;
    struct list connections;
};

struct connection {
    struct list link;
    struct http *http;
    struct stream *stream;
    uv_timer_t timer;
    bool in_head; /* the timer runs for a head */
};

/* One request, as far as we care. */
struct request {
    bool head, keep;
    struct slice path;
};

static void handle_free(uv_handle_t *h)
{
    mem_free(h);
}

static void timer_closed(uv_handle_t *h)
{
    mem_free(h->data);
}

static void connection_close(struct connection *c, unsigned linger_ms)
{
    list_remove(&c->link);
    c->http->count--;
    stream_close(c->stream, linger_ms);
    c->stream = NULL;
    uv_close((uv_handle_t *)&c->timer, timer_closed);
}

static void timed_out(uv_timer_t *t)
{
    connection_close(t->data, 0);
}

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Status";
    }
}

static void reply_send(struct connection *c, const struct request *r, const struct http_reply *reply)
{
    char head[512];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
                     "%sConnection: %s\r\n\r\n",
                     reply->status, reason(reply->status), reply->content_type, buf_len(&reply->body),
                     reply->status == 405 ? "Allow: GET, HEAD\r\n" : "", r->keep ? "keep-alive" : "close");
    stream_write(c->stream, slice_make(head, (size_t)n));
    if (!r->head)
        stream_write(c->stream, buf_slice(&reply->body));
}

static void list_write(const struct http *h, struct http_reply *reply)
{
    for (unsigned i = 0; i < h->route_n; i++)
        buf_printf(&reply->body, "%-16s %s\n", h->routes[i].path, h->routes[i].help ? h->routes[i].help : "");
}

static void answer(struct connection *c, const struct request *r, int status)
{
    struct http_reply reply = {.status = status, .content_type = "text/plain; charset=utf-8"};
    const struct http *h = c->http;
    if (status == 200) {
        const struct http_route *found = NULL;
        for (unsigned i = 0; i < h->route_n; i++)
            if (slice_eq(r->path, slice_str(h->routes[i].path)))
                found = &h->routes[i];
        if (found)
            found->handle(found->arg, &reply);
        else if (slice_eq(r->path, SLICE_LITERAL("/")))
            list_write(h, &reply);
        else
            reply.status = 404;
    }
    if (reply.status != 200 && buf_len(&reply.body) == 0)
        buf_printf(&reply.body, "%d %s\n", reply.status, reason(reply.status));
    reply_send(c, r, &reply);
    buf_close(&reply.body);
}

static struct slice line_take(struct slice *s)
{
    size_t n = slice_find(*s, '\n');
    struct slice line = slice_first(*s, n);
    *s = slice_from(*s, n + 1);
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

static bool token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 127 || strchr("\"(),/:;<=>?@[\\]{}", s.p[i]))
            return false;
    return s.n > 0;
}

/* RFC 9112 3: method SP request-target SP HTTP-version. Returns a status. */
static int request_line(struct slice line, struct request *r)
{
    size_t at = slice_find(line, ' ');
    struct slice method = slice_first(line, at), rest = slice_from(line, at + 1);
    at = slice_find(rest, ' ');
    struct slice target = slice_first(rest, at), version = slice_from(rest, at + 1);
    if (!token(method) || target.n == 0 || version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0)
        return 400;
    if (memcmp(version.p, "HTTP/1.", 7) != 0)
        return 505;
    if (version.p[7] != '0' && version.p[7] != '1')
        return 400;
    r->keep = version.p[7] == '1';
    r->head = slice_eq(method, SLICE_LITERAL("HEAD"));
    if (!r->head && !slice_eq(method, SLICE_LITERAL("GET")))
        return 405;
    if (slice_istarts(target, SLICE_LITERAL("http://"))) { /* absolute form */
        target = slice_from(target, 7);
        target = slice_from(target, slice_find(target, '/'));
        if (target.n == 0)
            target = SLICE_LITERAL("/");
    }
    if (target.p[0] != '/')
        return 400;
    for (size_t i = 0; i < target.n; i++)
        if (target.p[i] <= ' ' || target.p[i] >= 127)
            return 400;
    r->path = slice_first(target, slice_find(target, '?'));
    return 200;
}

static int header_field(struct slice line, struct request *r, unsigned *hosts)
{
    size_t colon = slice_find(line, ':');
    struct slice name = slice_first(line, colon), value = slice_trim(slice_from(line, colon + 1));
    if (colon == line.n || !token(name))
        return 400; /* obs-fold comes here too */
    for (size_t i = 0; i < value.n; i++)
        if ((value.p[i] < ' ' && value.p[i] != '\t') || value.p[i] == 127)
            return 400;
    if (slice_ieq(name, SLICE_LITERAL("Host")))
        ++*hosts;
    else if (slice_ieq(name, SLICE_LITERAL("Connection")))
        r->keep =
            slice_ieq(value, SLICE_LITERAL("keep-alive")) || (r->keep && !slice_ieq(value, SLICE_LITERAL("close")));
    else if (slice_ieq(name, SLICE_LITERAL("Transfer-Encoding")) ||
             (slice_ieq(name, SLICE_LITERAL("Content-Length")) && !slice_eq(value, SLICE_LITERAL("0"))))
        return 400; /* bodies have no place here */
    return 200;
}

static int head_parse(struct slice head, struct request *r)
{
    int status = request_line(line_take(&head), r);
    bool one_one = r->keep;
    unsigned hosts = 0;
    while (status == 200 && head.n > 0) {
        struct slice line = line_take(&head);
        if (line.n == 0)
            break;
        status = header_field(line, r, &hosts);
    }
    if (status == 200 && (hosts > 1 || (one_one && hosts != 1)))
        status = 400; /* RFC 9112 3.2 */
    if (status != 200)
        r->keep = false;
    return status;
}

/* Length of the head with its empty line, or 0. */
static size_t head_length(struct slice in)
{
    for (size_t i = 0; i + 1 < in.n; i++) {
        if (in.p[i] != '\n')
            continue;
        if (in.p[i + 1] == '\n')
            return i + 2;
        if (i + 2 < in.n && in.p[i + 1] == '\r' && in.p[i + 2] == '\n')
            return i + 3;
    }
    return 0;
}

static void timer_set(struct connection *c, bool in_head)
{
    if (in_head && c->in_head)
        return; /* more bytes buy no more time */
    c->in_head = in_head;
    uv_timer_start(&c->timer, timed_out, in_head ? HEAD_MS : IDLE_MS, 0);
}

static size_t on_read(void *arg, struct slice in)
{
    struct connection *c = arg;
    size_t used = 0;
    while (used < in.n && stream_queued(c->stream) < QUEUED_MAX) {
        struct slice rest = slice_from(in, used);
        if (rest.p[0] == '\r' || rest.p[0] == '\n') { /* RFC 9112 2.2: empty lines before a request */
            used++;
            continue;
        }
        timer_set(c, true);
        size_t n = head_length(slice_first(rest, HEAD_MAX));
        struct request r = {0};
        int status = 431;
        if (n > 0)
            status = head_parse(slice_first(rest, n), &r);
        else if (rest.n < HEAD_MAX)
            return used;
        answer(c, &r, status);
        if (!r.keep) {
            connection_close(c, LINGER_MS);
            return in.n;
        }
        used += n;
        timer_set(c, false);
    }
    return used;
}

static void on_drained(void *arg)
{
    struct connection *c = arg;
    stream_resume(c->stream);
}

static void on_closed(void *arg, int status, const char *why)
{
    struct connection *c = arg;
    (void)why;
    connection_close(c, status == 0 ? LINGER_MS : 0);
}

static const struct stream_events events = {.read = on_read, .drained = on_drained, .closed = on_closed};

static void on_connection(uv_stream_t *listener, int status)
{
    struct http *h = listener->data;
    if (status < 0)
        return;
    uv_tcp_t *tcp = mem_alloc(sizeof *tcp);
    uv_tcp_init(&h->loop->uv, tcp);
    if (uv_accept(listener, (uv_stream_t *)tcp) < 0 || h->count >= CONNECTIONS_MAX) {
        uv_close((uv_handle_t *)tcp, handle_free);
        return;
    }
    struct connection *c = mem_zalloc(sizeof *c);
    c->http = h;
    list_append(&h->connections, &c->link);
    h->count++;
    uv_timer_init(&h->loop->uv, &c->timer);
    c->timer.data = c;
    timer_set(c, true);
    c->stream = stream_accept(&h->loop->uv, tcp, &events, c);
}

int http_open(struct loop *loop, const char *address, const struct http_route *routes, unsigned route_n,
              struct http **h_r, struct err_detail *e)
{
    char host[64];
    uint16_t port;
    int fd;
    *h_r = NULL;
    if (socket_address_parse(slice_str(address), host, sizeof host, &port) < 0)
        return err_set(e, ERR_INVALID, "%s: write ADDRESS:PORT, as 127.0.0.1:8080 or [::]:8080", address);
    int rc = socket_listen(host, port, &fd, &port, e);
    if (rc < 0)
        return rc;
    struct http *h = mem_zalloc(sizeof *h);
    *h = (struct http){.loop = loop, .port = port, .routes = routes, .route_n = route_n};
    list_init(&h->connections);
    h->listener = mem_alloc(sizeof *h->listener);
    uv_tcp_init(&loop->uv, h->listener);
    h->listener->data = h;
    rc = uv_tcp_open(h->listener, fd);
    if (rc < 0)
        close(fd);
    else
        rc = uv_listen((uv_stream_t *)h->listener, 128, on_connection);
    if (rc < 0) {
        http_close(&h);
        return err_set(e, err_from_errno(-rc), "%s: %s", address, uv_strerror(rc));
    }
    *h_r = h;
    return 0;
}

uint16_t http_port(const struct http *h)
{
    return h->port;
}

void http_close(struct http **h)
{
    if (!*h)
        return;
    LIST_EACH(it, tmp, &(*h)->connections)
    connection_close(container_of(it, struct connection, link), 0);
    uv_close((uv_handle_t *)(*h)->listener, handle_free);
    mem_free(*h);
    *h = NULL;
}
