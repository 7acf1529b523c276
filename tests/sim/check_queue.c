/* The queue as the log says it is: who holds what, what became of each recipient. Items are never held or canceled
 * here. */
#include "store/queue.h"
#include "tests/sim/check_model.h"

#include "node/base/err.h"

enum { PLACES_MAX = 4, ADDRESS_BYTES = 40, DESTINATION_BYTES = 40 };

struct recipient {
    char address[ADDRESS_BYTES];
    unsigned sent; /* times that a foreign host took it */
    bool gone;     /* an outcome that says so was committed */
};
struct leg {
    uint64_t item;
    uint32_t leg;
    char destination[DESTINATION_BYTES];
    struct recipient at[PLACES_MAX];
    unsigned n, left;
    enum queue_leg_state state;
    uint32_t attempts;
    uint64_t holder, boot;
    int64_t until_ms, due_ms;
    struct body_hash hash; /* of the item */
    uint64_t size;
};
static struct leg *legs; /* all there ever were */
static unsigned leg_n, leg_cap;
static uint64_t item_last;

static struct leg *leg_of(uint64_t item, uint32_t leg)
{
    for (unsigned i = 0; i < leg_n; i++)
        if (legs[i].item == item && legs[i].leg == leg)
            return &legs[i];
    return NULL;
}

const char *model_queue_left(void)
{
    static char text[160];
    for (unsigned i = 0; i < leg_n; i++) {
        const struct leg *l = &legs[i];
        if (l->left == 0)
            continue;
        snprintf(text, sizeof text,
                 "item %llu, leg %u: state %d, attempt %u, holder %llu boot %llu, until %lld, due %lld, now %lld",
                 (unsigned long long)l->item, l->leg, (int)l->state, l->attempts, (unsigned long long)l->holder,
                 (unsigned long long)l->boot, (long long)l->until_ms, (long long)l->due_ms, (long long)model.time_ms);
        return text;
    }
    return "nothing";
}

bool model_queue_empty(void)
{
    for (unsigned i = 0; i < leg_n; i++)
        if (legs[i].left > 0)
            return false;
    return true;
}

static _Noreturn void wrong(const char *what, uint64_t item, uint64_t leg)
{
    sim_fail(&sim_counts.other, "queue: %s (item %llu, leg %llu)", what, (unsigned long long)item,
             (unsigned long long)leg);
}

static bool grant_of(const Merlion__Result *r, const struct leg *l)
{
    for (size_t i = 0; i < r->n_grants; i++)
        if (r->grants[i]->item == l->item && r->grants[i]->leg == l->leg)
            return r->grants[i]->attempt == l->attempts;
    return false;
}

static void holder_set(struct leg *l, const Merlion__QueueHolder *h)
{
    l->state = QUEUE_LEASED;
    l->attempts++;
    l->holder = h->node;
    l->boot = h->boot;
    l->until_ms = h->until_ms;
}

/* ---- commands ---- */

static struct leg *leg_add(uint64_t item, uint32_t place, const Merlion__QueueLeg *in)
{
    if (leg_n == leg_cap) {
        leg_cap = leg_cap ? 2 * leg_cap : 64;
        legs = mem_realloc(legs, leg_cap * sizeof *legs);
    }
    struct leg *l = &legs[leg_n++];
    *l = (struct leg){.item = item, .leg = place, .n = (unsigned)in->n_recipients, .due_ms = model.time_ms};
    if (l->n > PLACES_MAX)
        wrong("more recipients than sessions send", item, place);
    l->left = l->n;
    snprintf(l->destination, sizeof l->destination, "%s", in->destination);
    for (unsigned i = 0; i < l->n; i++)
        snprintf(l->at[i].address, sizeof l->at[i].address, "%s", in->recipients[i]->address);
    return l;
}

