/* A thread without a loop that runs what is posted to it, in order: for what may wait for a disk. */
#ifndef REPLICATION_BULK_WORKER_H
#define REPLICATION_BULK_WORKER_H

#include "node/base/task.h"

#include <uv.h>

struct bulk_worker {
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t cond;
    struct task_queue queue;
    bool woken, stop; /* under mutex */
    const char *name;
};
int bulk_worker_start(struct bulk_worker *w, const char *name);
void bulk_worker_stop(struct bulk_worker *w); /* runs what is queued first; joins */
static inline void bulk_worker_post(struct bulk_worker *w, struct task *t)
{
    task_post(&w->queue, t);
}

#endif
