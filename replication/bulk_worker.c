#include "replication/bulk_worker.h"

#include "node/base/err.h"

#include <pthread.h>

static void wake(void *arg)
{
    struct bulk_worker *w = arg;
    uv_mutex_lock(&w->mutex);
    w->woken = true;
    uv_cond_signal(&w->cond);
    uv_mutex_unlock(&w->mutex);
}

static void thread_main(void *arg)
{
    struct bulk_worker *w = arg;
    bool stop = false;
    pthread_setname_np(pthread_self(), w->name);
    while (!stop) {
        uv_mutex_lock(&w->mutex);
        while (!w->woken && !w->stop)
            uv_cond_wait(&w->cond, &w->mutex);
        w->woken = false;
        stop = w->stop;
        uv_mutex_unlock(&w->mutex);
        while (task_queue_run(&w->queue)) {
        }
    }
}

int bulk_worker_start(struct bulk_worker *w, const char *name)
{
    *w = (struct bulk_worker){.name = name};
    task_queue_init(&w->queue, wake, w);
    ENSURE(uv_mutex_init(&w->mutex) == 0 && uv_cond_init(&w->cond) == 0);
    int rv = uv_thread_create(&w->thread, thread_main, w);
    if (rv != 0) {
        uv_cond_destroy(&w->cond);
        uv_mutex_destroy(&w->mutex);
        w->name = NULL;
        return err_from_errno(-rv);
    }
    return 0;
}

void bulk_worker_stop(struct bulk_worker *w)
{
    if (!w->name)
        return;
    uv_mutex_lock(&w->mutex);
    w->stop = true;
    uv_cond_signal(&w->cond);
    uv_mutex_unlock(&w->mutex);
    uv_thread_join(&w->thread);
    uv_cond_destroy(&w->cond);
    uv_mutex_destroy(&w->mutex);
    w->name = NULL;
}
