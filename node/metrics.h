/* Counters, gauges and histograms, and their Prometheus text (exposition format 0.0.4). Register at any time from any
 * thread; counting is an atomic addition from any thread; the objects live as long as `struct metrics`. */
#ifndef NODE_METRICS_H
#define NODE_METRICS_H

#include "node/base/buf.h"

#include <stdatomic.h>

struct metrics;
struct counter {
    _Atomic uint64_t value;
};
struct histogram;

struct metrics *metrics_new(void);
void metrics_free(struct metrics **m);

/* `name` as Prometheus has it (merlion_connections_total); `labels` already in its form (protocol="imap",tls="on") or
 * "" or NULL; both copied. The same name and labels give the same object. A name has one kind and help: ENSUREd. */
struct counter *metrics_counter(struct metrics *m, const char *name, const char *help, const char *labels);
/* The value is asked for at each output, on the thread of metrics_write. */
void metrics_gauge(struct metrics *m, const char *name, const char *help, const char *labels,
                   double (*value)(void *arg), void *arg);
/* A counter that is kept elsewhere and only read here. */
void metrics_counter_read(struct metrics *m, const char *name, const char *help, const char *labels,
                          double (*value)(void *arg), void *arg);
/* `bounds`: ascending upper bounds, at most 32; NULL: latencies in seconds from 0.5 ms to 10 s. */
struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *help, const char *labels,
                                    const double *bounds, unsigned bound_n);

static inline void counter_add(struct counter *c, uint64_t n)
{
    atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}
void histogram_observe(struct histogram *h, double value);

void metrics_write(struct metrics *m, struct buf *out);

#endif
