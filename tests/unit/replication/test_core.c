/* Whole clusters of processes on loopback: what an acknowledgement promises, through kills, restarts and changes of
 * leader and members. */
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
    assert_true(acked > 50);
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

/* Away for longer than the log reaches back: the state is copied. Also into a joiner, which has none. */
static void far_behind_copies_the_state(void **state)
{
    (void)state;
    c.threshold = 64;
    c.trailing = 32;
    cluster_grow(&c, 3);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    int leader = cluster_leader(&c), away = (leader + 1) % 3;
    cluster_kill(&c, away);
    for (int i = 0; i < 4; i++)
        assert_int_equal(field(node_ask(&c, leader, "load 300 1"), "failed"), 0);
    assert_true(cluster_start(&c, away));
    assert_string_equal(node_ask(&c, away, "read"), "ok");
    assert_int_equal(field(node_ask(&c, away, "count"), "count"), field(node_ask(&c, leader, "count"), "count"));
    /* Bodies came along in the background. */
    for (int i = 0; i < 200 && field(node_ask(&c, away, "now"), "missing") != 0; i++)
        nap(50);
    assert_int_equal(field(node_ask(&c, away, "now"), "missing"), 0);
    assert_string_equal(node_ask(&c, away, "scrub"), "ok");
    /* Writing goes on, and a restart finds all of it. */
    assert_int_equal(field(node_ask(&c, away, "load 300 4"), "failed"), 0);
    cluster_kill(&c, away);
    assert_true(cluster_start(&c, away));
    cluster_join(&c, 3, leader);
    assert_string_equal(node_ask(&c, 3, "read"), "ok");
    assert_int_equal(field(node_ask(&c, 3, "count"), "count"), field(node_ask(&c, leader, "count"), "count"));
    assert_true(cluster_digests_equal(&c, 3, 4));
    for (int i = 0; i < 4; i++)
        cluster_stop(&c, i);
}

/* ---- members ---- */

static void dead_voter_is_replaced(void **state)
{
    (void)state;
    c.replace_after_ms = 1500;
    cluster_grow(&c, 3);
    cluster_join(&c, 3, 0);
    assert_string_equal(node_ask(&c, 3, "read"), "ok");
    nap(500);
    assert_int_equal(field(node_ask(&c, 3, "now"), "role"), 0); /* three voters are enough */
    int leader = cluster_leader(&c), dead = (leader + 1) % 3;
    cluster_kill(&c, dead);
    for (int i = 0; i < 200 && field(node_ask(&c, 3, "now"), "role") != 1; i++)
        nap(50);
    assert_int_equal(field(node_ask(&c, 3, "now"), "role"), 1);
    /* The one that comes back is a standby; who leads by now joined while it was away, and is unknown to it. */
    for (int i = 0; i < 20 && field(node_ask(&c, 3, "now"), "leader") != 1; i++, nap(100))
        node_ask(&c, leader, "transfer n3");
    assert_int_equal(field(node_ask(&c, 3, "now"), "leader"), 1);
    leader = 3;
    assert_true(cluster_start(&c, dead));
    for (int i = 0; i < 200 && field(node_ask(&c, dead, "now"), "role") != 0; i++)
        nap(50);
    assert_int_equal(field(node_ask(&c, dead, "now"), "role"), 0);
    assert_string_equal(node_ask(&c, dead, "set from standby"), "ok");
    assert_true(cluster_digests_equal(&c, leader, 4));
    for (int i = 0; i < 4; i++)
        cluster_stop(&c, i);
}

