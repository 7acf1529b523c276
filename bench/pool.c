#include "bench/pool.h"

#include <stdlib.h>

struct worker {
    struct pool *pool;
    pool_session *run;
    int number;
    void *session;
    pthread_t thread;
};

static void *work(void *data)
{
    struct worker *w = data;
    w->run(w->pool, w->number, w->session);
    return NULL;
}

void pool_run(struct pool *p, const struct load_options *o, pool_session *run, void *sessions, size_t size)
{
    struct worker *workers = calloc((size_t)o->sessions, sizeof *workers);
    pthread_attr_t attr;
    p->options = o;
    if (!workers || pthread_attr_init(&attr) || pthread_attr_setstacksize(&attr, 256 << 10) ||
        pthread_barrier_init(&p->ready, NULL, (unsigned)o->sessions))
        load_fail("cannot start %d sessions", o->sessions);
    for (int i = 0; i < o->sessions; i++) {
        workers[i] =
            (struct worker){.pool = p, .run = run, .number = i, .session = (char *)sessions + (size_t)i * size};
        if (pthread_create(&workers[i].thread, &attr, work, &workers[i]) != 0)
            load_fail("cannot start %d threads", o->sessions);
    }
    for (int i = 0; i < o->sessions; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_attr_destroy(&attr);
    pthread_barrier_destroy(&p->ready);
    free(workers);
}

void pool_ready(struct pool *p)
{
    if (pthread_barrier_wait(&p->ready) == PTHREAD_BARRIER_SERIAL_THREAD)
        p->start = load_now();
    pthread_barrier_wait(&p->ready); /* now p->start is seen by all */
}
