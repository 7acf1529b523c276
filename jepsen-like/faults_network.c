/* Links are cut, packets are delayed, lost, doubled and reordered; clocks jump and drift. */
#include "jepsen-like/nemesis_impl.h"

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
    isolate(n, nemesis_node(n));
}

static void cut_leader(struct nemesis *n)
{
    isolate(n, nemesis_leader(n));
}

static void cut_halves(struct nemesis *n)
{
    unsigned order[NODES_MAX], half = nodes_count() / 2;
    nemesis_shuffle(n, order);
    for (unsigned i = 0; i < half; i++)
        for (unsigned j = half; j < nodes_count(); j++)
            cut_both(order[i], order[j]);
}

/* Every node sees a majority, and no two the same one: each talks to its neighbours on a ring alone. */
static void cut_ring(struct nemesis *n)
{
    unsigned order[NODES_MAX], k = nodes_count();
    nemesis_shuffle(n, order);
    for (unsigned i = 0; i < k; i++)
        for (unsigned j = i + 1; j < k; j++)
            if (j - i > 1 && !(i == 0 && j == k - 1))
                cut_both(order[i], order[j]);
}

/* Two halves that only one node joins. */
static void cut_bridge(struct nemesis *n)
{
    unsigned order[NODES_MAX], half = nodes_count() / 2;
    nemesis_shuffle(n, order);
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
    n->victim = nemesis_leader(n);
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

/* ---- clocks ---- */

static void clock_jump(struct nemesis *n)
{
    static const int seconds[] = {-86400, -3600, -30, -2, 2, 30, 3600, 86400};
    n->victim = rng_below(&n->rng, 2) ? nemesis_leader(n) : nemesis_node(n);
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

static const struct fault faults[] = {
    {.name = "cut-one", .begin = cut_one, .end = heal, .long_only = true},
    {.name = "cut-leader", .begin = cut_leader, .end = heal},
    {.name = "cut-halves", .begin = cut_halves, .end = heal},
    {.name = "cut-ring", .begin = cut_ring, .end = heal},
    {.name = "cut-bridge", .begin = cut_bridge, .end = heal},
    {.name = "cut-link", .begin = cut_link, .end = heal, .long_only = true},
    {.name = "cut-one-way", .begin = cut_one_way, .end = heal},
    {.name = "packets", .begin = shape, .end = heal},
    {.name = "clock-jump", .begin = clock_jump, .end = clocks_back},
    {.name = "clock-drift", .begin = clock_drift, .end = clocks_back},
};
const struct fault_list faults_of_network = {faults, sizeof faults / sizeof faults[0]};
