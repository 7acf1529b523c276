#include "jepsen-like/nemesis.h"

#include "jepsen-like/cluster.h"
#include "jepsen-like/damage.h"
#include "jepsen-like/disk.h"
#include "jepsen-like/message.h"
#include "jepsen-like/net.h"
#include "jepsen-like/smtp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECOVERIES_MAX = 10000, STOP_MS = 20000, REFUSAL_MS = 1000 };

struct nemesis {
    const struct nemesis_options *o;
    struct rng rng;
    unsigned victim;             /* of the fault that is on; 0: several or none */
    bool victims[NODES_MAX + 1]; /* those to start again */
    unsigned recoveries[RECOVERIES_MAX], recovery_n;
};

static unsigned any_node(struct nemesis *n)
{
    return 1 + rng_below(&n->rng, nodes_count());
}

static unsigned leader_or_any(struct nemesis *n)
{
    unsigned leader = cluster_leader();
    return leader ? leader : any_node(n);
}

/* A random order of the nodes. */
static void shuffle(struct nemesis *n, unsigned order[NODES_MAX])
{
    for (unsigned i = 0; i < nodes_count(); i++) {
        unsigned j = rng_below(&n->rng, i + 1);
        order[i] = order[j];
        order[j] = i + 1;
    }
}

static void wait_supervised(unsigned ms)
{
    for (uint64_t end = now_ns() + ms * NS_PER_MS; now_ns() < end; sleep_ms(20))
        nodes_supervise();
}

/* ---- processes: kill, pause, stop ---- */

static void kill_node(struct nemesis *n, unsigned node)
{
    node_signal(node, SIGKILL);
    node_wait(node, 1000);
    n->victims[node] = true;
}

static void kill_one(struct nemesis *n)
{
    kill_node(n, n->victim = any_node(n));
}

static void kill_leader(struct nemesis *n)
{
    kill_node(n, n->victim = leader_or_any(n));
}

static void kill_majority(struct nemesis *n)
{
    unsigned voters[NODES_MAX], k = cluster_voters(voters);
    unsigned skip = k ? rng_below(&n->rng, k) : 0;
    for (unsigned i = 0; i < k; i++)
        if (i != skip)
            node_signal(voters[i], SIGKILL);
    for (unsigned i = 0; i < k; i++)
        if (i != skip)
            kill_node(n, voters[i]);
}

static void kill_all(struct nemesis *n)
{
    for (unsigned node = 1; node <= nodes_count(); node++)
        node_signal(node, SIGKILL);
    for (unsigned node = 1; node <= nodes_count(); node++)
        kill_node(n, node);
}

/* No FIN, no RST: the others learn of it by silence alone. */
static void power_off(struct nemesis *n)
{
    n->victim = any_node(n);
    for (unsigned host = 1; host <= NET_HOSTS_MAX; host++)
        net_cut(n->victim, host, true);
    kill_node(n, n->victim);
}

static void start_all(struct nemesis *n)
{
    for (unsigned node = 1; node <= nodes_count(); node++)
        if (n->victims[node])
            node_start(node);
}

static void pause_one(struct nemesis *n)
{
    node_signal(n->victim = any_node(n), SIGSTOP);
}

static void pause_leader(struct nemesis *n)
{
    node_signal(n->victim = leader_or_any(n), SIGSTOP);
}

static void resume(struct nemesis *n)
{
    node_signal(n->victim, SIGCONT);
}

static void stop_one(struct nemesis *n)
{
    n->victim = leader_or_any(n);
    node_signal(n->victim, SIGTERM);
    node_wait(n->victim, STOP_MS);
    n->victims[n->victim] = true;
}

/* As for an upgrade: each node in turn, the next one when all serve again. */
static void stop_rolling(struct nemesis *n)
{
    unsigned order[NODES_MAX];
    shuffle(n, order);
    for (unsigned i = 0; i < nodes_count(); i++) {
        node_signal(order[i], SIGTERM);
        node_wait(order[i], STOP_MS);
        node_start(order[i]);
        if (nemesis_recovery_ms(RECOVERY_MAX_MS) == 0)
            say("  n%u does not serve after its restart", order[i]);
    }
}

/* ---- the network ---- */

static void cut_both(unsigned a, unsigned b)
{
    net_cut(a, b, true);
    net_cut(b, a, true);
}

