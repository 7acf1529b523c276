/* What is due is leased: destinations take turns, none gets more than its share, one command is under way. All nodes do
 * this at once; a small random delay keeps them from wanting the same legs. */
#include "node/queue_internal.h"

#include "node/base/clock.h"
#include "node/base/log.h"

enum {
    WANTS_MAX = 256, /* destinations of one command */
    LOOK_MAX = 4096, /* destinations looked at, as some are at their limit */
    SPREAD_MS = 50,
    EMPTY_SPREAD_MS = 400, /* after an answer without grants: others were faster */
    ROOM_MIN_PART = 16,    /* not for less than that part of the room, while something is under way */
    LOOK_AGAIN_MS = 5000,
    LOOK_MORE_MS = 50,    /* a look that did not see all goes on, */
    LOOK_ROUND_MS = 1000, /* and one that did begins anew */
};

struct lease_want {
    char *destination;
    unsigned share, wanted, taken;
};

struct look {
    struct queue *q;
    struct store_view *v;
    unsigned n, looked, cap;
    int64_t now_ms, next_ms;
    unsigned wanted[WANTS_MAX], given[WANTS_MAX];
};

void queue_lease_free(struct queue *q)
{
    for (unsigned i = 0; i < q->lease_n; i++) {
        queue_room_give(q, q->lease_wants[i].share, q->lease_wants[i].taken);
        mem_free(q->lease_wants[i].destination);
    }
    mem_free(q->lease_wants);
    q->lease_wants = NULL;
    q->lease_n = 0;
}

/* Leased at once to one destination over the cluster. 0: no limit. */
static unsigned leases_cap(const struct queue *q)
{
    return QUEUE_LEASES_PER_SHARE * q->settings.destination_max;
}

/* False: enough for this time. The next look goes on here: what is held, or at its limit, must not hide the rest. */
static bool looked(struct look *l, const struct store_queue_destination *d)
{
    if (++l->looked < LOOK_MAX)
        return true;
    l->q->look_ms = d->first_due_ms;
    l->q->look_name = mem_strndup(d->name);
    return false;
}

static bool look_at(void *arg, const struct store_queue_destination *d)
{
    struct look *l = arg;
    struct queue *q = l->q;
    if (d->first_due_ms > l->now_ms) {
        l->next_ms = d->first_due_ms;
        return false;
    }
    if (route_find(q->settings.routes, d->name)->hold)
        return looked(l, d);
    uint64_t want = d->waiting;
    unsigned share = queue_share_of(d->name), own = atomic_load(&q->shares[share]), max = atomic_load(&q->share_max);
    if (l->cap && want > (d->leased < l->cap ? l->cap - d->leased : 0))
        want = d->leased < l->cap ? l->cap - d->leased : 0;
    if (want > (own < max ? max - own : 0))
        want = own < max ? max - own : 0;
    if (want > 0) {
        q->lease_wants[l->n] = (struct lease_want){.destination = mem_strndup(d->name), .share = share};
        l->wanted[l->n++] = (unsigned)want;
    }
    return l->n < WANTS_MAX && looked(l, d);
}

/* From where the last look ended, or from the earliest. */
static void look_through(struct queue *q, struct look *l)
{
    char *from = q->look_name;
    q->look_name = NULL;
    if (from)
        store_queue_due_from(l->v, q->look_ms, slice_str(from), INT64_MAX, look_at, l);
    else
        store_queue_due_each(l->v, INT64_MAX, look_at, l);
    if (from && !q->look_name && l->n == 0)
        l->next_ms = l->now_ms + LOOK_ROUND_MS; /* the end: from the beginning again */
    else if (q->look_name)
        l->next_ms = l->now_ms + LOOK_MORE_MS;
    mem_free(from);
}

/* Takes the room for what is wanted; returns how many legs. */
static unsigned room_take(struct queue *q, struct look *l)
{
    unsigned total = 0;
    queue_fair_share(l->wanted, l->given, l->n, queue_room_free(q));
    for (unsigned i = 0; i < l->n; i++) {
        struct lease_want *w = &q->lease_wants[i];
        w->taken = queue_room_take(q, w->share, l->given[i]);
        total += w->taken;
    }
    return total;
}

struct granted {
    struct queue *q;
    struct store_view *v;
};

/* The room of the want goes over to the delivery. */
static void grant_take(struct queue *q, struct store_view *v, const Merlion__QueueGrant *g)
{
    struct store_queue_leg l;
    if (store_queue_leg(v, g->item, g->leg, &l) || l.attempts != g->attempt)
        return;
    for (unsigned i = 0; i < q->lease_n; i++) {
        struct lease_want *w = &q->lease_wants[i];
        if (!slice_eq(slice_str(w->destination), l.destination))
            continue;
        if (delivery_adopt(q, &l, w->taken > 0, NULL) && w->taken > 0)
            w->taken--;
        return;
    }
}

