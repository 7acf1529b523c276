/* Latencies of many sessions: each thread records into its own, then they are joined. */
#ifndef MERLION_BENCH_STATS_H
#define MERLION_BENCH_STATS_H

#include <stddef.h>

struct stats {
    float *ms; /* on the heap */
    size_t count;
    size_t room;
};

void stats_add(struct stats *s, double seconds);

/* Appends what from has; from stays as it is. */
void stats_join(struct stats *s, const struct stats *from);

/* Sorts; then stats_percentile may be asked. */
void stats_sort(struct stats *s);

/* Milliseconds below which that part (0 to 1) of the sorted latencies are; 0 without any. */
double stats_percentile(const struct stats *s, double part);

void stats_close(struct stats *s);

#endif
