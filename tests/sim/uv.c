/* libuv's loops on simulated time, with timers, asyncs, prepare, check and idle handles, in the order of libuv 1.44:
 * timers, idle, prepare, what came in (asyncs, posts), check, closings. A loop runs in the thread that calls uv_run. */
#include "tests/sim/kernel.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <uv.h>

enum { ACTIVE = 1, REF = 2, CLOSING = 4, CLOSED = 8 };

/* Somebody's sim_loop_post. */
struct post {
    struct post *next;
    sim_fn *fn;
    void *arg;
};

/* Beside a uv_loop_t, in its internal_fields. */
struct turn {
    struct list item; /* of `turns` */
    uv_loop_t *loop;
    struct sim_host *host;
    unsigned life;
    struct list timers; /* by (timeout, start_id) */
    struct list poll;   /* the thread that polls */
    struct post *first, **last;
    bool woken;
};

static struct list turns = {&turns, &turns};

static struct turn *turn_of(const uv_loop_t *loop)
{
    return loop->internal_fields;
}

static struct list *list_of(void *queue[2])
{
    return (struct list *)(void *)queue;
}

static struct list *timer_item(uv_timer_t *t)
{
    return (struct list *)(void *)t->heap_node;
}

/* ---- loops ---- */

int uv_loop_init(uv_loop_t *loop)
{
    void *data = loop->data;
    memset(loop, 0, sizeof *loop);
    loop->data = data;
    struct turn *t = mem_zalloc(sizeof *t);
    *t = (struct turn){.loop = loop, .host = sim_host_now(), .life = sim_host_life(sim_host_now()), .last = &t->first};
    list_init(&t->timers);
    list_init(&t->poll);
    list_append(&turns, &t->item);
    loop->internal_fields = t;
    list_init(list_of(loop->handle_queue));
    list_init(list_of(loop->prepare_handles));
    list_init(list_of(loop->check_handles));
    list_init(list_of(loop->idle_handles));
    list_init(list_of(loop->async_handles));
    uv_update_time(loop);
    return 0;
}

static void posts_drop(struct turn *t)
{
    while (t->first) {
        struct post *p = t->first;
        t->first = p->next;
        mem_free(p);
    }
    t->last = &t->first;
}

static void turn_free(struct turn *t)
{
    posts_drop(t);
    list_remove(&t->item);
    mem_free(t);
}

int uv_loop_close(uv_loop_t *loop)
{
    if (!list_empty(list_of(loop->handle_queue)))
        return UV_EBUSY;
    turn_free(turn_of(loop));
    memset(loop, 0, sizeof *loop);
    return 0;
}

void uv_host_crash(const struct sim_host *h)
{
    LIST_EACH(it, tmp, &turns)
    {
        struct turn *t = container_of(it, struct turn, item);
        if (t->host == h)
            turn_free(t);
    }
}

int uv_loop_alive(const uv_loop_t *loop)
{
    return loop->active_handles > 0 || loop->closing_handles || turn_of(loop)->first;
}

void uv_stop(uv_loop_t *loop)
{
    loop->stop_flag = 1;
}

void uv_update_time(uv_loop_t *loop)
{
    loop->time = (uint64_t)host_steady_us(turn_of(loop)->host) / 1000;
}

uint64_t uv_now(const uv_loop_t *loop)
{
    return loop->time;
}

uint64_t uv_hrtime(void)
{
    return (uint64_t)host_steady_us(sim_host_now()) * 1000;
}

/* ---- handles ---- */

static void handle_init(uv_loop_t *loop, uv_handle_t *h, uv_handle_type type)
{
    h->loop = loop;
    h->type = type;
    h->flags = REF;
    h->next_closing = NULL;
    h->close_cb = NULL;
    list_append(list_of(loop->handle_queue), list_of(h->handle_queue));
}

static void activate(uv_handle_t *h)
{
    if (!(h->flags & ACTIVE) && h->flags & REF)
        h->loop->active_handles++;
    h->flags |= ACTIVE;
}

