/* Simulated time: one queue of events, which also says when a coroutine that became ready gets to run. How long that
 * takes is drawn each time: so threads race differently in each history, and time goes on while they run. */
#include "tests/sim/kernel.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

/* Of a heap by (at, number). co: the coroutine to resume, if its `wake` still is this number. Else fn(arg). */
struct event {
    int64_t at;
    uint64_t number;
    struct co *co;
    sim_fn *fn;
    void *arg;
    struct sim_host *host;
    unsigned life;
};

static struct event *heap;
static size_t heap_n, heap_cap;
static uint64_t numbers;
static int64_t now;
static bool running, ended;
static jmp_buf scheduler;
static struct sim_host hosts[SIM_HOSTS_MAX];
static struct sim_host *event_host;
struct sim_schedule sim_schedule = {.latency_us = 6, .yield_ppm = 2000, .hiccup_ppm = 200, .spurious_ppm = 500};

/* ---- the heap ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->number < b->number;
}

static void push(const struct event *e)
{
    if (heap_n == heap_cap) {
        heap_cap = heap_cap ? heap_cap * 2 : 1024;
        heap = mem_realloc(heap, heap_cap * sizeof *heap);
    }
    size_t i = heap_n++;
    for (; i > 0 && before(e, &heap[(i - 1) / 4]); i = (i - 1) / 4)
        heap[i] = heap[(i - 1) / 4];
    heap[i] = *e;
}

static struct event pop(void)
{
    struct event top = heap[0], last = heap[--heap_n];
    size_t i = 0;
    for (;;) {
        size_t child = i * 4 + 1, least = child;
        if (child >= heap_n)
            break;
        for (size_t k = child + 1; k < heap_n && k < child + 4; k++) {
            if (before(&heap[k], &heap[least]))
                least = k;
        }
        if (!before(&heap[least], &last))
            break;
        heap[i] = heap[least];
        i = least;
    }
    if (heap_n)
        heap[i] = last;
    return top;
}

/* ---- hosts and their clocks ---- */

enum { WALL_AT_START_S = 1750000000, STEADY_AT_START_S = 1000 };

static void clock_begin(struct sim_host *h)
{
    h->steady = (int64_t)(h->index + 1) * STEADY_AT_START_S * SIM_S;
}

struct sim_host *sim_host(unsigned i)
{
    ENSURE(i < SIM_HOSTS_MAX);
    if (!hosts[0].threads.next) {
        for (unsigned k = 0; k < SIM_HOSTS_MAX; k++) {
            hosts[k] = (struct sim_host){.index = k, .wall = (int64_t)WALL_AT_START_S * SIM_S};
            clock_begin(&hosts[k]);
            list_init(&hosts[k].threads);
        }
    }
    return &hosts[i];
}

unsigned sim_host_index(const struct sim_host *h)
{
    return h->index;
}

struct sim_host *sim_host_now(void)
{
    return co_now ? co_now->host : event_host ? event_host : sim_host(0);
}

unsigned sim_host_life(const struct sim_host *h)
{
    return h->life;
}

int64_t sim_now_us(void)
{
    return now;
}

static int64_t elapsed(const struct sim_host *h)
{
    int64_t t = now - h->since;
    return t + t * h->drift / 1000000;
}

int64_t host_steady_us(const struct sim_host *h)
{
    return h->steady + elapsed(h);
}

int64_t host_wall_us(const struct sim_host *h)
{
    return h->wall + elapsed(h);
}

int64_t host_true_us(const struct sim_host *h, int64_t steady_us)
{
    int64_t t = steady_us - h->steady;
    int64_t at = h->since + (h->drift ? t * 1000000 / (1000000 + h->drift) + 1 : t);
    return at > now ? at : now;
}

void sim_host_clock(struct sim_host *h, int64_t wall_ahead_ms, int drift_ppm)
{
    h->steady = host_steady_us(h);
    h->wall = (int64_t)WALL_AT_START_S * SIM_S + now + wall_ahead_ms * 1000;
    h->since = now;
    h->drift = drift_ppm;
}

void sim_host_pause(struct sim_host *h, int64_t us)
{
    ENSURE(h->index != 0);
    if (now + us > h->paused_until)
        h->paused_until = now + us;
    sim_trace("host %u pauses %lld us", h->index, (long long)us);
}

bool sim_host_paused(const struct sim_host *h)
{
    return h->paused_until > now;
}

void sim_host_crash(struct sim_host *h, bool power)
{
    ENSURE(h->index != 0);
    sim_trace("host %u crashes%s", h->index, power ? ", power off" : "");
    bool own = sim_host_now() == h && running;
    h->life++;
    h->paused_until = 0;
    LIST_EACH(it, tmp, &h->threads)
    {
        struct co *c = container_of(it, struct co, item);
        c->wake = 0;
        list_init(&c->waiting); /* what it is linked to is left behind too */
        if (c != co_now)
            co_free(c);
        else
            list_remove(&c->item);
    }
    uv_host_crash(h);
    sim_disk_crash(h, power);
    sim_log_crash(h, power);
    sim_net_crash(h);
    if (power) { /* the steady clock counts from the machine's start */
        h->wall = host_wall_us(h);
        h->since = now;
        clock_begin(h);
    }
    if (own)
        time_abandon();
}

