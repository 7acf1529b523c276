/* Whole clusters of processes on loopback: who is a member, votes and leads. */
#include "tests/unit/replication/support_nodes.h"

#include "node/base/err.h"
#include "replication/identity.h"
#include "replication/replication.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct test_cluster c;

static void dead_voter_is_replaced(void **state)
{
    (void)state;
    c.replace_after_ms = 3000;
    cluster_grow(&c, 3);
    cluster_join(&c, 3, 0);
    assert_string_equal(node_ask(&c, 3, "read"), "ok");
    nap(500);
    assert_int_equal(field(node_ask(&c, 3, "now"), "role"), 0); /* three voters are enough */
    int leader = cluster_leader(&c), dead = (leader + 1) % 3;
    cluster_kill(&c, dead);
    for (int i = 0; i < 600 && field(node_ask(&c, 3, "now"), "role") != 1; i++)
        nap(50);
    assert_int_equal(field(node_ask(&c, 3, "now"), "role"), 1);
    /* The one that comes back is a standby; who leads by now joined while it was away, and is unknown to it. */
    for (int i = 0; i < 100 && field(node_ask(&c, 3, "now"), "leader") != 1; i++, nap(100))
        node_ask(&c, leader, "transfer n3");
    assert_int_equal(field(node_ask(&c, 3, "now"), "leader"), 1);
    leader = 3;
    assert_true(cluster_start(&c, dead));
    for (int i = 0; i < 600 && field(node_ask(&c, dead, "now"), "role") != 0; i++)
        nap(50);
    assert_int_equal(field(node_ask(&c, dead, "now"), "role"), 0);
    assert_string_equal(node_ask(&c, dead, "set from standby"), "ok");
    assert_true(cluster_digests_equal(&c, leader, 4));
    for (int i = 0; i < 4; i++)
        cluster_stop(&c, i);
}

static bool role_is(int node, int role)
{
    for (int i = 0; i < 600 && field(node_ask(&c, node, "now"), "role") != role; i++)
        nap(50);
    return field(node_ask(&c, node, "now"), "role") == role;
}

/* Once somebody leads: who is to be no voter any more hands that over. */
static const char *role_ask(int by, const char *line)
{
    const char *said = node_ask(&c, by, "%s", line);
    for (int i = 0;
         i < 200 && (strncmp(said, "error unavailable", 17) == 0 || strncmp(said, "error notleader", 15) == 0); i++) {
        nap(50);
        said = node_ask(&c, by, "%s", line);
    }
    return said;
}