static void deactivate(uv_handle_t *h)
{
    if (h->flags & ACTIVE && h->flags & REF)
        h->loop->active_handles--;
    h->flags &= ~(unsigned)ACTIVE;
}

void uv_ref(uv_handle_t *h)
{
    if (h->flags & ACTIVE && !(h->flags & REF))
        h->loop->active_handles++;
    h->flags |= REF;
}

void uv_unref(uv_handle_t *h)
{
    if (h->flags & ACTIVE && h->flags & REF)
        h->loop->active_handles--;
    h->flags &= ~(unsigned)REF;
}

int uv_has_ref(const uv_handle_t *h)
{
    return (h->flags & REF) != 0;
}

int uv_is_active(const uv_handle_t *h)
{
    return (h->flags & ACTIVE) != 0;
}

int uv_is_closing(const uv_handle_t *h)
{
    return (h->flags & (CLOSING | CLOSED)) != 0;
}

void uv_close(uv_handle_t *h, uv_close_cb cb)
{
    ENSURE(!uv_is_closing(h));
    switch (h->type) {
    case UV_TIMER:
        uv_timer_stop((uv_timer_t *)h);
        break;
    case UV_PREPARE:
        uv_prepare_stop((uv_prepare_t *)h);
        break;
    case UV_CHECK:
        uv_check_stop((uv_check_t *)h);
        break;
    case UV_IDLE:
        uv_idle_stop((uv_idle_t *)h);
        break;
    case UV_ASYNC:
        list_remove(list_of(((uv_async_t *)h)->queue));
        deactivate(h);
        break;
    default:
        err_panic(__FILE__, __LINE__, "a handle of a kind that is not simulated");
    }
    h->flags |= CLOSING;
    h->close_cb = cb;
    h->next_closing = h->loop->closing_handles;
    h->loop->closing_handles = h;
}

static void closings_run(uv_loop_t *loop)
{
    uv_handle_t *h = loop->closing_handles;
    loop->closing_handles = NULL;
    while (h) {
        uv_handle_t *next = h->next_closing;
        h->flags = (h->flags & ~(unsigned)CLOSING) | CLOSED;
        list_remove(list_of(h->handle_queue));
        if (h->close_cb)
            h->close_cb(h);
        h = next;
    }
}

/* ---- timers ---- */

int uv_timer_init(uv_loop_t *loop, uv_timer_t *t)
{
    handle_init(loop, (uv_handle_t *)t, UV_TIMER);
    t->timer_cb = NULL;
    t->timeout = t->repeat = 0;
    list_init(timer_item(t));
    return 0;
}

static uv_timer_t *timer_of(struct list *item)
{
    return container_of((void *)item, uv_timer_t, heap_node);
}

int uv_timer_start(uv_timer_t *t, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    if (uv_is_closing((uv_handle_t *)t) || !cb)
        return UV_EINVAL;
    uv_timer_stop(t);
    t->timer_cb = cb;
    t->timeout = timeout < UINT64_MAX - t->loop->time ? t->loop->time + timeout : UINT64_MAX;
    t->repeat = repeat;
    t->start_id = t->loop->timer_counter++;
    struct list *timers = &turn_of(t->loop)->timers, *at = timers;
    while (at->prev != timers && timer_of(at->prev)->timeout > t->timeout)
        at = at->prev;
    list_append(at, timer_item(t));
    activate((uv_handle_t *)t);
    return 0;
}

int uv_timer_stop(uv_timer_t *t)
{
    if (!uv_is_active((uv_handle_t *)t))
        return 0;
    list_remove(timer_item(t));
    deactivate((uv_handle_t *)t);
    return 0;
}

int uv_timer_again(uv_timer_t *t)
{
    if (!t->timer_cb)
        return UV_EINVAL;
    return t->repeat ? uv_timer_start(t, t->timer_cb, t->repeat, t->repeat) : 0;
}

void uv_timer_set_repeat(uv_timer_t *t, uint64_t repeat)
{
    t->repeat = repeat;
}

uint64_t uv_timer_get_repeat(const uv_timer_t *t)
{
    return t->repeat;
}

