#include "replication/bulk_impl.h"

#include <stdio.h>

static void tick_set(struct bulk *b, bool fast);

void bulk_busy(struct bulk *b)
{
    if (!b->ticking_fast)
        tick_set(b, true);
}

void bulk_fatal(struct bulk *b, int status, const char *why)
{
    if (b->c.fatal)
        b->c.fatal(b->c.arg, status, why);
}

unsigned bulk_left_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - clock_steady_ms();
    return left < 1 ? 1 : left > 3600 * 1000 ? 3600 * 1000 : (unsigned)left;
}

void bulk_read_post(struct bulk *b, struct task *t)
{
    bulk_worker_post(&b->readers[b->reader_next++ % BULK_READERS], t);
}

/* ---- peers ---- */

struct peer *bulk_peer_find(struct bulk *b, uint64_t id)
{
    for (unsigned i = 0; i < b->peer_n; i++)
        if (b->peers[i]->info.id == id)
            return b->peers[i];
    return NULL;
}

static bool among(uint64_t id, const uint64_t *ids, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

struct peer *bulk_peer_next(struct bulk *b, const uint64_t *but, unsigned n)
{
    b->rotor++;
    for (unsigned i = 0; i < b->peer_n; i++) {
        struct peer *p = b->peers[(b->rotor + i) % b->peer_n];
        if (p->link && link_is_up(p->link) && !among(p->info.id, but, n))
            return p;
    }
    return NULL;
}

static void peer_up(void *arg, struct link *l, const struct link_hello *hello)
{
    struct peer *p = arg;
    (void)l;
    (void)hello;
    put_peer_flush(p);
    get_peer_up(p->b);
}

static void peer_frame(void *arg, struct link *l, uint8_t type, uint64_t request, struct slice payload)
{
    struct peer *p = arg;
    if (type == LINK_STATE_PART)
        fetch_part(p->b, l, request, payload);
}

static void peer_down(void *arg, struct link *l, int status, const char *why)
{
    struct peer *p = arg;
    (void)status;
    (void)why;
    fetch_peer_down(p->b, l);
}

static void peer_drained(void *arg, struct link *l)
{
    (void)l;
    put_peer_flush(arg);
}

static const struct link_events PEER_EVENTS = {peer_up, peer_frame, peer_down, peer_drained};

static int hello_ok(void *arg, const struct link_hello *peer)
{
    struct bulk *b = arg;
    return b->c.hello_ok ? b->c.hello_ok(b->c.arg, peer) : 0;
}

static void peer_dial(struct peer *p)
{
    struct bulk *b = p->b;
    p->link =
        link_dial(&b->loop.uv, b->c.identity, LINK_BULK, p->info.id, p->info.address, b->c.dead_ms, &PEER_EVENTS, p);
    link_set_ok(p->link, hello_ok, b);
}

static void peer_hang_up(struct peer *p)
{
    if (!p->link)
        return;
    fetch_peer_down(p->b, p->link);
    struct link *l = p->link;
    p->link = NULL; /* what ends with it must not be sent on it again */
    link_close(&l);
}

static void peer_remove(struct bulk *b, unsigned at)
{
    struct peer *p = b->peers[at];
    b->peers[at] = b->peers[--b->peer_n];
    peer_hang_up(p);
    put_peer_removed(p);
    mem_free(p);
}

static void peer_add(struct bulk *b, const struct bulk_peer *info)
{
    struct peer *p = mem_zalloc(sizeof(*p));
    p->b = b;
    p->info = *info;
    list_init(&p->waiting);
    b->peers[b->peer_n++] = p;
    peer_dial(p);
    put_peer_added(b, p);
}

struct members {
    struct task task;
    struct bulk *b;
    bool self_voter;
    size_t n;
    struct bulk_peer peers[];
};

static const struct bulk_peer *members_find(const struct members *m, uint64_t id)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->peers[i].id == id)
            return &m->peers[i];
    return NULL;
}

static void members_apply(struct bulk *b, const struct members *m)
{
    for (unsigned i = b->peer_n; i-- > 0;)
        if (!members_find(m, b->peers[i]->info.id))
            peer_remove(b, i);
    for (size_t i = 0; i < m->n; i++) {
        const struct bulk_peer *info = &m->peers[i];
        struct peer *p = bulk_peer_find(b, info->id);
        if (!p) {
            if (b->peer_n < BULK_PEERS_MAX && info->id != b->c.identity->node_id)
                peer_add(b, info);
            continue;
        }
        bool moved = strcmp(p->info.address, info->address) != 0;
        p->info = *info;
        if (moved) {
            peer_hang_up(p);
            peer_dial(p);
        }
    }
    b->members_known = true;
    b->self_voter = m->self_voter;
    put_members_changed(b);
    serve_members_changed(b);
}

static void members_run(struct task *t)
{
    struct members *m = container_of(t, struct members, task);
    if (!m->b->stopping)
        members_apply(m->b, m);
    mem_free(m);
}

