/* A seed's history, from the first start to the last look. */
#include "tests/sim/script.h"

enum { SETTLE_S = 60, LOOK_MS = 100, LOOKS_MAX = 20 };

bool script_finished;

static void clients_begin(void)
{
    script_clients = script_queue = true;
    for (unsigned i = 0; i < NODES; i++)
        if (nodes[i].state == NODE_UP)
            node_sessions(&nodes[i]);
}

/* All is healed: what is down starts, what was set aside comes back, sessions go on; then they end. */
static void settle(void)
{
    int64_t until = sim_now_us() + (int64_t)SETTLE_S * SIM_S;
    int64_t quiet = sim_now_us() + (int64_t)sim_between(500, 3000) * SIM_MS;
    const char *why = "";
    for (;;) {
        nodes_supervise();
        for (unsigned i = 0; i < NODES; i++)
            if (nodes[i].state == NODE_ASIDE)
                cluster_replace(&nodes[i]);
        if (sim_now_us() > quiet)
            script_clients = false;
        if (!script_clients && sessions_ended(false) && model_queue_empty())
            script_queue = false;
        why = cluster_unsettled();
        if (!why && sim_now_us() > quiet && sessions_ended(true))
            return;
        if (sim_now_us() > until)
            sim_fail(&sim_counts.other, "no convergence %d s after all was healed: %s", SETTLE_S,
                     why            ? why
                     : script_queue ? model_queue_left()
                                    : "sessions go on");
        sim_sleep(LOOK_MS * SIM_MS);
    }
}

/* Whoever leads in the end can change members: one that was there all the time takes over, and a new one joins. */
static void one_more(void)
{
    struct sim_node *to = node_any(NODE_UP), *n = node_any(NODE_NONE);
    if (!to || !n || !sim_chance(250000))
        return;
    node_member(to, LEADER_TRANSFER, to->name, NULL, 0, false, NULL);
    n->state = NODE_ASIDE; /* settle() takes it up */
    settle();
}

/* The leader may change members still, though all are level: then once more. */
static void last_look(void)
{
    for (unsigned looks = 0; looks < LOOKS_MAX; looks++) {
        struct check_replica at[NODES];
        unsigned n = 0;
        for (unsigned i = 0; i < NODES; i++)
            if (nodes[i].state == NODE_UP)
                at[n++] = (struct check_replica){i + 1, nodes[i].store, nodes[i].blobs};
        if (check_end(at, n))
            return;
        settle();
    }
    sim_fail(&sim_counts.other, "the log goes on though nobody writes");
}

void script_main(void *arg)
{
    (void)arg;
    nodes_init();
    plan_draw();
    cluster_form();
    clients_begin();
    faults_run();
    faults_heal();
    settle();
    one_more();
    last_look();
    script_finished = true;
    sim_end();
}
