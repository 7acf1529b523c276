/* Worker threads: each runs a loop, a backend and the connections that were given to it. */
#ifndef NODE_WORKER_H
#define NODE_WORKER_H

#include "node/base/list.h"
#include "node/io/loop.h"

struct backend;
struct workers;

struct worker {
    struct loop loop;
    char name[16];
    struct backend *backend;
    struct workers *all;
    _Atomic unsigned assigned; /* connections given to it and not yet freed */
    /* The rest is the worker's thread's. */
    struct list connections; /* listener_conn's */
    struct list ready;       /* to be pumped, or freed, at this turn of the loop */
    uv_idle_t turn;          /* active while `ready` has any */
    uv_timer_t tick;         /* once a second: idle timers */
    int64_t stop_ms;         /* stopping gives up then */
    bool stuck;              /* it gave up: the memory must stay */
};

struct workers_config {
    unsigned n; /* 0: one a core, at most 64 */
    /* Called for each worker by workers_start, on the caller's thread, before the worker's thread runs. */
    struct backend *(*backend_new)(void *arg, struct loop *loop);
    /* Called by workers_free, after the worker's thread ended. May be NULL. */
    void (*backend_free)(void *arg, struct backend *b);
    void *arg;
};

int workers_start(const struct workers_config *c, struct workers **w_r);
unsigned workers_count(const struct workers *w);
struct worker *workers_get(struct workers *w, unsigned i);
/* The one with the fewest connections; counts one more for it. Any thread. */
struct worker *workers_assign(struct workers *w);
/* Ends the threads and waits for them: after listeners_drain is done, or connections are cut. Operations of sessions
 * are waited for, at most 5 s: whoever completes them must still run. */
void workers_free(struct workers **w);

#endif
