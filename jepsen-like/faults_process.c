/* Processes are killed, paused, stopped, and replaced by those of another build. */
#include "jepsen-like/history.h"
#include "jepsen-like/nemesis_impl.h"

#include <stdio.h>
#include <string.h>

enum { STOP_MS = 20000, VERSION_MS = 10000 };

static void kill_one(struct nemesis *n)
{
    nemesis_kill(n, n->victim = nemesis_node(n));
}

static void kill_leader(struct nemesis *n)
{
    nemesis_kill(n, n->victim = nemesis_leader(n));
}

static void kill_majority(struct nemesis *n)
{
    unsigned voters[NODES_MAX], k = nemesis_majority(n, voters);
    for (unsigned i = 0; i < k; i++)
        node_signal(voters[i], SIGKILL);
    for (unsigned i = 0; i < k; i++)
        nemesis_kill(n, voters[i]);
}

static void kill_all(struct nemesis *n)
{
    for (unsigned node = 1; node <= nodes_count(); node++)
        node_signal(node, SIGKILL);
    for (unsigned node = 1; node <= nodes_count(); node++)
        nemesis_kill(n, node);
}

static void pause_one(struct nemesis *n)
{
    node_signal(n->victim = nemesis_node(n), SIGSTOP);
}

static void pause_leader(struct nemesis *n)
{
    node_signal(n->victim = nemesis_leader(n), SIGSTOP);
}

static void resume(struct nemesis *n)
{
    node_signal(n->victim, SIGCONT);
}

static void stop_one(struct nemesis *n)
{
    n->victim = nemesis_leader(n);
    node_signal(n->victim, SIGTERM);
    node_wait(n->victim, STOP_MS);
    n->victims[n->victim] = true;
}

/* ---- each node in turn, the next one when all serve again ---- */

static void restart(unsigned node)
{
    node_signal(node, SIGTERM);
    node_wait(node, STOP_MS);
    node_start(node);
    if (nemesis_recovery_ms(RECOVERY_MAX_MS) == 0)
        say("  n%u does not serve after its restart", node);
}

static void stop_rolling(struct nemesis *n)
{
    unsigned order[NODES_MAX];
    nemesis_shuffle(n, order);
    for (unsigned i = 0; i < nodes_count(); i++)
        restart(order[i]);
}

/* The status that members exchange may be a moment old. */
static bool version_is(unsigned node, const char *version)
{
    char told[64] = "";
    for (uint64_t end = now_ns() + VERSION_MS * NS_PER_MS; now_ns() < end; sleep_ms(20)) {
        nodes_supervise();
        if (cluster_version(node, told, sizeof told) && strcmp(told, version) == 0)
            return true;
    }
    say("FOUND n%u runs version \"%s\" by mailctl status, and should run %s", node, told, version);
    return false;
}

/* To the other build, or back. Clients connect anew and see nothing else of it: no operation may be refused. Only from
 * a cluster that is well: what a fault before it broke is not the upgrade's. */
static void upgrade_rolling(struct nemesis *n)
{
    static bool next;
    unsigned order[NODES_MAX];
    char version[64];
    next = !next;
    nemesis_whole(n);
    unsigned refused = refusals_count();
    size_t ops = history_count();
    refusals_say(true);
    nodes_version(next, version, sizeof version);
    nemesis_shuffle(n, order);
    for (unsigned i = 0; i < nodes_count(); i++) {
        say("  n%u is next", order[i]);
        node_build_set(order[i], next);
        restart(order[i]);
        n->r->upgrade_wrong += !version_is(order[i], version);
    }
    refusals_say(false);
    refused = refusals_count() - refused;
    say("  upgrade to %s: %u operations refused", version, refused);
    n->r->upgrade_refused += refused;
    n->r->upgrade_ops += (unsigned)(history_count() - ops);
    n->r->upgrades++;
}

static const struct fault faults[] = {
    {.name = "kill-one", .begin = kill_one, .end = nemesis_start_killed, .long_only = true},
    {.name = "kill-leader", .begin = kill_leader, .end = nemesis_start_killed},
    {.name = "kill-majority", .begin = kill_majority, .end = nemesis_start_killed},
    {.name = "kill-all", .begin = kill_all, .end = nemesis_start_killed},
    {.name = "pause-one", .begin = pause_one, .end = resume, .long_only = true},
    {.name = "pause-leader", .begin = pause_leader, .end = resume},
    {.name = "stop", .begin = stop_one, .end = nemesis_start_killed},
    {.name = "stop-rolling", .begin = stop_rolling, .end = nemesis_nothing, .long_only = true},
    {.name = "upgrade-rolling", .begin = upgrade_rolling, .end = nemesis_nothing, .next_build = true},
};
const struct fault_list faults_of_processes = {faults, sizeof faults / sizeof faults[0]};
