#include "support_queue.h"

#include <stdlib.h>

#define COMMAND(c, kind, KIND, m)                                                                                      \
    Merlion__Command c = MERLION__COMMAND__INIT;                                                                       \
    (c).op_case = MERLION__COMMAND__OP_##KIND;                                                                         \
    (c).kind = &(m)

static char *text(const char *s)
{
    return (char *)(uintptr_t)(s ? s : "");
}

int qx_format(struct fx *f, uint32_t format)
{
    Merlion__FormatRaise m = MERLION__FORMAT_RAISE__INIT;
    m.format = format;
    COMMAND(c, format_raise, FORMAT_RAISE, m);
    return fx_run(f, &c);
}

void qx_open(struct qx *q)
{
    qx_open_logged(q, NULL);
}

void qx_open_logged(struct qx *q, struct buf *log)
{
    fx_open(&q->f);
    q->f.log = log;
    q->start_ms = q->f.time_ms;
    assert_int_equal(qx_format(&q->f, 2), 0);
    assert_int_equal(fx_domain(&q->f, "x.org", NULL), 0);
    assert_int_equal(fx_user(&q->f, "u@x.org", 0), 1);
}

void qx_close(struct qx *q)
{
    fx_close(&q->f);
}

/* ---- commands ---- */

/* Splits at c: returns the part before it, *rest goes behind it. */
static char *part(struct arena *a, const char **rest, char c)
{
    struct slice s = slice_str(*rest);
    size_t n = slice_find(s, (uint8_t)c);
    *rest += n < s.n ? n + 1 : n;
    return arena_str(a, slice_first(s, n));
}

static Merlion__QueueLeg *leg_make(struct arena *a, const char *in, uint32_t notify)
{
    Merlion__QueueLeg *l = arena_alloc(a, sizeof *l);
    merlion__queue_leg__init(l);
    l->destination = part(a, &in, ':');
    l->recipients = arena_alloc(a, (strlen(in) + 1) * sizeof *l->recipients);
    while (*in) {
        Merlion__QueueRecipient *r = arena_alloc(a, sizeof *r);
        merlion__queue_recipient__init(r);
        r->address = part(a, &in, ',');
        r->notify = notify;
        l->recipients[l->n_recipients++] = r;
    }
    return l;
}

void qx_deliver_make(struct qx *q, struct arena *a, const struct qx_enqueue *e, Merlion__Deliver *d)
{
    struct fx_body *b = arena_alloc(a, sizeof *b);
    Merlion__Enqueue *m = arena_alloc(a, sizeof *m);
    const char *legs = e->legs ? e->legs : "";
    merlion__deliver__init(d);
    merlion__enqueue__init(m);
    fx_body(b, e->body);
    d->body = &b->body;
    d->internal_ms = q->f.time_ms;
    d->sender = text(e->sender);
    if (e->local) {
        d->accounts = arena_alloc(a, sizeof *d->accounts);
        d->accounts[0] = e->local;
        d->n_accounts = 1;
    }
    m->legs = arena_alloc(a, (strlen(legs) + 1) * sizeof *m->legs);
    while (*legs)
        m->legs[m->n_legs++] = leg_make(a, part(a, &legs, ' '), e->notify);
    if (e->destination)
        m->legs[0]->destination = text(e->destination);
    m->account = e->account;
    m->flags = e->flags;
    m->skip = e->skip;
    m->expires_ms = q->start_ms + 1000000;
    if (e->node) {
        m->lease = arena_alloc(a, sizeof *m->lease);
        merlion__queue_holder__init(m->lease);
        m->lease->node = e->node;
        m->lease->boot = e->boot;
        m->lease->until_ms = q->f.time_ms + e->lease_ms;
    }
    d->enqueue = e->legs ? m : NULL;
}

int qx_enqueue(struct qx *q, const struct qx_enqueue *e)
{
    struct arena a = {0};
    Merlion__Deliver m;
    qx_deliver_make(q, &a, e, &m);
    COMMAND(c, deliver, DELIVER, m);
    int rc = fx_run(&q->f, &c);
    arena_close(&a);
    return rc;
}

