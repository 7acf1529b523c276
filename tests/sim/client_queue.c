/* Mail to elsewhere: what node/queue*.c does with leases, without DNS and SMTP. A coroutine a node, one leg after the
 * other; foreign hosts take, defer or refuse as is drawn. */
#include "store/queue.h"
#include "tests/sim/client.h"

#include "node/base/clock.h"

enum {
    DESTINATIONS = 3,
    WANTS_MAX = 3,
    LEASE_MS = 10000,
    LEASES_MAX = 8,
    PLACES_MAX = 4,
    IDLE_MS = 800,
    RETRY_MAX_MS = 3000,
    /* As node/queue_internal.h and node/queue_void.c have them. */
    TOUCH_MS = 700,
    STRANGER_MS = 2000,
};

static uint64_t recipient_serial;

static void destination_name(char out[32], unsigned i)
{
    snprintf(out, 32, "elsewhere%u.test", i);
}

static int64_t time_ms(struct client *c)
{
    return replication_time_ms(c->node->r);
}

static void holder_self(struct client *c, Merlion__QueueHolder *h)
{
    struct replication_now now;
    merlion__queue_holder__init(h);
    replication_now(c->node->r, &now);
    h->node = now.id;
    h->boot = now.boot;
    h->until_ms = time_ms(c) + LEASE_MS;
}

/* ---- entering: part of a delivery ---- */

struct queue_entry *client_enqueue(struct client *c, Merlion__Deliver *d)
{
    struct queue_entry *e = mem_zalloc(sizeof *e);
    unsigned first = (unsigned)sim_below(DESTINATIONS);
    merlion__enqueue__init(&e->enqueue);
    e->enqueue.n_legs = sim_between(1, QUEUE_ENTRY_LEGS);
    e->enqueue.legs = e->leg_list;
    e->enqueue.envid = e->enqueue.id = "";
    e->enqueue.expires_ms = INT64_MAX;
    for (size_t i = 0; i < e->enqueue.n_legs; i++) {
        Merlion__QueueLeg *l = e->leg_list[i] = &e->legs[i];
        merlion__queue_leg__init(l);
        destination_name(e->destinations[i], (first + (unsigned)i) % DESTINATIONS);
        l->destination = e->destinations[i];
        l->n_recipients = sim_between(1, QUEUE_ENTRY_RECIPIENTS);
        l->recipients = e->recipient_list[i];
        for (size_t k = 0; k < l->n_recipients; k++) {
            Merlion__QueueRecipient *r = e->recipient_list[i][k] = &e->recipients[i][k];
            merlion__queue_recipient__init(r);
            snprintf(e->addresses[i][k], sizeof e->addresses[i][k], "r%llu@far.test",
                     (unsigned long long)++recipient_serial);
            r->address = e->addresses[i][k];
        }
    }
    if (sim_chance(400000)) {
        holder_self(c, &e->holder);
        e->enqueue.lease = &e->holder;
    }
    d->enqueue = &e->enqueue;
    return e;
}

/* ---- leases ---- */

struct wants {
    char names[WANTS_MAX][64];
    Merlion__QueueWant at[WANTS_MAX], *list[WANTS_MAX];
    size_t n;
};

static bool want_add(void *arg, const struct store_queue_destination *d)
{
    struct wants *w = arg;
    Merlion__QueueWant *q = w->list[w->n] = &w->at[w->n];
    merlion__queue_want__init(q);
    snprintf(w->names[w->n], sizeof w->names[0], "%.*s", (int)d->name.n, (const char *)d->name.p);
    q->destination = w->names[w->n++];
    q->max = (uint32_t)sim_between(1, 3);
    return w->n < WANTS_MAX;
}