/* From the other nodes, and in half of the cases from clients too. */
static void isolate(struct nemesis *n, unsigned node)
{
    unsigned hosts = rng_below(&n->rng, 2) ? NET_HOSTS_MAX : nodes_count();
    n->victim = node;
    for (unsigned host = 1; host <= hosts; host++)
        cut_both(node, host);
}

static void cut_one(struct nemesis *n)
{
    isolate(n, any_node(n));
}

static void cut_leader(struct nemesis *n)
{
    isolate(n, leader_or_any(n));
}

static void cut_halves(struct nemesis *n)
{
    unsigned order[NODES_MAX], half = nodes_count() / 2;
    shuffle(n, order);
    for (unsigned i = 0; i < half; i++)
        for (unsigned j = half; j < nodes_count(); j++)
            cut_both(order[i], order[j]);
}

/* Every node sees a majority, and no two the same one: each talks to its neighbours on a ring alone. */
static void cut_ring(struct nemesis *n)
{
    unsigned order[NODES_MAX], k = nodes_count();
    shuffle(n, order);
    for (unsigned i = 0; i < k; i++)
        for (unsigned j = i + 1; j < k; j++)
            if (j - i > 1 && !(i == 0 && j == k - 1))
                cut_both(order[i], order[j]);
}

/* Two halves that only one node joins. */
static void cut_bridge(struct nemesis *n)
{
    unsigned order[NODES_MAX], half = nodes_count() / 2;
    shuffle(n, order);
    for (unsigned i = 0; i < half; i++)
        for (unsigned j = half + 1; j < nodes_count(); j++)
            cut_both(order[i], order[j]);
}

/* Voters alone: with three of them each link matters. */
static void cut_link(struct nemesis *n)
{
    unsigned voters[NODES_MAX], k = cluster_voters(voters);
    if (k >= 2)
        cut_both(voters[0], voters[1 + rng_below(&n->rng, k - 1)]);
}

static void cut_one_way(struct nemesis *n)
{
    bool from = rng_below(&n->rng, 2);
    n->victim = leader_or_any(n);
    for (unsigned node = 1; node <= nodes_count(); node++)
        net_cut(from ? n->victim : node, from ? node : n->victim, true);
}

static void shape(struct nemesis *n)
{
    struct net_shape s = {0};
    switch (rng_below(&n->rng, 4)) {
    case 0:
        s.delay_ms = (uint16_t)(5 + rng_below(&n->rng, 100));
        s.jitter_ms = (uint16_t)rng_below(&n->rng, 50);
        break;
    case 1:
        s.loss = (uint16_t)(20 + rng_below(&n->rng, 150));
        break;
    case 2:
        s.duplicate = (uint16_t)(50 + rng_below(&n->rng, 300));
        break;
    default:
        s = (struct net_shape){1, 5, 20, 50, 200};
    }
    net_shape_set(nodes_count(), s);
}

static void heal(struct nemesis *n)
{
    (void)n;
    net_heal();
}

static void heal_and_start(struct nemesis *n)
{
    net_heal();
    start_all(n);
}

/* ---- clocks ---- */

static void clock_jump(struct nemesis *n)
{
    static const int seconds[] = {-86400, -3600, -30, -2, 2, 30, 3600, 86400};
    n->victim = rng_below(&n->rng, 2) ? leader_or_any(n) : any_node(n);
    node_clock_set(n->victim, seconds[rng_below(&n->rng, 8)], 0);
}

static void clock_drift(struct nemesis *n)
{
    for (unsigned node = 1; node <= nodes_count(); node++)
        node_clock_set(node, 0, (int)rng_below(&n->rng, 1500000) - 500000);
}

static void clocks_back(struct nemesis *n)
{
    (void)n;
    for (unsigned node = 1; node <= nodes_count(); node++)
        node_clock_set(node, 0, 0);
}

/* ---- administration ---- */

static void ctl_try(const char *const words[])
{
    struct text out = {0};
    for (unsigned node = 1; node <= nodes_count(); node++)
        if (node_running(node)) {
            if (nodes_ctl(node, NULL, &out, words))
                say("mailctl %s %s %s: %.200s", words[0], words[1], words[2] ? words[2] : "", out.p);
            break;
        }
    text_free(&out);
}

