/* The simulated loops keep libuv's order and its rules of when a loop ends. */
#include "tests/sim/selftest.h"

#include "node/io/loop.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include <setjmp.h>
#include <cmocka.h>

static uv_loop_t loop;
static uv_timer_t fast, slow;
static uv_prepare_t prepare, prepare2;
static uv_check_t check;
static uv_async_t async;
static char seen[256];

static void note(const char *what)
{
    CHECK(strlen(seen) + strlen(what) < sizeof seen);
    strcat(seen, what);
}

static void async_closed(uv_handle_t *h)
{
    (void)h;
    note("a)");
}

static void check_closed(uv_handle_t *h)
{
    (void)h;
    note("c)");
}

static void on_fast(uv_timer_t *t)
{
    (void)t;
    note("F");
    if (strlen(seen) > 30) {
        uv_close((uv_handle_t *)&async, async_closed);
        uv_close((uv_handle_t *)&check, check_closed);
        uv_close((uv_handle_t *)&fast, NULL);
        uv_close((uv_handle_t *)&slow, NULL);
        uv_close((uv_handle_t *)&prepare, NULL);
        uv_close((uv_handle_t *)&prepare2, NULL);
    }
}

static void on_slow(uv_timer_t *t)
{
    (void)t;
    note("S");
    uv_async_send(&async);
    uv_async_send(&async);
}

static void on_prepare(uv_prepare_t *p)
{
    note(p == &prepare ? "p" : "q");
}

static void on_check(uv_check_t *c)
{
    (void)c;
    note("c ");
}

static void on_async(uv_async_t *a)
{
    (void)a;
    note("a");
}

static void loop_make(void)
{
    CHECK(uv_loop_init(&loop) == 0);
    uv_timer_init(&loop, &fast);
    uv_timer_init(&loop, &slow);
    uv_prepare_init(&loop, &prepare);
    uv_prepare_init(&loop, &prepare2);
    uv_check_init(&loop, &check);
    uv_async_init(&loop, &async, on_async);
    uv_timer_start(&fast, on_fast, 10, 10);
    uv_timer_start(&slow, on_slow, 20, 0);
    uv_prepare_start(&prepare, on_prepare);
    uv_prepare_start(&prepare2, on_prepare);
    uv_check_start(&check, on_check);
}

/* The newest prepare handle comes first. What ends a poll is a timer that runs in the next turn, or the async, which is
 * called once for two sends. Of two timers that are due the earlier one runs first; what was closed last is told first,
 * in the turn of the closing. */
static void order(void *arg)
{
    (void)arg;
    sim_schedule.hiccup_ppm = 0;
    loop_make();
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(strcmp(seen, "qpc Fqpc SFqpac qpc Fqpc Fqpc Fc)a)") == 0);
    CHECK(uv_loop_close(&loop) == 0);
}

static int runs;
static void once(uv_timer_t *t)
{
    (void)t;
    runs++;
}

static void modes(void *arg)
{
    (void)arg;
    uv_timer_t t;
    CHECK(uv_loop_init(&loop) == 0 && uv_timer_init(&loop, &t) == 0);
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    uv_timer_start(&t, once, 50, 0);
    int64_t began = sim_now_us();
    CHECK(uv_run(&loop, UV_RUN_NOWAIT) == 1 && runs == 0 && sim_now_us() == began);
    CHECK(uv_run(&loop, UV_RUN_ONCE) == 0 && runs == 1 && sim_now_us() >= began + 49000);
    uv_timer_start(&t, once, 50, 10);
    uv_unref((uv_handle_t *)&t);
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0 && runs == 1);
    CHECK(uv_loop_close(&loop) == UV_EBUSY);
    uv_close((uv_handle_t *)&t, NULL);
    CHECK(uv_is_closing((uv_handle_t *)&t) && uv_timer_start(&t, once, 1, 0) == UV_EINVAL);
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0 && uv_loop_close(&loop) == 0);
}

/* ---- the product's loop on top ---- */

static struct loop product;
static struct task tasks[50];
static int next_task;

static void task_ran(struct task *t)
{
    CHECK(t == &tasks[next_task++]);
}

static int next_post;
static void post_ran(void *arg)
{
    CHECK((intptr_t)arg == next_post++);
}

static void product_loop(void *arg)
{
    (void)arg;
    CHECK(loop_init(&product, "product") == 0 && loop_start(&product) == 0);
    for (int i = 0; i < 50; i++) {
        tasks[i].run = task_ran;
        task_post(&product.queue, &tasks[i]);
        sim_loop_post(&product.uv, post_ran, (void *)(intptr_t)i);
        if (sim_chance(300000))
            usleep((useconds_t)sim_below(50));
    }
    loop_stop(&product);
    loop_join(&product);
    CHECK(next_task == 50 && next_post == 50);
    loop_close(&product);
}

CASE(order)
CASE(modes)
CASE(product_loop)

int selftest_uv(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_product_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
