/* Trouble: a subset of all faults, drawn for the seed; one after the other begins, and most end by themselves. */
#include "tests/sim/script.h"

enum {
    VOTER = 1,
    TRAILING_MIN = 20,
    LEASE_MS = 50000,
    THRESHOLD_MIN = 20,
    LIMIT_MAX = 80,
    CLOCK_MAX_MS = 300 * 1000,
    DRIFT_MAX_PPM = 500
};

struct plan plan;
static bool over;

static int64_t ms(uint64_t from, uint64_t to)
{
    return (int64_t)sim_between(from, to) * SIM_MS;
}

/* ---- things that end: a coroutine each ---- */

struct undo {
    int64_t after_us;
    void (*fn)(unsigned a, unsigned b);
    unsigned a, b;
};

static void undo_run(void *arg)
{
    struct undo *u = arg;
    sim_sleep(u->after_us);
    if (!over)
        u->fn(u->a, u->b);
    mem_free(u);
}

static void undo_later(int64_t after_us, void (*fn)(unsigned a, unsigned b), unsigned a, unsigned b)
{
    struct undo *u = mem_zalloc(sizeof *u);
    *u = (struct undo){after_us, fn, a, b};
    sim_spawn(sim_host(0), "undo", undo_run, u);
}

/* ---- processes ---- */

struct crash {
    struct sim_node *node;
    bool power;
    int64_t down_us;
};

/* On the host's own thread, or in an event of its: does not return from the crash. */
static void crash_now(void *arg)
{
    struct crash c = *(struct crash *)arg;
    mem_free(arg);
    if (!over && (c.node->state == NODE_UP || c.node->state == NODE_STARTING || c.node->state == NODE_STOPPING))
        node_crash(c.node, c.power, c.down_us);
}

/* At any moment, or at one of the next steps that its disk takes. */
static void crash_any(bool power)
{
    struct sim_node *n = node_any(sim_chance(900000) ? NODE_UP : NODE_STARTING);
    if (!n)
        return;
    struct crash *c = mem_alloc(sizeof *c);
    *c = (struct crash){n, power, ms(100, sim_chance(200000) ? 8000 : 2000)};
    if (sim_chance(600000))
        sim_disk_watch(n->host, 1 + (unsigned)sim_below(30), crash_now, c);
    else
        crash_now(c);
}

static void fault_crash(void)
{
    crash_any(false);
}

static void fault_power(void)
{
    crash_any(true);
}

static void fault_crash_all(void)
{
    bool power = sim_chance(600000);
    for (unsigned i = 0; i < NODES; i++)
        if (nodes[i].state != NODE_NONE && nodes[i].state != NODE_ASIDE && sim_chance(900000))
            node_crash(&nodes[i], power, ms(100, 1500));
}

static struct sim_node *leader_or_any(void)
{
    struct replication_now now;
    for (unsigned i = 0; i < NODES; i++)
        if (node_now(&nodes[i], &now) && now.is_leader)
            return &nodes[i];
    return node_any(NODE_UP);
}

/* Who leads by preference: what it believes when it wakes up is the question. */
static void fault_pause(void)
{
    struct sim_node *n = sim_chance(600000) ? leader_or_any() : node_any(NODE_UP);
    if (!n)
        return;
    int64_t us = ms(100, plan.pause_max_ms);
    sim_counts.pauses++;
    n->troubled_us = sim_now_us() + us + 8 * SIM_S;
    sim_host_pause(n->host, us);
}

static void fault_stop(void)
{
    struct sim_node *n = node_any(NODE_UP);
    if (n)
        node_stop(n, ms(100, 2000));
}

/* ---- the network ---- */

static void mend(unsigned a, unsigned b)
{
    sim_net_cut(a, b, false);
}

static void cut(unsigned a, unsigned b, int64_t us)
{
    sim_counts.cuts++;
    sim_net_cut(a, b, true);
    undo_later(us, mend, a, b);
}

static void fault_cut_one_way(void)
{
    unsigned a = (unsigned)sim_between(1, NODES), b = (unsigned)sim_between(1, NODES);
    if (a != b)
        cut(a, b, ms(200, 6000));
}

static void cut_groups(unsigned group)
{
    int64_t us = ms(200, 6000);
    for (unsigned a = 1; a <= NODES; a++)
        for (unsigned b = 1; b <= NODES; b++)
            if ((group >> a & 1) != (group >> b & 1))
                cut(a, b, us);
}