int qx_lease(struct qx *q, uint64_t node, uint64_t boot, const char *wants, uint32_t destination_max)
{
    struct arena a = {0};
    Merlion__QueueLease m = MERLION__QUEUE_LEASE__INIT;
    Merlion__QueueHolder h = MERLION__QUEUE_HOLDER__INIT;
    h.node = node;
    h.boot = boot;
    h.until_ms = q->f.time_ms + 1000;
    m.holder = &h;
    m.destination_max = destination_max;
    m.wants = arena_alloc(&a, (strlen(wants) + 1) * sizeof *m.wants);
    while (*wants) {
        const char *one = part(&a, &wants, ' ');
        Merlion__QueueWant *w = arena_alloc(&a, sizeof *w);
        merlion__queue_want__init(w);
        w->destination = part(&a, &one, ':');
        w->max = (uint32_t)strtoul(one, NULL, 10);
        m.wants[m.n_wants++] = w;
    }
    COMMAND(c, queue_lease, QUEUE_LEASE, m);
    int rc = fx_run(&q->f, &c);
    arena_close(&a);
    return rc;
}

static void replies_make(struct arena *a, const char *how, Merlion__QueueLegOutcome *m)
{
    size_t n = strlen(how);
    m->replies = arena_alloc(a, (n + 1) * sizeof *m->replies);
    for (size_t i = 0; i < n; i++) {
        Merlion__QueueReply *r = arena_alloc(a, sizeof *r);
        merlion__queue_reply__init(r);
        r->recipients = arena_alloc(a, sizeof *r->recipients);
        r->recipients[0] = (uint32_t)i;
        r->n_recipients = 1;
        r->kind = how[i] == 'd'   ? MERLION__QUEUE_REPLY__KIND__DELIVERED
                  : how[i] == 't' ? MERLION__QUEUE_REPLY__KIND__DEFERRED
                                  : MERLION__QUEUE_REPLY__KIND__FAILED;
        r->text = text(how[i] == 't' ? "450 4.2.1 later" : "250 ok");
        m->replies[m->n_replies++] = r;
    }
}

static void outcome_make(struct qx *q, struct arena *a, const struct qx_outcome *o, uint64_t node,
                         Merlion__QueueLegOutcome *m)
{
    merlion__queue_leg_outcome__init(m);
    m->item = o->item;
    m->leg = o->leg;
    m->attempt = o->attempt;
    m->next_ms = q->f.time_ms + o->ahead_ms + o->after_ms;
    m->warned = o->warned;
    m->untried = strcmp(o->how, "-") == 0;
    if (!m->untried)
        replies_make(a, o->how, m);
    m->how = arena_alloc(a, sizeof *m->how);
    merlion__queue_attempt__init(m->how);
    m->how->at_ms = q->f.time_ms + o->ahead_ms;
    m->how->node = node;
    m->how->host = text("mx.a.org");
    m->notices = arena_alloc(a, 2 * sizeof *m->notices);
    for (size_t i = 0; i < 2 && o->notice[i]; i++) {
        m->notices[i] = arena_alloc(a, sizeof **m->notices);
        qx_deliver_make(q, a, o->notice[i], m->notices[i]);
        m->n_notices++;
    }
}

int qx_outcomes(struct qx *q, uint64_t node, uint64_t boot, const struct qx_outcome *o, size_t n)
{
    struct arena a = {0};
    Merlion__QueueOutcome m = MERLION__QUEUE_OUTCOME__INIT;
    Merlion__QueueHolder h = MERLION__QUEUE_HOLDER__INIT;
    h.node = node;
    h.boot = boot;
    m.holder = &h;
    m.legs = arena_alloc(&a, (n + 1) * sizeof *m.legs);
    for (size_t i = 0; i < n; i++) {
        m.legs[i] = arena_alloc(&a, sizeof **m.legs);
        outcome_make(q, &a, &o[i], node, m.legs[i]);
    }
    m.n_legs = n;
    COMMAND(c, queue_outcome, QUEUE_OUTCOME, m);
    int rc = fx_run(&q->f, &c);
    arena_close(&a);
    return rc;
}

int qx_outcome(struct qx *q, uint64_t node, uint64_t boot, uint64_t item, uint32_t leg, uint32_t attempt,
               const char *how, int64_t after_ms)
{
    struct qx_outcome o = {.item = item, .leg = leg, .attempt = attempt, .how = how, .after_ms = after_ms};
    int rc = qx_outcomes(q, node, boot, &o, 1);
    return rc ? rc : q->f.result->account_status[0];
}

int qx_void(struct qx *q, uint64_t node, uint64_t boot, uint32_t max)
{
    Merlion__QueueVoid m = MERLION__QUEUE_VOID__INIT;
    m.node = node;
    m.boot = boot;
    m.max = max;
    COMMAND(c, queue_void, QUEUE_VOID, m);
    return fx_run(&q->f, &c) ? -1 : (int)q->f.result->id;
}

