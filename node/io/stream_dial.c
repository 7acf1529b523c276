/* Connecting: names through getaddrinfo on libuv's pool, numeric addresses without it; every address of a name is
 * tried in turn. */
#include "node/io/stream_internal.h"
#include "node/base/task.h"

#include <netdb.h>
#include <stdio.h>

struct dial {
    struct stream *s; /* NULL once the stream let go */
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct addrinfo *list, *next;
    SSL_CTX *ctx;
    char *server_name;
    void (*connected)(void *arg);
    struct sockaddr_storage source; /* ss_family 0: any */
    bool resolving, connecting;
};

static void dial_free(struct dial *d)
{
    if (d->resolving || d->connecting)
        return;
    uv_freeaddrinfo(d->list);
    SSL_CTX_free(d->ctx);
    mem_free(d->server_name);
    mem_free(d);
}

/* Gives the dial up: its callbacks find no stream. */
void stream_dial_cancel(struct stream *s)
{
    struct dial *d = s->dial;
    if (!d)
        return;
    s->dial = NULL;
    d->s = NULL;
    if (d->resolving)
        uv_cancel((uv_req_t *)&d->resolve);
    dial_free(d);
}

static void dial_failed(struct stream *s, int status, const char *what)
{
    char why[160];
    snprintf(why, sizeof why, "%s: %s", what, uv_strerror(status));
    stream_dial_cancel(s);
    int code = status <= -3000 ? ERR_UNAVAILABLE : err_from_errno(-status); /* UV_EAI_* are -3000 and below */
    stream_fail(s, code, why);
}

static void dial_done(struct stream *s)
{
    struct dial *d = s->dial;
    SSL_CTX *ctx = d->ctx;
    d->ctx = NULL;
    char *name = d->server_name;
    d->server_name = NULL;
    void (*connected)(void *) = d->connected;
    stream_dial_cancel(s);
    stream_open(s);
    if (ctx) {
        s->connected = connected;
        if (stream_tls_connect(s, ctx, name) < 0)
            stream_fail(s, ERR_INVALID, "cannot start TLS");
        s->plain_left = 0; /* what was written while connecting is not for the wire in plaintext */
        stream_reading_update(s);
    } else if (connected) {
        connected(s->arg);
    }
    SSL_CTX_free(ctx);
    mem_free(name);
}

static void attempt_closed(uv_handle_t *h)
{
    struct stream *s = h->data;
    mem_free(h);
    stream_unref(s);
}

static int attempt(struct stream *s, const struct sockaddr *a);

static void connect_cb(uv_connect_t *r, int status)
{
    struct dial *d = container_of(r, struct dial, connect);
    d->connecting = false;
    struct stream *s = d->s;
    if (!s) {
        dial_free(d);
        return;
    }
    if (status == 0) {
        dial_done(s);
        return;
    }
    uv_close((uv_handle_t *)s->tcp, attempt_closed);
    s->tcp = NULL;
    while (d->next) {
        struct addrinfo *next = d->next;
        d->next = next->ai_next;
        status = attempt(s, next->ai_addr);
        if (status == 0)
            return;
    }
    dial_failed(s, status, "connect");
}

static int source_bind(struct stream *s, uv_tcp_t *tcp, const struct sockaddr *to)
{
    const struct sockaddr_storage *source = &s->dial->source;
    if (source->ss_family == 0)
        return 0;
    return source->ss_family == to->sa_family ? uv_tcp_bind(tcp, (const struct sockaddr *)source, 0) : UV_EAFNOSUPPORT;
}

/* One try; 0 or a libuv error. */
static int attempt(struct stream *s, const struct sockaddr *a)
{
    uv_tcp_t *tcp = mem_alloc(sizeof *tcp);
    int rc = uv_tcp_init(s->loop, tcp);
    if (rc < 0) {
        mem_free(tcp);
        return rc;
    }
    tcp->data = s;
    s->refs++;
    rc = source_bind(s, tcp, a);
    if (rc == 0)
        rc = uv_tcp_connect(&s->dial->connect, tcp, a, connect_cb);
    if (rc < 0) {
        uv_close((uv_handle_t *)tcp, attempt_closed);
        return rc;
    }
    s->dial->connecting = true;
    s->tcp = tcp;
    return 0;
}

static void resolve_cb(uv_getaddrinfo_t *r, int status, struct addrinfo *list)
{
    struct dial *d = container_of(r, struct dial, resolve);
    d->resolving = false;
    d->list = d->next = list;
    struct stream *s = d->s;
    if (!s) {
        dial_free(d);
        return;
    }
    while (status == 0 && d->next) {
        struct addrinfo *next = d->next;
        d->next = next->ai_next;
        int rc = attempt(s, next->ai_addr);
        if (rc == 0)
            return;
        if (!d->next)
            status = rc;
    }
    dial_failed(s, status < 0 ? status : UV_EAI_NODATA, "resolve");
}

/* "host:port", "[v6]:port" into its parts. */
static int address_split(const char *address, char *host, size_t host_n, uint16_t *port_r)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;
    if (!colon || slice_u64(slice_str(colon + 1), 65535, &port) < 0 || port == 0)
        return ERR_INVALID;
    struct slice h = slice_make(address, (size_t)(colon - address));
    if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
        h = slice_make(h.p + 1, h.n - 2);
    if (h.n == 0 || h.n >= host_n)
        return ERR_INVALID;
    memcpy(host, h.p, h.n);
    host[h.n] = 0;
    *port_r = (uint16_t)port;
    return 0;
}

static int dial_start(struct stream *s, const char *host, uint16_t port)
{
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    if (uv_ip4_addr(host, port, &four) == 0)
        return attempt(s, (const struct sockaddr *)&four);
    if (uv_ip6_addr(host, port, &six) == 0)
        return attempt(s, (const struct sockaddr *)&six);
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int rc = uv_getaddrinfo(s->loop, &s->dial->resolve, resolve_cb, host, service, &hints);
    s->dial->resolving = rc == 0;
    return rc;
}

static int source_set(struct dial *d, const char *source)
{
    if (!source || uv_ip4_addr(source, 0, (struct sockaddr_in *)&d->source) == 0)
        return 0;
    return uv_ip6_addr(source, 0, (struct sockaddr_in6 *)&d->source);
}

struct stream *stream_connect(uv_loop_t *loop, const char *address, SSL_CTX *ctx, const char *server_name,
                              const struct stream_events *ev, void *arg, void (*connected)(void *arg))
{
    return stream_connect_from(loop, NULL, address, ctx, server_name, ev, arg, connected);
}

struct stream *stream_connect_from(uv_loop_t *loop, const char *source, const char *address, SSL_CTX *ctx,
                                   const char *server_name, const struct stream_events *ev, void *arg,
                                   void (*connected)(void *arg))
{
    struct stream *s = stream_make(loop, ev, arg);
    struct dial *d = mem_zalloc(sizeof *d);
    s->dial = d;
    d->s = s;
    d->connected = connected;
    d->server_name = server_name ? mem_strdup(server_name) : NULL;
    if (ctx) {
        SSL_CTX_up_ref(ctx);
        d->ctx = ctx;
    }
    char host[256];
    uint16_t port;
    if (address_split(address, host, sizeof host, &port) < 0) {
        stream_dial_cancel(s);
        stream_fail(s, ERR_INVALID, "address must be HOST:PORT or [IPV6]:PORT");
        return s;
    }
    int rc = source_set(d, source);
    if (rc == 0)
        rc = dial_start(s, host, port);
    if (rc < 0)
        dial_failed(s, rc, "connect");
    return s;
}
