/* A joiner's first words. Members dial it at the address that its token was made for, so it only has to listen; but
 * whom they do not want (another node joined with the same token, the invitation expired) would wait for ever without
 * learning why. So a node that knows nobody yet dials the members named in its token, and is told. */
#include "replication/core.h"

#include "node/base/clock.h"

enum { AGAIN_MS = 30 * 1000 };

static void knock_up(void *arg, struct link *l, const struct link_hello *hello)
{
    struct knock *k = arg;
    (void)l, (void)hello;
    k->r->refused = 0;
}

static void knock_frame(void *arg, struct link *l, uint8_t type, uint64_t request, struct slice payload)
{
    struct knock *k = arg;
    core_frame(k->r, l, 0, type, request, payload);
}

static void knock_down(void *arg, struct link *l, int status, const char *why)
{
    (void)arg, (void)l, (void)status, (void)why;
}

static void knock_drained(void *arg, struct link *l)
{
    (void)arg, (void)l;
}

static const struct link_events events = {knock_up, knock_frame, knock_down, knock_drained};

/* Logged by the link already. */
static void knock_failed(void *arg, struct link *l, int status, const char *why)
{
    struct knock *k = arg;
    (void)l, (void)why;
    if (status != ERR_DENIED && status != ERR_CONFLICT && status != ERR_STALE && status != ERR_VERSION)
        return;
    k->r->refused = status;
    k->r->knock_ms = clock_steady_ms() + AGAIN_MS;
    link_close(&k->link);
}

static void dial(struct knock *k)
{
    k->link = link_dial(&k->r->loop.uv, &k->r->identity, LINK_CONTROL, 0, k->address, KNOCK_DEAD_MS, &events, k);
    link_set_failed(k->link, knock_failed, k);
}

void core_knock_start(struct replication *r)
{
    struct store_position p;
    store_position(r->store, &p);
    if (r->n_peers > 0 || p.index > 0 || r->raft.configuration.n > 0)
        return;
    char *peers = identity_first_peers(r->data_dir);
    for (struct slice rest = slice_str(peers); rest.n && r->n_knocks < KNOCKS_MAX;) {
        struct slice address = slice_first(rest, slice_find(rest, ','));
        rest = slice_from(rest, address.n + 1);
        struct knock *k = &r->knocks[r->n_knocks];
        if (address.n == 0 || address.n >= sizeof k->address)
            continue;
        memcpy(k->address, address.p, address.n);
        k->r = r;
        r->n_knocks++;
        dial(k);
    }
    mem_free(peers);
}

void core_knock_tick(struct replication *r, int64_t now)
{
    if (r->n_knocks > 0 && r->n_peers > 0)
        core_knock_close(r); /* the members are known: core_peers.c dials them */
    if (r->refused == 0 || now < r->knock_ms)
        return;
    r->knock_ms = now + AGAIN_MS;
    for (unsigned i = 0; i < r->n_knocks; i++)
        if (!r->knocks[i].link)
            dial(&r->knocks[i]);
}

void core_knock_close(struct replication *r)
{
    for (unsigned i = 0; i < r->n_knocks; i++)
        if (r->knocks[i].link)
            link_close(&r->knocks[i].link);
    r->n_knocks = 0;
    r->refused = 0;
}
