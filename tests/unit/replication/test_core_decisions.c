/* Whole clusters of processes on loopback: what a leader decides about members stands in its term only, and follows
 * from all that was decided before. */
#include "tests/unit/replication/support_nodes.h"

#include "node/base/err.h"
#include "node/base/mem.h"
#include "replication/replication.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VOTER = 1, LEADS_ALONE_MS = 20000 };

static struct test_cluster c;

/* Three voters. Node 0 leads, and goes on for that long when it hears nobody. */
static void three_make(unsigned alone_ms)
{
    c.election_ms = alone_ms;
    cluster_first(&c);
    c.election_ms = 0;
    for (int i = 1; i < 3; i++) {
        cluster_join(&c, i, 0);
        assert_true(node_until(&c, i, "now", "role", VOTER, 40000));
    }
    for (int i = 0; i < 100 && field(node_ask(&c, 0, "now"), "leader") != 1; i++, nap(100)) /* lost on a slow machine */
        node_ask(&c, 0, "transfer n0");
    assert_int_equal(field(node_ask(&c, 0, "now"), "leader"), 1);
}

/* Killed, not stopped: what waits in the sockets of a stopped process would reach it later. */
static void others_kill(void)
{
    cluster_kill(&c, 1);
    cluster_kill(&c, 2);
}

/* Nodes 1 and 2 come back and lead, while node 0 stands still and does not know it. */
static void others_lead(void)
{
    kill(c.pid[0], SIGSTOP);
    assert_true(cluster_start(&c, 1));
    assert_true(cluster_start(&c, 2));
    assert_true(node_until(&c, 1, "now", "lead", 2, 30000));
}

static void until_ok(int i, const char *ask)
{
    const char *a = "";
    for (int k = 0; k < 200 && strncmp(a, "ok ", 3) != 0; k++, nap(50))
        a = node_ask(&c, i, "%s", ask);
    if (strncmp(a, "ok ", 3) != 0)
        fail_msg("%s: %s", ask, a);
}

/* Node 0 knows by now who leads; what it has to say it has said half a second later. */
static void members_are(const char *members)
{
    assert_string_equal(node_ask(&c, 0, "read"), "ok");
    nap(500);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(node_ask(&c, i, "read"), "ok");
        assert_string_equal(node_ask(&c, i, "members"), members);
    }
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

/* A cluster's first node has to make its own record first. */
static void request_at_the_start_waits(void **state)
{
    (void)state;
    char dir[128], address[32], *cert, *key;
    struct err_detail e;
    snprintf(dir, sizeof dir, "%s/n0", c.dir);
    snprintf(address, sizeof address, "127.0.0.1:%d", c.port);
    assert_int_equal(replication_cluster_init(dir, "n0", address, &cert, &key, &e), 0);
    mem_free(cert);
    mem_free(key);
    assert_true(cluster_start(&c, 0));
    assert_non_null(strstr(node_ask(&c, 0, "invite a 127.0.0.1:1"), "ca.cert")); /* nobody set that */
    assert_string_equal(node_ask(&c, 0, "members"), "ok 1:n0 2:a");
    cluster_stop(&c, 0);
}

static void invited_at_once_get_ids_of_their_own(void **state)
{
    (void)state;
    cluster_first(&c);
    assert_string_equal(node_ask(&c, 0, "invite2 a b"), "ok ok");
    assert_string_equal(node_ask(&c, 0, "members"), "ok 1:n0 2:a 3:b");
    cluster_stop(&c, 0);
}

/* It would take the id, and with it the certificate, of whom the new leader invited. */
static void invitation_of_a_deposed_leader_does_not_come_back(void **state)
{
    (void)state;
    three_make(LEADS_ALONE_MS);
    others_kill();
    node_tell(&c, 0, "invite x 127.0.0.1:1");
    nap(500);
    others_lead();
    until_ok(1, "invite y 127.0.0.1:2");
    kill(c.pid[0], SIGCONT);
    assert_true(strncmp(node_answer(&c, 0), "error ", 6) == 0);
    members_are("ok 1:n0 2:n1 3:n2 4:y");
}

/* A leader notes in its log who came to it, and loses it. Meanwhile that member is removed. */
static void record_of_a_deposed_leader_does_not_come_back(void **state)
{
    (void)state;
    char dir[128], token[8192];
    struct err_detail e = {""};
    three_make(LEADS_ALONE_MS);
    cluster_invite(&c, 3, 0, token, sizeof token);
    snprintf(dir, sizeof dir, "%s/n3", c.dir);
    assert_int_equal(replication_join(dir, "n3", token, &e), 0);
    others_kill();
    long long entries = field(node_ask(&c, 0, "now"), "entries");
    assert_true(cluster_start(&c, 3));
    assert_true(node_until(&c, 0, "now", "entries", entries + 1, LEADS_ALONE_MS));
    cluster_kill(&c, 3);
    others_lead();
    until_ok(1, "remove n3");
    kill(c.pid[0], SIGCONT);
    members_are("ok 1:n0 2:n1 3:n2");
}

/* Without a majority it cannot know who is a member. */
static void leader_alone_does_not_say_who_is_no_member(void **state)
{
    (void)state;
    three_make(2000);
    others_kill();
    const char *a = node_ask(&c, 0, "remove nobody");
    assert_true(strncmp(a, "error ", 6) == 0);
    assert_null(strstr(a, "notfound"));
    for (int i = 1; i < 3; i++)
        assert_true(cluster_start(&c, i));
    assert_string_equal(node_ask(&c, 0, "read"), "ok");
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLUSTER_TEST(request_at_the_start_waits, &c),
        CLUSTER_TEST(invited_at_once_get_ids_of_their_own, &c),
        CLUSTER_TEST(invitation_of_a_deposed_leader_does_not_come_back, &c),
        CLUSTER_TEST(record_of_a_deposed_leader_does_not_come_back, &c),
        CLUSTER_TEST(leader_alone_does_not_say_who_is_no_member, &c),
    };
    cluster_tests_filter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
