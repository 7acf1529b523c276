/* A body that is not here.
 *
 * It may be on its way into our own log all the while (a record out of a command, not synced yet): looked for there
 * first, each time.
 *
 *   resting ──tick, peer up──► asking ──record──► decoding (reader) ──► appending (blob writer) ──► done
 *      ▲                        │  ▲                   │
 *      │◄──── nobody left ──────┘  └── next peer ◄─────┴── damaged, not there, late, link down
 * One a hash: requests and the background fetch share it. */
#include "replication/bulk_impl.h"

enum get_state { GET_RESTING, GET_ASKING, GET_DECODING, GET_APPENDING };

struct get {
    struct task task;
    struct bulk *b;
    struct list item;
    struct body_hash hash;
    struct list waiters;
    enum get_state state;
    bool background, own_failed;
    unsigned round;
    int64_t retry_ms;
    uint64_t tried[BULK_PEERS_MAX];
    unsigned tried_n, absent_n; /* absent: of those tried, that said they have none, or a damaged one */
    struct bytes *record, *body;
    int status;
    struct blob_append append;
};

struct waiter {
    struct task task;
    struct bulk *b;
    struct list item;
    struct body_get *g;
    struct body_hash hash;
    int64_t deadline_ms;
};

static void get_ask(struct get *g);

static void waiter_end(struct waiter *w, int status, struct bytes *body)
{
    list_remove(&w->item);
    w->g->status = status;
    w->g->body = body ? bytes_ref(body) : NULL;
    task_post(w->g->home, &w->g->task);
    mem_free(w);
}

/* Ends it for all who wait. */
static void get_end(struct get *g, int status)
{
    struct bulk *b = g->b;
    bool background = g->background;
    struct body_hash hash = g->hash;
    list_remove(&g->item);
    while (!list_empty(&g->waiters))
        waiter_end(container_of(g->waiters.next, struct waiter, item), status, status == 0 ? g->body : NULL);
    bytes_unref(&g->record);
    bytes_unref(&g->body);
    mem_free(g);
    if (background)
        missing_done(b, &hash, status == 0);
}

static void appended(struct task *t)
{
    struct get *g = container_of(container_of(t, struct blob_append, task), struct get, append);
    g->b->outstanding--;
    if (g->append.status == ERR_IO)
        bulk_fatal(g->b, ERR_IO, "append of a body failed");
    if (g->append.status != 0 && g->background && list_empty(&g->waiters))
        get_end(g, g->append.status);
    else
        get_end(g, 0); /* who wants to read it has it, whether or not it could be kept */
}

static void decoded(struct task *t)
{
    struct get *g = container_of(t, struct get, task);
    g->b->outstanding--;
    if (g->b->stopping) {
        get_end(g, ERR_CANCELED);
        return;
    }
    if (g->status != 0) {
        log_event(LOG_WARN, "peer sent a damaged body", LOG_U("peer", g->tried[g->tried_n - 1]),
                  LOG_E("error", g->status));
        bytes_unref(&g->record);
        g->absent_n++;
        get_ask(g);
        return;
    }
    g->state = GET_APPENDING;
    g->append = (struct blob_append){.task = {.run = appended}, .home = &g->b->loop.queue, .record = g->record};
    g->b->outstanding++;
    blob_append(g->b->c.blobs, &g->append);
}

/* A reader's thread. */
static void decode(struct task *t)
{
    struct get *g = container_of(t, struct get, task);
    g->status = blob_decode(bytes_slice(g->record), true, &g->body);
    t->run = decoded;
    bulk_home(g->b, t);
}

static int record_take(struct get *g, struct slice payload)
{
    struct reader r = {.in = payload};
    struct body_hash hash;
    uint64_t size;
    int status = (int32_t)read_u32(&r);
    if (r.failed || status > 0)
        return ERR_PROTOCOL;
    if (status == 0)
        status = blob_record_check(r.in, &hash, &size);
    if (status == 0 && !body_hash_eq(&hash, &g->hash))
        status = ERR_CORRUPT;
    if (status == 0)
        g->record = bytes_copy(r.in);
    return status;
}

static void answered(void *arg, int status, struct slice payload)
{
    struct get *g = arg;
    g->state = GET_RESTING;
    if (status == 0)
        status = record_take(g, payload);
    if (g->b->stopping) {
        get_end(g, ERR_CANCELED);
        return;
    }
    if (status != 0) {
        g->absent_n += status == ERR_NOTFOUND || status == ERR_CORRUPT;
        get_ask(g);
        return;
    }
    g->state = GET_DECODING;
    g->task.run = decode;
    g->b->outstanding++;
    bulk_read_post(g->b, &g->task);
}

