/* Disks lose their power, rot, fill up and fail. */
#include "jepsen-like/damage.h"
#include "jepsen-like/disk.h"
#include "jepsen-like/nemesis_impl.h"

/* ---- power cuts: what was not synced is gone ---- */

/* All at the same moment, as far as they can tell: none acts or answers between the end of its disk and its own. */
static void power_cut(struct nemesis *n, const unsigned *nodes, unsigned k)
{
    for (unsigned i = 0; i < k; i++)
        node_freeze(nodes[i]);
    for (unsigned i = 0; i < k; i++)
        disk_power_cut(node_disk(nodes[i]));
    for (unsigned i = 0; i < k; i++)
        nemesis_kill(n, nodes[i]);
    for (unsigned i = 0; i < k; i++)
        disk_power_on(node_disk(nodes[i]));
}

/* No FIN, no RST: the others learn of it by silence alone. */
static void power_off(struct nemesis *n)
{
    n->victim = rng_below(&n->rng, 2) ? nemesis_leader(n) : nemesis_node(n);
    for (unsigned host = 1; host <= NET_HOSTS_MAX; host++)
        net_cut(n->victim, host, true);
    power_cut(n, &n->victim, 1);
}

static void power_on(struct nemesis *n)
{
    net_heal();
    nemesis_start_killed(n);
}

static void power_off_majority(struct nemesis *n)
{
    unsigned voters[NODES_MAX], k = nemesis_majority(n, voters);
    power_cut(n, voters, k);
}

static void power_off_all(struct nemesis *n)
{
    unsigned nodes[NODES_MAX];
    for (unsigned i = 0; i < nodes_count(); i++)
        nodes[i] = i + 1;
    power_cut(n, nodes, nodes_count());
}

/* ---- rot, space, errors ---- */

/* A node's bodies rot while it is down; it must notice and get them from the others. */
static void flip_bodies(struct nemesis *n)
{
    nemesis_kill(n, n->victim = nemesis_node(n));
    unsigned flipped = damage_bodies(node_data(n->victim), 3, &n->rng);
    say("  %u bits flipped in n%u's bodies", flipped, n->victim);
}

/* A log that lies about what was acknowledged must keep the node from voting. Unless it finds nothing wrong (the bits
 * were in space not used), it says so and ends; then its operator makes it anew. */
static void flip_log(struct nemesis *n)
{
    nemesis_whole(n);
    nemesis_kill(n, n->victim = nemesis_node(n));
    unsigned flipped = damage_log(node_data(n->victim), 3, &n->rng);
    say("  %u bits flipped in n%u's log", flipped, n->victim);
}

static void start_or_replace(struct nemesis *n)
{
    nodes_refusal_expect(n->victim, true);
    nemesis_start_killed(n);
    for (uint64_t end = now_ns() + RECOVERY_MAX_MS * NS_PER_MS; now_ns() < end && node_running(n->victim);) {
        if (nemesis_serves(n->victim))
            break;
        nemesis_wait(50);
    }
    bool refused = !node_running(n->victim);
    nodes_refusal_expect(n->victim, false);
    if (refused)
        cluster_node_replace(n->victim);
}

/* A node's metadata rot while it is down. It must notice before it serves anything, and make them anew from the others:
 * nobody helps it. More bits than elsewhere, as many pages are free. */
static void flip_state(struct nemesis *n)
{
    nemesis_whole(n);
    nemesis_kill(n, n->victim = rng_below(&n->rng, 2) ? nemesis_leader(n) : nemesis_node(n));
    unsigned which = rng_below(&n->rng, 4), bits = 1 + rng_below(&n->rng, 32), state = 0, index = 0;
    if (which > 0)
        state = damage_state(node_data(n->victim), bits, &n->rng);
    if (which < 2)
        index = damage_index(node_data(n->victim), bits, &n->rng);
    say("  %u bits flipped in n%u's state, %u in its index", state, n->victim, index);
}

/* Below what maild reserves: it must refuse mail and go on. */
static void disk_low(struct nemesis *n)
{
    disk_fill(node_disk(n->victim = nemesis_leader(n)), 8 << 10);
}

static void disk_full(struct nemesis *n)
{
    disk_fill(node_disk(n->victim = nemesis_node(n)), 0);
}

static void disk_free(struct nemesis *n)
{
    disk_drain(node_disk(n->victim));
}

static void sync_error(struct nemesis *n)
{
    node_sync_fail(n->victim = rng_below(&n->rng, 2) ? nemesis_leader(n) : nemesis_node(n), true);
}

static void sync_good(struct nemesis *n)
{
    node_sync_fail(n->victim, false);
}

static const struct fault faults[] = {
    {.name = "power-off", .begin = power_off, .end = power_on, .disks = true},
    {.name = "power-off-majority", .begin = power_off_majority, .end = power_on, .disks = true},
    {.name = "power-off-all", .begin = power_off_all, .end = power_on, .disks = true},
    {.name = "flip-bodies", .begin = flip_bodies, .end = nemesis_start_killed},
    {.name = "flip-state", .begin = flip_state, .end = nemesis_start_killed},
    {.name = "flip-log", .begin = flip_log, .end = start_or_replace},
    {.name = "disk-low", .begin = disk_low, .end = disk_free, .disks = true},
    {.name = "disk-full", .begin = disk_full, .end = disk_free, .disks = true},
    {.name = "sync-error", .begin = sync_error, .end = sync_good},
};
const struct fault_list faults_of_disks = {faults, sizeof faults / sizeof faults[0]};
