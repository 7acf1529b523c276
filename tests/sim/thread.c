/* Threads, locks and conditions of the code under test, as coroutines: what it calls of pthread_*, sem_* and the clock
 * arrives here (ld --wrap). A lock lives in the bytes of the real one; all zero, as its static initialiser, is free. */
#include "tests/sim/kernel.h"

#include "node/base/err.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The queue of those who wait begins as zeros too. */
struct queue {
    struct list list;
};

static struct list *queue_of(struct queue *q)
{
    if (!q->list.next)
        list_init(&q->list);
    return &q->list;
}

/* Who holds a lock: a coroutine, or an event, which must give it back before it ends. */
static void *self(void)
{
    static char event;
    return co_now ? (void *)co_now : &event;
}

/* ---- threads ---- */

static void finish(struct co *c)
{
    c->state = CO_DONE;
    time_wake_all(&c->joiners);
}

static void run_fn(struct co *c)
{
    c->fn(c->arg);
    finish(c);
}

static void run_start(struct co *c)
{
    c->result = c->start(c->arg);
    finish(c);
}

static struct co *thread_begin(struct sim_host *h, const char *name, void (*entry)(struct co *c), void *arg)
{
    struct co *c = co_new(entry);
    c->host = h;
    c->arg = arg;
    snprintf(c->name, sizeof c->name, "%s", name);
    list_append(&h->threads, &c->item);
    c->state = CO_BLOCKED;
    time_wake(c);
    return c;
}

void sim_spawn(struct sim_host *h, const char *name, sim_fn *fn, void *arg)
{
    struct co *c = thread_begin(h, name, run_fn, arg);
    c->fn = fn;
    c->detached = true;
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    (void)attr;
    struct co *c = thread_begin(sim_host_now(), co_now ? co_now->name : "thread", run_start, arg);
    c->start = start;
    *t = (pthread_t)(uintptr_t)c;
    time_maybe_yield();
    return 0;
}

int __wrap_pthread_join(pthread_t t, void **result_r);
int __wrap_pthread_join(pthread_t t, void **result_r)
{
    struct co *c = (struct co *)(uintptr_t)t;
    while (c->state != CO_DONE)
        time_wait(&c->joiners, "joins", c, INT64_MAX);
    if (result_r)
        *result_r = c->result;
    co_free(c);
    return 0;
}

pthread_t __wrap_pthread_self(void);
pthread_t __wrap_pthread_self(void)
{
    return (pthread_t)(uintptr_t)self();
}

int __wrap_pthread_setname_np(pthread_t t, const char *name);
int __wrap_pthread_setname_np(pthread_t t, const char *name)
{
    if (co_now && (pthread_t)(uintptr_t)co_now == t)
        snprintf(co_now->name, sizeof co_now->name, "%s", name);
    return 0;
}

/* ---- mutexes ---- */

struct mutex {
    void *owner;
    struct queue waiters;
};
_Static_assert(sizeof(struct mutex) <= sizeof(pthread_mutex_t), "lives in it");

static struct mutex *mutex_of(pthread_mutex_t *m)
{
    return (struct mutex *)(void *)m;
}

static void lock(struct mutex *m)
{
    if (m->owner == self())
        err_panic(__FILE__, __LINE__, "a mutex is locked twice by one thread");
    while (m->owner)
        time_wait(queue_of(&m->waiters), "waits for a mutex", m, INT64_MAX);
    m->owner = self();
}

static void unlock(struct mutex *m)
{
    if (m->owner != self())
        err_panic(__FILE__, __LINE__, "a mutex is unlocked by another thread");
    m->owner = NULL;
    time_wake_one(queue_of(&m->waiters));
}

int __wrap_pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr);
int __wrap_pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
    ENSURE(!attr); /* no recursive, robust or shared ones here */
    memset(m, 0, sizeof *m);
    return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *m);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *m)
{
    if (mutex_of(m)->owner)
        err_panic(__FILE__, __LINE__, "a mutex is destroyed while it is held");
    return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
    time_maybe_yield();
    lock(mutex_of(m));
    return 0;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *m);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *m)
{
    time_maybe_yield();
    if (mutex_of(m)->owner)
        return EBUSY;
    lock(mutex_of(m));
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
    unlock(mutex_of(m));
    time_maybe_yield();
    return 0;
}