void bulk_peers_set(struct bulk *b, const struct bulk_peer *peers, size_t n, bool self_voter)
{
    struct members *m = mem_zalloc(sizeof(*m) + n * sizeof(*peers));
    m->task.run = members_run;
    m->b = b;
    m->self_voter = self_voter;
    m->n = n;
    if (n)
        memcpy(m->peers, peers, n * sizeof(*peers));
    bulk_home(b, &m->task);
}

/* ---- time ---- */

static void stopped(struct bulk *b)
{
    if (b->outstanding || b->fetch || b->exports || !list_empty(&b->puts) || !list_empty(&b->gets) ||
        uv_is_closing((uv_handle_t *)&b->tick))
        return;
    uv_close((uv_handle_t *)&b->tick, NULL);
    loop_stop(&b->loop);
}

static void ticked(uv_timer_t *t)
{
    struct bulk *b = t->data;
    int64_t now = clock_steady_ms();
    put_tick(b, now);
    get_tick(b, now);
    serve_tick(b, now);
    fetch_tick(b, now);
    missing_tick(b, now);
    recheck_tick(b, now);
    if (b->stopping) {
        stopped(b);
        return;
    }
    bool busy = !list_empty(&b->puts) || !list_empty(&b->gets) || b->fetch || b->exports || b->missing.in_round ||
                b->missing.next_ms;
    if (busy != b->ticking_fast)
        tick_set(b, busy);
}

static void tick_set(struct bulk *b, bool fast)
{
    unsigned ms = fast ? BULK_TICK_MS : BULK_TICK_IDLE_MS;
    b->ticking_fast = fast;
    if (!uv_is_closing((uv_handle_t *)&b->tick))
        uv_timer_start(&b->tick, ticked, ms, ms);
}

/* ---- life ---- */

static void workers_stop(struct bulk *b)
{
    for (unsigned i = 0; i < BULK_READERS; i++)
        bulk_worker_stop(&b->readers[i]);
    bulk_worker_stop(&b->exporter);
    bulk_worker_stop(&b->importer);
    bulk_worker_stop(&b->checker);
}

static int workers_start(struct bulk *b)
{
    int rv = bulk_worker_start(&b->exporter, "state-out");
    if (rv == 0)
        rv = bulk_worker_start(&b->importer, "state-in");
    if (rv == 0)
        rv = bulk_worker_start(&b->checker, "body-check");
    for (unsigned i = 0; rv == 0 && i < BULK_READERS; i++)
        rv = bulk_worker_start(&b->readers[i], "body-read");
    if (rv != 0)
        workers_stop(b);
    return rv;
}

int bulk_start(const struct bulk_config *c, struct bulk **b_r, struct err_detail *e)
{
    static const struct link_listener_events LISTENER = {hello_ok, serve_accepted};
    struct bulk *b = mem_zalloc(sizeof(*b));
    b->c = *c;
    list_init(&b->puts);
    list_init(&b->gets);
    list_init(&b->conns);
    missing_init(b);
    recheck_init(b);
    int rv = loop_init(&b->loop, "bulk");
    if (rv != 0) {
        mem_free(b);
        return err_set(e, rv, "bulk loop: %s", err_text(rv));
    }
    ENSURE(uv_timer_init(&b->loop.uv, &b->tick) == 0);
    b->tick.data = b;
    rv = link_listen(&b->loop.uv, c->identity, c->listen, LINK_BULK, &LISTENER, b, &b->listener, e);
    b->c.listen = NULL;
    if (rv == 0 && (rv = workers_start(b)) != 0)
        err_set(e, rv, "bulk threads: %s", err_text(rv));
    tick_set(b, false);
    if (rv == 0 && (rv = loop_start(&b->loop)) != 0) {
        workers_stop(b);
        err_set(e, rv, "bulk thread: %s", err_text(rv));
    }
    if (rv != 0) {
        link_listener_close(&b->listener);
        uv_close((uv_handle_t *)&b->tick, NULL);
        loop_close(&b->loop);
        mem_free(b);
        return rv;
    }
    *b_r = b;
    return 0;
}

unsigned bulk_port(const struct bulk *b)
{
    return link_listener_port(b->listener);
}

struct stop {
    struct task task;
    struct bulk *b;
};

static void stop_run(struct task *t)
{
    struct bulk *b = container_of(t, struct stop, task)->b;
    b->stopping = true;
    atomic_store(&b->recheck_stop, true);
    link_listener_close(&b->listener);
    put_stop(b);
    get_stop(b);
    fetch_stop(b);
    while (b->peer_n)
        peer_remove(b, b->peer_n - 1);
    serve_stop(b);
    tick_set(b, true);
}

void bulk_stop(struct bulk **b_r)
{
    struct bulk *b = *b_r;
    *b_r = NULL;
    if (!b)
        return;
    struct stop s = {.task = {.run = stop_run}, .b = b};
    bulk_home(b, &s.task);
    loop_join(&b->loop);
    workers_stop(b);
    loop_close(&b->loop);
    mem_free(b);
}
