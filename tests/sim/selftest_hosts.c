/* Crashes, restarts and pauses of simulated machines. */
#include "tests/sim/selftest.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include <setjmp.h>
#include <cmocka.h>

/* What a process holds; left behind when it dies. */
struct process {
    pthread_mutex_t lock;
    int steps;
    bool inside;
};

static struct process *now; /* the last one that began */
static int lives, late;

static struct process *process_new(void)
{
    struct process *p = calloc(1, sizeof *p);
    CHECK(p);
    pthread_mutex_init(&p->lock, NULL);
    lives++;
    return now = p;
}

static void *second(void *arg)
{
    struct process *p = arg;
    for (;;) {
        pthread_mutex_lock(&p->lock);
        CHECK(!p->inside);
        pthread_mutex_unlock(&p->lock);
        usleep(500);
    }
    return NULL;
}

static void life(void *arg)
{
    (void)arg;
    struct process *p = process_new();
    pthread_t t;
    pthread_create(&t, NULL, second, p);
    for (;;) {
        pthread_mutex_lock(&p->lock);
        p->inside = true;
        usleep(5000);
        p->steps++;
        p->inside = false;
        pthread_mutex_unlock(&p->lock);
        usleep(100);
    }
}

static void too_late(void *arg)
{
    (void)arg;
    late++;
}

static void crashes(void *arg)
{
    (void)arg;
    struct sim_host *h = sim_host(3);
    for (int i = 0; i < 10; i++) {
        sim_spawn(h, "life", life, NULL);
        sim_sleep(50000 + (int64_t)sim_below(5000));
        struct process *p = now;
        CHECK(lives == i + 1 && p->steps > 5);
        sim_after(h, 100, too_late, NULL);
        sim_host_crash(h, sim_chance(500000));
        int steps = p->steps;
        sim_sleep(50000);
        CHECK(p->steps == steps && late == 0);
        CHECK(sim_host_life(h) == (unsigned)i + 1 && selftest_disk_crashes == (unsigned)i + 1);
    }
}

/* ---- by its own hand ---- */

static void *dies(void *arg)
{
    struct process *p = arg;
    pthread_mutex_lock(&p->lock);
    p->inside = true;
    sim_host_crash(sim_host_now(), false);
    p->steps++;
    return NULL;
}

static void life_short(void *arg)
{
    (void)arg;
    pthread_t t;
    struct process *p = process_new();
    pthread_create(&t, NULL, dies, p);
    pthread_join(t, NULL);
    p->steps++;
}

static void event_dies(void *arg)
{
    sim_host_crash(sim_host_now(), true);
    ((struct process *)arg)->steps++;
}

static void life_of_event(void *arg)
{
    (void)arg;
    struct process *p = process_new();
    sim_after(sim_host_now(), 10, event_dies, p);
    for (;;)
        usleep(100);
}

static void suicides(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        sim_spawn(sim_host(1), "short", i % 2 ? life_of_event : life_short, NULL);
        sim_sleep(20000);
        CHECK(now->steps == 0 && sim_host_life(sim_host(1)) == (unsigned)i + 1);
    }
}

/* ---- with a loop ---- */

static uv_loop_t *loop;
static int ticks, posts;

static void ticked(uv_timer_t *t)
{
    (void)t;
    ticks++;
}

static void life_loop(void *arg)
{
    (void)arg;
    loop = calloc(1, sizeof *loop);
    uv_timer_t *t = calloc(1, sizeof *t);
    CHECK(loop && t && uv_loop_init(loop) == 0);
    uv_timer_init(loop, t);
    uv_timer_start(t, ticked, 10, 10);
    uv_run(loop, UV_RUN_DEFAULT);
}

static void posted(void *arg)
{
    (void)arg;
    posts++;
    CHECK(sim_host_now() == sim_host(2));
}

static void loops(void *arg)
{
    (void)arg;
    sim_spawn(sim_host(2), "loop", life_loop, NULL);
    sim_sleep(105000);
    CHECK(ticks >= 9 && ticks <= 10);
    sim_loop_post(loop, posted, NULL);
    sim_sleep(5000);
    CHECK(posts == 1);
    sim_loop_post(loop, posted, NULL);
    sim_host_crash(sim_host(2), true);
    sim_loop_post(loop, posted, NULL);
    int was = ticks;
    sim_sleep(SIM_S);
    CHECK(posts == 1 && ticks == was);
}

/* ---- pauses ---- */

static int64_t woke[2];

static void sleeper(void *arg)
{
    usleep(100000);
    *(int64_t *)arg = sim_now_us();
}

static void stamped(void *arg)
{
    *(int64_t *)arg = sim_now_us();
}

static void pauses(void *arg)
{
    (void)arg;
    int64_t event = 0;
    sim_spawn(sim_host(1), "paused", sleeper, &woke[0]);
    sim_spawn(sim_host(2), "not paused", sleeper, &woke[1]);
    sim_sleep(50000);
    sim_host_pause(sim_host(1), SIM_S);
    sim_after(sim_host(1), 10, stamped, &event);
    CHECK(sim_host_paused(sim_host(1)) && !sim_host_paused(sim_host(2)));
    sim_sleep(2 * SIM_S);
    CHECK(!sim_host_paused(sim_host(1)));
    CHECK(woke[0] >= 1050000 && woke[0] < 1060000 && woke[1] < 110000);
    CHECK(event >= 1050000 && event < 1060000);
}

CASE(crashes)
CASE(suicides)
CASE(loops)
CASE(pauses)

int selftest_hosts(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crashes),
        cmocka_unit_test(test_suicides),
        cmocka_unit_test(test_loops),
        cmocka_unit_test(test_pauses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
