/* What co.c, time.c, thread.c and uv.c share. Nobody else includes it. */
#ifndef SIM_KERNEL_H
#define SIM_KERNEL_H

#include "node/base/list.h"
#include "node/base/task.h" /* container_of */
#include "tests/sim/sim.h"

/* ---- hosts ---- */

struct sim_host {
    unsigned index, life;
    int64_t paused_until;
    /* Both clocks run at `drift` parts per million; they agreed with these numbers at true time `since`. */
    int64_t since, steady, wall;
    int drift;
    struct list threads; /* all that began in this life and were not joined */
};

int64_t host_steady_us(const struct sim_host *h);
int64_t host_wall_us(const struct sim_host *h);
/* True time at which the host's steady clock shows this, rounded up. */
int64_t host_true_us(const struct sim_host *h, int64_t steady_us);

/* ---- co.c: stacks and switches ---- */

enum co_state { CO_READY, CO_BLOCKED, CO_DONE };

struct co {
    struct list item;    /* of its host's threads */
    struct list waiting; /* in the queue that it waits in, if any */
    struct sim_host *host;
    uint64_t wake; /* the entry of the queue of events that may resume it; others with another number are stale */
    uint64_t number;
    enum co_state state;
    bool detached, timed_out;
    const char *why; /* it waits: a static text */
    const void *on;
    char name[16];
    void (*entry)(struct co *c);
    sim_fn *fn;
    void *(*start)(void *arg);
    void *arg, *result;
    struct list joiners;
    void *stack, *sp, *fake;
    struct co *next_free;
};

extern struct co *co_now; /* NULL: the scheduler, or an event */

struct co *co_new(void (*entry)(struct co *c));
void co_free(struct co *c);   /* its stack is used again: never its own */
void co_resume(struct co *c); /* scheduler only: returns when it suspends or leaves */
void co_suspend(void);
_Noreturn void co_leave(void);

/* ---- time.c: the queue of events ---- */

extern bool sim_inside; /* a seed runs in this process */
void time_wake_at(struct co *c, int64_t at_us);
/* Blocks the running coroutine; its entry in `queue` (may be NULL) is made and removed here. until: true time, or
 * INT64_MAX. False: timed out. */
bool time_wait(struct list *queue, const char *why, const void *on, int64_t until_us);
void time_wake(struct co *c); /* a blocked one becomes ready, a drawn moment from now */
/* One of those who wait in this queue, drawn; false if there is none. */
bool time_wake_one(struct list *queue);
void time_wake_all(struct list *queue);
/* Others may run first, by chance: where real threads could be preempted and it matters. */
void time_maybe_yield(void);
_Noreturn void time_abandon(void); /* leaves the running coroutine or event for ever */
bool time_ended(void);

/* ---- uv.c ---- */
void uv_host_crash(const struct sim_host *h);

#endif
