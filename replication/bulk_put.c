/* A body on its way to a majority.
 *
 *   put ── own append ─────────────► own log ──┐
 *     └─── leg to each member: waiting ─► sent ┴─► votes; majority of voters: complete
 *              ▲ (link down, window full,      │
 *              └── queue full, peer busy) ◄────┘
 * A complete put drops the legs that still wait: that member fetches the body when it finds it missing. So a member
 * that is behind holds no memory here past its window. */
#include "replication/bulk_impl.h"

struct put {
    struct task task;
    struct bulk *b;
    struct body_put *p; /* NULL: completed */
    struct bytes *record;
    int64_t deadline_ms;
    struct list item; /* bulk.puts, while not complete */
    struct list legs;
    unsigned refs; /* itself while not complete, own append, legs */
    struct blob_append own;
    bool own_done;
    int failed; /* why a leg or the own append ended without a vote */
    uint64_t votes[BULK_PEERS_MAX];
    unsigned vote_n;
};

struct leg {
    struct list item; /* peer.waiting */
    struct list in_put;
    struct put *put;
    struct peer *peer;
};

static void put_unref(struct put *u)
{
    if (--u->refs > 0)
        return;
    bytes_unref(&u->record);
    mem_free(u);
}

static void leg_free(struct leg *g)
{
    list_remove(&g->item);
    list_remove(&g->in_put);
    put_unref(g->put);
    mem_free(g);
}

static void put_complete(struct put *u, int status)
{
    struct body_put *p = u->p;
    if (!p)
        return;
    u->p = NULL;
    list_remove(&u->item);
    LIST_EACH(it, next, &u->legs)
    {
        struct leg *g = container_of(it, struct leg, in_put);
        if (!list_empty(&g->item)) /* waiting; one that was sent ends with its answer */
            leg_free(g);
    }
    p->status = status;
    task_post(p->home, &p->task);
    put_unref(u);
}

static bool voted(const struct put *u, uint64_t id)
{
    for (unsigned i = 0; i < u->vote_n; i++)
        if (u->votes[i] == id)
            return true;
    return false;
}

static bool has_leg(const struct put *u, uint64_t id)
{
    LIST_EACH(it, next, &u->legs)
    {
        if (container_of(it, struct leg, in_put)->peer->info.id == id)
            return true;
    }
    return false;
}

static int refusal(const struct put *u)
{
    return u->failed == ERR_NOSPACE ? ERR_NOSPACE : ERR_UNAVAILABLE;
}

/* Counts by the present voters: membership may have changed under way. */
static void put_check(struct put *u)
{
    struct bulk *b = u->b;
    if (!u->p || !b->members_known)
        return;
    unsigned voters = b->self_voter, votes = b->self_voter && u->own_done && u->own.status == 0, possible = votes;
    possible += b->self_voter && !u->own_done;
    for (unsigned i = 0; i < b->peer_n; i++) {
        const struct bulk_peer *info = &b->peers[i]->info;
        if (!info->voter)
            continue;
        voters++;
        bool yes = voted(u, info->id);
        votes += yes;
        possible += yes || has_leg(u, info->id);
    }
    if (voters > 0 && votes >= voters / 2 + 1)
        put_complete(u, 0);
    else if (u->own_done && u->own.status != 0)
        put_complete(u, u->own.status); /* a full disk refuses mail, though others might take it */
    else if (voters > 0 && possible < voters / 2 + 1)
        put_complete(u, refusal(u));
}

/* ---- legs ---- */

static void leg_wait(struct leg *g)
{
    list_append(&g->peer->waiting, &g->item);
    bulk_busy(g->peer->b);
}

static void leg_answered(void *arg, int status, struct slice payload)
{
    struct leg *g = arg;
    struct put *u = g->put;
    struct peer *p = g->peer;
    struct reader r = {.in = payload};
    p->window -= u->record->n;
    if (status == 0) {
        status = (int32_t)read_u32(&r);
        if (r.failed || status > 0)
            status = ERR_PROTOCOL;
    }
    u->refs++;
    if (u->p && (status == ERR_CLOSED || status == ERR_BUSY)) {
        leg_wait(g); /* after a reconnect, or at the next tick */
    } else {
        if (status == 0 && u->vote_n < BULK_PEERS_MAX)
            u->votes[u->vote_n++] = p->info.id;
        else if (status != 0)
            u->failed = status;
        leg_free(g);
        put_check(u);
    }
    put_unref(u);
    if (status != ERR_BUSY && status != ERR_CLOSED)
        put_peer_flush(p);
}

