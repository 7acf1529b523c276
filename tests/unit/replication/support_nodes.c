#include "tests/unit/replication/support_nodes.h"

#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/base/mem.h"
#include "replication/replication.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { RAFT_ROLE_VOTER = 1 };

static char answer_text[8192], why_text[8192];

void nap(unsigned ms)
{
    usleep(ms * 1000);
}

/* A socket with that port, or -1. Shared: it may be in use as long as nobody listens, as a node's may in a moment. */
static int port_bind(int port, bool shared)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = shared;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool port_is_free(int port)
{
    int fd = port_bind(port, true);
    close(fd);
    return fd >= 0;
}

/* Two ports a node, all free now, below those of outgoing connections (32,768 on) and of the cluster scenarios (22,000
 * on). The one before them is bound as long as the cluster is there: whoever has it has the others too, also while
 * their nodes are down. */
static void ports_pick(struct test_cluster *c)
{
    enum { SLOT = 1 + 2 * TEST_NODES_MAX, SLOTS = 2000 / SLOT };
    for (unsigned slot = (unsigned)getpid();; slot++) {
        int guard = 20000 + (int)(slot % SLOTS) * SLOT, i = 1;
        c->port_guard = port_bind(guard, false);
        while (c->port_guard >= 0 && i < SLOT && port_is_free(guard + i))
            i++;
        c->port = guard + 1;
        if (i == SLOT)
            return;
        close(c->port_guard);
    }
}

void cluster_make(struct test_cluster *c)
{
    *c = (struct test_cluster){.dir = "/tmp/merlion-core-XXXXXX"};
    assert_non_null(mkdtemp(c->dir));
    ports_pick(c);
    for (int i = 0; i < TEST_NODES_MAX; i++) {
        char dir[128];
        c->fd[i] = -1;
        snprintf(dir, sizeof dir, "mkdir -p %s/n%d", c->dir, i);
        assert_int_equal(system(dir), 0);
    }
}

void cluster_end(struct test_cluster *c)
{
    char command[128];
    for (int i = 0; i < TEST_NODES_MAX; i++)
        if (c->pid[i])
            cluster_kill(c, i);
    close(c->port_guard);
    snprintf(command, sizeof command, "rm -rf %s", c->dir);
    assert_int_equal(system(command), 0);
}

static void node_read(struct test_cluster *c, int i)
{
    size_t n = 0;
    struct timeval limit = {.tv_sec = 40};
    setsockopt(c->fd[i], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while (n + 1 < sizeof answer_text) {
        ssize_t got = read(c->fd[i], answer_text + n, 1);
        if (got <= 0)
            fail_msg("node %d does not answer (%s)", i, got == 0 ? "it ended" : "time-out");
        if (answer_text[n] == '\n')
            break;
        n++;
    }
    answer_text[n] = 0;
}

bool cluster_start(struct test_cluster *c, int i)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        for (int k = 0; k < TEST_NODES_MAX; k++)
            if (c->fd[k] >= 0)
                close(c->fd[k]);
        node_main(c, i, fds[1]);
        exit(0);
    }
    close(fds[1]);
    c->pid[i] = pid;
    c->fd[i] = fds[0];
    node_read(c, i);
    if (strcmp(answer_text, "up") == 0)
        return true;
    snprintf(why_text, sizeof why_text, "%s", answer_text);
    waitpid(pid, NULL, 0);
    close(c->fd[i]);
    c->fd[i] = -1;
    c->pid[i] = 0;
    return false;
}

const char *cluster_why(void)
{
    return why_text;
}

