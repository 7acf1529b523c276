/* Leases that nobody works on are voided: of this node's earlier boots by itself, of dead nodes and those that ran out
 * by the leader's node. And leases of this boot that nobody here knows of (a command whose answer was lost) are worked
 * on. */
#include "node/queue_internal.h"

#include "node/base/clock.h"
#include "node/base/log.h"

enum {
    VOID_MAX = 1000, /* legs of one command */
    SWEEP_MS = 10000,
    RUN_OUT_MS = 15000, /* leases are looked at this often */
    RETRY_MS = 200,
    SLACK_MS = 5000,    /* clocks differ: the holder stops well before its lease ends */
    STRANGER_MS = 2000, /* a removed member may not know it, and delivers until its touch is over */
    UNKNOWN_MAX = QUEUE_UNKNOWN_MAX,
};

struct voiding {
    struct queue *q;
    uint64_t boot;
    int64_t now_ms;
    bool found;
};

static void voided(struct queue_command *c, int status, const Merlion__Result *r)
{
    struct queue *q = c->q;
    if (status == 0 && r && r->id > 0)
        log_event(LOG_INFO, "leases voided", LOG_U("legs", r->id));
    /* Again soon when there may be more, or when it did not work. */
    q->void_next_ms = clock_steady_ms() + (status ? RETRY_MS : 0);
    if (status == 0)
        queue_lease_soon(q, 0);
}

static void void_send(struct queue *q, uint64_t node, uint64_t boot)
{
    Merlion__Command m = MERLION__COMMAND__INIT;
    Merlion__QueueVoid v = MERLION__QUEUE_VOID__INIT;
    v.node = node;
    v.boot = boot;
    v.max = VOID_MAX;
    m.op_case = MERLION__COMMAND__OP_QUEUE_VOID;
    m.queue_void = &v;
    log_event(LOG_INFO, "voiding leases", LOG_U("holder", node), LOG_U("before_boot", boot));
    queue_command_send(q, &q->voiding, &m, voided);
}

static bool earlier_boot(void *arg, uint64_t node, uint64_t boot, int64_t until_ms, uint64_t item, uint32_t leg)
{
    struct voiding *x = arg;
    (void)node;
    (void)until_ms;
    (void)item;
    (void)leg;
    x->found = boot < x->boot;
    return !x->found;
}

static bool any_lease(void *arg, uint64_t node, uint64_t boot, int64_t until_ms, uint64_t item, uint32_t leg)
{
    struct voiding *x = arg;
    (void)node;
    (void)boot;
    (void)until_ms;
    (void)item;
    (void)leg;
    x->found = true;
    return false;
}

static bool run_out(void *arg, uint64_t node, uint64_t boot, int64_t until_ms, uint64_t item, uint32_t leg)
{
    struct voiding *x = arg;
    (void)node;
    (void)boot;
    (void)item;
    (void)leg;
    x->found = until_ms + SLACK_MS < x->now_ms;
    return !x->found;
}

/* A member that is no more, though it was not seen to die. */
struct strangers {
    struct store_view *v;
    uint64_t node;
};

static bool stranger(void *arg, uint64_t node, uint64_t boot, int64_t until_ms, uint64_t item, uint32_t leg)
{
    struct strangers *s = arg;
    struct store_member m;
    (void)boot;
    (void)until_ms;
    (void)item;
    (void)leg;
    if (store_member_get(s->v, node, &m))
        s->node = node;
    return s->node == 0;
}

static bool own_void(struct queue *q, struct store_view *v)
{
    uint64_t node = atomic_load(&q->node);
    struct voiding x = {.q = q, .boot = atomic_load(&q->boot)};
    store_queue_lease_each(v, node, earlier_boot, &x);
    if (x.found)
        void_send(q, node, x.boot);
    return x.found;
}

/* Leader: of those that are known to be dead. */
static bool dead_void(struct queue *q, struct store_view *v, const struct replication_now *now)
{
    for (unsigned i = 0; i < now->dead_n; i++) {
        struct voiding x = {.q = q};
        store_queue_lease_each(v, now->dead[i], any_lease, &x);
        if (x.found) {
            void_send(q, now->dead[i], 0);
            return true;
        }
    }
    return false;
}

/* Leader: all leases, now and then. */
static void leases_check(struct queue *q, struct store_view *v)
{
    struct voiding x = {.q = q, .now_ms = queue_time_ms(q)};
    struct strangers s = {.v = v};
    store_queue_lease_each(v, 0, run_out, &x);
    if (x.found) {
        void_send(q, 0, 0);
        return;
    }
    store_queue_lease_each(v, 0, stranger, &s);
    if (s.node == 0)
        return;
    int64_t at = clock_steady_ms();
    if (s.node != q->stranger)
        q->stranger_ms = at;
    q->stranger = s.node;
    if (at - q->stranger_ms >= STRANGER_MS)
        void_send(q, s.node, 0);
    else
        q->run_out_next_ms = q->stranger_ms + STRANGER_MS;
}

/* ---- leases of ours that nobody here knows of ---- */

struct unknown {
    struct queue *q;
    unsigned n;
    struct {
        uint64_t item;
        uint32_t leg;
    } legs[UNKNOWN_MAX];
};

static bool unknown(void *arg, uint64_t node, uint64_t boot, int64_t until_ms, uint64_t item, uint32_t leg)
{
    struct unknown *u = arg;
    (void)node;
    (void)until_ms;
    if (boot == atomic_load(&u->q->boot) && !delivery_find(u->q, item, leg)) {
        u->legs[u->n].item = item;
        u->legs[u->n++].leg = leg;
    }
    return u->n < UNKNOWN_MAX;
}

/* Seen twice, a sweep apart: so it is not one that is just being taken over. */
static void sweep(struct queue *q, struct store_view *v)
{
    struct unknown now = {.q = q};
    store_queue_lease_each(v, atomic_load(&q->node), unknown, &now);
    for (unsigned i = 0; i < now.n; i++)
        for (unsigned k = 0; k < q->unknown_n; k++) {
            struct store_queue_leg l;
            if (q->unknown[k].item == now.legs[i].item && q->unknown[k].leg == now.legs[i].leg &&
                store_queue_leg(v, now.legs[i].item, now.legs[i].leg, &l) == 0)
                delivery_adopt(q, &l, false, NULL);
        }
    q->unknown_n = 0;
    for (unsigned i = 0; i < now.n && i < QUEUE_UNKNOWN_MAX; i++) {
        q->unknown[i].item = now.legs[i].item;
        q->unknown[i].leg = now.legs[i].leg;
        q->unknown_n++;
    }
    queue_dispatch(q);
}

void queue_void_tick(struct queue *q, const struct replication_now *now)
{
    struct store_view *v;
    int64_t at = clock_steady_ms();
    bool sweep_due = at >= q->sweep_next_ms && !q->drain_begun;
    bool look = !q->voiding.busy && at >= q->void_next_ms && (now->is_leader || !q->own_clear);
    if ((!look && !sweep_due) || store_view_open(q->services->store, &v))
        return;
    if (look && !q->own_clear) {
        q->own_clear = !own_void(q, v);
    } else if (look && !dead_void(q, v, now) && at >= q->run_out_next_ms) {
        q->run_out_next_ms = at + RUN_OUT_MS;
        leases_check(q, v);
    }
    if (sweep_due) {
        q->sweep_next_ms = at + SWEEP_MS;
        q->own_clear = false; /* an old command of an earlier boot may have come in late */
        sweep(q, v);
    }
    store_view_close(&v);
}