int qx_control(struct qx *q, int action, const uint64_t *items, size_t n)
{
    Merlion__QueueControl m = MERLION__QUEUE_CONTROL__INIT;
    m.action = (Merlion__QueueControl__Action)action;
    m.items = (uint64_t *)(uintptr_t)items;
    m.n_items = n;
    COMMAND(c, queue_control, QUEUE_CONTROL, m);
    return fx_run(&q->f, &c) ? -1 : (int)q->f.result->id;
}

/* ---- reading ---- */

struct print {
    struct qx *q;
    struct store_view *v;
    struct buf b;
};

static bool print_recipient(void *arg, unsigned place, const struct store_queue_recipient *r)
{
    struct print *p = arg;
    if (place)
        buf_append_byte(&p->b, ' ');
    buf_append_slice(&p->b, r->address);
    return true;
}

static bool print_leg(void *arg, const struct store_queue_leg *l)
{
    struct print *p = arg;
    buf_printf(&p->b, " %u%.*s=%c%u", l->leg, (int)l->destination.n, (const char *)l->destination.p, "WLH"[l->state],
               l -> attempts);
    if (l->state == QUEUE_LEASED)
        buf_printf(&p->b, ":%llu.%llu", (unsigned long long)l->holder, (unsigned long long)l->boot);
    else
        buf_printf(&p->b, "+%lld", (long long)(l->due_ms - p->q->start_ms));
    buf_printf(&p->b, "%s(", l->warned ? "!" : "");
    store_queue_recipient_each(p->v, l->item, l->leg, print_recipient, p);
    buf_append_byte(&p->b, ')');
    return true;
}

static bool print_item(void *arg, const struct store_queue_item *i)
{
    struct print *p = arg;
    buf_printf(&p->b, "%s%llu%s%s", buf_len(&p->b) ? " | " : "", (unsigned long long)i->id, i->held ? "h" : "",
               i->canceled ? "c" : "");
    store_queue_leg_each(p->v, i->id, print_leg, p);
    return true;
}

static void print_begin(struct print *p, struct qx *q)
{
    *p = (struct print){.q = q};
    assert_int_equal(store_view_open(q->f.s, &p->v), 0);
}

static const char *print_end(struct print *p)
{
    assert_true(buf_len(&p->b) < sizeof p->q->text);
    if (buf_len(&p->b))
        memcpy(p->q->text, buf_slice(&p->b).p, buf_len(&p->b));
    p->q->text[buf_len(&p->b)] = 0;
    buf_close(&p->b);
    store_view_close(&p->v);
    return p->q->text;
}

const char *qx_text(struct qx *q)
{
    struct print p;
    fx_scrub(&q->f);
    print_begin(&p, q);
    store_queue_item_each(p.v, 0, print_item, &p);
    return print_end(&p);
}

static bool print_destination(void *arg, const struct store_queue_destination *d)
{
    struct print *p = arg;
    buf_printf(&p->b, "%s%.*s@%lld", buf_len(&p->b) ? " " : "", (int)d->name.n, (const char *)d->name.p,
               (long long)(d->first_due_ms - p->q->start_ms));
    return true;
}

const char *qx_due(struct qx *q, int64_t until_ms)
{
    struct print p;
    print_begin(&p, q);
    store_queue_due_each(p.v, until_ms, print_destination, &p);
    return print_end(&p);
}

const char *qx_due_from(struct qx *q, int64_t after_ms, const char *name)
{
    struct print p;
    print_begin(&p, q);
    store_queue_due_from(p.v, q->start_ms + after_ms, slice_str(name), INT64_MAX, print_destination, &p);
    return print_end(&p);
}

const char *qx_grants(struct qx *q)
{
    struct print p;
    print_begin(&p, q);
    for (size_t i = 0; i < q->f.result->n_grants; i++) {
        const Merlion__QueueGrant *g = q->f.result->grants[i];
        buf_printf(&p.b, "%s%llu.%u.%u", i ? " " : "", (unsigned long long)g->item, g->leg, g->attempt);
    }
    return print_end(&p);
}

struct store_queue_totals qx_totals(struct qx *q)
{
    struct store_view *v;
    struct store_queue_totals t;
    assert_int_equal(store_view_open(q->f.s, &v), 0);
    store_queue_totals(v, &t);
    store_view_close(&v);
    return t;
}