static void lease(struct client *c)
{
    struct store_view *v;
    struct wants w = {.n = 0};
    if (store_view_open(c->node->store, &v) != 0)
        return;
    store_queue_due_each(v, time_ms(c), want_add, &w);
    store_view_close(&v);
    if (w.n == 0)
        return;
    Merlion__Command command = MERLION__COMMAND__INIT;
    Merlion__QueueLease op = MERLION__QUEUE_LEASE__INIT;
    Merlion__QueueHolder h;
    holder_self(c, &h);
    op.holder = &h;
    op.wants = w.list;
    op.n_wants = w.n;
    command.op_case = MERLION__COMMAND__OP_QUEUE_LEASE;
    command.queue_lease = &op;
    client_propose(c, &command, NULL);
}

static void leases_void(struct client *c, uint64_t node, uint64_t boot)
{
    Merlion__Command command = MERLION__COMMAND__INIT;
    Merlion__QueueVoid op = MERLION__QUEUE_VOID__INIT;
    op.node = node;
    op.boot = boot;
    command.op_case = MERLION__COMMAND__OP_QUEUE_VOID;
    command.queue_void = &op;
    client_propose(c, &command, NULL);
}

/* ---- what this node holds: also what it was given and never told ---- */

struct held {
    struct store_view *v;
    uint64_t node, boot, gone; /* gone: a holder that is no member */
    uint64_t dead;             /* a holder that this node, as leader, knows to be */
    struct replication_now now;
    bool old, over;
    int64_t now_ms;
    unsigned n;
    struct {
        uint64_t item;
        uint32_t leg;
    } at[LEASES_MAX];
};

static bool lease_seen(void *arg, uint64_t node, uint64_t boot, int64_t until_ms, uint64_t item, uint32_t leg)
{
    struct held *h = arg;
    struct store_member m;
    if (node == h->node && boot < h->boot)
        h->old = true;
    else if (node == h->node && h->n < LEASES_MAX) {
        h->at[h->n].item = item;
        h->at[h->n++].leg = leg;
    } else if (node != h->node && store_member_get(h->v, node, &m) != 0)
        h->gone = node;
    for (unsigned i = 0; i < h->now.dead_n; i++)
        if (h->now.dead[i] == node)
            h->dead = node;
    h->over = h->over || until_ms + LEASE_MS / 2 < h->now_ms;
    return true;
}

struct outcome {
    Merlion__QueueHolder holder;
    Merlion__QueueLegOutcome leg, *legs[1];
    Merlion__QueueAttempt how;
    Merlion__QueueReply replies[PLACES_MAX], *reply_list[PLACES_MAX];
    uint32_t places[PLACES_MAX];
    Merlion__Deliver notices[PLACES_MAX], *notice_list[PLACES_MAX];
    struct client_body *bodies[PLACES_MAX];
    uint64_t account;
    bool wrong;
};

/* A failed recipient's notice goes to somebody here, in the same command. */
static void notice_add(struct outcome *o)
{
    size_t n = o->leg.n_notices;
    Merlion__Deliver *d = o->notice_list[n] = &o->notices[n];
    merlion__deliver__init(d);
    d->body = client_body_inline(&o->bodies[n]);
    d->accounts = &o->account;
    d->n_accounts = 1;
    d->internal_ms = clock_wall_ms();
    d->sender = "";
    o->leg.n_notices++;
}

static void recipient_try(void *arg, const struct store_queue_leg *l, unsigned place, struct slice address)
{
    struct outcome *o = arg;
    Merlion__QueueReply *r = o->reply_list[place] = &o->replies[place];
    merlion__queue_reply__init(r);
    o->places[place] = place;
    r->recipients = &o->places[place];
    r->n_recipients = 1;
    r->text = "a reply";
    uint64_t kind = sim_below(10);
    r->kind = kind < 7   ? MERLION__QUEUE_REPLY__KIND__DELIVERED
              : kind < 9 ? MERLION__QUEUE_REPLY__KIND__DEFERRED
                         : MERLION__QUEUE_REPLY__KIND__FAILED;
    if (r->kind == MERLION__QUEUE_REPLY__KIND__DELIVERED)
        check_sent(l->item, l->leg, address);
    if (r->kind == MERLION__QUEUE_REPLY__KIND__FAILED)
        notice_add(o);
    o->leg.n_replies++;
}