static void transfer(struct nemesis *n)
{
    (void)n;
    ctl_try((const char *const[]){"leader", "transfer", NULL});
}

/* A standby gets a vote, a voter loses it, while mail flows. */
static void churn(struct nemesis *n)
{
    unsigned voters[NODES_MAX], k = cluster_voters(voters), standby = 0;
    if (k == 0)
        return;
    unsigned from = voters[rng_below(&n->rng, k)];
    for (unsigned node = 1; node <= nodes_count(); node++) {
        bool votes = false;
        for (unsigned i = 0; i < k; i++)
            votes = votes || voters[i] == node;
        if (!votes && (!standby || rng_below(&n->rng, 2)))
            standby = node;
    }
    if (!standby)
        return;
    ctl_try((const char *const[]){"member", "role", node_name(standby), "voter", NULL});
    ctl_try((const char *const[]){"member", "role", node_name(from), "standby", NULL});
}

static void replace(struct nemesis *n)
{
    cluster_node_replace(n->victim);
}

static void replace_begin(struct nemesis *n)
{
    kill_node(n, n->victim = any_node(n));
}

/* ---- disks ---- */

/* A node's bodies rot while it is down; it must notice and get them from the others. */
static void flip_bodies(struct nemesis *n)
{
    kill_node(n, n->victim = any_node(n));
    unsigned flipped = damage_bodies(node_data(n->victim), 3, &n->rng);
    say("  %u bits flipped in n%u's bodies", flipped, n->victim);
}

/* A log that lies about what was acknowledged must keep the node from voting. Unless it finds nothing wrong (the bits
 * were in space not used), it says so and ends; then its operator makes it anew. */
static void flip_log(struct nemesis *n)
{
    kill_node(n, n->victim = any_node(n));
    unsigned flipped = damage_log(node_data(n->victim), 3, &n->rng);
    say("  %u bits flipped in n%u's log", flipped, n->victim);
}

static void start_or_replace(struct nemesis *n)
{
    nodes_refusal_expect(n->victim, true);
    start_all(n);
    wait_supervised(REFUSAL_MS);
    bool refused = !node_running(n->victim);
    nodes_refusal_expect(n->victim, false);
    if (refused)
        replace(n);
}

/* Below what maild reserves: it must refuse mail and go on. */
static void disk_low(struct nemesis *n)
{
    disk_fill(node_disk(n->victim = leader_or_any(n)), 8 << 10);
}

static void disk_full(struct nemesis *n)
{
    disk_fill(node_disk(n->victim = any_node(n)), 0);
}

static void disk_free(struct nemesis *n)
{
    disk_drain(node_disk(n->victim));
}

static void sync_error(struct nemesis *n)
{
    node_sync_fail(n->victim = rng_below(&n->rng, 2) ? leader_or_any(n) : any_node(n), true);
}

static void sync_good(struct nemesis *n)
{
    node_sync_fail(n->victim, false);
}

static void nothing(struct nemesis *n)
{
    (void)n;
}

static const struct fault {
    const char *name;
    void (*begin)(struct nemesis *n);
    void (*end)(struct nemesis *n);
} faults[] = {
    {"kill-one", kill_one, start_all},
    {"kill-leader", kill_leader, start_all},
    {"kill-majority", kill_majority, start_all},
    {"kill-all", kill_all, start_all},
    {"power-off", power_off, heal_and_start},
    {"pause-one", pause_one, resume},
    {"pause-leader", pause_leader, resume},
    {"stop", stop_one, start_all},
    {"stop-rolling", stop_rolling, nothing},
    {"cut-one", cut_one, heal},
    {"cut-leader", cut_leader, heal},
    {"cut-halves", cut_halves, heal},
    {"cut-ring", cut_ring, heal},
    {"cut-bridge", cut_bridge, heal},
    {"cut-link", cut_link, heal},
    {"cut-one-way", cut_one_way, heal},
    {"packets", shape, heal},
    {"clock-jump", clock_jump, clocks_back},
    {"clock-drift", clock_drift, clocks_back},
    {"transfer", transfer, nothing},
    {"churn", churn, nothing},
    {"replace", replace_begin, replace},
    {"flip-bodies", flip_bodies, start_all},
    {"flip-log", flip_log, start_or_replace},
    {"disk-low", disk_low, disk_free},
    {"disk-full", disk_full, disk_free},
    {"sync-error", sync_error, sync_good},
};
enum { FAULT_N = sizeof faults / sizeof faults[0] };

