/* Whole clusters of processes on loopback: nodes that come back, with all of their data, too little, or damaged. */
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

/* Bodies that the state does not refer to and nobody has are missed no more, though nothing is written meanwhile; one
 * that it refers to stays missed. */
static void nobodys_bodies_are_dropped(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    assert_string_equal(node_ask(&c, 2, "read"), "ok");
    assert_string_equal(node_ask(&c, 2, "miss 100"), "ok");
    for (int i = 0; i < 600 && field(node_ask(&c, 2, "now"), "missing") != 0; i++)
        nap(50);
    assert_int_equal(field(node_ask(&c, 2, "now"), "missing"), 0);
    for (int i = 0; i < 3; i++)
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
    for (int i = 0; i < 600 && field(node_ask(&c, away, "now"), "missing") != 0; i++)
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

/* The power goes everywhere at once. */
static void all_killed_at_once(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    long long acked = 0;
    for (int round = 0; round < 2; round++) {
        const char *a = node_ask(&c, round, "load 300 8");
        assert_int_equal(field(a, "failed"), 0);
        acked += field(a, "acked");
        for (int i = 0; i < 3; i++)
            cluster_kill(&c, i);
        for (int i = 0; i < 3; i++)
            assert_true(cluster_start(&c, i));
        for (int i = 0; i < 3; i++) {
            assert_string_equal(node_ask(&c, i, "read"), "ok");
            assert_int_equal(field(node_ask(&c, i, "count"), "count"), acked);
        }
    }
    assert_true(cluster_digests_equal(&c, 0, 3));
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

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

/* Put back to what it was a while ago, mark and all (an old image, or a power cut that takes what the mark was not
 * synced for): only its leader knows that it had acknowledged more. It ends, and does not vote again. */
static void log_put_back_is_found_by_the_leader(void **state)
{
    (void)state;
    char command[512];
    cluster_grow(&c, 3);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    int leader = cluster_leader(&c), back = (leader + 1) % 3;
    node_ask(&c, leader, "load 50 4");
    cluster_stop(&c, back);
    snprintf(command, sizeof command, "cp -r %s/n%d %s/old", c.dir, back, c.dir);
    assert_int_equal(system(command), 0);
    assert_true(cluster_start(&c, back));
    assert_string_equal(node_ask(&c, back, "read"), "ok");
    node_ask(&c, leader, "load 50 4");
    assert_string_equal(node_ask(&c, back, "read"), "ok");
    long long term = field(node_ask(&c, leader, "now"), "term");
    cluster_kill(&c, back);
    snprintf(command, sizeof command, "rm -rf %s/n%d && mv %s/old %s/n%d", c.dir, back, c.dir, c.dir, back);
    assert_int_equal(system(command), 0);
    assert_true(cluster_start(&c, back));
    assert_true(cluster_ended(&c, back, 10000));
    assert_int_equal(field(node_ask(&c, leader, "now"), "term"), term);
    assert_false(cluster_start(&c, back));
    assert_non_null(strstr(cluster_why(), "lost entries"));
    for (int i = 0; i < 3; i++)
        if (i != back)
            cluster_stop(&c, i);
}

/* Killed while it made the cluster, between libraft's term and its first entry: nothing was acknowledged, and the next
 * start makes it. */
static void half_made_cluster_is_made(void **state)
{
    (void)state;
    char command[512];
    cluster_first(&c);
    cluster_stop(&c, 0);
    snprintf(command, sizeof command,
             "cd %s/n0 && rm -rf state local bodies raft.mark && cd raft && rm -f 0* open-* metadata2 snapshot-* && "
             "touch tmp-1",
             c.dir);
    assert_int_equal(system(command), 0);
    /* metadata1 with term 1 is what is left, as raft_bootstrap writes it first. */
    snprintf(command, sizeof command, "cd %s/n0/raft && ls metadata1 > /dev/null", c.dir);
    assert_int_equal(system(command), 0);
    assert_true(cluster_start(&c, 0));
    assert_string_equal(node_ask(&c, 0, "set greeting hello"), "ok");
    cluster_stop(&c, 0);
    /* One that led once is not taken for it: without its log and its mark it starts nothing anew. */
    snprintf(command, sizeof command, "cd %s/n0/raft && rm -f 0* open-*", c.dir);
    assert_int_equal(system(command), 0);
    assert_false(cluster_start(&c, 0));
}

/* Mail for so many milliseconds; how many were acknowledged. */
static long long load(int i, unsigned ms)
{
    const char *answer = node_ask(&c, i, "load %u 4", ms);
    assert_int_equal(field(answer, "failed"), 0);
    return field(answer, "acked");
}

static void state_lose(int i)
{
    char command[512];
    snprintf(command, sizeof command, "cd %s/n%d && rm -rf state.damaged && mv state state.damaged", c.dir, i);
    assert_int_equal(system(command), 0);
}

/* A damaged state is set aside before the start: a node without one, but with its log, term and vote. Copied from a
 * peer when the log does not reach back, else replayed. */
static void lost_state_is_made_anew(void **state)
{
    (void)state;
    for (int replayed = 0; replayed < 2; replayed++) {
        c.threshold = replayed ? 0 : 64;
        c.trailing = replayed ? 0 : 32;
        cluster_grow(&c, 3);
        assert_string_equal(node_ask(&c, 0, "user"), "ok");
        long long acked = load(0, 300);
        /* The leader as well: it votes, and must neither serve nor judge who is a member before it is whole. */
        for (int round = 0; round < 2; round++) {
            int leader = cluster_leader(&c), victim = round ? leader : (leader + 1) % 3, other = (victim + 1) % 3;
            cluster_kill(&c, victim);
            state_lose(victim);
            acked += load(other, 100);
            assert_true(cluster_start(&c, victim));
            assert_string_equal(node_ask(&c, victim, "read"), "ok");
            assert_int_equal(field(node_ask(&c, victim, "count"), "count"), acked);
            assert_string_equal(node_ask(&c, victim, "scrub"), "ok");
            assert_true(cluster_digests_equal(&c, victim, 3));
        }
        for (int i = 0; i < 3; i++)
            cluster_stop(&c, i);
        cluster_end(&c);
        cluster_make(&c);
    }
}

/* Nobody has a copy. The log may have all; else the node must not begin from nothing. */
static void lost_state_of_a_node_alone(void **state)
{
    (void)state;
    cluster_first(&c);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    long long acked = load(0, 200);
    cluster_kill(&c, 0);
    state_lose(0);
    assert_true(cluster_start(&c, 0));
    assert_string_equal(node_ask(&c, 0, "read"), "ok");
    assert_int_equal(field(node_ask(&c, 0, "count"), "count"), acked);
    cluster_kill(&c, 0);
    c.threshold = 64;
    c.trailing = 32;
    assert_true(cluster_start(&c, 0));
    for (long long first = -1, at = 0; at < first + 300 || first < 0; load(0, 100)) { /* the log is cut */
        at = field(node_ask(&c, 0, "now"), "applied");
        first = first < 0 ? at : first;
    }
    cluster_kill(&c, 0);
    state_lose(0);
    for (int i = 0; i < 2; i++) { /* again and again */
        assert_false(cluster_start(&c, 0));
        assert_non_null(strstr(cluster_why(), "no other member has a copy"));
        assert_non_null(strstr(cluster_why(), "state.damaged"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLUSTER_TEST(far_behind_copies_the_state, &c),
        CLUSTER_TEST(nobodys_bodies_are_dropped, &c),
        CLUSTER_TEST(all_killed_at_once, &c),
        CLUSTER_TEST(damaged_log_refuses_to_start, &c),
        CLUSTER_TEST(log_put_back_is_found_by_the_leader, &c),
        CLUSTER_TEST(lost_state_is_made_anew, &c),
        CLUSTER_TEST(lost_state_of_a_node_alone, &c),
        CLUSTER_TEST(half_made_cluster_is_made, &c),
    };
    cluster_tests_filter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
