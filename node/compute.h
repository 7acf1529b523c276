/* The compute pool: a few threads for work that would hold up a loop (password hashing, search in bodies, parsing of
 * large mail, reading bodies from disk). libuv's own pool is left to libraft's log writes (DESIGN section 2). */
#ifndef NODE_COMPUTE_H
#define NODE_COMPUTE_H

#include "node/base/task.h"

struct compute;

struct compute_job {
    struct task task; /* set task.run: run on home when the work is done */
    struct task_queue *home;
    void (*work)(struct compute_job *job); /* on a pool thread */
};

struct compute *compute_new(unsigned threads);
/* Any thread. Jobs start in the order of submission. The job belongs to the pool until it is posted home. */
void compute_submit(struct compute *c, struct compute_job *job);
/* Finishes what was submitted, then stops. */
void compute_free(struct compute **c);

#endif
