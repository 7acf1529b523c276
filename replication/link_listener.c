#include "replication/link_impl.h"

#include "node/base/log.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

/* Connections in their handshake at a time: a stranger can hold that many for LINK_HANDSHAKE_MS, and no memory to speak
 * of. */
enum { PENDING_MAX = 64, BACKLOG = 128 };

/* "host:port" or "[v6]:port" into its parts. */
static int address_split(const char *address, char *host, size_t n, const char **port_r)
{
    const char *colon = strrchr(address, ':');
    if (!colon || !colon[1])
        return ERR_INVALID;
    struct slice h = slice_make(address, (size_t)(colon - address));
    if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
        h = slice_make(address + 1, h.n - 2);
    if (h.n >= n)
        return ERR_INVALID;
    memcpy(host, h.p, h.n);
    host[h.n] = 0;
    *port_r = colon + 1;
    return 0;
}

static int address_resolve(const char *address, struct sockaddr_storage *out, struct err_detail *e)
{
    char host[256];
    const char *port;
    if (address_split(address, host, sizeof(host), &port) != 0)
        return err_set(e, ERR_INVALID, "%s: want host:port", address);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    int rv = getaddrinfo(host[0] && strcmp(host, "*") != 0 ? host : NULL, port, &hints, &found);
    if (rv != 0)
        return err_set(e, ERR_INVALID, "%s: %s", address, gai_strerror(rv));
    memset(out, 0, sizeof(*out));
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

static void tcp_freed(uv_handle_t *h)
{
    mem_free(h);
}

static void connection_new(uv_stream_t *server, int status)
{
    struct link_listener *l = server->data;
    if (status != 0) {
        log_event(LOG_WARN, "peer not accepted", LOG_S("why", uv_strerror(status)));
        return;
    }
    uv_tcp_t *tcp = mem_alloc(sizeof(*tcp));
    if (uv_tcp_init(server->loop, tcp) != 0) {
        mem_free(tcp);
        return;
    }
    if (uv_accept(server, (uv_stream_t *)tcp) != 0 || l->pending_n >= PENDING_MAX) {
        uv_close((uv_handle_t *)tcp, tcp_freed);
        return;
    }
    link_accept(l, tcp);
}

static void listener_freed(uv_handle_t *h)
{
    mem_free(container_of(h, struct link_listener, tcp));
}

int link_listen(uv_loop_t *loop, const struct link_identity *id, const char *address, enum link_class class,
                const struct link_listener_events *ev, void *arg, struct link_listener **l_r, struct err_detail *e)
{
    struct sockaddr_storage at;
    int rv = address_resolve(address, &at, e);
    if (rv != 0)
        return rv;
    struct link_listener *l = mem_zalloc(sizeof(*l));
    l->id = id;
    l->class = class;
    l->ev = *ev;
    l->arg = arg;
    list_init(&l->pending);
    rv = uv_tcp_init(loop, &l->tcp);
    if (rv != 0) {
        mem_free(l);
        return err_set(e, ERR_IO, "%s: %s", address, uv_strerror(rv));
    }
    l->tcp.data = l;
    rv = uv_tcp_bind(&l->tcp, (const struct sockaddr *)&at, 0);
    if (rv == 0)
        rv = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, connection_new);
    if (rv != 0) {
        uv_close((uv_handle_t *)&l->tcp, listener_freed);
        return err_set(e, rv == UV_EADDRINUSE ? ERR_BUSY : ERR_IO, "listen on %s: %s", address, uv_strerror(rv));
    }
    *l_r = l;
    return 0;
}

unsigned link_listener_port(const struct link_listener *l)
{
    struct sockaddr_storage at;
    int n = sizeof(at);
    char port[8];
    if (uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&at, &n) != 0 ||
        getnameinfo((const struct sockaddr *)&at, (socklen_t)n, NULL, 0, port, sizeof(port), NI_NUMERICSERV) != 0)
        return 0;
    return (unsigned)strtoul(port, NULL, 10);
}

void link_listener_close(struct link_listener **l)
{
    struct link_listener *it = *l;
    *l = NULL;
    if (!it)
        return;
    while (!list_empty(&it->pending)) {
        struct link *pending = container_of(it->pending.next, struct link, item);
        link_close(&pending);
    }
    uv_close((uv_handle_t *)&it->tcp, listener_freed);
}