/* The leader by preference: who led and is alone must not answer. */
static void fault_cut_host(void)
{
    struct replication_now now;
    unsigned alone = (unsigned)sim_between(1, NODES);
    for (unsigned i = 0; i < NODES && sim_chance(700000); i++)
        if (node_now(&nodes[i], &now) && now.is_leader)
            alone = i + 1;
    cut_groups(1u << alone);
}

static void fault_cut_halves(void)
{
    cut_groups((unsigned)sim_below(1u << (NODES + 1)));
}

static void hush(unsigned a, unsigned b)
{
    sim_net_faults(a, b, NULL);
}

static void fault_noise(void)
{
    struct sim_net_faults f = {.delay_min_us = (unsigned)sim_between(200, 5000)};
    f.delay_max_us = f.delay_min_us + (unsigned)sim_between(1000, sim_chance(300000) ? 200000 : 30000);
    f.loss_ppm = sim_chance(500000) ? (unsigned)sim_below(100000) : 0;
    f.reset_ppm = sim_chance(300000) ? (unsigned)sim_below(20000) : 0;
    f.duplicate_ppm = sim_chance(500000) ? (unsigned)sim_below(200000) : 0;
    f.reorder_ppm = sim_chance(500000) ? (unsigned)sim_below(200000) : 0;
    unsigned only = sim_chance(500000) ? (unsigned)sim_between(1, NODES) : 0;
    int64_t us = ms(500, 8000);
    for (unsigned a = 1; a <= NODES; a++) {
        for (unsigned b = 1; b <= NODES; b++) {
            if (a == b || (only && a != only && b != only))
                continue;
            sim_net_faults(a, b, &f);
            undo_later(us, hush, a, b);
        }
    }
}

/* ---- clocks ---- */

static void fault_clock(void)
{
    unsigned i = (unsigned)sim_between(1, NODES);
    int64_t ahead = (int64_t)sim_below(2 * CLOCK_MAX_MS) - CLOCK_MAX_MS;
    int drift = (int)sim_below(2 * DRIFT_MAX_PPM) - DRIFT_MAX_PPM;
    sim_counts.skews++;
    sim_host_clock(sim_host(i), ahead, drift);
}

/* ---- disks ---- */

static void disk_mend(unsigned i, unsigned b)
{
    (void)b;
    sim_disk_faults(nodes[i].host, NULL);
}

static void disk_faults(struct sim_node *n, struct sim_disk_faults f, int64_t us)
{
    n->troubled_us = sim_now_us() + us + 8 * SIM_S;
    sim_disk_faults(n->host, &f);
    undo_later(us, disk_mend, (unsigned)(n - nodes), 0);
}

static void fault_disk_slow(void)
{
    struct sim_disk_faults f = {.sync_max_us = (unsigned)sim_between(1000, 50000), .torn_ppm = 500000};
    struct sim_node *n = &nodes[sim_below(NODES)];
    f.stall_ppm = sim_chance(500000) ? (unsigned)sim_below(20000) : 0;
    disk_faults(n, f, ms(500, 6000));
}

static void fault_disk_error(void)
{
    struct sim_disk_faults f = {.error_ppm = (unsigned)sim_between(1000, 100000)};
    struct sim_node *n = node_any(NODE_UP);
    if (!n || !cluster_whole())
        return;
    sim_counts.disk_errors++;
    cluster_damaged();
    n->damaged = true;
    disk_faults(n, f, ms(200, 2000));
}

static void fault_disk_full(void)
{
    struct sim_disk_faults f = {.full = true};
    struct sim_node *n = node_any(NODE_UP);
    if (!n)
        return;
    sim_counts.full++;
    disk_faults(n, f, ms(500, 6000));
}

/* Bodies are read at any time, all else at a start. A damaged log may keep the node from starting; metadata must not:
 * they are made anew, and nobody helps. */
static void fault_flip(void)
{
    struct sim_node *n = node_any(NODE_UP);
    enum sim_disk_part part = (enum sim_disk_part)sim_below(SIM_DISK_BODIES + 1);
    if (!n || !cluster_whole())
        return;
    if (part != SIM_DISK_BODIES || sim_chance(500000))
        node_crash(n, sim_chance(500000), ms(100, 1000));
    unsigned bits = part == SIM_DISK_STATE || part == SIM_DISK_INDEX ? 1 + (unsigned)sim_below(64) : 1;
    bool done = false;
    while (bits--)
        done = sim_disk_flip(n->host, part) || done;
    if (!done)
        return;
    cluster_damaged();
    n->damaged = part == SIM_DISK_LOG || part == SIM_DISK_BODIES;
    n->rotten = n->rotten || part == SIM_DISK_BODIES;
}

