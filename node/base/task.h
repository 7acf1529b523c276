/* Work handed from one thread to another. Each thread with a loop owns one `struct task_queue`; anybody may post a
 * task to it; the owner runs the tasks in order of posting. A request that goes away and comes back embeds one
 * task and is posted back to its home queue by whoever served it. */
#ifndef BASE_TASK_H
#define BASE_TASK_H

#include <stdatomic.h>
#include <stdbool.h>

struct task {
    struct task *next;
    void (*run)(struct task *t); /* on the queue owner's thread; may free the task or post it on */
};

struct task_queue {
    _Atomic(struct task *) head; /* newest first; reversed when taken */
    void (*wake)(void *arg);     /* called by the poster when the queue was empty; any thread */
    void *arg;
};

void task_queue_init(struct task_queue *q, void (*wake)(void *arg), void *arg);
/* Any thread. The task belongs to the queue until it runs. Everything written before is visible to run(). */
void task_post(struct task_queue *q, struct task *t);
/* Owner only: runs all that is posted, in order; what is posted meanwhile waits for the next run.
 * Returns true when it ran any. */
bool task_queue_run(struct task_queue *q);

#ifndef container_of
#include <stddef.h>
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#endif

#endif
