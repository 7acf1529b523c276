#include "support_io.h"

enum { TASKS = 20000 };

struct work {
    struct task task;
    struct loop *home;
    unsigned *count;
};
static struct loop a, b;
static unsigned done;

static void come_home(struct task *t)
{
    struct work *w = (struct work *)t;
    if (++*w->count == TASKS) {
        loop_stop(&a);
        loop_stop(&b);
    }
}

static void go(struct task *t)
{
    t->run = come_home;
    task_post(&a.queue, t);
}

/* Tasks travel to another thread's loop and back; none is lost, both loops end. */
static void round_trips(void **state)
{
    (void)state;
    static struct work works[TASKS];
    assert_int_equal(loop_init(&a, "a"), 0);
    assert_int_equal(loop_init(&b, "b"), 0);
    assert_int_equal(loop_start(&b), 0);
    done = 0;
    for (int i = 0; i < TASKS; i++) {
        works[i] = (struct work){.task.run = go, .count = &done};
        task_post(&b.queue, &works[i].task);
    }
    loop_run(&a);
    loop_join(&b);
    assert_int_equal(done, TASKS);
    loop_close(&a);
    loop_close(&b);
}

static void stop_before_run(void **state)
{
    (void)state;
    assert_int_equal(loop_init(&a, "a"), 0);
    loop_stop(&a);
    loop_run(&a);
    loop_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trips), cmocka_unit_test(stop_before_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
