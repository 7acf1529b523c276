/* The edge's own tests: disks, LMDB, the log, links. Each history runs in a process of its own, as seeds do. */
#include "tests/sim/selftest_edge.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SEEDS = 40, TOLD_MAX = 100, STATUS_GOOD = 100 }; /* plus what was told: sanitizers end with small numbers */

unsigned edge_told;
static bool ended_well;

void edge_check(bool ok, const char *file, int line, const char *what)
{
    if (!ok)
        sim_fail(&sim_counts.other, "%s:%d: %s", file, line, what);
}

/* ---- one history ---- */

static void begin_run(void *arg)
{
    sim_fn *begin = *(sim_fn **)arg;
    begin(NULL);
    ended_well = true;
    sim_end();
}

static void child(uint64_t seed, sim_fn *begin, const char *dir)
{
    static const int caught[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSYS}; /* by cmocka */
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++)
        signal(caught[i], SIG_DFL);
    sim_seed = seed;
    sim_random_init(seed);
    sim_disk_init(dir);
    sim_spawn(sim_host(0), "begin", begin_run, &begin);
    sim_run(100 * (int64_t)SIM_S);
    fflush(NULL);
    _exit(!ended_well || sim_counts.other ? 1 : STATUS_GOOD + (int)(edge_told < TOLD_MAX ? edge_told : TOLD_MAX));
}

unsigned edge_histories(sim_fn *begin)
{
    unsigned told = 0;
    char command[128];
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        char dir[] = "/dev/shm/merlion-edge-XXXXXX";
        int status;
        assert_non_null(mkdtemp(dir));
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
            child(seed, begin, dir);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        snprintf(command, sizeof command, "rm -rf %s", dir);
        assert_int_equal(system(command), 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) < STATUS_GOOD)
            fail_msg("seed %llu: status %x", (unsigned long long)seed, (unsigned)status);
        told += (unsigned)(WEXITSTATUS(status) - STATUS_GOOD);
    }
    return told;
}

/* ---- on a host ---- */

struct call {
    sim_fn *fn;
    void *arg;
    bool done;
};

static void call_run(void *arg)
{
    struct call *c = arg;
    c->fn(c->arg);
    c->done = true;
}

void edge_on(unsigned host, sim_fn *fn, void *arg)
{
    struct call *c = calloc(1, sizeof *c);
    unsigned life = sim_host_life(sim_host(host));
    *c = (struct call){.fn = fn, .arg = arg};
    sim_spawn(sim_host(host), "call", call_run, c);
    while (!c->done && sim_host_life(sim_host(host)) == life)
        sim_sleep(100);
}

int main(void)
{
    int failed = edge_boot() + edge_disk() + edge_log() + edge_net();
    return failed != 0;
}
