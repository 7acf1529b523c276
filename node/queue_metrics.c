/* The queue's metrics. Totals are of the whole cluster's queue, as this node's state shows them; outcomes are this
 * node's. Destinations are as many as there are label sets at most: the first ones that are busy. */
#include "node/queue_internal.h"

#include <stdio.h>

enum { DESTINATIONS_MAX = 50, BUSY_AFTER = 3 };

/* How many outcomes a destination had; those that never become busy give way to others. */
struct busy {
    char name[256];
    unsigned seen[3];
    struct counter *counters[3];
};

struct queue_metrics {
    struct metrics *m;
    struct counter *attempts[3];
    struct histogram *delay;
    struct busy busy[DESTINATIONS_MAX], candidates[DESTINATIONS_MAX];
    unsigned busy_n, next;
    _Atomic uint64_t items, recipients, bytes, waiting, leased, held;
    _Atomic int64_t oldest_s;
};

static const char *const outcomes[] = {"delivered", "deferred", "failed"};

static double gauge_read(void *arg)
{
    return (double)atomic_load((_Atomic uint64_t *)arg);
}

static double gauge_read_signed(void *arg)
{
    return (double)atomic_load((_Atomic int64_t *)arg);
}

static double gauge_read_bodies(void *arg)
{
    struct queue *q = arg;
    return (double)(atomic_load(&q->body_bytes) + atomic_load(&q->kept_bytes));
}

void queue_metrics_open(struct queue *q, struct metrics *m)
{
    static const double bounds[] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5,  1,     2.5,   5,     10,
                                    30,   60,    120,  300, 900,  3600, 14400, 86400, 432000};
    struct queue_metrics *x = q->metrics = mem_zalloc(sizeof *x);
    const struct {
        const char *name, *help;
        _Atomic uint64_t *value;
    } gauges[] = {
        {"merlion_queue_items", "Messages in the cluster's queue", &x->items},
        {"merlion_queue_recipients", "Recipients in the cluster's queue", &x->recipients},
        {"merlion_queue_bytes", "Bytes of messages in the cluster's queue", &x->bytes},
        {"merlion_queue_waiting", "Legs that wait for their time or their turn", &x->waiting},
        {"merlion_queue_leased", "Legs leased to nodes", &x->leased},
        {"merlion_queue_held", "Legs held by an operator", &x->held},
    };
    x->m = m;
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++)
        metrics_gauge(m, gauges[i].name, gauges[i].help, NULL, gauge_read, gauges[i].value);
    metrics_gauge(m, "merlion_queue_body_bytes", "Bytes of messages that this node holds while it delivers them", NULL,
                  gauge_read_bodies, q);
    metrics_gauge(m, "merlion_queue_oldest_seconds", "Age of the oldest message in the queue", NULL, gauge_read_signed,
                  &x->oldest_s);
    for (unsigned i = 0; i < 3; i++) {
        char label[64];
        snprintf(label, sizeof label, "outcome=\"%s\"", outcomes[i]);
        x->attempts[i] = metrics_counter(m, "merlion_queue_attempts_total",
                                         "Recipients tried by this node, by what became of it", label);
    }
    x->delay = metrics_histogram(m, "merlion_queue_delay_seconds", "From accepted to delivered elsewhere", NULL, bounds,
                                 sizeof bounds / sizeof bounds[0]);
}

void queue_metrics_close(struct queue *q)
{
    mem_free(q->metrics); /* nobody asks for metrics any more */
}

static struct busy *find(struct busy *list, unsigned n, struct slice name)
{
    for (unsigned i = 0; i < n; i++)
        if (slice_eq(slice_str(list[i].name), name))
            return &list[i];
    return NULL;
}

/* Names come from clients: what does not look like one gets no label. */
static bool name_ok(struct slice name)
{
    if (name.n == 0 || name.n >= sizeof((struct busy *)0)->name)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] >= 127 || name.p[i] == '"' || name.p[i] == '\\')
            return false;
    return true;
}

static void promote(struct queue_metrics *x, const struct busy *c)
{
    struct busy *b = &x->busy[x->busy_n++];
    *b = *c;
    for (unsigned i = 0; i < 3; i++) {
        char label[400];
        snprintf(label, sizeof label, "destination=\"%s\",outcome=\"%s\"", b->name, outcomes[i]);
        b->counters[i] = metrics_counter(x->m, "merlion_queue_destination_outcomes_total",
                                         "The same for each of the busiest destinations", label);
        counter_add(b->counters[i], b->seen[i]);
    }
}

static void destination_count(struct queue_metrics *x, struct slice name, unsigned kind)
{
    struct busy *b = find(x->busy, x->busy_n, name);
    if (b) {
        counter_add(b->counters[kind], 1);
        return;
    }
    if (x->busy_n == DESTINATIONS_MAX || !name_ok(name))
        return;
    struct busy *c = find(x->candidates, DESTINATIONS_MAX, name);
    if (!c) {
        c = &x->candidates[x->next++ % DESTINATIONS_MAX];
        *c = (struct busy){0};
        memcpy(c->name, name.p, name.n);
    }
    c->seen[kind]++;
    if (c->seen[0] + c->seen[1] + c->seen[2] < BUSY_AFTER)
        return;
    promote(x, c);
    *c = (struct busy){0};
}

void queue_metrics_count(struct queue *q, struct slice destination, enum smtp_outcome_kind kind, int64_t delay_ms)
{
    struct queue_metrics *x = q->metrics;
    counter_add(x->attempts[kind], 1);
    if (kind == SMTP_DELIVERED)
        histogram_observe(x->delay, (double)delay_ms / 1000);
    destination_count(x, destination, kind);
}

void queue_metrics_refresh(struct queue *q, struct store_view *v, int64_t now_ms)
{
    struct queue_metrics *x = q->metrics;
    struct store_queue_totals t;
    store_queue_totals(v, &t);
    atomic_store(&x->items, t.items);
    atomic_store(&x->recipients, t.recipients);
    atomic_store(&x->bytes, t.bytes);
    atomic_store(&x->waiting, t.waiting);
    atomic_store(&x->leased, t.leased);
    atomic_store(&x->held, t.held);
    atomic_store(&x->oldest_s, t.oldest_ms ? (now_ms - t.oldest_ms) / 1000 : 0);
}
