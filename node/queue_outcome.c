/* Outcomes of deliveries: they gather for a moment and while a command is under way, then all go down in one. One whose
 * fate is not known is proposed again: a second time changes nothing. */
#include "node/queue_internal.h"

#include "node/base/clock.h"
#include "node/base/log.h"

enum {
    RETRY_MS = 200,
    /* Outcomes gather for so long, so that a node that delivers one mail after another does not make an entry of the
     * log for each. A crash in this time sends them again, so it is short. */
    GATHER_MS = 10,
    GATHER_MAX = 64, /* as many do not wait */
};

static void outcome_empty(struct delivery *d)
{
    Merlion__QueueLegOutcome *o = d->outcome = arena_alloc(&d->arena, sizeof *o);
    merlion__queue_leg_outcome__init(o);
    o->item = d->item;
    o->leg = d->leg;
    o->attempt = d->attempt;
    o->next_ms = queue_time_ms(d->q);
    o->untried = true;
}

static void gathered(uv_timer_t *t)
{
    outcome_flush(t->data);
}

static void outcomes_soon(struct queue *q)
{
    if (q->outcome.busy || q->stopped || list_empty(&q->outcomes))
        return;
    int64_t age = clock_steady_ms() - container_of(q->outcomes.next, struct delivery, place)->outcome_ms;
    if (q->drain_begun || age >= GATHER_MS || q->outcome_n >= GATHER_MAX)
        outcome_flush(q);
    else if (!uv_is_active((uv_handle_t *)&q->outcome_timer)) /* active: gathering, or a retry waits */
        uv_timer_start(&q->outcome_timer, gathered, (uint64_t)(GATHER_MS - age), 0);
}

void outcome_add(struct delivery *d)
{
    if (d->untried)
        outcome_empty(d);
    else
        notices_pack(d, d->outcome);
    d->state = DELIVERY_OUTCOME;
    d->outcome_bytes = merlion__queue_leg_outcome__get_packed_size(d->outcome) + 8;
    list_remove(&d->place);
    d->outcome_ms = clock_steady_ms();
    list_append(&d->q->outcomes, &d->place);
    d->q->outcome_n++;
    outcomes_soon(d->q);
}

bool outcome_pending(const struct queue *q)
{
    return !list_empty(&q->outcomes) || !list_empty(&q->outcomes_sent);
}

/* now_ms: a lease that is over is lost, too; 0: as long as nobody took it, an outcome still counts. */
static bool lease_is_lost(struct store_view *v, struct queue *q, const struct delivery *d, int64_t now_ms)
{
    struct store_queue_leg l;
    if (store_queue_leg(v, d->item, d->leg, &l))
        return true;
    return l.state != QUEUE_LEASED || l.holder != atomic_load(&q->node) || l.boot != atomic_load(&q->boot) ||
           l.attempts != d->attempt || l.until_ms < now_ms;
}

/* Nobody took them: again, unless the leases are known to be gone (or the first try came through after all). */
static void outcomes_return(struct queue *q, int status)
{
    struct store_view *v = NULL;
    unsigned n = 0;
    if (store_view_open(q->services->store, &v))
        v = NULL;
    LIST_EACH(it, tmp, &q->outcomes_sent)
    {
        struct delivery *d = container_of(it, struct delivery, place);
        list_remove(&d->place);
        if (v && lease_is_lost(v, q, d, 0)) {
            delivery_free(d);
            continue;
        }
        list_append(&q->outcomes, &d->place);
        q->outcome_n++;
        n++;
    }
    if (v)
        store_view_close(&v);
    log_event(LOG_WARN, "outcomes are not committed yet", LOG_E("code", status), LOG_U("legs", n));
    uv_timer_start(&q->outcome_timer, gathered, RETRY_MS, 0);
}

/* The state machine does not want them, which is a fault of ours. It may be that of one: each goes by itself, then
 * without its notice. What is refused then, too, stays with us until its lease is over, so that its mail is not sent
 * again at once. */
static void outcomes_refused(struct queue *q, int status, const char *why)
{
    LIST_EACH(it, tmp, &q->outcomes_sent)
    {
        struct delivery *d = container_of(it, struct delivery, place);
        bool more = !d->alone || d->outcome->n_notices > 0;
        log_event(LOG_ERROR, "outcome is refused", LOG_U("item", d->item), LOG_U("leg", d->leg), LOG_E("code", status),
                  LOG_S("why", why), LOG_S("alone", d->alone ? "yes" : "no"), LOG_U("notices", d->outcome->n_notices));
        if (d->alone)
            d->outcome->n_notices = 0;
        d->alone = true;
        list_remove(&d->place);
        if (more) {
            list_append(&q->outcomes, &d->place);
            q->outcome_n++;
        } else {
            list_append(&q->refused, &d->place);
        }
    }
    uv_timer_start(&q->outcome_timer, gathered, RETRY_MS, 0);
}

void outcome_refused_tick(struct queue *q)
{
    struct store_view *v;
    if (list_empty(&q->refused) || store_view_open(q->services->store, &v))
        return;
    LIST_EACH(it, tmp, &q->refused)
    {
        struct delivery *d = container_of(it, struct delivery, place);
        if (lease_is_lost(v, q, d, queue_time_ms(q)))
            delivery_free(d);
    }
    store_view_close(&v);
}

static void outcome_done(struct queue_command *c, int status, const Merlion__Result *r)
{
    struct queue *q = c->q;
    if (!r || status == ERR_STALE) { /* stale: it came so late that it was not looked at */
        outcomes_return(q, status);
        return;
    }
    if (status) {
        outcomes_refused(q, status, r->text);
        return;
    }
    size_t i = 0;
    LIST_EACH(it, tmp, &q->outcomes_sent)
    {
        struct delivery *d = container_of(it, struct delivery, place);
        if (i < r->n_account_status && r->account_status[i])
            log_event(LOG_WARN, "outcome came too late", LOG_U("item", d->item), LOG_U("leg", d->leg),
                      LOG_E("code", r->account_status[i]));
        i++;
        notice_keep(d, c->propose.voters);
        delivery_free(d);
    }
    outcomes_soon(q);
    queue_lease_soon(q, 0);
}

void outcome_flush(struct queue *q)
{
    if (q->outcome.busy || q->stopped || list_empty(&q->outcomes))
        return;
    Merlion__Command m = MERLION__COMMAND__INIT;
    Merlion__QueueOutcome o = MERLION__QUEUE_OUTCOME__INIT;
    Merlion__QueueHolder holder = MERLION__QUEUE_HOLDER__INIT;
    Merlion__QueueLegOutcome *legs[QUEUE_GRANTS_MAX];
    size_t bytes = 0;
    holder.node = atomic_load(&q->node);
    holder.boot = atomic_load(&q->boot);
    o.holder = &holder;
    o.legs = legs;
    LIST_EACH(it, tmp, &q->outcomes)
    {
        struct delivery *d = container_of(it, struct delivery, place);
        bytes += d->outcome_bytes;
        if (o.n_legs == QUEUE_GRANTS_MAX || (o.n_legs > 0 && (d->alone || bytes > QUEUE_OUTCOME_BYTES)))
            break;
        legs[o.n_legs++] = d->outcome;
        list_remove(&d->place);
        list_append(&q->outcomes_sent, &d->place);
        q->outcome_n--;
        if (d->alone)
            break;
    }
    m.op_case = MERLION__COMMAND__OP_QUEUE_OUTCOME;
    m.queue_outcome = &o;
    queue_command_send(q, &q->outcome, &m, outcome_done);
}
