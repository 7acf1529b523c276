#include "node/compute.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <pthread.h>

struct compute {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct task *first, **last; /* queue of compute_job.task, linked by next */
    bool stop;
    unsigned thread_n;
    pthread_t threads[];
};

static struct compute_job *job_take(struct compute *c)
{
    pthread_mutex_lock(&c->lock);
    while (!c->first && !c->stop)
        pthread_cond_wait(&c->ready, &c->lock);
    struct task *t = c->first;
    if (t) {
        c->first = t->next;
        if (!c->first)
            c->last = &c->first;
    }
    pthread_mutex_unlock(&c->lock);
    return t ? container_of(t, struct compute_job, task) : NULL;
}

static void *thread_run(void *arg)
{
    struct compute *c = arg;
    pthread_setname_np(pthread_self(), "compute");
    struct compute_job *job;
    while ((job = job_take(c)) != NULL) {
        job->work(job);
        task_post(job->home, &job->task);
    }
    return NULL;
}

struct compute *compute_new(unsigned threads)
{
    struct compute *c = mem_zalloc(sizeof *c + threads * sizeof c->threads[0]);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->ready, NULL);
    c->last = &c->first;
    for (; c->thread_n < threads; c->thread_n++)
        ENSURE(pthread_create(&c->threads[c->thread_n], NULL, thread_run, c) == 0);
    return c;
}

void compute_submit(struct compute *c, struct compute_job *job)
{
    job->task.next = NULL;
    pthread_mutex_lock(&c->lock);
    *c->last = &job->task;
    c->last = &job->task.next;
    pthread_cond_signal(&c->ready);
    pthread_mutex_unlock(&c->lock);
}

void compute_free(struct compute **cp)
{
    struct compute *c = *cp;
    *cp = NULL;
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_broadcast(&c->ready);
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->thread_n; i++)
        pthread_join(c->threads[i], NULL);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->ready);
    mem_free(c);
}