void model_enqueue(const Merlion__Deliver *d, const Merlion__Result *r)
{
    const Merlion__Enqueue *q = d->enqueue;
    if (r->id <= item_last)
        wrong("an item's id is given again", r->id, 0);
    item_last = r->id;
    for (size_t i = 0; i < q->n_legs; i++) {
        struct leg *l = leg_add(r->id, (uint32_t)i + 1, q->legs[i]);
        memcpy(l->hash.b, d->body->hash.data, BODY_HASH_SIZE);
        l->size = d->body->size;
        if (!q->lease || q->lease->until_ms <= model.time_ms)
            continue;
        holder_set(l, q->lease);
        if (!grant_of(r, l))
            wrong("leased at its entering, and the answer does not say so", l->item, l->leg);
    }
}

static unsigned due_count(const char *destination)
{
    unsigned n = 0;
    for (unsigned i = 0; i < leg_n; i++)
        n += legs[i].left > 0 && legs[i].state == QUEUE_WAITING && legs[i].due_ms <= model.time_ms &&
             strcmp(legs[i].destination, destination) == 0;
    return n;
}

void model_queue_lease(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq)
{
    const Merlion__QueueLease *q = c->queue_lease;
    size_t granted = 0;
    (void)modseq;
    int want = q->holder->until_ms <= model.time_ms ? ERR_STALE : 0;
    if (r->status != want)
        wrong("a lease is answered wrongly", 0, 0);
    for (size_t i = 0; want == 0 && i < q->n_wants; i++) {
        unsigned due = due_count(q->wants[i]->destination);
        granted += due < q->wants[i]->max ? due : q->wants[i]->max;
    }
    if (granted != r->n_grants)
        wrong("not all that is due was leased", granted, r->n_grants);
    for (size_t i = 0; i < r->n_grants; i++) {
        struct leg *l = leg_of(r->grants[i]->item, r->grants[i]->leg);
        if (!l || l->left == 0 || l->state != QUEUE_WAITING || l->due_ms > model.time_ms)
            wrong("leased though it is held, not due, or gone", r->grants[i]->item, r->grants[i]->leg);
        holder_set(l, q->holder);
        if (l->attempts != r->grants[i]->attempt)
            wrong("the attempts are not counted", l->item, l->leg);
    }
}

static void leg_wait(struct leg *l, int64_t due_ms)
{
    l->state = QUEUE_WAITING;
    l->due_ms = due_ms;
}

/* Places are among the recipients that are left, in order; our sessions answer for all of them with one reply each. */
static void replies_take(struct leg *l, const Merlion__QueueLegOutcome *o)
{
    struct recipient *left[PLACES_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < l->n; i++)
        if (!l->at[i].gone)
            left[n++] = &l->at[i];
    for (size_t i = 0; i < o->n_replies; i++) {
        for (size_t k = 0; k < o->replies[i]->n_recipients; k++) {
            struct recipient *to = left[o->replies[i]->recipients[k]];
            if (o->replies[i]->kind == MERLION__QUEUE_REPLY__KIND__DEFERRED)
                continue;
            if (o->replies[i]->kind == MERLION__QUEUE_REPLY__KIND__DELIVERED && to->sent == 0)
                wrong("delivered, and no host ever took it", l->item, l->leg);
            to->gone = true;
            l->left--;
        }
    }
}

/* Never later than the holder meant to wait, should its clock be ahead of the state's time. */
static int64_t due_next(const Merlion__QueueLegOutcome *o)
{
    int64_t wait = o->how ? o->next_ms - o->how->at_ms : 0, now = model.time_ms;
    return wait >= 0 && o->next_ms > now + wait ? now + wait : o->next_ms;
}

static void leg_outcome(const Merlion__QueueOutcome *q, const Merlion__QueueLegOutcome *o, int status, uint64_t modseq)
{
    struct leg *l = leg_of(o->item, o->leg);
    bool held = l && l->left > 0 && l->state == QUEUE_LEASED && l->holder == q->holder->node &&
                l->boot == q->holder->boot && l->attempts == o->attempt;
    if (status != (held ? 0 : ERR_STALE))
        wrong(held ? "its holder's outcome was refused" : "an outcome counts that is not its holder's", o->item,
              o->leg);
    if (!held)
        return;
    if (o->untried)
        l->attempts--;
    else
        replies_take(l, o);
    if (l->left > 0)
        leg_wait(l, due_next(o));
    for (size_t i = 0; i < o->n_notices; i++)
        model_deliver_accounts(o->notices[i], modseq);
}