/* ---- conditions ---- */

struct cond {
    struct queue waiters;
    clockid_t clock; /* 0: CLOCK_REALTIME */
};
_Static_assert(sizeof(struct cond) <= sizeof(pthread_cond_t), "lives in it");

static struct cond *cond_of(pthread_cond_t *c)
{
    return (struct cond *)(void *)c;
}

int __wrap_pthread_cond_init(pthread_cond_t *c, const pthread_condattr_t *attr);
int __wrap_pthread_cond_init(pthread_cond_t *c, const pthread_condattr_t *attr)
{
    memset(c, 0, sizeof *c);
    return attr ? pthread_condattr_getclock(attr, &cond_of(c)->clock) : 0;
}

int __wrap_pthread_cond_destroy(pthread_cond_t *c);
int __wrap_pthread_cond_destroy(pthread_cond_t *c)
{
    if (!list_empty(queue_of(&cond_of(c)->waiters)))
        err_panic(__FILE__, __LINE__, "a condition is destroyed while threads wait on it");
    return 0;
}

static bool cond_wait(struct cond *c, struct mutex *m, int64_t until)
{
    bool spurious = sim_chance(sim_schedule.spurious_ppm);
    int64_t soon = sim_now_us() + 1 + (spurious ? (int64_t)sim_below(1000) : 0);
    if (soon >= until)
        spurious = false;
    unlock(m);
    bool woken = time_wait(queue_of(&c->waiters), "waits on a condition", c, spurious ? soon : until);
    lock(m);
    return woken || spurious;
}

int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    cond_wait(cond_of(c), mutex_of(m), INT64_MAX);
    return 0;
}

static int64_t timespec_us(const struct timespec *t)
{
    return t->tv_sec * (int64_t)SIM_S + (t->tv_nsec + 999) / 1000;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    struct sim_host *h = sim_host_now();
    int64_t at = timespec_us(until);
    if (cond_of(c)->clock != CLOCK_MONOTONIC) /* a jump of the clock meanwhile is not seen */
        at += host_steady_us(h) - host_wall_us(h);
    return cond_wait(cond_of(c), mutex_of(m), host_true_us(h, at)) ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_signal(pthread_cond_t *c);
int __wrap_pthread_cond_signal(pthread_cond_t *c)
{
    time_wake_one(queue_of(&cond_of(c)->waiters));
    time_maybe_yield();
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *c);
int __wrap_pthread_cond_broadcast(pthread_cond_t *c)
{
    time_wake_all(queue_of(&cond_of(c)->waiters));
    time_maybe_yield();
    return 0;
}

/* ---- read-write locks ---- */

struct rwlock {
    void *writer;
    size_t readers;
    struct queue waiters;
};
_Static_assert(sizeof(struct rwlock) <= sizeof(pthread_rwlock_t), "lives in it");

static struct rwlock *rwlock_of(pthread_rwlock_t *l)
{
    return (struct rwlock *)(void *)l;
}

int __wrap_pthread_rwlock_init(pthread_rwlock_t *l, const pthread_rwlockattr_t *attr);
int __wrap_pthread_rwlock_init(pthread_rwlock_t *l, const pthread_rwlockattr_t *attr)
{
    (void)attr;
    memset(l, 0, sizeof *l);
    return 0;
}

int __wrap_pthread_rwlock_destroy(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_destroy(pthread_rwlock_t *l)
{
    if (rwlock_of(l)->writer || rwlock_of(l)->readers)
        err_panic(__FILE__, __LINE__, "a read-write lock is destroyed while it is held");
    return 0;
}

int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
    struct rwlock *r = rwlock_of(l);
    time_maybe_yield();
    while (r->writer)
        time_wait(queue_of(&r->waiters), "waits to read", r, INT64_MAX);
    r->readers++;
    return 0;
}

int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
    struct rwlock *r = rwlock_of(l);
    time_maybe_yield();
    while (r->writer || r->readers)
        time_wait(queue_of(&r->waiters), "waits to write", r, INT64_MAX);
    r->writer = self();
    return 0;
}

