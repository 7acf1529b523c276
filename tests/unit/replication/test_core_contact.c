/* Whole clusters of processes on loopback: who is dead, which command format is active. */
#include "tests/unit/replication/support_nodes.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static struct test_cluster c;

static int begin(void **state)
{
    (void)state;
    cluster_make(&c);
    return 0;
}

static int end(void **state)
{
    (void)state;
    cluster_end(&c);
    return 0;
}

static long long now(int i, const char *name)
{
    return field(node_ask(&c, i, "now"), name);
}

/* Waits until a field of `now` has that value: how long it took, or -1. */
static int took_ms(int i, const char *name, long long value, int at_most_ms)
{
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (;;) {
        bool is = now(i, name) == value;
        clock_gettime(CLOCK_MONOTONIC, &b);
        int ms = (int)((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000);
        if (is || ms > at_most_ms)
            return is ? ms : -1;
        nap(20);
    }
}

static void a_minority_judges_nobody(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    long long boot = now(2, "boot");
    assert_true(boot > 0);
    cluster_stop(&c, 2);
    assert_true(cluster_start(&c, 2));
    assert_true(now(2, "boot") > boot);
    assert_true(node_until(&c, 2, "now", "has_leader", 1, 10000));
    int leader = cluster_leader(&c), a = (leader + 1) % 3, b = (leader + 2) % 3;
    for (int i = 0; i < 3; i++)
        assert_true(took_ms(i, "dead", 0, 2000) >= 0);
    /* Two of three are still: the one that is left judges nobody, and reads nothing that it could count on. */
    kill(c.pid[a], SIGSTOP);
    kill(c.pid[b], SIGSTOP);
    nap(1500);
    assert_int_equal(now(leader, "dead"), 0);
    assert_string_not_equal(node_ask(&c, leader, "read 300"), "ok");
    kill(c.pid[a], SIGCONT);
    kill(c.pid[b], SIGCONT);
    for (int i = 0; i < 3; i++)
        assert_true(node_until(&c, i, "now", "has_leader", 1, 10000));
    for (int i = 0; i < 3; i++)
        assert_string_equal(node_ask(&c, i, "read"), "ok");
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

static void dead_members_are_named(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    int leader = cluster_leader(&c), gone = (leader + 1) % 3, other = (leader + 2) % 3;
    long long id = now(gone, "id");
    /* Its process ended: its address refuses. */
    cluster_kill(&c, gone);
    int ms = took_ms(leader, "dead", 1, 3000);
    assert_true(ms >= 200);
    assert_int_equal(now(leader, "dead_id"), id);
    assert_int_equal(now(other, "dead"), 0); /* the leader alone says so */
    assert_true(cluster_start(&c, gone));
    assert_true(took_ms(leader, "dead", 0, 3000) >= 0);
    /* It is silent. */
    kill(c.pid[gone], SIGSTOP);
    ms = took_ms(leader, "dead", 1, 4000);
    assert_true(ms >= 700);
    assert_int_equal(now(leader, "dead_id"), id);
    kill(c.pid[gone], SIGCONT);
    assert_true(took_ms(leader, "dead", 0, 3000) >= 0);
    /* A leader that slept takes nobody for dead. */
    leader = cluster_leader(&c);
    kill(c.pid[leader], SIGSTOP);
    nap(300);
    kill(c.pid[leader], SIGCONT);
    for (int i = 0; i < 20; i++, nap(20))
        assert_int_equal(now(leader, "dead"), 0);
    /* The leader itself: the next one knows. */
    leader = cluster_leader(&c);
    id = now(leader, "id");
    cluster_kill(&c, leader);
    int next = cluster_leader(&c);
    assert_true(next >= 0 && next != leader);
    assert_true(took_ms(next, "dead", 1, 3000) >= 0);
    assert_int_equal(now(next, "dead_id"), id);
    for (int i = 0; i < 3; i++)
        if (i != leader)
            cluster_stop(&c, i);
}

static long long format(int i)
{
    return field(node_ask(&c, i, "time"), "format");
}

static void format_follows_the_builds(void **state)
{
    (void)state;
    c.format_max[1] = 1; /* an earlier build */
    c.format_max[0] = 1;
    cluster_first(&c);
    cluster_join(&c, 1, 0);
    assert_true(node_until(&c, 1, "now", "role", 1, 15000));
    /* One after the other comes back with this build; the first format stays until both have. */
    for (int i = 0; i < 2; i++) {
        nap(500);
        assert_int_equal(format(0), 1);
        assert_int_equal(format(1), 1);
        cluster_stop(&c, i);
        c.format_max[i] = 0;
        assert_true(cluster_start(&c, i));
        assert_true(node_until(&c, i, "now", "has_leader", 1, 10000));
    }
    for (int i = 0; i < 2; i++)
        assert_true(node_until(&c, i, "time", "format", 2, 10000));
    /* There is no way back. */
    int leader = cluster_leader(&c), old = 1 - leader;
    cluster_stop(&c, old);
    c.format_max[old] = 1;
    assert_true(cluster_start(&c, old));
    nap(1500);
    assert_int_equal(now(old, "has_leader"), 0);
    for (int i = 0; i < 2; i++)
        cluster_kill(&c, i);
}

static void new_cluster_has_the_latest(void **state)
{
    (void)state;
    cluster_first(&c);
    assert_true(node_until(&c, 0, "time", "format", 2, 3000));
    cluster_stop(&c, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_minority_judges_nobody, begin, end),
        cmocka_unit_test_setup_teardown(dead_members_are_named, begin, end),
        cmocka_unit_test_setup_teardown(format_follows_the_builds, begin, end),
        cmocka_unit_test_setup_teardown(new_cluster_has_the_latest, begin, end),
    };
    const char *only = getenv("TEST_ONLY");
    if (only)
        cmocka_set_test_filter(only);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
