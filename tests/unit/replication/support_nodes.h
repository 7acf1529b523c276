/* Whole nodes (store, blob log, replication) as processes of their own, so that a test can kill them at any moment. The
 * test speaks to each over a socket pair, one line a request, one line an answer. */
#ifndef TEST_SUPPORT_NODES_H
#define TEST_SUPPORT_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { TEST_NODES_MAX = 5 };

struct test_cluster {
    char dir[64];
    int port;       /* node i listens on port + 2 i, and one above */
    int port_guard; /* a socket: the ports are ours */
    unsigned threshold, trailing, replace_after_ms, election_ms, dead_after_ms;
    uint64_t reserve[TEST_NODES_MAX];      /* disk_reserve_bytes */
    unsigned format_max[TEST_NODES_MAX];   /* as an earlier build; 0: this one */
    int64_t clock_ahead_s[TEST_NODES_MAX]; /* of node i's wall clock, at its next start */
    pid_t pid[TEST_NODES_MAX];
    int fd[TEST_NODES_MAX];
};

/* What a node's process does, until it is told to stop; fd is its end of the socket pair. */
void node_main(struct test_cluster *c, int i, int fd);

/* Fresh folders; nothing runs. */
void cluster_make(struct test_cluster *c);
void cluster_end(struct test_cluster *c); /* kills what runs, removes the folders */

/* Makes node 0's identity as a new cluster's first, and starts it. */
void cluster_first(struct test_cluster *c);
/* Starts node i's process; its first answer is "up" or "failed TEXT". */
bool cluster_start(struct test_cluster *c, int i);
const char *cluster_why(void);                                  /* the text of the last failed start */
void cluster_kill(struct test_cluster *c, int i);               /* SIGKILL */
void cluster_stop(struct test_cluster *c, int i);               /* clean */
bool cluster_ended(struct test_cluster *c, int i, unsigned ms); /* by itself, within ms */
/* A join token for node i, from node `by`. */
void cluster_invite(struct test_cluster *c, int i, int by, char *token, size_t n);
/* Invites node i through node `by`, joins, starts. */
void cluster_join(struct test_cluster *c, int i, int by);
/* n nodes, all of them voters. */
void cluster_grow(struct test_cluster *c, int n);

/* A test with a fresh cluster of its own, which is ended after it. */
#define CLUSTER_TEST(f, cluster) cmocka_unit_test_prestate_setup_teardown(f, cluster_setup, cluster_teardown, cluster)
int cluster_setup(void **state);
int cluster_teardown(void **state);
void cluster_tests_filter(void); /* TEST_ONLY=PATTERN in the environment: these tests alone */

/* One request, one answer (valid until the next). Fails the test when the node does not answer in 40 s. */
const char *node_ask(struct test_cluster *c, int i, const char *format, ...) __attribute__((format(printf, 3, 4)));
void node_tell(struct test_cluster *c, int i, const char *line); /* without waiting */
const char *node_answer(struct test_cluster *c, int i);

/* A field "name=number" of an answer; -1: not there. */
long long field(const char *answer, const char *name);
/* Asks until the condition on the field holds, at most ms. */
bool node_until(struct test_cluster *c, int i, const char *ask, const char *name, long long at_least, unsigned ms);
int cluster_leader(struct test_cluster *c); /* index of the leader, waits for one; -1 */
void nap(unsigned ms);
/* All replicas that run have equal digests; asks node `by`. */
bool cluster_digests_equal(struct test_cluster *c, int by, int members);

#endif