struct tries {
    struct store_queue_leg leg;
    char addresses[PLACES_MAX][40];
    unsigned n;
};

static bool recipient_seen(void *arg, unsigned place, const struct store_queue_recipient *r)
{
    struct tries *t = arg;
    (void)place;
    snprintf(t->addresses[t->n], sizeof t->addresses[0], "%.*s", (int)r->address.n, (const char *)r->address.p);
    return ++t->n < PLACES_MAX;
}

static bool leg_read(struct client *c, const struct held *h, unsigned i, struct tries *t)
{
    struct store_view *v;
    if (store_view_open(c->node->store, &v) != 0)
        return false;
    bool mine = store_queue_leg(v, h->at[i].item, h->at[i].leg, &t->leg) == 0 && t->leg.state == QUEUE_LEASED &&
                t->leg.holder == h->node && t->leg.boot == h->boot;
    if (mine)
        store_queue_recipient_each(v, h->at[i].item, h->at[i].leg, recipient_seen, t);
    store_view_close(&v);
    t->leg.destination = (struct slice){0};
    return mine;
}

/* What this life has tried, so that nothing is sent again because an answer or a view is late. */
struct runner {
    struct tried {
        uint64_t item;
        uint32_t leg, attempt;
        struct outcome *untold; /* no answer yet: told again */
    } * tried;
    unsigned n, cap;
    int64_t touch_ms; /* steady: when the last read was asked for that came through */
    uint64_t stranger;
    int64_t stranger_ms;
};

static bool was_tried(const struct runner *r, const struct store_queue_leg *l)
{
    for (unsigned i = 0; i < r->n; i++)
        if (r->tried[i].item == l->item && r->tried[i].leg == l->leg && r->tried[i].attempt == l->attempts)
            return true;
    return false;
}

static struct tried *tried_add(struct runner *r, const struct store_queue_leg *l)
{
    if (r->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 16;
        r->tried = mem_realloc(r->tried, r->cap * sizeof *r->tried);
    }
    r->tried[r->n] = (struct tried){.item = l->item, .leg = l->leg, .attempt = l->attempts};
    return &r->tried[r->n++];
}

static void outcome_free(struct outcome *o)
{
    for (size_t k = 0; k < o->leg.n_notices; k++)
        client_body_free(&o->bodies[k]);
    mem_free(o);
}

static bool outcome_send(struct client *c, struct outcome *o)
{
    Merlion__Command command = MERLION__COMMAND__INIT;
    Merlion__QueueOutcome op = MERLION__QUEUE_OUTCOME__INIT;
    op.holder = &o->holder;
    op.legs = o->legs;
    op.n_legs = 1;
    command.op_case = MERLION__COMMAND__OP_QUEUE_OUTCOME;
    command.queue_outcome = &op;
    return client_propose(c, &command, NULL) == 0;
}

static void outcome_tell(struct client *c, struct tried *t)
{
    struct outcome *o = t->untold;
    if (!outcome_send(c, o))
        return;
    if (o->leg.untried) /* the next lease has the same number */
        t->item = 0;
    outcome_free(o);
    t->untold = NULL;
}

static struct outcome *outcome_new(struct client *c, const struct store_queue_leg *l)
{
    struct outcome *o = mem_zalloc(sizeof *o);
    holder_self(c, &o->holder);
    merlion__queue_leg_outcome__init(&o->leg);
    merlion__queue_attempt__init(&o->how);
    o->legs[0] = &o->leg;
    o->leg.item = l->item;
    o->leg.leg = l->leg;
    o->leg.attempt = l->attempts;
    o->leg.how = &o->how;
    o->how.at_ms = replication_clock_ms(c->node->r);
    o->how.host = o->how.address = o->how.tls = "";
    o->leg.replies = o->reply_list;
    o->leg.notices = o->notice_list;
    o->leg.untried = sim_chance(50000);
    o->leg.next_ms = time_ms(c) + (int64_t)sim_below(o->leg.untried ? 1 : RETRY_MAX_MS);
    o->account = model.accounts[sim_below(model.account_n)].id;
    return o;
}

