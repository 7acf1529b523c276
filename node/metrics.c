#include "node/metrics.h"

#include "node/base/err.h"
#include "node/base/list.h"
#include "node/base/mem.h"
#include "node/base/task.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum { BOUNDS_MAX = 32 };
enum kind { KIND_COUNTER, KIND_COUNTER_READ, KIND_GAUGE, KIND_HISTOGRAM };

struct histogram {
    unsigned bound_n;
    double bounds[BOUNDS_MAX];
    _Atomic uint64_t counts[BOUNDS_MAX + 1]; /* not cumulative; the last: above every bound */
    _Atomic double sum;
};

struct series {
    struct list link;
    char *labels;
    struct counter counter;
    struct histogram *histogram;
    double (*value)(void *arg);
    void *arg;
};

struct family {
    struct list link, series;
    enum kind kind;
    char *name, *help;
};

struct metrics {
    pthread_mutex_t lock; /* guards the lists, not the values */
    struct list families; /* by name */
};

static const double latency_bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

struct metrics *metrics_new(void)
{
    struct metrics *m = mem_zalloc(sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    list_init(&m->families);
    return m;
}

void metrics_free(struct metrics **m)
{
    if (!*m)
        return;
    LIST_EACH(it, tmp, &(*m)->families)
    {
        struct family *f = container_of(it, struct family, link);
        LIST_EACH(jt, jtmp, &f->series)
        {
            struct series *s = container_of(jt, struct series, link);
            mem_free(s->labels);
            mem_free(s->histogram);
            mem_free(s);
        }
        mem_free(f->name);
        mem_free(f->help);
        mem_free(f);
    }
    pthread_mutex_destroy(&(*m)->lock);
    mem_free(*m);
    *m = NULL;
}

static struct family *family_get(struct metrics *m, enum kind kind, const char *name, const char *help)
{
    struct list *before = &m->families;
    LIST_EACH(it, tmp, &m->families)
    {
        struct family *f = container_of(it, struct family, link);
        int order = strcmp(f->name, name);
        if (order == 0) {
            ENSURE(f->kind == kind);
            return f;
        }
        if (order > 0) {
            before = it;
            break;
        }
    }
    struct family *f = mem_zalloc(sizeof *f);
    f->kind = kind;
    f->name = mem_strdup(name);
    f->help = mem_strdup(help);
    list_init(&f->series);
    list_append(before, &f->link);
    return f;
}

/* With the lock held. */
static struct series *series_get(struct metrics *m, enum kind kind, const char *name, const char *help,
                                 const char *labels)
{
    struct family *f = family_get(m, kind, name, help);
    labels = labels ? labels : "";
    LIST_EACH(it, tmp, &f->series)
    {
        struct series *s = container_of(it, struct series, link);
        if (strcmp(s->labels, labels) == 0)
            return s;
    }
    struct series *s = mem_zalloc(sizeof *s);
    s->labels = mem_strdup(labels);
    list_append(&f->series, &s->link);
    return s;
}

struct counter *metrics_counter(struct metrics *m, const char *name, const char *help, const char *labels)
{
    pthread_mutex_lock(&m->lock);
    struct series *s = series_get(m, KIND_COUNTER, name, help, labels);
    pthread_mutex_unlock(&m->lock);
    return &s->counter;
}

static void read_add(struct metrics *m, enum kind kind, const char *name, const char *help, const char *labels,
                     double (*value)(void *arg), void *arg)
{
    pthread_mutex_lock(&m->lock);
    struct series *s = series_get(m, kind, name, help, labels);
    s->value = value;
    s->arg = arg;
    pthread_mutex_unlock(&m->lock);
}

void metrics_gauge(struct metrics *m, const char *name, const char *help, const char *labels,
                   double (*value)(void *arg), void *arg)
{
    read_add(m, KIND_GAUGE, name, help, labels, value, arg);
}

void metrics_counter_read(struct metrics *m, const char *name, const char *help, const char *labels,
                          double (*value)(void *arg), void *arg)
{
    read_add(m, KIND_COUNTER_READ, name, help, labels, value, arg);
}

static struct histogram *histogram_new(const double *bounds, unsigned bound_n)
{
    if (!bounds) {
        bounds = latency_bounds;
        bound_n = sizeof latency_bounds / sizeof *latency_bounds;
    }
    ENSURE(bound_n <= BOUNDS_MAX);
    struct histogram *h = mem_zalloc(sizeof *h);
    h->bound_n = bound_n;
    for (unsigned i = 0; i < bound_n; i++) {
        ENSURE(i == 0 || bounds[i] > bounds[i - 1]);
        h->bounds[i] = bounds[i];
    }
    return h;
}

struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *help, const char *labels,
                                    const double *bounds, unsigned bound_n)
{
    pthread_mutex_lock(&m->lock);
    struct series *s = series_get(m, KIND_HISTOGRAM, name, help, labels);
    if (!s->histogram)
        s->histogram = histogram_new(bounds, bound_n);
    pthread_mutex_unlock(&m->lock);
    return s->histogram;
}