int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *l)
{
    struct rwlock *r = rwlock_of(l);
    ENSURE(r->writer == self() || (!r->writer && r->readers));
    if (r->writer)
        r->writer = NULL;
    else
        r->readers--;
    if (!r->readers)
        time_wake_all(queue_of(&r->waiters));
    time_maybe_yield();
    return 0;
}

/* ---- semaphores ---- */

struct semaphore {
    struct queue waiters;
    unsigned value;
};
_Static_assert(sizeof(struct semaphore) <= sizeof(sem_t), "lives in it");

static struct semaphore *semaphore_of(sem_t *s)
{
    return (struct semaphore *)(void *)s;
}

int __wrap_sem_init(sem_t *s, int shared, unsigned value);
int __wrap_sem_init(sem_t *s, int shared, unsigned value)
{
    ENSURE(!shared);
    memset(s, 0, sizeof *s);
    semaphore_of(s)->value = value;
    return 0;
}

int __wrap_sem_destroy(sem_t *s);
int __wrap_sem_destroy(sem_t *s)
{
    ENSURE(list_empty(queue_of(&semaphore_of(s)->waiters)));
    return 0;
}

int __wrap_sem_post(sem_t *s);
int __wrap_sem_post(sem_t *s)
{
    semaphore_of(s)->value++;
    time_wake_one(queue_of(&semaphore_of(s)->waiters));
    return 0; /* no yield: `s` may be gone as soon as another runs, but so may its poster's caller's patience */
}

int __wrap_sem_wait(sem_t *s);
int __wrap_sem_wait(sem_t *s)
{
    time_maybe_yield();
    while (semaphore_of(s)->value == 0)
        time_wait(queue_of(&semaphore_of(s)->waiters), "waits on a semaphore", s, INT64_MAX);
    semaphore_of(s)->value--;
    return 0;
}

/* ---- clocks and sleeping ---- */

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    if (!sim_inside || clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID)
        return __real_clock_gettime(clock, t);
    bool wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    int64_t us = wall ? host_wall_us(sim_host_now()) : host_steady_us(sim_host_now());
    *t = (struct timespec){.tv_sec = us / SIM_S, .tv_nsec = us % SIM_S * 1000};
    return 0;
}

static void host_sleep(int64_t us)
{
    struct sim_host *h = sim_host_now();
    sim_sleep(host_true_us(h, host_steady_us(h) + us) - sim_now_us());
}

int __real_usleep(useconds_t us);
int __wrap_usleep(useconds_t us);
int __wrap_usleep(useconds_t us)
{
    if (!sim_inside)
        return __real_usleep(us);
    host_sleep((int64_t)us);
    return 0;
}

int __real_nanosleep(const struct timespec *t, struct timespec *rest);
int __wrap_nanosleep(const struct timespec *t, struct timespec *rest);
int __wrap_nanosleep(const struct timespec *t, struct timespec *rest)
{
    if (!sim_inside)
        return __real_nanosleep(t, rest);
    host_sleep(timespec_us(t));
    return 0;
}

unsigned __real_sleep(unsigned s);
unsigned __wrap_sleep(unsigned s);
unsigned __wrap_sleep(unsigned s)
{
    if (!sim_inside)
        return __real_sleep(s);
    host_sleep((int64_t)s * SIM_S);
    return 0;
}

time_t __real_time(time_t *t_r);
time_t __wrap_time(time_t *t_r);
time_t __wrap_time(time_t *t_r)
{
    if (!sim_inside)
        return __real_time(t_r);
    time_t t = (time_t)(host_wall_us(sim_host_now()) / SIM_S);
    if (t_r)
        *t_r = t;
    return t;
}

/* The runner polls; nothing that is simulated may. */
int __real_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    if (sim_inside)
        err_panic(__FILE__, __LINE__, "poll() is not simulated");
    return __real_poll(fds, n, timeout_ms);
}
