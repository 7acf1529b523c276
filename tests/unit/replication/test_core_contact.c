/* Whole clusters of processes on loopback: who is dead, which command format is active. */
#include "tests/unit/replication/support_nodes.h"

#include "node/base/clock.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct test_cluster c;

static long long now(int i, const char *name)
{
    return field(node_ask(&c, i, "now"), name);
}

/* Waits for a leader that says who is dead: that one alone, or (0) nobody. Leadership may move meanwhile. Returns how
 * long after `start` it was, or -1. */
static int64_t dead_is(long long id, int64_t start)
{
    while (clock_steady_ms() < start + 30000) {
        int leader = cluster_leader(&c);
        const char *a = leader >= 0 ? node_ask(&c, leader, "now") : "";
        if (field(a, "leader") == 1 && field(a, "dead") == (id != 0) && field(a, "dead_id") == id)
            return clock_steady_ms() - start;
        nap(20);
    }
    return -1;
}

/* A leader, another node, and the third. */
static void roles(int *leader_r, int *a_r, int *b_r)
{
    *leader_r = cluster_leader(&c);
    assert_true(*leader_r >= 0);
    *a_r = (*leader_r + 1) % 3;
    *b_r = (*leader_r + 2) % 3;
}

static void all_stop(void)
{
    for (int i = 0; i < 3; i++)
        if (c.pid[i])
            cluster_stop(&c, i);
}

static void a_minority_judges_nobody(void **state)
{
    (void)state;
    int leader, a, b;
    cluster_grow(&c, 3);
    long long boot = now(2, "boot");
    assert_true(boot > 0);
    cluster_stop(&c, 2);
    assert_true(cluster_start(&c, 2));
    assert_true(now(2, "boot") > boot);
    assert_true(dead_is(0, clock_steady_ms()) >= 0);
    /* Two of three are still: the one that is left judges nobody, and reads nothing that it could count on. */
    roles(&leader, &a, &b);
    kill(c.pid[a], SIGSTOP);
    kill(c.pid[b], SIGSTOP);
    for (int64_t end = clock_steady_ms() + 2500; clock_steady_ms() < end; nap(20))
        assert_int_equal(now(leader, "dead"), 0);
    assert_string_not_equal(node_ask(&c, leader, "read 300"), "ok");
    kill(c.pid[a], SIGCONT);
    kill(c.pid[b], SIGCONT);
    for (int i = 0; i < 3; i++)
        assert_string_equal(node_ask(&c, i, "read"), "ok");
    all_stop();
}

/* Its process ended, and its address refuses: that is enough, whatever silence would say. */
static void killed_members_are_named(void **state)
{
    (void)state;
    int leader, gone, other;
    c.dead_after_ms = 120 * 1000;
    cluster_grow(&c, 3);
    roles(&leader, &gone, &other);
    long long id = now(gone, "id");
    int64_t start = clock_steady_ms();
    cluster_kill(&c, gone);
    assert_true(dead_is(id, start) >= 300); /* one refusal is no proof: it may be about to listen */
    assert_true(cluster_start(&c, gone));
    assert_true(dead_is(0, clock_steady_ms()) >= 0);
    /* The leader itself: the next one knows. */
    roles(&leader, &gone, &other);
    id = now(leader, "id");
    cluster_kill(&c, leader);
    assert_true(dead_is(id, clock_steady_ms()) >= 0);
    all_stop();
}

static void silent_members_are_named(void **state)
{
    (void)state;
    int leader, gone, other;
    c.dead_after_ms = 3000;
    cluster_grow(&c, 3);
    assert_true(dead_is(0, clock_steady_ms()) >= 0);
    roles(&leader, &gone, &other);
    long long id = now(gone, "id");
    int64_t start = clock_steady_ms();
    kill(c.pid[gone], SIGSTOP);
    /* Not node_ask(gone): it cannot answer. The leader alone says so. */
    int64_t ms = -1;
    while (ms < 0 && clock_steady_ms() < start + 30000) {
        for (int k = 0; k < 2; k++) {
            const char *a = node_ask(&c, k ? other : leader, "now");
            assert_true(field(a, "dead") == 0 || (field(a, "leader") == 1 && field(a, "dead_id") == id));
            if (field(a, "dead") == 1)
                ms = clock_steady_ms() - start;
        }
        nap(20);
    }
    assert_true(ms >= 1500); /* it spoke right before, as well as a busy machine let it */
    kill(c.pid[gone], SIGCONT);
    assert_true(dead_is(0, clock_steady_ms()) >= 0);
    all_stop();
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
    assert_true(node_until(&c, 1, "now", "role", 1, 30000));
    /* One after the other comes back with this build; the first format stays until both have. */
    for (int i = 0; i < 2; i++) {
        nap(500);
        assert_int_equal(format(0), 1);
        assert_int_equal(format(1), 1);
        cluster_stop(&c, i);
        c.format_max[i] = 0;
        assert_true(cluster_start(&c, i));
        assert_true(node_until(&c, i, "now", "has_leader", 1, 30000));
    }
    for (int i = 0; i < 2; i++)
        assert_true(node_until(&c, i, "time", "format", 2, 30000));
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
    assert_true(node_until(&c, 0, "time", "format", 2, 30000));
    cluster_stop(&c, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLUSTER_TEST(a_minority_judges_nobody, &c),   CLUSTER_TEST(killed_members_are_named, &c),
        CLUSTER_TEST(silent_members_are_named, &c),   CLUSTER_TEST(format_follows_the_builds, &c),
        CLUSTER_TEST(new_cluster_has_the_latest, &c),
    };
    cluster_tests_filter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
