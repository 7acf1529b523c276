/*   accepted ─► head (10 s, 8 KiB) ─► reply ─► idle (60 s) ─► head …     any error: reply, close */
#include "node/http.h"

#include "node/base/list.h"
#include "node/base/mem.h"
#include "node/http_head.h"
#include "node/io/stream.h"
#include "node/listener_socket.h"

#include <stdio.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, HEAD_MS = 10000, IDLE_MS = 60000, LINGER_MS = 1000 };
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

static void reply_send(struct connection *c, const struct http_head *r, const struct http_reply *reply)
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

static void answer(struct connection *c, const struct http_head *r, int status)
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
        struct http_head r;
        size_t n;
        int status = http_head_parse(rest, &r, &n);
        if (status == HTTP_HEAD_MORE)
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