/* All that can be asked was asked. */
static void round_over(struct get *g)
{
    struct bulk *b = g->b;
    bool nobody = b->members_known && g->absent_n >= b->peer_n;
    g->state = GET_RESTING;
    g->round++;
    if (list_empty(&g->waiters)) {
        get_end(g, ERR_UNAVAILABLE);
        return;
    }
    if (nobody && g->round >= BULK_GET_ROUNDS) {
        get_end(g, ERR_NOTFOUND);
        return;
    }
    unsigned wait = g->round < 5 ? 50u << g->round : 1000;
    g->tried_n = g->absent_n = 0;
    g->retry_ms = clock_steady_ms() + wait;
    bulk_busy(b);
}

static void own_read(struct task *t)
{
    struct get *g = container_of(t, struct get, task);
    g->b->outstanding--;
    if (g->b->stopping) {
        get_end(g, ERR_CANCELED);
    } else if (g->status == 0) {
        get_end(g, 0);
    } else {
        g->own_failed = true;
        get_ask(g);
    }
}

/* A reader's thread. */
static void own_read_run(struct task *t)
{
    struct get *g = container_of(t, struct get, task);
    g->status = blob_read(g->b->c.blobs, &g->hash, &g->body);
    t->run = own_read;
    bulk_home(g->b, t);
}

static void get_ask(struct get *g)
{
    struct bulk *b = g->b;
    struct peer *p;
    if (!g->own_failed && blob_has(b->c.blobs, &g->hash)) {
        g->state = GET_DECODING;
        g->task.run = own_read_run;
        b->outstanding++;
        bulk_read_post(b, &g->task);
        return;
    }
    while (g->tried_n < BULK_PEERS_MAX && (p = bulk_peer_next(b, g->tried, g->tried_n))) {
        g->tried[g->tried_n++] = p->info.id;
        if (link_request(p->link, LINK_BODY_GET, slice_make(g->hash.b, BODY_HASH_SIZE), (struct slice){0}, BULK_GET_MS,
                         answered, g) == 0) {
            g->state = GET_ASKING;
            return;
        }
    }
    round_over(g);
}

/* ---- requests ---- */

static struct get *get_find(struct bulk *b, const struct body_hash *hash)
{
    LIST_EACH(it, next, &b->gets)
    {
        struct get *g = container_of(it, struct get, item);
        if (body_hash_eq(&g->hash, hash))
            return g;
    }
    return NULL;
}

static struct get *get_new(struct bulk *b, const struct body_hash *hash)
{
    struct get *g = mem_zalloc(sizeof(*g));
    g->b = b;
    g->hash = *hash;
    list_init(&g->waiters);
    list_append(&b->gets, &g->item);
    bulk_busy(b);
    return g;
}

static void waiter_run(struct task *t)
{
    struct waiter *w = container_of(t, struct waiter, task);
    struct bulk *b = w->b;
    if (b->stopping) {
        waiter_end(w, ERR_CANCELED, NULL);
        return;
    }
    struct get *g = get_find(b, &w->hash);
    bool fresh = g == NULL;
    if (fresh)
        g = get_new(b, &w->hash);
    list_append(&g->waiters, &w->item);
    if (fresh)
        get_ask(g);
}

void bulk_body_get(struct bulk *b, struct body_get *g)
{
    struct waiter *w = mem_zalloc(sizeof(*w));
    w->task.run = waiter_run;
    w->b = b;
    w->g = g;
    w->hash = g->hash;
    w->deadline_ms = g->deadline_ms ? g->deadline_ms : clock_steady_ms() + BULK_DEADLINE_MS;
    list_init(&w->item);
    bulk_home(b, &w->task);
}

void get_background(struct bulk *b, const struct body_hash *hash)
{
    struct get *g = get_find(b, hash);
    if (g && g->background) {
        missing_done(b, hash, true); /* counted already */
        return;
    }
    if (g) {
        g->background = true;
        return;
    }
    g = get_new(b, hash);
    g->background = true;
    get_ask(g);
}

static void retry(struct get *g)
{
    g->retry_ms = 0;
    get_ask(g);
}

void get_peer_up(struct bulk *b)
{
    LIST_EACH(it, next, &b->gets)
    {
        struct get *g = container_of(it, struct get, item);
        if (g->state == GET_RESTING)
            retry(g);
    }
}

void get_tick(struct bulk *b, int64_t now)
{
    LIST_EACH(it, next, &b->gets)
    {
        struct get *g = container_of(it, struct get, item);
        LIST_EACH(wi, wnext, &g->waiters)
        {
            struct waiter *w = container_of(wi, struct waiter, item);
            if (w->deadline_ms <= now)
                waiter_end(w, ERR_UNAVAILABLE, NULL);
        }
        if (g->state == GET_RESTING && g->retry_ms <= now)
            retry(g);
    }
}

/* What is at another thread or a peer ends when it comes back. */
void get_stop(struct bulk *b)
{
    LIST_EACH(it, next, &b->gets)
    {
        struct get *g = container_of(it, struct get, item);
        while (!list_empty(&g->waiters))
            waiter_end(container_of(g->waiters.next, struct waiter, item), ERR_CANCELED, NULL);
        if (g->state == GET_RESTING)
            get_end(g, ERR_CANCELED);
    }
}