/* ---- members ---- */

static void fault_add(void)
{
    struct sim_node *n = node_any(NODE_NONE);
    if (!n)
        return;
    n->state = NODE_ASIDE; /* repairs() try again when this fails */
    cluster_join(n);
}

/* A member goes, and its machine comes back under a new name. */
static void fault_remove(void)
{
    struct sim_node *n = node_any(NODE_UP);
    if (!n || !cluster_whole())
        return;
    cluster_damaged();
    n->damaged = true;
    if (sim_chance(500000)) {
        node_crash(n, true, 0);
        n->state = NODE_ASIDE;
        return;
    }
    struct sim_node *at = leader_or_any();
    if (node_member(at, MEMBER_REMOVE, n->name, NULL, 0, false, NULL) == 0) {
        sim_counts.membership++;
        sim_sleep(ms(0, 3000));
    }
    node_crash(n, true, 0);
    n->state = NODE_ASIDE;
}

/* Whatever an operator asks for: it is refused when too few voters would be left. */
static void fault_role(void)
{
    struct replication_now now;
    struct sim_node *n = node_any(NODE_UP), *at = leader_or_any();
    if (!n || !at || !node_now(n, &now))
        return;
    sim_counts.membership++;
    node_member(at, MEMBER_ROLE, n->name, NULL, now.role == VOTER ? 0 : VOTER, false, NULL);
}

static void fault_transfer(void)
{
    struct sim_node *at = node_any(NODE_UP), *to = node_any(NODE_UP);
    if (!at)
        return;
    sim_counts.handovers++;
    node_member(at, LEADER_TRANSFER, sim_chance(500000) ? to->name : NULL, NULL, 0, false, NULL);
}

/* One member says that it knows a newer format: no raise while another lacks it. */
static int format_run(struct sim_node *n, void *arg)
{
    struct client *c = client_new(n);
    struct replication_now now;
    Merlion__Command command = MERLION__COMMAND__INIT;
    Merlion__MemberSet m = MERLION__MEMBER_SET__INIT;
    (void)arg;
    if (!node_now(n, &now))
        return ERR_UNAVAILABLE;
    m.id = now.id;
    m.name = m.address = m.version = "";
    m.format_max = STORE_FORMAT_MAX + 1;
    command.op_case = MERLION__COMMAND__OP_MEMBER_SET;
    command.member_set = &m;
    n->busy++;
    n->between++;
    n->clients++;
    int rc = client_propose(c, &command, NULL);
    n->between--;
    n->busy--;
    n->clients--;
    return rc;
}

static void fault_format(void)
{
    struct sim_node *n = node_any(NODE_UP);
    if (n)
        node_call(n, format_run, NULL, 5 * SIM_S);
}

/* ---- drawing ---- */

static const struct {
    void (*begin)(void);
    unsigned chance_ppm; /* that a seed has it */
    unsigned weight;     /* at most, against others */
} faults[FAULTS] = {
    [FAULT_CRASH] = {fault_crash, 600000, 10},
    [FAULT_POWER] = {fault_power, 500000, 10},
    [FAULT_CRASH_ALL] = {fault_crash_all, 250000, 3},
    [FAULT_PAUSE] = {fault_pause, 350000, 6},
    [FAULT_CUT_ONE_WAY] = {fault_cut_one_way, 400000, 8},
    [FAULT_CUT_HOST] = {fault_cut_host, 500000, 10},
    [FAULT_CUT_HALVES] = {fault_cut_halves, 300000, 6},
    [FAULT_NOISE] = {fault_noise, 500000, 8},
    [FAULT_CLOCK] = {fault_clock, 350000, 5},
    [FAULT_DISK_SLOW] = {fault_disk_slow, 300000, 5},
    [FAULT_DISK_ERROR] = {fault_disk_error, 150000, 4},
    [FAULT_DISK_FULL] = {fault_disk_full, 150000, 4},
    [FAULT_FLIP] = {fault_flip, 200000, 5},
    [FAULT_ADD] = {fault_add, 250000, 4},
    [FAULT_REMOVE] = {fault_remove, 200000, 4},
    [FAULT_ROLE] = {fault_role, 200000, 4},
    [FAULT_TRANSFER] = {fault_transfer, 350000, 8},
    [FAULT_STOP] = {fault_stop, 300000, 5},
    [FAULT_FORMAT] = {fault_format, 100000, 2},
};