void model_queue_outcome(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq)
{
    const Merlion__QueueOutcome *q = c->queue_outcome;
    if (r->status != 0 || r->n_account_status != q->n_legs)
        wrong("an outcome was refused", 0, 0);
    for (size_t i = 0; i < q->n_legs; i++)
        leg_outcome(q, q->legs[i], r->account_status[i], modseq);
}

void model_queue_void(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq)
{
    const Merlion__QueueVoid *q = c->queue_void;
    uint64_t n = 0;
    (void)modseq;
    for (unsigned i = 0; i < leg_n; i++) {
        struct leg *l = &legs[i];
        bool over = q->node ? l->holder == q->node && (q->boot == 0 || l->boot < q->boot) : l->until_ms < model.time_ms;
        if (l->left == 0 || l->state != QUEUE_LEASED || !over)
            continue;
        leg_wait(l, model.time_ms);
        n++;
    }
    if (r->status != 0 || r->id != n)
        wrong("leases were not voided as they had to be", r->id, n);
}

/* ---- the other end ---- */

void check_sent(uint64_t item, uint32_t leg, struct slice recipient)
{
    struct leg *l = leg_of(item, leg);
    for (unsigned i = 0; l && i < l->n; i++) {
        struct recipient *to = &l->at[i];
        if (!slice_eq(slice_str(to->address), recipient))
            continue;
        if (to->gone)
            sim_fail(&sim_counts.duplicated, "%s of item %llu is sent again, after its outcome was committed",
                     to->address, (unsigned long long)item);
        to->sent++;
        return;
    }
    wrong("sent to somebody who is no recipient", item, leg);
}

/* ---- against a replica ---- */

void model_queue_bodies(void (*each)(void *arg, const struct body_hash *hash, uint64_t size), void *arg)
{
    uint64_t item = 0; /* an item's legs lie side by side: it has one reference */
    for (unsigned i = 0; i < leg_n; i++) {
        if (legs[i].left == 0 || legs[i].item == item)
            continue;
        item = legs[i].item;
        each(arg, &legs[i].hash, legs[i].size);
    }
}

static bool leg_same(void *arg, const struct store_queue_leg *have)
{
    unsigned *n = arg;
    struct leg *l = leg_of(have->item, have->leg);
    if (!l || l->left == 0 || l->left != have->recipient_n || l->state != have->state ||
        l->attempts != have->attempts || !slice_eq(slice_str(l->destination), have->destination) ||
        (l->state == QUEUE_LEASED &&
         (l->holder != have->holder || l->boot != have->boot || l->until_ms != have->until_ms)))
        wrong("a replica has another leg than the log says", have->item, have->leg);
    ++*n;
    return true;
}

struct items {
    struct store_view *v;
    unsigned legs;
};

static bool item_same(void *arg, const struct store_queue_item *i)
{
    struct items *x = arg;
    store_queue_leg_each(x->v, i->id, leg_same, &x->legs);
    return true;
}

void check_queue_same(struct store_view *v)
{
    struct items x = {.v = v};
    struct store_queue_totals t;
    uint64_t waiting = 0, leased = 0, recipients = 0;
    for (unsigned i = 0; i < leg_n; i++) {
        if (legs[i].left == 0)
            continue;
        waiting += legs[i].state == QUEUE_WAITING;
        leased += legs[i].state == QUEUE_LEASED;
        recipients += legs[i].left;
    }
    store_queue_item_each(v, 0, item_same, &x);
    store_queue_totals(v, &t);
    if (x.legs != waiting + leased || t.waiting != waiting || t.leased != leased || t.recipients != recipients)
        wrong("the totals are not those of the log", t.waiting + t.leased, waiting + leased);
}