/* A voter becomes a standby once another member has its place, and is asked to in vain when there is none. */
static void enough_voters_are_left(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    assert_true(strncmp(role_ask(0, "role n1 0"), "error conflict", 14) == 0);
    assert_true(role_is(1, 1));
    cluster_join(&c, 3, 0);
    assert_true(role_is(3, 0));
    assert_string_equal(role_ask(3, "role n1 0"), "ok ");
    assert_true(role_is(3, 1));
    assert_true(role_is(1, 0));
    assert_true(strncmp(role_ask(1, "role n2 0"), "error conflict", 14) == 0);
    assert_string_equal(role_ask(1, "role n1 1"), "ok ");
    assert_string_equal(role_ask(1, "role n2 0"), "ok ");
    assert_true(role_is(1, 1));
    assert_true(role_is(2, 0));
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
    for (int i = 0; i < 600 && field(node_ask(&c, leader, "status"), "n") != 2; i++)
        nap(50);
    assert_int_equal(field(node_ask(&c, leader, "status"), "n"), 2);
    cluster_kill(&c, gone);
    assert_true(cluster_start(&c, gone));
    assert_string_equal(node_ask(&c, gone, "read 1500"), "unavailable");
    assert_string_equal(node_ask(&c, leader, "set still works"), "ok");
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

/* Whoever puts a body, and has a command that refers to it committed, learns whether others vote meanwhile. */
static void writers_learn_of_other_voters(void **state)
{
    (void)state;
    cluster_grow(&c, 3);
    int leader = cluster_leader(&c), gone = (leader + 1) % 3, writer = (leader + 2) % 3;
    char line[32];
    assert_string_equal(node_ask(&c, writer, "read"), "ok");
    long long before = field(node_ask(&c, writer, "put first"), "voters");
    assert_true(before > 0);
    assert_string_equal(node_ask(&c, writer, "set one after"), "ok");
    assert_int_equal(field(node_ask(&c, writer, "proposed"), "voters"), before);
    snprintf(line, sizeof line, "remove n%d", gone);
    assert_string_equal(node_ask(&c, leader, "%s", line), "ok ");
    for (int i = 0; i < 600 && field(node_ask(&c, leader, "status"), "n") != 2; i++)
        nap(50);
    assert_string_equal(node_ask(&c, writer, "set two after"), "ok");
    long long after = field(node_ask(&c, writer, "proposed"), "voters");
    assert_int_not_equal(after, before);
    long long again = before;
    for (int i = 0; i < 600 && again != after; i++, nap(50)) /* bodies are told a moment later */
        again = field(node_ask(&c, writer, "put first"), "voters");
    assert_int_equal(again, after);
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

static uint64_t invited_id(const char *name, int port)
{
    struct identity_token t;
    struct err_detail e;
    const char *a = "";
    for (int k = 0; k < 100 && strncmp(a, "ok", 2) != 0; k++, nap(50)) /* it may be starting still */
        a = node_ask(&c, 0, "invite %s 127.0.0.1:%d", name, port);
    assert_true(strncmp(a, "ok ", 3) == 0);
    assert_int_equal(identity_token_decode(a + 3, &t, &e), 0);
    uint64_t id = t.id;
    identity_token_close(&t);
    return id;
}

/* Not even when an older invitation is renewed after the last one was withdrawn. */
static void ids_are_not_used_again(void **state)
{
    (void)state;
    cluster_first(&c);
    uint64_t a = invited_id("a", 9), b = invited_id("b", 8);
    assert_true(b > a);
    assert_string_equal(node_ask(&c, 0, "remove b"), "ok ");
    assert_int_equal(invited_id("a", 9), a);
    assert_true(invited_id("c", 7) > b);
    cluster_stop(&c, 0);
}

/* A token is for one: who comes second is refused, and told. */
static void used_token_is_refused_aloud(void **state)
{
    (void)state;
    char dir[128], token[8192];
    struct err_detail e;
    cluster_first(&c);
    cluster_invite(&c, 1, 0, token, sizeof token);
    for (int i = 1; i <= 2; i++) { /* node 2's folder, joined as n1 once more */
        snprintf(dir, sizeof dir, "%s/n%d", c.dir, i);
        assert_int_equal(replication_join(dir, "n1", token, &e), 0);
    }
    assert_true(cluster_start(&c, 1));
    assert_true(node_until(&c, 1, "now", "role", 1, 30000));
    assert_true(cluster_start(&c, 2));
    assert_true(node_until(&c, 2, "now", "refused", -ERR_CONFLICT, 20000));
    assert_string_equal(node_ask(&c, 0, "set still works"), "ok");
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

/* The heir is slow for longer than libraft waits for it. */
static void transfer_is_tried_again(void **state)
{
    (void)state;
    c.election_ms = 2000;
    cluster_grow(&c, 3);
    int leader = cluster_leader(&c), heir = (leader + 1) % 3;
    char line[32];
    snprintf(line, sizeof line, "transfer n%d", heir);
    kill(c.pid[heir], SIGSTOP);
    node_tell(&c, leader, line);
    nap(2500);
    kill(c.pid[heir], SIGCONT);
    assert_string_equal(node_answer(&c, leader), "ok ");
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
    assert_true(node_until(&c, leader, "now", "full", 1, 20000));
    node_ask(&c, (leader + 1) % 3, "%s", line);
    for (int i = 0; i < 200 && (cluster_leader(&c) == leader || i < 25); i++)
        nap(100);
    assert_int_equal(field(node_ask(&c, leader, "now"), "leader"), 0);
    assert_string_equal(node_ask(&c, leader, "set small one"), "ok");
    for (int i = 0; i < 3; i++)
        cluster_stop(&c, i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLUSTER_TEST(dead_voter_is_replaced, &c),     CLUSTER_TEST(enough_voters_are_left, &c),
        CLUSTER_TEST(removed_member_is_shut_out, &c), CLUSTER_TEST(writers_learn_of_other_voters, &c),
        CLUSTER_TEST(ids_are_not_used_again, &c),     CLUSTER_TEST(used_token_is_refused_aloud, &c),
        CLUSTER_TEST(transfer_is_tried_again, &c),    CLUSTER_TEST(full_disk_gives_leadership_away, &c),
    };
    cluster_tests_filter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