void put_peer_flush(struct peer *p)
{
    while (p->link && link_is_up(p->link) && !list_empty(&p->waiting)) {
        struct leg *g = container_of(p->waiting.next, struct leg, item);
        struct put *u = g->put;
        size_t n = u->record->n;
        if (p->window > 0 && p->window + n > BULK_PUT_WINDOW)
            return;
        int rv = link_request_bytes(p->link, LINK_BODY_PUT, u->record, bulk_left_ms(u->deadline_ms), leg_answered, g);
        if (rv != 0)
            return; /* ERR_BUSY: when drained; ERR_CLOSED: when up */
        list_remove(&g->item);
        p->window += n;
    }
}

static void leg_add(struct put *u, struct peer *p)
{
    struct leg *g = mem_zalloc(sizeof(*g));
    g->put = u;
    g->peer = p;
    u->refs++;
    list_append(&u->legs, &g->in_put);
    leg_wait(g);
}

void put_peer_added(struct bulk *b, struct peer *p)
{
    LIST_EACH(it, next, &b->puts)
    {
        struct put *u = container_of(it, struct put, item);
        if (!voted(u, p->info.id))
            leg_add(u, p);
    }
    put_peer_flush(p);
}

void put_peer_removed(struct peer *p)
{
    while (!list_empty(&p->waiting))
        leg_free(container_of(p->waiting.next, struct leg, item));
    ENSURE(p->window == 0);
}

void put_members_changed(struct bulk *b)
{
    LIST_EACH(it, next, &b->puts)
    {
        put_check(container_of(it, struct put, item));
    }
}

/* ---- requests ---- */

static void own_appended(struct task *t)
{
    struct put *u = container_of(container_of(t, struct blob_append, task), struct put, own);
    struct bulk *b = u->b;
    u->own_done = true;
    b->outstanding--;
    if (u->own.status == ERR_IO)
        bulk_fatal(b, ERR_IO, "append of a body failed");
    if (u->own.status != 0)
        u->failed = u->own.status;
    put_check(u);
    put_unref(u);
}

static void put_run(struct task *t)
{
    struct put *u = container_of(t, struct put, task);
    struct bulk *b = u->b;
    list_append(&b->puts, &u->item);
    bulk_busy(b);
    if (b->stopping || u->record->n > LINK_FRAME_MAX - LINK_FRAME_HEADER) {
        put_complete(u, b->stopping ? ERR_CANCELED : ERR_TOOBIG);
        return;
    }
    /* The peers first: their disks work while ours does. */
    for (unsigned i = 0; i < b->peer_n; i++) {
        leg_add(u, b->peers[i]);
        put_peer_flush(b->peers[i]);
    }
    u->own = (struct blob_append){.task = {.run = own_appended}, .home = &b->loop.queue, .record = u->record};
    u->refs++;
    b->outstanding++;
    blob_append(b->c.blobs, &u->own);
}

void bulk_body_put(struct bulk *b, struct body_put *p)
{
    struct put *u = mem_zalloc(sizeof(*u));
    u->task.run = put_run;
    u->b = b;
    u->p = p;
    u->record = bytes_ref(p->record);
    u->deadline_ms = p->deadline_ms ? p->deadline_ms : clock_steady_ms() + BULK_DEADLINE_MS;
    u->refs = 1;
    list_init(&u->item);
    list_init(&u->legs);
    bulk_home(b, &u->task);
}

void put_tick(struct bulk *b, int64_t now)
{
    LIST_EACH(it, next, &b->puts)
    {
        struct put *u = container_of(it, struct put, item);
        if (u->deadline_ms <= now)
            put_complete(u, refusal(u));
    }
    for (unsigned i = 0; i < b->peer_n; i++)
        put_peer_flush(b->peers[i]);
}

void put_stop(struct bulk *b)
{
    while (!list_empty(&b->puts))
        put_complete(container_of(b->puts.next, struct put, item), ERR_CANCELED);
}