void plan_draw(void)
{
    plan = (struct plan){.clients_per_node = (unsigned)sim_between(1, 2),
                         .think_ms = (unsigned)sim_between(100, 800),
                         .standbys = sim_chance(250000) ? (unsigned)sim_between(1, 2) : 0,
                         .pause_max_ms = sim_chance(300000) ? 8000 : 1500,
                         .trouble_us = (int64_t)sim_between(12, 25) * SIM_S,
                         .replace_after_ms = sim_chance(300000) ? (unsigned)sim_between(2000, 8000) : 60000,
                         .large_bodies = sim_chance(300000),
                         .early = sim_chance(500000),
                         .segment_bytes = (unsigned)sim_between(8, 256) << 10,
                         .collect = sim_chance(400000)};
    if (plan.collect && sim_chance(70000)) { /* long enough for leases to end, after anything that was under way */
        plan.lease_ms = LEASE_MS;
        plan.trouble_us = (int64_t)sim_between(80, 100) * SIM_S;
    }
    if (plan.collect) {
        plan.segment_bytes = (unsigned)sim_between(4, 64) << 10;
        plan.collect_ms = sim_chance(500000) ? 150 : 1500;
    }
    if (sim_chance(150000)) /* a rolling upgrade */
        for (unsigned i = 0; i < NODES; i++)
            nodes[i].format_max = sim_chance(400000) ? STORE_FORMAT_MIN : 0;
    if (sim_chance(600000)) {
        plan.snapshot_threshold = (unsigned)sim_between(THRESHOLD_MIN, LIMIT_MAX);
        plan.snapshot_trailing = (unsigned)sim_between(TRAILING_MIN, LIMIT_MAX);
    }
    for (unsigned i = 0; i < FAULTS; i++)
        if (sim_chance(faults[i].chance_ppm))
            plan.weight[i] = (unsigned)sim_between(1, faults[i].weight);
    sim_schedule.yield_ppm = sim_chance(300000) ? (unsigned)sim_below(200000) : 0;
    sim_schedule.hiccup_ppm = sim_chance(300000) ? (unsigned)sim_below(50000) : 0;
    sim_schedule.spurious_ppm = sim_chance(300000) ? (unsigned)sim_below(50000) : 0;
}

static void fault_draw(void)
{
    unsigned total = 0;
    for (unsigned i = 0; i < FAULTS; i++)
        total += plan.weight[i];
    uint64_t at = total ? sim_below(total) : 0;
    for (unsigned i = 0; i < FAULTS; i++) {
        if (at < plan.weight[i]) {
            sim_trace("fault %u", i);
            faults[i].begin();
            return;
        }
        at -= plan.weight[i];
    }
}

/* Whatever was set aside comes back as a new member. */
static void repairs(void)
{
    for (unsigned i = 0; i < NODES; i++)
        if (nodes[i].state == NODE_ASIDE)
            cluster_replace(&nodes[i]);
}

/* A disk that failed and was none the worse for it: its node has all that it had, and goes on. */
static void damage_settle(void)
{
    for (unsigned i = 0; i < NODES; i++)
        if (nodes[i].damaged && cluster_caught_up(&nodes[i]) && sim_now_us() > nodes[i].troubled_us)
            nodes[i].damaged = false;
}

static void supervise_run(void *arg)
{
    (void)arg;
    while (!over) {
        nodes_supervise();
        sim_sleep(100 * SIM_MS);
    }
}

void faults_run(void)
{
    int64_t until = sim_now_us() + plan.trouble_us;
    uint64_t gap_ms = sim_between(200, 2500);
    sim_spawn(sim_host(0), "supervise", supervise_run, NULL);
    while (sim_now_us() < until) {
        sim_sleep(ms(1, 2 * gap_ms));
        fault_draw();
        if (sim_chance(300000))
            repairs();
        damage_settle();
    }
}

void faults_heal(void)
{
    over = true;
    for (unsigned a = 1; a <= NODES; a++) {
        for (unsigned b = 1; b <= NODES; b++) {
            if (a == b)
                continue;
            sim_net_cut(a, b, false);
            sim_net_faults(a, b, NULL);
        }
        sim_disk_faults(nodes[a - 1].host, NULL);
        sim_host_clock(nodes[a - 1].host, 0, 0);
    }
    sim_trace("all is healed");
}
