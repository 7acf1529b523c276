#include "node/base/task.h"

#include <stddef.h>

void task_queue_init(struct task_queue *q, void (*wake)(void *arg), void *arg)
{
    atomic_init(&q->head, NULL);
    q->wake = wake;
    q->arg = arg;
}

void task_post(struct task_queue *q, struct task *t)
{
    struct task *head = atomic_load_explicit(&q->head, memory_order_relaxed);
    do
        t->next = head;
    while (!atomic_compare_exchange_weak_explicit(&q->head, &head, t, memory_order_release, memory_order_relaxed));
    if (!head)
        q->wake(q->arg);
}

bool task_queue_run(struct task_queue *q)
{
    struct task *newest = atomic_exchange_explicit(&q->head, NULL, memory_order_acquire);
    struct task *oldest = NULL;
    while (newest) {
        struct task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    bool any = oldest != NULL;
    while (oldest) {
        struct task *next = oldest->next;
        oldest->run(oldest);
        oldest = next;
    }
    return any;
}
