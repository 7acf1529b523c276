/* Between the backend's files: backend.c (loop, watches, small operations), backend_view.c, backend_body.c,
 * backend_write.c. */
#ifndef NODE_BACKEND_INTERNAL_H
#define NODE_BACKEND_INTERNAL_H

#include "node/backend.h"

enum { WATCH_BUCKETS = 256 };

struct worker_backend {
    struct backend backend;
    struct services *services;
    struct loop *loop;
    struct backend_watch *watches[WATCH_BUCKETS]; /* by mailbox; doubly linked */
    _Atomic unsigned watch_n;                     /* read by the applier to spare a wake-up */
};

static inline struct worker_backend *worker_of(struct backend *b)
{
    return container_of(b, struct worker_backend, backend);
}
static inline struct task_queue *home_of(struct worker_backend *w)
{
    return &w->loop->queue;
}
/* Steady-clock deadline of an operation that starts now. */
int64_t backend_deadline(const struct worker_backend *w);

struct backend_view *backend_view_open(struct backend *b);
void backend_body_get(struct backend *b, struct backend_body *op);
void backend_write(struct backend *b, struct write *op);
void backend_auth(struct backend *b, struct backend_auth *op);

#endif
