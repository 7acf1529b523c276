#include "node/worker.h"

#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/mem.h"
#include "node/listener_internal.h"

#include <stdio.h>

enum { WORKERS_MAX = 64, TICK_MS = 1000, STOP_MS = 5000, STOP_POLL_MS = 10 };

struct workers {
    struct workers_config config;
    unsigned n;
    struct worker worker[];
};

struct stop_task {
    struct task task;
    struct worker *worker;
};

static void turn(uv_idle_t *idle)
{
    struct worker *w = idle->data;
    struct list batch;
    list_init(&batch);
    while (!list_empty(&w->ready)) {
        struct list *it = w->ready.next;
        list_remove(it);
        list_append(&batch, it);
    }
    uv_idle_stop(idle); /* what becomes ready from here on starts it again */
    while (!list_empty(&batch)) {
        struct list *it = batch.next;
        list_remove(it);
        conn_turn(container_of(it, struct conn, ready));
    }
}

void worker_ready(struct worker *w, struct list *item)
{
    list_remove(item);
    list_append(&w->ready, item);
    uv_idle_start(&w->turn, turn);
}

static void tick(uv_timer_t *t)
{
    struct worker *w = t->data;
    LIST_EACH(it, tmp, &w->connections)
    conn_tick(container_of(it, struct conn, link));
}

static void worker_open(struct workers *all, unsigned i)
{
    struct worker *w = &all->worker[i];
    w->all = all;
    snprintf(w->name, sizeof w->name, "worker-%u", i);
    list_init(&w->connections);
    list_init(&w->ready);
    ENSURE(loop_init(&w->loop, w->name) == 0);
    uv_idle_init(&w->loop.uv, &w->turn);
    w->turn.data = w;
    uv_timer_init(&w->loop.uv, &w->tick);
    w->tick.data = w;
    uv_timer_start(&w->tick, tick, TICK_MS, TICK_MS);
    if (all->config.backend_new)
        w->backend = all->config.backend_new(all->config.arg, &w->loop);
}

int workers_start(const struct workers_config *c, struct workers **w_r)
{
    unsigned n = c->n ? c->n : uv_available_parallelism();
    if (n > WORKERS_MAX)
        n = WORKERS_MAX;
    struct workers *all = mem_zalloc(sizeof *all + n * sizeof all->worker[0]);
    all->config = *c;
    all->n = n;
    *w_r = all;
    /* All are complete before the first runs: they know each other through the backend's services. */
    for (unsigned i = 0; i < n; i++)
        worker_open(all, i);
    int rc = 0;
    for (unsigned i = 0; i < n && rc == 0; i++)
        rc = loop_start(&all->worker[i].loop);
    if (rc < 0)
        workers_free(w_r);
    return rc;
}

unsigned workers_count(const struct workers *w)
{
    return w->n;
}

struct worker *workers_get(struct workers *w, unsigned i)
{
    ENSURE(i < w->n);
    return &w->worker[i];
}

struct worker *workers_assign(struct workers *w)
{
    struct worker *best = &w->worker[0];
    for (unsigned i = 1; i < w->n; i++)
        if (atomic_load(&w->worker[i].assigned) < atomic_load(&best->assigned))
            best = &w->worker[i];
    atomic_fetch_add(&best->assigned, 1);
    return best;
}

/* Closed sessions wait for their operations to complete; the loop must be there for that. */
static void stop_poll(uv_timer_t *t)
{
    struct worker *w = t->data;
    w->stuck = !list_empty(&w->connections);
    if (w->stuck && (int64_t)uv_now(&w->loop.uv) < w->stop_ms)
        return;
    if (w->stuck)
        log_event(LOG_ERROR, "operations do not end", LOG_S("worker", w->name));
    uv_close((uv_handle_t *)&w->turn, NULL);
    uv_close((uv_handle_t *)&w->tick, NULL);
    loop_stop(&w->loop);
}

static void stop(struct task *t)
{
    struct worker *w = container_of(t, struct stop_task, task)->worker;
    mem_free(container_of(t, struct stop_task, task));
    LIST_EACH(it, tmp, &w->connections)
    conn_cut(container_of(it, struct conn, link), "shut down");
    uv_update_time(&w->loop.uv);
    w->stop_ms = (int64_t)uv_now(&w->loop.uv) + STOP_MS;
    uv_timer_start(&w->tick, stop_poll, 0, STOP_POLL_MS);
}

void workers_free(struct workers **w)
{
    if (!*w)
        return;
    struct workers *all = *w;
    for (unsigned i = 0; i < all->n; i++) {
        struct stop_task *t = mem_zalloc(sizeof *t);
        *t = (struct stop_task){.task.run = stop, .worker = &all->worker[i]};
        task_post(&all->worker[i].loop.queue, &t->task);
        if (!all->worker[i].loop.threaded)
            loop_run(&all->worker[i].loop); /* its thread could not be made */
    }
    for (unsigned i = 0; i < all->n; i++)
        loop_join(&all->worker[i].loop);
    *w = NULL;
    for (unsigned i = 0; i < all->n; i++)
        if (all->worker[i].stuck)
            return; /* somebody still holds on to the loop; the process is about to end anyway */
    for (unsigned i = 0; i < all->n; i++) {
        loop_close(&all->worker[i].loop);
        if (all->config.backend_free && all->worker[i].backend)
            all->config.backend_free(all->config.arg, all->worker[i].backend);
    }
    mem_free(all);
}
