/* Whole clusters of processes on loopback whose clocks are wrong. */
#include "tests/unit/replication/support_nodes.h"

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

/* One node a day ahead: its own mail comes in, and so does everybody else's, as the state's time stays with the others.
 */
static void clock_ahead_harms_nobody(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    for (int ahead = 0; ahead < 2; ahead++) {
        int leader = cluster_leader(&c), wrong = ahead ? leader : (leader + 1) % 3;
        for (int i = 0; i < 3; i++)
            c.clock_ahead_s[i] = i == wrong ? 24 * 3600 : 0;
        for (int i = 0; i < 3; i++) {
            cluster_stop(&c, i);
            assert_true(cluster_start(&c, i));
        }
        if (ahead) { /* the leader's is wrong */
            for (int i = 0; i < 50 && field(node_ask(&c, wrong, "now"), "leader") != 1; i++, nap(100))
                node_ask(&c, wrong, "transfer n%d", wrong);
            assert_int_equal(field(node_ask(&c, wrong, "now"), "leader"), 1);
        }
        for (int i = 0; i < 3; i++) {
            const char *a = node_ask(&c, (wrong + i) % 3, "load 200 2");
            assert_true(field(a, "acked") > 0);
            assert_int_equal(field(a, "failed"), 0);
        }
        long long off = field(node_ask(&c, wrong, "time"), "ahead_s");
        assert_true(off <= 5 * 60);
        /* And all know the right time, the wrong one too, leader or not. */
        for (int i = 0; i < 3; i++) {
            for (int k = 0; k < 100 && (off = field(node_ask(&c, i, "time"), "cluster_s")) > 60; k++)
                nap(100);
            assert_in_range(off + 60, 0, 120);
        }
    }
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

/* Five hours behind, and more so at each start: neither too old, nor taken for a start of long ago. */
static void clock_behind_is_no_bar(void **state)
{
    (void)state;
    cluster_first(&c);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    long long count = 0;
    for (int i = 0; i < 7; i++) {
        const char *a = node_ask(&c, 0, "load 100 2");
        assert_true(field(a, "acked") > 0);
        assert_int_equal(field(a, "failed"), 0);
        count += field(a, "acked");
        assert_int_equal(field(node_ask(&c, 0, "count"), "count"), count);
        i % 2 ? cluster_kill(&c, 0) : cluster_stop(&c, 0);
        c.clock_ahead_s[0] -= 5 * 3600;
        assert_true(cluster_start(&c, 0));
    }
    cluster_stop(&c, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLUSTER_TEST(clock_ahead_harms_nobody, &c),
        CLUSTER_TEST(clock_behind_is_no_bar, &c),
    };
    cluster_tests_filter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
