/* link_listen and its like on simulated hosts: who listens where. */
#include "tests/sim/net.h"

#include "replication/link_impl.h"

#include <stdlib.h>
#include <string.h>

/* As many as the real one lets in at a time. */
enum { PENDING_MAX = 64, LISTENERS_MAX = 64 };

static struct bound {
    struct link_listener *listener;
    uv_loop_t *loop;
    unsigned host, port;
} bounds[LISTENERS_MAX];

static struct bound *bound_find(unsigned host, unsigned port)
{
    for (size_t i = 0; i < LISTENERS_MAX; i++) {
        if (bounds[i].listener && bounds[i].host == host && bounds[i].port == port)
            return &bounds[i];
    }
    return NULL;
}

static struct bound *bound_of(const struct link_listener *l)
{
    for (size_t i = 0; i < LISTENERS_MAX; i++) {
        if (bounds[i].listener == l)
            return &bounds[i];
    }
    return NULL;
}

uv_loop_t *net_listener_loop(unsigned host, unsigned port)
{
    struct bound *b = bound_find(host, port);
    return b ? b->loop : NULL;
}

bool net_listener_any(unsigned host)
{
    for (size_t i = 0; i < LISTENERS_MAX; i++) {
        if (bounds[i].listener && bounds[i].host == host)
            return true;
    }
    return false;
}

void net_listener_crash(unsigned host)
{
    for (size_t i = 0; i < LISTENERS_MAX; i++) {
        if (bounds[i].host == host)
            bounds[i] = (struct bound){0};
    }
}

void net_listener_take(struct net_conn *c)
{
    struct bound *b = bound_find(c->side[1].host, c->port);
    if (!b || b->listener->pending_n >= PENDING_MAX) {
        net_send(c, 1, PACKET_RST, NULL, (struct slice){0});
        return;
    }
    uv_tcp_t *tcp = mem_zalloc(sizeof *tcp);
    tcp->loop = b->loop;
    tcp->data = c;
    link_accept(b->listener, tcp);
}

int link_listen(uv_loop_t *loop, const struct link_identity *id, const char *address, enum link_class class,
                const struct link_listener_events *ev, void *arg, struct link_listener **l_r, struct err_detail *e)
{
    const char *colon = strrchr(address, ':');
    unsigned host = sim_host_index(sim_host_now()), port = colon ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
    if (port == 0)
        return err_set(e, ERR_INVALID, "%s: want host:port", address);
    if (bound_find(host, port))
        return err_set(e, ERR_BUSY, "listen on %s: address already in use", address);
    struct bound *b = bound_of(NULL);
    ENSURE(b);
    struct link_listener *l = mem_zalloc(sizeof *l);
    l->id = id;
    l->class = class;
    l->ev = *ev;
    l->arg = arg;
    list_init(&l->pending);
    *b = (struct bound){l, loop, host, port};
    *l_r = l;
    return 0;
}

unsigned link_listener_port(const struct link_listener *l)
{
    const struct bound *b = bound_of(l);
    return b ? b->port : 0;
}

static void listener_free(void *arg)
{
    mem_free(arg);
}

void link_listener_close(struct link_listener **l)
{
    struct link_listener *it = *l;
    *l = NULL;
    if (!it)
        return;
    struct bound *b = bound_of(it);
    ENSURE(b);
    uv_loop_t *loop = b->loop;
    *b = (struct bound){0};
    while (!list_empty(&it->pending)) {
        struct link *pending = container_of(it->pending.next, struct link, item);
        link_close(&pending);
    }
    sim_loop_post(loop, listener_free, it); /* a caller inside accepted() goes back through it */
}
