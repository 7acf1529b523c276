/* Whole clusters of processes on loopback: what an acknowledgement promises, through kills, restarts and changes of
 * leader and members. */
#include "tests/unit/replication/support_nodes.h"

#include "node/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct test_cluster c;

static void alone_restarts_with_what_it_acknowledged(void **state)
{
    (void)state;
    cluster_first(&c);
    assert_string_equal(node_ask(&c, 0, "set greeting hello"), "ok");
    assert_string_equal(node_ask(&c, 0, "read"), "ok");
    assert_string_equal(node_ask(&c, 0, "get greeting"), "ok hello");
    cluster_kill(&c, 0);
    assert_true(cluster_start(&c, 0));
    assert_string_equal(node_ask(&c, 0, "read"), "ok");
    assert_string_equal(node_ask(&c, 0, "get greeting"), "ok hello");
    cluster_stop(&c, 0);
    assert_true(cluster_start(&c, 0));
    assert_string_equal(node_ask(&c, 0, "read"), "ok");
    assert_string_equal(node_ask(&c, 0, "get greeting"), "ok hello");
    assert_true(cluster_digests_equal(&c, 0, 1));
    cluster_stop(&c, 0);
}

static void three_see_each_others_writes(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    for (int i = 0; i < 9; i++) {
        assert_string_equal(node_ask(&c, i % 3, "set key%d v%d", i, i), "ok");
        for (int k = 0; k < 3; k++) {
            char want[32];
            snprintf(want, sizeof want, "ok v%d", i);
            assert_string_equal(node_ask(&c, k, "read"), "ok");
            assert_string_equal(node_ask(&c, k, "get key%d", i), want);
        }
    }
    for (int i = 0; i < 3; i++)
        assert_true(cluster_digests_equal(&c, i, 3));
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

/* Every acknowledged delivery is there once, no delivery twice, whoever was killed meanwhile. */
static void once_through_killed_leaders(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    int leader = cluster_leader(&c), origin = (leader + 1) % 3;
    assert_true(leader >= 0);
    assert_string_equal(node_ask(&c, origin, "read"), "ok");
    node_tell(&c, origin, "load 3000 16");
    nap(800);
    cluster_kill(&c, leader);
    nap(1500);
    assert_true(cluster_start(&c, leader));
    const char *a = node_answer(&c, origin);
    long long acked = field(a, "acked"), failed = field(a, "failed");
    printf("# acked %lld failed %lld\n", acked, failed);
    assert_true(acked > 16); /* each of the 16 once, and more */
    assert_int_equal(failed, 0);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(node_ask(&c, i, "read"), "ok");
        assert_int_equal(field(node_ask(&c, i, "count"), "count"), acked);
        assert_string_equal(node_ask(&c, i, "scrub"), "ok");
        assert_true(node_until(&c, i, "now", "role", 1, 100));
        assert_int_equal(field(node_ask(&c, i, "now"), "missing"), 0);
    }
    assert_true(cluster_digests_equal(&c, origin, 3));
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

static void leadership_moves_under_load(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    int leader = cluster_leader(&c), origin = (leader + 1) % 3, other = (leader + 2) % 3;
    assert_string_equal(node_ask(&c, origin, "read"), "ok");
    assert_string_equal(node_ask(&c, other, "read"), "ok");
    node_tell(&c, origin, "load 1500 8");
    for (int i = 0; i < 3; i++) {
        nap(300);
        node_ask(&c, other, "transfer n%d", i);
    }
    const char *a = node_answer(&c, origin);
    long long acked = field(a, "acked");
    printf("# acked %lld\n", acked);
    assert_int_equal(field(a, "failed"), 0);
    assert_string_equal(node_ask(&c, other, "read"), "ok");
    assert_int_equal(field(node_ask(&c, other, "count"), "count"), acked);
    /* A clean stop of the leader hands over first. */
    leader = cluster_leader(&c);
    assert_true(leader >= 0);
    cluster_stop(&c, leader);
    other = (leader + 1) % 3;
    assert_string_equal(node_ask(&c, other, "set after stop"), "ok");
    for (int i = 0; i < 3; i++)
        if (i != leader)
            cluster_stop(&c, i);
}

/* A leader that was killed is missed at once, not only after an election timeout: nobody listens where it was. */
static void killed_leader_is_missed_at_once(void **state)
{
    (void)state;
    c.election_ms = 10000;
    cluster_grow(&c, 3);
    int leader = cluster_leader(&c), origin = (leader + 1) % 3;
    assert_string_equal(node_ask(&c, origin, "set before kill"), "ok");
    assert_string_equal(node_ask(&c, (leader + 2) % 3, "read"), "ok");
    int64_t start = clock_steady_ms();
    cluster_kill(&c, leader);
    assert_string_equal(node_ask(&c, origin, "set after kill"), "ok");
    int64_t took = clock_steady_ms() - start;
    printf("# %d ms from the kill to the next write\n", (int)took);
    assert_true(took < 9000);
    for (int i = 0; i < 3; i++)
        if (i != leader)
            cluster_stop(&c, i);
}

/* Without a majority nothing is acknowledged and nothing read, and none of it is an error for good. */
static void two_of_three_dead(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    assert_string_equal(node_ask(&c, 0, "set key kept"), "ok");
    int left = cluster_leader(&c);
    cluster_kill(&c, (left + 1) % 3);
    cluster_kill(&c, (left + 2) % 3);
    while (field(node_ask(&c, left, "now"), "leader") != 0)
        nap(20);
    assert_string_equal(node_ask(&c, left, "read 1500"), "unavailable");
    assert_string_equal(node_ask(&c, left, "setms 1500"), "unavailable");
    assert_true(node_until(&c, left, "status", "n", 3, 20000));
    for (int i = 1; i < 3; i++)
        assert_true(cluster_start(&c, (left + i) % 3));
    assert_string_equal(node_ask(&c, left, "set key2 again"), "ok");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(node_ask(&c, i, "read"), "ok");
        assert_string_equal(node_ask(&c, i, "get key"), "ok kept");
    }
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

/* What is in a log when its time is over may be committed yet: that is not "unavailable", after which it would be done
 * again. */
static void given_away_is_not_refused(void **state)
{
    (void)state;
    c.election_ms = 10000; /* it leads that long without hearing from the others */
    cluster_grow(&c, 3);
    int left = cluster_leader(&c);
    assert_string_equal(node_ask(&c, left, "set key kept"), "ok");
    cluster_kill(&c, (left + 1) % 3);
    cluster_kill(&c, (left + 2) % 3);
    assert_string_equal(node_ask(&c, left, "setms 500"), "timeout");
    for (int i = 1; i < 3; i++)
        assert_true(cluster_start(&c, (left + i) % 3));
    assert_string_equal(node_ask(&c, left, "set key2 again"), "ok");
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLUSTER_TEST(alone_restarts_with_what_it_acknowledged, &c),
        CLUSTER_TEST(three_see_each_others_writes, &c),
        CLUSTER_TEST(once_through_killed_leaders, &c),
        CLUSTER_TEST(leadership_moves_under_load, &c),
        CLUSTER_TEST(killed_leader_is_missed_at_once, &c),
        CLUSTER_TEST(two_of_three_dead, &c),
        CLUSTER_TEST(given_away_is_not_refused, &c),
    };
    cluster_tests_filter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