uint64_t uv_timer_get_due_in(const uv_timer_t *t)
{
    return t->timeout > t->loop->time ? t->timeout - t->loop->time : 0;
}

static void timers_run(uv_loop_t *loop)
{
    struct list *timers = &turn_of(loop)->timers;
    while (!list_empty(timers) && timer_of(timers->next)->timeout <= loop->time) {
        uv_timer_t *t = timer_of(timers->next);
        uv_timer_stop(t);
        uv_timer_again(t);
        t->timer_cb(t);
    }
}

/* ---- prepare, check, idle ---- */

/* Newest first at the start, as libuv does it; a turn keeps the order. */
#define PHASE(name, NAME)                                                                                              \
    int uv_##name##_init(uv_loop_t *loop, uv_##name##_t *h)                                                            \
    {                                                                                                                  \
        handle_init(loop, (uv_handle_t *)h, UV_##NAME);                                                                \
        h->name##_cb = NULL;                                                                                           \
        list_init(list_of(h->queue));                                                                                  \
        return 0;                                                                                                      \
    }                                                                                                                  \
    int uv_##name##_start(uv_##name##_t *h, uv_##name##_cb cb)                                                         \
    {                                                                                                                  \
        if (!cb)                                                                                                       \
            return UV_EINVAL;                                                                                          \
        if (uv_is_active((uv_handle_t *)h))                                                                            \
            return 0;                                                                                                  \
        h->name##_cb = cb;                                                                                             \
        list_append(list_of(h->loop->name##_handles)->next, list_of(h->queue));                                        \
        activate((uv_handle_t *)h);                                                                                    \
        return 0;                                                                                                      \
    }                                                                                                                  \
    int uv_##name##_stop(uv_##name##_t *h)                                                                             \
    {                                                                                                                  \
        list_remove(list_of(h->queue));                                                                                \
        deactivate((uv_handle_t *)h);                                                                                  \
        return 0;                                                                                                      \
    }                                                                                                                  \
    static void name##_run(uv_loop_t *loop)                                                                            \
    {                                                                                                                  \
        struct list all, *home = list_of(loop->name##_handles);                                                        \
        list_init(&all);                                                                                               \
        list_move(&all, home);                                                                                         \
        while (!list_empty(&all)) {                                                                                    \
            struct list *it = all.next;                                                                                \
            list_remove(it);                                                                                           \
            list_append(home, it);                                                                                     \
            uv_##name##_t *h = container_of((void *)it, uv_##name##_t, queue);                                         \
            h->name##_cb(h);                                                                                           \
        }                                                                                                              \
    }

static void list_move(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    list_init(from);
}

PHASE(prepare, PREPARE)
PHASE(check, CHECK)
PHASE(idle, IDLE)

/* ---- asyncs and posts ---- */

int uv_async_init(uv_loop_t *loop, uv_async_t *a, uv_async_cb cb)
{
    handle_init(loop, (uv_handle_t *)a, UV_ASYNC);
    a->async_cb = cb;
    a->pending = 0;
    list_append(list_of(loop->async_handles), list_of(a->queue));
    activate((uv_handle_t *)a);
    return 0;
}

static void wake(struct turn *t)
{
    t->woken = true;
    time_wake_all(&t->poll);
}

int uv_async_send(uv_async_t *a)
{
    time_maybe_yield();
    if (a->pending)
        return 0;
    a->pending = 1;
    wake(turn_of(a->loop));
    return 0;
}

static struct turn *turn_find(const uv_loop_t *loop)
{
    LIST_EACH(it, tmp, &turns)
    {
        struct turn *t = container_of(it, struct turn, item);
        if (t->loop == loop)
            return t;
    }
    return NULL;
}

void sim_loop_post(uv_loop_t *loop, sim_fn *fn, void *arg)
{
    struct turn *t = turn_find(loop);
    if (!t)
        return;
    struct post *p = mem_alloc(sizeof *p);
    *p = (struct post){.fn = fn, .arg = arg};
    *t->last = p;
    t->last = &p->next;
    wake(t);
}

struct sim_host *sim_loop_host(uv_loop_t *loop)
{
    return turn_of(loop)->host;
}

static void posts_run(struct turn *t)
{
    struct post **end = t->last;
    bool more = t->first != NULL;
    while (more) { /* up to what was there when we began */
        struct post *p = t->first;
        more = &p->next != end;
        t->first = p->next;
        if (!t->first)
            t->last = &t->first;
        p->fn(p->arg);
        mem_free(p);
    }
}

static void asyncs_run(uv_loop_t *loop)
{
    struct list all;
    list_init(&all);
    list_move(&all, list_of(loop->async_handles));
    while (!list_empty(&all)) {
        uv_async_t *a = container_of((void *)all.next, uv_async_t, queue);
        list_remove(list_of(a->queue));
        list_append(list_of(loop->async_handles), list_of(a->queue));
        if (!a->pending)
            continue;
        a->pending = 0;
        if (a->async_cb)
            a->async_cb(a);
    }
}

/* ---- a turn ---- */

static void poll(uv_loop_t *loop, bool block)
{
    struct turn *t = turn_of(loop);
    if (block && !t->woken) {
        int64_t until = INT64_MAX;
        if (!list_empty(&t->timers))
            until = host_true_us(t->host, (int64_t)timer_of(t->timers.next)->timeout * 1000);
        time_wait(&t->poll, "polls", loop, until);
        uv_update_time(loop);
    }
    if (!t->woken)
        return;
    t->woken = false;
    posts_run(t);
    asyncs_run(loop);
}

int uv_run(uv_loop_t *loop, uv_run_mode mode)
{
    if (!uv_loop_alive(loop))
        uv_update_time(loop);
    while (uv_loop_alive(loop) && !loop->stop_flag) {
        uv_update_time(loop);
        timers_run(loop);
        idle_run(loop);
        prepare_run(loop);
        bool quiet = !loop->stop_flag && loop->active_handles > 0 && !loop->closing_handles &&
                     list_empty(list_of(loop->idle_handles));
        poll(loop, quiet && mode != UV_RUN_NOWAIT);
        check_run(loop);
        closings_run(loop);
        if (mode == UV_RUN_ONCE) {
            uv_update_time(loop);
            timers_run(loop);
        }
        if (mode != UV_RUN_DEFAULT)
            break;
    }
    loop->stop_flag = 0;
    return uv_loop_alive(loop);
}

/* ---- threads and locks, by their pthread names ---- */

struct thread_start {
    uv_thread_cb entry;
    void *arg;
};

static void *thread_run(void *arg)
{
    struct thread_start s = *(struct thread_start *)arg;
    mem_free(arg);
    s.entry(s.arg);
    return NULL;
}

int uv_thread_create(uv_thread_t *t, uv_thread_cb entry, void *arg)
{
    struct thread_start *s = mem_alloc(sizeof *s);
    *s = (struct thread_start){.entry = entry, .arg = arg};
    return pthread_create(t, NULL, thread_run, s);
}

int uv_thread_join(uv_thread_t *t)
{
    return pthread_join(*t, NULL);
}

int uv_mutex_init(uv_mutex_t *m)
{
    return pthread_mutex_init(m, NULL);
}

void uv_mutex_destroy(uv_mutex_t *m)
{
    pthread_mutex_destroy(m);
}

void uv_mutex_lock(uv_mutex_t *m)
{
    pthread_mutex_lock(m);
}

void uv_mutex_unlock(uv_mutex_t *m)
{
    pthread_mutex_unlock(m);
}

int uv_cond_init(uv_cond_t *c)
{
    return pthread_cond_init(c, NULL);
}

void uv_cond_destroy(uv_cond_t *c)
{
    pthread_cond_destroy(c);
}

void uv_cond_signal(uv_cond_t *c)
{
    pthread_cond_signal(c);
}

void uv_cond_broadcast(uv_cond_t *c)
{
    pthread_cond_broadcast(c);
}

void uv_cond_wait(uv_cond_t *c, uv_mutex_t *m)
{
    pthread_cond_wait(c, m);
}

const char *uv_strerror(int err)
{
    return strerror(-err);
}
