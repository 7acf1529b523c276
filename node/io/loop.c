#include "node/io/loop.h"

#include "node/base/err.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

static void wake(void *arg)
{
    struct loop *l = arg;
    uv_async_send(&l->async);
}

static void async_cb(uv_async_t *a)
{
    struct loop *l = a->data;
    task_queue_run(&l->queue);
    if (atomic_load_explicit(&l->stopping, memory_order_acquire))
        uv_unref((uv_handle_t *)&l->async);
}

int loop_init(struct loop *l, const char *name)
{
    memset(l, 0, sizeof *l);
    l->name = name;
    signal(SIGPIPE, SIG_IGN);
    int rc = uv_loop_init(&l->uv);
    if (rc < 0)
        return err_from_errno(-rc);
    rc = uv_async_init(&l->uv, &l->async, async_cb);
    if (rc < 0) {
        uv_loop_close(&l->uv);
        return err_from_errno(-rc);
    }
    l->async.data = l;
    task_queue_init(&l->queue, wake, l);
    return 0;
}

void loop_run(struct loop *l)
{
    /* A task that was posted while the last handle closed may have made new handles: look once more. */
    do
        uv_run(&l->uv, UV_RUN_DEFAULT);
    while (task_queue_run(&l->queue) || uv_loop_alive(&l->uv));
}

static void thread_main(void *arg)
{
    struct loop *l = arg;
    char name[16];
    strncpy(name, l->name, sizeof name - 1);
    name[sizeof name - 1] = 0;
    pthread_setname_np(pthread_self(), name);
    loop_run(l);
}

int loop_start(struct loop *l)
{
    int rc = uv_thread_create(&l->thread, thread_main, l);
    if (rc < 0)
        return err_from_errno(-rc);
    l->threaded = true;
    return 0;
}

void loop_stop(struct loop *l)
{
    atomic_store_explicit(&l->stopping, true, memory_order_release);
    uv_async_send(&l->async);
}

void loop_join(struct loop *l)
{
    if (l->threaded)
        uv_thread_join(&l->thread);
    l->threaded = false;
}

void loop_close(struct loop *l)
{
    uv_close((uv_handle_t *)&l->async, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    ENSURE(uv_loop_close(&l->uv) == 0);
}