static void lease_done(struct queue_command *c, int status, const Merlion__Result *r)
{
    struct queue *q = c->q;
    struct store_view *v;
    size_t grants = r && status == 0 ? r->n_grants : 0;
    /* A command whose fate is unknown may have taken leases: the sweep finds them (queue_void.c). */
    if (status)
        log_event(LOG_WARN, "nothing leased", LOG_E("code", status), LOG_S("why", r ? r->text : ""));
    if (grants > 0 && store_view_open(q->services->store, &v) == 0) {
        for (size_t i = 0; i < grants; i++)
            grant_take(q, v, r->grants[i]);
        store_view_close(&v);
    }
    queue_lease_free(q);
    if (grants == 0)
        q->lease_not_before_ms = clock_steady_ms() + EMPTY_SPREAD_MS / 4;
    queue_dispatch(q);
    queue_lease_soon(q, grants ? 0 : EMPTY_SPREAD_MS);
}

static void lease_send(struct queue *q)
{
    Merlion__Command m = MERLION__COMMAND__INIT;
    Merlion__QueueLease lease = MERLION__QUEUE_LEASE__INIT;
    Merlion__QueueHolder holder = MERLION__QUEUE_HOLDER__INIT;
    Merlion__QueueWant want[WANTS_MAX], *wants[WANTS_MAX];
    holder.node = atomic_load(&q->node);
    holder.boot = atomic_load(&q->boot);
    holder.until_ms = queue_time_ms(q) + QUEUE_LEASE_MS;
    lease.holder = &holder;
    lease.destination_max = leases_cap(q);
    lease.wants = wants;
    for (unsigned i = 0; i < q->lease_n; i++) {
        if (q->lease_wants[i].taken == 0)
            continue;
        merlion__queue_want__init(&want[i]);
        want[i].destination = q->lease_wants[i].destination;
        want[i].max = q->lease_wants[i].taken;
        wants[lease.n_wants++] = &want[i];
    }
    m.op_case = MERLION__COMMAND__OP_QUEUE_LEASE;
    m.queue_lease = &lease;
    queue_command_send(q, &q->lease, &m, lease_done);
}

/* Room of which most is in use is not leased into leg by leg. */
static bool room_is_worth_it(struct queue *q)
{
    unsigned free = queue_room_free(q);
    return free > 0 && (free == q->leases_max || free >= q->leases_max / ROOM_MIN_PART);
}

static void look(struct queue *q)
{
    struct look l = {.q = q, .now_ms = queue_time_ms(q), .next_ms = INT64_MAX};
    if (q->lease.busy || q->drain_begun || !atomic_load(&q->ready) || !room_is_worth_it(q))
        return;
    if (store_view_open(q->services->store, &l.v))
        return;
    queue_settings_refresh(q, l.v);
    q->lease_wants = mem_zalloc(WANTS_MAX * sizeof q->lease_wants[0]);
    l.cap = leases_cap(q);
    look_through(q, &l);
    store_view_close(&l.v);
    q->lease_n = l.n;
    q->next_due_ms = l.next_ms;
    if (room_take(q, &l) > 0)
        lease_send(q);
    else
        queue_lease_free(q);
}

static void timer_arm(struct queue *q, int64_t ms);

static void lease_time(uv_timer_t *t)
{
    struct queue *q = t->data;
    q->lease_armed = false;
    look(q);
    if (q->lease.busy || q->lease_armed)
        return;
    int64_t rest = q->next_due_ms - queue_time_ms(q);
    timer_arm(q, rest < 1 ? LOOK_AGAIN_MS : rest < LOOK_AGAIN_MS ? rest : LOOK_AGAIN_MS);
    q->lease_armed = false; /* a wake-up may be earlier than that */
}

static void timer_arm(struct queue *q, int64_t ms)
{
    q->lease_armed = true;
    uv_timer_start(&q->lease_timer, lease_time, (uint64_t)ms, 0);
}

void queue_lease_soon(struct queue *q, unsigned spread_ms)
{
    uint32_t r;
    if (q->lease_armed || q->lease.busy || q->drain_begun || q->stopped)
        return;
    random_bytes(&r, sizeof r);
    int64_t ms = spread_ms ? r % spread_ms : 0, wait = q->lease_not_before_ms - clock_steady_ms();
    timer_arm(q, wait > ms ? wait : ms);
}
