/* Leadership, votes and members change while mail flows. */
#include "jepsen-like/nemesis_impl.h"

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
    nemesis_whole(n);
    nemesis_kill(n, n->victim = nemesis_node(n));
}

static const struct fault faults[] = {
    {.name = "transfer", .begin = transfer, .end = nemesis_nothing},
    {.name = "churn", .begin = churn, .end = nemesis_nothing},
    {.name = "replace", .begin = replace_begin, .end = replace},
};
const struct fault_list faults_of_members = {faults, sizeof faults / sizeof faults[0]};
