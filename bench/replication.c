/* How fast replication alone is on this machine (no protocol, no TLS to clients), and, with a number of rounds, whether
 * it keeps what it acknowledged while nodes are killed at random: replication [ROUNDS]. */
#include "tests/unit/replication/support_nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct test_cluster c;

static void bench(void)
{
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

/* Kills at random, two of three at times, with a short log so that states are copied too. */
static void chaos(int rounds)
{
    srand((unsigned)getpid());
    printf("# seed %d\n", (int)getpid());
    c.threshold = 200;
    c.trailing = 100;
    cluster_grow(&c, 3);
    assert_string_equal(node_ask(&c, 0, "user"), "ok");
    long long acked = 0;
    for (int round = 0; round < rounds; round++) {
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

int main(int argc, char **argv)
{
    cluster_make(&c);
    if (argc > 1)
        chaos(atoi(argv[1]));
    else
        bench();
    cluster_end(&c);
    return 0;
}
