/* A thread a session. All sessions connect first, then start together. */
#ifndef MERLION_BENCH_POOL_H
#define MERLION_BENCH_POOL_H

#include <pthread.h>

#include "bench/load.h"

struct pool {
    const struct load_options *options;
    pthread_barrier_t ready; /* of all sessions */
    double start;            /* when the last session was ready */
};

/* One session. Calls pool_ready once, when it is connected. */
typedef void pool_session(struct pool *p, int number, void *session);

/* Runs options->sessions threads to their ends; session i gets sessions + i * size. */
void pool_run(struct pool *p, const struct load_options *o, pool_session *run, void *sessions, size_t size);

/* Waits until all sessions are ready; p->start is set then. */
void pool_ready(struct pool *p);

#endif