static void reap(struct test_cluster *c, int i, bool clean)
{
    int status = 0;
    waitpid(c->pid[i], &status, 0);
    close(c->fd[i]);
    c->fd[i] = -1;
    c->pid[i] = 0;
    /* A clean end includes that the address sanitizer found nothing. */
    if (clean && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        fail_msg("node %d ended badly: %d", i, status);
}

void cluster_kill(struct test_cluster *c, int i)
{
    kill(c->pid[i], SIGKILL);
    reap(c, i, false);
}

bool cluster_ended(struct test_cluster *c, int i, unsigned ms)
{
    siginfo_t si = {.si_pid = 0};
    for (unsigned at = 0; at < ms && si.si_pid == 0; at += 20) {
        assert_int_equal(waitid(P_PID, (id_t)c->pid[i], &si, WEXITED | WNOHANG | WNOWAIT), 0);
        nap(20);
    }
    if (si.si_pid == 0)
        return false;
    reap(c, i, false);
    return true;
}

void cluster_stop(struct test_cluster *c, int i)
{
    node_tell(c, i, "stop");
    assert_string_equal(node_answer(c, i), "stopped");
    reap(c, i, true);
}

void node_tell(struct test_cluster *c, int i, const char *line)
{
    dprintf(c->fd[i], "%s\n", line);
}

const char *node_answer(struct test_cluster *c, int i)
{
    node_read(c, i);
    return answer_text;
}

const char *node_ask(struct test_cluster *c, int i, const char *format, ...)
{
    char line[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    node_tell(c, i, line);
    return node_answer(c, i);
}

long long field(const char *text, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, " %s=", name);
    const char *at = strstr(text, key);
    if (!at && strncmp(text, key + 1, strlen(key + 1)) == 0)
        at = text - 1;
    return at ? (long long)strtoull(at + strlen(key), NULL, strstr(name, "digest") ? 16 : 10) : -1;
}

bool node_until(struct test_cluster *c, int i, const char *ask, const char *name, long long at_least, unsigned ms)
{
    for (int64_t end = clock_steady_ms() + ms; clock_steady_ms() < end; nap(30))
        if (field(node_ask(c, i, "%s", ask), name) >= at_least)
            return true;
    return false;
}

int cluster_leader(struct test_cluster *c)
{
    for (int64_t end = clock_steady_ms() + 30000; clock_steady_ms() < end; nap(30))
        for (int i = 0; i < TEST_NODES_MAX; i++)
            if (c->pid[i] && field(node_ask(c, i, "now"), "leader") == 1)
                return i;
    return -1;
}

void cluster_first(struct test_cluster *c)
{
    char dir[128], address[32], line[128];
    char *cert, *key;
    struct err_detail e;
    snprintf(dir, sizeof dir, "%s/n0", c->dir);
    snprintf(address, sizeof address, "127.0.0.1:%d", c->port);
    assert_int_equal(replication_cluster_init(dir, "n0", address, &cert, &key, &e), 0);
    assert_true(cluster_start(c, 0));
    /* The CA as settings: a line cannot carry a PEM text, so the node's process is told by file. */
    snprintf(line, sizeof line, "%s/ca", c->dir);
    FILE *f = fopen(line, "w");
    fprintf(f, "%s%c%s%c", cert, 0, key, 0);
    fclose(f);
    mem_free(cert);
    mem_free(key);
    assert_string_equal(node_ask(c, 0, "ca %s", line), "ok");
}

void cluster_invite(struct test_cluster *c, int i, int by, char *token, size_t n)
{
    const char *a = "";
    for (int k = 0; k < 100 && strncmp(a, "ok", 2) != 0; k++, nap(50))
        a = node_ask(c, by, "invite n%d 127.0.0.1:%d", i, c->port + 2 * i);
    if (strncmp(a, "ok ", 3) != 0)
        fail_msg("invite: %s", a);
    snprintf(token, n, "%s", a + 3);
}

void cluster_join(struct test_cluster *c, int i, int by)
{
    char dir[128], name[16], token[8192];
    struct err_detail e = {""};
    snprintf(dir, sizeof dir, "%s/n%d", c->dir, i);
    cluster_invite(c, i, by, token, sizeof token);
    snprintf(name, sizeof name, "n%d", i);
    if (replication_join(dir, name, token, &e) != 0)
        fail_msg("join: %s", e.text);
    assert_true(cluster_start(c, i));
}

void cluster_grow(struct test_cluster *c, int n)
{
    cluster_first(c);
    for (int i = 1; i < n; i++) {
        cluster_join(c, i, 0);
        int k = 0;
        while (field(node_ask(c, i, "now"), "role") != RAFT_ROLE_VOTER && k++ < 800)
            nap(50);
        if (k >= 800)
            fail_msg("node %d did not become a voter: %s", i, node_ask(c, i, "now"));
    }
}

/* 1: equal, 0: somebody is missing, -1: they differ. */
static int digests_compare(const char *a, int members)
{
    long long at = -1, digest = -1;
    int seen = 0;
    for (int id = 1; id <= 16; id++) {
        char name[32];
        snprintf(name, sizeof name, "at%d", id);
        long long here = field(a, name);
        snprintf(name, sizeof name, "digest%d", id);
        long long sum = field(a, name);
        if (here <= 0)
            continue;
        if (seen > 0 && (here != at || sum != digest))
            return -1;
        at = here;
        digest = sum;
        seen++;
    }
    return seen == members;
}

bool cluster_digests_equal(struct test_cluster *c, int by, int members)
{
    const char *a = "";
    int same = 0;
    /* A node that came back is dialled within a second. */
    for (int i = 0; i < 100 && same == 0; i++, nap(100)) {
        a = node_ask(c, by, "digests");
        same = digests_compare(a, members);
    }
    if (same != 1)
        printf("# digests: %s\n", a);
    return same == 1;
}

/* ---- of a test program ---- */

int cluster_setup(void **state)
{
    cluster_make(*state);
    return 0;
}

int cluster_teardown(void **state)
{
    cluster_end(*state);
    return 0;
}

void cluster_tests_filter(void)
{
    const char *only = getenv("TEST_ONLY");
    if (only)
        cmocka_set_test_filter(only);
}