static bool touch_is_recent(const struct runner *r)
{
    return r->touch_ms > 0 && clock_steady_ms() - r->touch_ms <= TOUCH_MS;
}

/* As node/queue_touch.c: only a read tells that the view shows whose a lease is. */
static bool in_touch(struct client *c, struct runner *r)
{
    int64_t asked = clock_steady_ms();
    if (r->touch_ms > 0 && asked - r->touch_ms <= TOUCH_MS / 2)
        return true;
    if (client_read(c) == 0)
        r->touch_ms = asked;
    return touch_is_recent(r);
}

static void leg_deliver(struct client *c, struct runner *r, const struct held *h, unsigned i)
{
    struct tries t = {.n = 0};
    if (!in_touch(c, r) || !leg_read(c, h, i, &t) || was_tried(r, &t.leg))
        return;
    struct outcome *o = outcome_new(c, &t.leg);
    unsigned at = (unsigned)(tried_add(r, &t.leg) - r->tried);
    if (!touch_is_recent(r) || t.leg.until_ms <= time_ms(c)) /* its machine stood still, or it came to this too late */
        o->leg.untried = true;
    for (unsigned k = 0; !o->leg.untried && k < t.n; k++)
        recipient_try(o, &t.leg, k, slice_str(t.addresses[k]));
    sim_sleep((int64_t)sim_below(30) * SIM_MS); /* between the host's 250 and our commit */
    r->tried[at].untold = o;
    outcome_tell(c, &r->tried[at]);
}

static void outcomes_again(struct client *c, struct runner *r)
{
    for (unsigned i = 0; i < r->n && c->node->state == NODE_UP; i++) {
        if (r->tried[i].untold)
            outcome_tell(c, &r->tried[i]);
    }
}

/* A removed member may not know it, and delivers until its touch is over. */
static bool stranger_is_over(struct runner *r, uint64_t node)
{
    int64_t now = clock_steady_ms();
    if (node != r->stranger)
        r->stranger_ms = now;
    r->stranger = node;
    return now - r->stranger_ms >= STRANGER_MS;
}

static void queue_act(struct client *c, struct runner *r)
{
    struct held h = {.now_ms = time_ms(c)};
    outcomes_again(c, r);
    lease(c);
    if (c->node->state != NODE_UP || store_view_open(c->node->store, &h.v) != 0)
        return;
    replication_now(c->node->r, &h.now);
    h.node = h.now.id;
    h.boot = h.now.boot;
    store_queue_lease_each(h.v, 0, lease_seen, &h);
    store_view_close(&h.v);
    if (h.old)
        leases_void(c, h.node, h.boot);
    if (h.dead)
        leases_void(c, h.dead, 0);
    if (h.gone && stranger_is_over(r, h.gone))
        leases_void(c, h.gone, 0);
    if (h.over)
        leases_void(c, 0, 0);
    for (unsigned i = 0; i < h.n && c->node->state == NODE_UP; i++)
        leg_deliver(c, r, &h, i);
}

void client_queue_run(void *arg)
{
    struct sim_node *n = arg;
    struct client *c = client_new(n);
    struct runner r = {.n = 0};
    c->late = true;
    while (n->state == NODE_UP && script_queue) {
        sim_sleep((int64_t)sim_below(2 * IDLE_MS) * SIM_MS);
        if (n->state != NODE_UP)
            break;
        n->busy++;
        n->between++;
        if (!model_queue_empty())
            queue_act(c, &r);
        n->between--;
        n->busy--;
    }
    n->clients--;
    mem_free(r.tried);
    client_free(&c);
}