void histogram_observe(struct histogram *h, double value)
{
    unsigned i = 0;
    while (i < h->bound_n && value > h->bounds[i])
        i++;
    atomic_fetch_add_explicit(&h->counts[i], 1, memory_order_relaxed);
    /* Not `+=`: on an atomic double that is a call into libatomic. */
    double sum = atomic_load_explicit(&h->sum, memory_order_relaxed);
    while (
        !atomic_compare_exchange_weak_explicit(&h->sum, &sum, sum + value, memory_order_relaxed, memory_order_relaxed))
        ;
}

static void number(struct buf *out, double v)
{
    if (isnan(v))
        buf_append_str(out, "NaN");
    else if (isinf(v))
        buf_append_str(out, v > 0 ? "+Inf" : "-Inf");
    else if (v > -1e15 && v < 1e15 && v == (double)(int64_t)v)
        buf_printf(out, "%.0f", v);
    else
        buf_printf(out, "%.9g", v);
}

static void sample(struct buf *out, const struct family *f, const char *suffix, const char *labels, const char *extra)
{
    buf_printf(out, "%s%s", f->name, suffix);
    if (*labels || *extra)
        buf_printf(out, "{%s%s%s}", labels, *labels && *extra ? "," : "", extra);
    buf_append_byte(out, ' ');
}

static void histogram_write(struct buf *out, const struct family *f, const struct series *s)
{
    const struct histogram *h = s->histogram;
    uint64_t total = 0;
    for (unsigned i = 0; i <= h->bound_n; i++) {
        struct buf bound = {0};
        buf_append_str(&bound, "le=\"");
        number(&bound, i < h->bound_n ? h->bounds[i] : INFINITY);
        buf_append(&bound, "\"", 2);
        total += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        sample(out, f, "_bucket", s->labels, (const char *)buf_slice(&bound).p);
        buf_printf(out, "%llu\n", (unsigned long long)total);
        buf_close(&bound);
    }
    sample(out, f, "_sum", s->labels, "");
    number(out, h->sum);
    buf_append_byte(out, '\n');
    /* From the same counts as the buckets, so that the two agree. */
    sample(out, f, "_count", s->labels, "");
    buf_printf(out, "%llu\n", (unsigned long long)total);
}

static void help_write(struct buf *out, const char *help)
{
    for (; *help; help++) {
        if (*help == '\\' || *help == '\n')
            buf_append_byte(out, '\\');
        buf_append_byte(out, *help == '\n' ? 'n' : (uint8_t)*help);
    }
}

static void family_write(struct buf *out, const struct family *f)
{
    static const char *const types[] = {"counter", "counter", "gauge", "histogram"};
    buf_printf(out, "# HELP %s ", f->name);
    help_write(out, f->help);
    buf_printf(out, "\n# TYPE %s %s\n", f->name, types[f->kind]);
    LIST_EACH(it, tmp, &f->series)
    {
        const struct series *s = container_of(it, struct series, link);
        if (f->kind == KIND_HISTOGRAM) {
            histogram_write(out, f, s);
            continue;
        }
        sample(out, f, "", s->labels, "");
        if (f->kind == KIND_COUNTER)
            buf_append_u64(out, atomic_load_explicit(&s->counter.value, memory_order_relaxed));
        else
            number(out, s->value(s->arg));
        buf_append_byte(out, '\n');
    }
}

void metrics_write(struct metrics *m, struct buf *out)
{
    pthread_mutex_lock(&m->lock);
    LIST_EACH(it, tmp, &m->families)
    family_write(out, container_of(it, struct family, link));
    pthread_mutex_unlock(&m->lock);
}