/* ---- events ---- */

void sim_after(struct sim_host *h, int64_t us, sim_fn *fn, void *arg)
{
    push(&(struct event){
        .at = now + (us > 0 ? us : 0), .number = ++numbers, .fn = fn, .arg = arg, .host = h, .life = h->life});
}

void time_wake_at(struct co *c, int64_t at_us)
{
    c->wake = ++numbers;
    push(&(struct event){.at = at_us > now ? at_us : now, .number = c->wake, .co = c, .host = c->host});
}

static int64_t latency(void)
{
    if (sim_chance(sim_schedule.hiccup_ppm))
        return 1 + (int64_t)sim_below(2000);
    return 1 + (int64_t)sim_below(sim_schedule.latency_us);
}

void time_wake(struct co *c)
{
    ENSURE(c->state == CO_BLOCKED);
    list_remove(&c->waiting);
    c->state = CO_READY;
    time_wake_at(c, now + latency());
}

bool time_wake_one(struct list *queue)
{
    if (list_empty(queue))
        return false;
    struct list *it = queue->next;
    if (it->next != queue) {
        size_t n = 0;
        LIST_EACH(each, tmp, queue)
        n++;
        for (size_t k = sim_below(n); k > 0; k--)
            it = it->next;
    }
    time_wake(container_of(it, struct co, waiting));
    return true;
}

void time_wake_all(struct list *queue)
{
    LIST_EACH(it, tmp, queue)
    time_wake(container_of(it, struct co, waiting));
}

bool time_wait(struct list *queue, const char *why, const void *on, int64_t until_us)
{
    struct co *c = co_now;
    if (!c)
        err_panic(__FILE__, __LINE__, "an event, or code outside of all threads, would block");
    c->state = CO_BLOCKED;
    c->why = why;
    c->on = on;
    c->timed_out = false;
    c->wake = 0;
    if (queue)
        list_append(queue, &c->waiting);
    if (until_us != INT64_MAX)
        time_wake_at(c, until_us);
    co_suspend();
    return !c->timed_out;
}

void time_maybe_yield(void)
{
    if (!co_now || !running || !sim_chance(sim_schedule.yield_ppm))
        return;
    co_now->state = CO_READY;
    time_wake_at(co_now, now + latency());
    co_suspend();
}

void sim_sleep(int64_t us)
{
    time_wait(NULL, "sleeps", NULL, now + (us > 0 ? us : 0));
}

/* ---- the scheduler ---- */

_Noreturn void time_abandon(void)
{
    ENSURE(running);
    if (co_now) {
        co_now->state = CO_DONE;
        co_now->detached = true;
        co_leave();
    }
    longjmp(scheduler, 1);
}

static void co_run(struct co *c)
{
    c->timed_out = c->state == CO_BLOCKED;
    if (c->timed_out)
        list_remove(&c->waiting);
    c->state = CO_READY;
    c->wake = 0;
    sim_trace_mix((uint64_t)now, c->number);
    co_resume(c);
    if (c->state == CO_DONE && c->detached)
        co_free(c);
}

static void event_run(const struct event *e)
{
    if (e->co) {
        if (e->co->wake == e->number)
            co_run(e->co);
        return;
    }
    if (e->host->life != e->life)
        return;
    event_host = e->host;
    sim_trace_mix((uint64_t)now, e->number);
    e->fn(e->arg);
    event_host = NULL;
}

void sim_threads_print(void)
{
    for (unsigned i = 0; i < SIM_HOSTS_MAX; i++) {
        LIST_EACH(it, tmp, &sim_host(i)->threads)
        {
            struct co *c = container_of(it, struct co, item);
            if (c->state != CO_DONE)
                fprintf(stderr, "  host %u %-15s %s %p\n", i, c->name, c->state == CO_READY ? "is ready" : c->why,
                        c->on);
        }
    }
}

static bool blocked_any(void)
{
    for (unsigned i = 0; i < SIM_HOSTS_MAX; i++) {
        LIST_EACH(it, tmp, &sim_host(i)->threads)
        {
            if (container_of(it, struct co, item)->state == CO_BLOCKED)
                return true;
        }
    }
    return false;
}

static bool turn(int64_t until)
{
    if (ended || heap_n == 0 || heap[0].at > until)
        return false;
    struct event e = pop();
    if (e.host->paused_until > e.at) {
        e.at = e.host->paused_until;
        push(&e);
        return true;
    }
    now = e.at;
    event_run(&e);
    return true;
}

void sim_run(int64_t us)
{
    ENSURE(!co_now && !running);
    int64_t until = now + us;
    running = true;
    if (setjmp(scheduler) != 0)
        event_host = NULL; /* an event was left in its middle */
    while (turn(until))
        continue;
    running = false;
    if (ended)
        return;
    if (heap_n > 0) {
        now = until;
    } else if (blocked_any()) {
        sim_threads_print();
        sim_fail(&sim_counts.other, "nothing is left to happen, and threads wait");
    }
}

void sim_end(void)
{
    ended = true;
}

bool time_ended(void)
{
    return ended;
}

bool sim_running(void)
{
    return running;
}