void nemesis_list(void)
{
    for (unsigned i = 0; i < FAULT_N; i++)
        puts(faults[i].name);
}

/* ---- recovery ---- */

static bool probe(unsigned node)
{
    static uint64_t id;
    static struct rng r = {99};
    struct smtp s = {.c.fd = -1};
    struct text message = {0};
    bool ok = false;
    message_make(&message, "probe", ++id, &r);
    if (smtp_open(&s, node, true, 2000))
        ok = smtp_deliver(&s, "probe", message.p, message.n, 2000) == OUTCOME_OK;
    smtp_free(&s);
    text_free(&message);
    return ok;
}

unsigned nemesis_recovery_ms(unsigned max_ms)
{
    uint64_t start = now_ns(), end = start + max_ms * NS_PER_MS;
    for (unsigned node = 1; node <= nodes_count();) {
        nodes_supervise();
        if (probe(node))
            node++;
        else if (now_ns() > end)
            return 0;
        else
            sleep_ms(20);
    }
    return (unsigned)((now_ns() - start) / NS_PER_MS) + 1;
}

static int unsigned_compare(const void *a, const void *b)
{
    const unsigned *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void recovery_note(struct nemesis *n, struct nemesis_result *r, const char *name)
{
    unsigned ms = nemesis_recovery_ms(RECOVERY_MAX_MS);
    if (ms == 0) {
        r->late++;
        say("FOUND no recovery within %d ms after %s", RECOVERY_MAX_MS, name);
        ms = RECOVERY_MAX_MS;
    }
    say("  served by all %u ms after %s", ms, name);
    if (n->recovery_n < RECOVERIES_MAX)
        n->recoveries[n->recovery_n++] = ms;
}

/* ---- the loop ---- */

static void fault_run(struct nemesis *n, struct nemesis_result *r, const struct fault *f)
{
    unsigned ms = n->o->fault_ms / 3 + rng_below(&n->rng, n->o->fault_ms * 2 / 3 + 1);
    n->victim = 0;
    memset(n->victims, 0, sizeof n->victims);
    f->begin(n);
    say("%s for %u ms%s%.0u", f->name, ms, n->victim ? ": n" : "", n->victim);
    wait_supervised(ms);
    f->end(n);
    r->faults++;
    recovery_note(n, r, f->name);
    wait_supervised(n->o->calm_ms / 2 + rng_below(&n->rng, n->o->calm_ms + 1));
}

static bool wanted(const struct nemesis_options *o, const struct fault *f)
{
    if (!o->disks && (f->begin == disk_low || f->begin == disk_full))
        return false;
    return !o->only || strcmp(o->only, f->name) == 0;
}

void nemesis_run(const struct nemesis_options *o, struct nemesis_result *r)
{
    struct nemesis *n = xzalloc(sizeof *n);
    unsigned order[FAULT_N], rounds = 0;
    uint64_t end = now_ns() + o->seconds * NS_PER_S;
    *r = (struct nemesis_result){0};
    n->o = o;
    n->rng.state = o->seed;
    for (bool on = true; on; rounds++) {
        unsigned k = 0;
        for (unsigned i = 0; i < FAULT_N; i++)
            if (wanted(o, &faults[i])) {
                unsigned j = rng_below(&n->rng, k + 1);
                order[k] = order[j];
                order[j] = i;
                k++;
            }
        if ((r->kinds = k) == 0)
            fail("there is no fault with that name; --list-faults tells them");
        for (unsigned i = 0; i < k && (on = now_ns() < end || rounds < o->rounds_min); i++)
            fault_run(n, r, &faults[order[i]]);
        r->least += on;
    }
    qsort(n->recoveries, n->recovery_n, sizeof n->recoveries[0], unsigned_compare);
    if (n->recovery_n) {
        r->recovery_p50_ms = n->recoveries[n->recovery_n / 2];
        r->recovery_p99_ms = n->recoveries[(n->recovery_n * 99 - 1) / 100];
        r->recovery_max_ms = n->recoveries[n->recovery_n - 1];
    }
    free(n);
}