static void removed_member_is_shut_out(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    int leader = cluster_leader(&c), gone = (leader + 1) % 3, other = (leader + 2) % 3;
    char line[32];
    snprintf(line, sizeof line, "remove n%d", gone);
    assert_true(strncmp(node_ask(&c, other, "remove nobody"), "error notfound", 14) == 0);
    assert_string_equal(node_ask(&c, other, "%s", line), "ok ");
    for (int i = 0; i < 200 && field(node_ask(&c, leader, "status"), "n") != 2; i++)
        nap(50);
    assert_int_equal(field(node_ask(&c, leader, "status"), "n"), 2);
    cluster_kill(&c, gone);
    assert_true(cluster_start(&c, gone));
    assert_string_equal(node_ask(&c, gone, "read 1500"), "unavailable");
    assert_string_equal(node_ask(&c, leader, "set still works"), "ok");
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

static void full_disk_gives_leadership_away(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    int leader = cluster_leader(&c);
    cluster_stop(&c, leader);
    c.reserve[leader] = UINT64_MAX / 2; /* never that much free */
    assert_true(cluster_start(&c, leader));
    char line[32];
    snprintf(line, sizeof line, "transfer n%d", leader);
    assert_true(node_until(&c, leader, "now", "full", 1, 5000));
    node_ask(&c, (leader + 1) % 3, "%s", line);
    nap(2500);
    assert_int_equal(field(node_ask(&c, leader, "now"), "leader"), 0);
    assert_string_equal(node_ask(&c, leader, "set small one"), "ok");
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

/* ---- what must not vote ---- */

static void damaged_log_refuses_to_start(void **state)
{
    (void)state;
    char command[512];
    cluster_first(&c);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    node_ask(&c, 0, "load 200 4");
    cluster_kill(&c, 0);
    snprintf(command, sizeof command, "cp -r %s/n0 %s/whole", c.dir, c.dir);
    assert_int_equal(system(command), 0);
    /* libraft would cut a damaged open segment short and go on. */
    snprintf(command, sizeof command,
             "cd %s/n0/raft && for f in open-* 0*; do [ -f \"$f\" ] && dd if=/dev/zero of=$f bs=1 count=64 seek=4096 "
             "conv=notrunc 2>/dev/null; done; true",
             c.dir);
    assert_int_equal(system(command), 0);
    assert_false(cluster_start(&c, 0));
    assert_non_null(strstr(cluster_why(), "join"));
    /* The log is gone altogether. */
    snprintf(command, sizeof command, "rm -rf %s/n0/raft", c.dir);
    assert_int_equal(system(command), 0);
    assert_false(cluster_start(&c, 0));
    assert_non_null(strstr(cluster_why(), "lost entries"));
    /* And without the mark, too. */
    snprintf(command, sizeof command, "rm -rf %s/n0 && cp -r %s/whole %s/n0 && rm %s/n0/raft.mark", c.dir, c.dir, c.dir,
             c.dir);
    assert_int_equal(system(command), 0);
    assert_false(cluster_start(&c, 0));
    assert_non_null(strstr(cluster_why(), "mark"));
    /* Whole, it starts. */
    snprintf(command, sizeof command, "rm -rf %s/n0 && cp -r %s/whole %s/n0", c.dir, c.dir, c.dir);
    assert_int_equal(system(command), 0);
    assert_true(cluster_start(&c, 0));
    cluster_stop(&c, 0);
}

/* TEST_CHAOS=rounds: kills at random, two of three at times, with a short log so that states are copied too. */
static void chaos(void **state)
{
    (void)state;
    const char *text = getenv("TEST_CHAOS");
    if (!text)
        skip();
    srand((unsigned)getpid());
    printf("# seed %d\n", (int)getpid());
    c.threshold = 200;
    c.trailing = 100;
    cluster_grow(&c, 3);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    long long acked = 0;
    for (int round = 0; round < atoi(text); round++) {
        int origin = rand() % 3, other = (origin + 1) % 3, third = (origin + 2) % 3;
        assert_string_equal(node_ask(&c, origin, "read"), "ok");
        node_tell(&c, origin, "load 1200 16");
        nap((unsigned)(rand() % 600));
        bool both = rand() % 3 == 0;
        cluster_kill(&c, other);
        if (both)
            cluster_kill(&c, third);
        nap((unsigned)(rand() % 900));
        if (!cluster_start(&c, other) || (both && !cluster_start(&c, third)))
            fail_msg("round %d: %s", round, cluster_why());
        const char *a = node_answer(&c, origin);
        assert_int_equal(field(a, "failed"), 0);
        acked += field(a, "acked");
        for (int i = 0; i < 3; i++) {
            assert_string_equal(node_ask(&c, i, "read"), "ok");
            long long count = field(node_ask(&c, i, "count"), "count");
            if (count != acked)
                fail_msg("round %d: node %d has %lld of %lld", round, i, count, acked);
        }
        assert_true(cluster_digests_equal(&c, origin, 3));
        /* The one that took the load dies too, with nothing of its own open. */
        cluster_kill(&c, origin);
        if (!cluster_start(&c, origin))
            fail_msg("round %d: %s", round, cluster_why());
    }
    printf("# acked %lld\n", acked);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(node_ask(&c, i, "read"), "ok");
        assert_string_equal(node_ask(&c, i, "scrub"), "ok");
        for (int k = 0; k < 200 && field(node_ask(&c, i, "now"), "missing") != 0; k++)
            nap(50);
        assert_int_equal(field(node_ask(&c, i, "now"), "missing"), 0);
    }
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

/* TEST_BENCH=1: not a test; how fast it is on this machine. */
static void bench(void **state)
{
    (void)state;
    if (!getenv("TEST_BENCH"))
        skip();
    cluster_grow(&c, 3);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    int leader = cluster_leader(&c);
    for (int who = 0; who < 2; who++) {
        int origin = (leader + who) % 3;
        assert_string_equal(node_ask(&c, origin, "read"), "ok");
        for (int parallel = 1; parallel <= 256; parallel *= 16) {
            const char *a = node_ask(&c, origin, "load 2000 %d", parallel);
            printf("# %s, %d at a time: %lld deliveries/s\n", who ? "follower" : "leader", parallel,
                   field(a, "acked") / 2);
        }
    }
    printf("# %s\n", node_ask(&c, leader, "now"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(alone_restarts_with_what_it_acknowledged, begin, end),
        cmocka_unit_test_setup_teardown(three_see_each_others_writes, begin, end),
        cmocka_unit_test_setup_teardown(once_through_killed_leaders, begin, end),
        cmocka_unit_test_setup_teardown(leadership_moves_under_load, begin, end),
        cmocka_unit_test_setup_teardown(far_behind_copies_the_state, begin, end),
        cmocka_unit_test_setup_teardown(dead_voter_is_replaced, begin, end),
        cmocka_unit_test_setup_teardown(removed_member_is_shut_out, begin, end),
        cmocka_unit_test_setup_teardown(full_disk_gives_leadership_away, begin, end),
        cmocka_unit_test_setup_teardown(damaged_log_refuses_to_start, begin, end),
        cmocka_unit_test_setup_teardown(chaos, begin, end),
        cmocka_unit_test_setup_teardown(bench, begin, end),
    };
    const char *only = getenv("TEST_ONLY");
    if (only)
        cmocka_set_test_filter(only);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
