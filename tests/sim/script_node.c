/* A node on its host: put together as node/ does it, started, stopped, crashed. */
#include "tests/sim/script.h"

enum { RESTART_MS = 200, MAP_BYTES = 64 << 20, COLLECT_MS = 1500, RESERVE_BYTES = 1 << 20, WRITE_WAIT_MS = 8000 };

struct sim_node nodes[NODES];
bool script_clients, script_queue;

void nodes_init(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i] = (struct sim_node){.host = sim_host(i + 1)};
        snprintf(nodes[i].name, sizeof nodes[i].name, "n%u", i + 1);
        snprintf(nodes[i].address, sizeof nodes[i].address, "host%u:7000", i + 1);
    }
}

struct sim_node *node_any(enum node_state state)
{
    struct sim_node *found = NULL;
    unsigned seen = 0;
    for (unsigned i = 0; i < NODES; i++)
        if (nodes[i].state == state && sim_below(++seen) == 0)
            found = &nodes[i];
    return found;
}

bool node_now(const struct sim_node *n, struct replication_now *now_r)
{
    if (n->state != NODE_UP)
        return false;
    replication_now(n->r, now_r);
    return true;
}

static void down(struct sim_node *n, int64_t for_us)
{
    n->state = NODE_DOWN;
    n->store = NULL;
    n->blobs = NULL;
    n->r = NULL;
    n->clients = n->sessions = n->busy = n->between = 0;
    n->down_until_us = sim_now_us() + for_us;
}

/* ---- start ---- */

static bool excused(const struct sim_node *n)
{
    return n->damaged || sim_now_us() < n->troubled_us;
}

static void ended_by_itself(void *arg, int status, const char *why)
{
    struct sim_node *n = arg;
    sim_trace("host %u ends: %s: %s", sim_host_index(n->host), err_name(status), why);
    if (!excused(n))
        sim_fail(&sim_counts.other, "the node ended by itself: %s: %s", err_name(status), why);
    down(n, (int64_t)sim_between(RESTART_MS, 1000) * SIM_MS);
    sim_host_crash(n->host, false);
}

static void start_failed(struct sim_node *n, int status, const struct err_detail *e)
{
    sim_trace("host %u does not start: %s: %s", sim_host_index(n->host), err_name(status), e->text);
    if (!excused(n))
        sim_fail(&sim_counts.other, "a node that nothing happened to does not start: %s: %s", err_name(status),
                 e->text);
    down(n, (int64_t)sim_between(RESTART_MS, 1000) * SIM_MS);
    if (n->damaged && status == ERR_CORRUPT)
        n->state = NODE_ASIDE;
    sim_host_crash(n->host, false);
}

/* For leases alone: they are much longer than clocks may differ. */
static int64_t true_ms(void)
{
    return sim_now_us() / SIM_MS + (int64_t)1000 * 1000 * 1000;
}

static void damage_met(void *arg, const char *what)
{
    ended_by_itself(arg, ERR_CORRUPT, what);
}

/* As node/check.c does before each start. */
static int state_check(struct sim_node *n, const char *dir, struct err_detail *e)
{
    struct err_detail found = {""};
    int status = store_check_files(dir, false, NULL, &found);
    if (status != ERR_CORRUPT)
        return status ? err_set(e, status, "%s", found.text) : 0;
    sim_trace("host %u sets its state aside: %s", sim_host_index(n->host), found.text);
    sim_counts.healed++;
    return store_set_aside(dir, e);
}

static int parts_open(struct sim_node *n, struct store **s_r, struct blob_log **b_r, struct replication **r_r,
                      struct err_detail *e)
{
    const char *dir = sim_disk_dir(n->host);
    struct store_options so = {.map_size = MAP_BYTES, .damaged = damage_met, .arg = n};
    struct blob_options bo = {.segment_bytes = plan.segment_bytes,
                              .lease_ms = plan.lease_ms,
                              .reserve_bytes = RESERVE_BYTES,
                              .now_ms = true_ms};
    struct replication_config rc = {.data_dir = dir,
                                    .name = n->name,
                                    .listen = n->address,
                                    .advertise = n->address,
                                    .write_wait_ms = WRITE_WAIT_MS,
                                    .snapshot_threshold = plan.snapshot_threshold,
                                    .snapshot_trailing = plan.snapshot_trailing,
                                    .replace_after_ms = plan.replace_after_ms,
                                    .format_max = n->format_max,
                                    .disk_reserve_bytes = RESERVE_BYTES,
                                    .arg = n,
                                    .fatal = ended_by_itself};
    int status = state_check(n, dir, e);
    if (status == 0)
        status = store_open(dir, &so, s_r, e);
    if (status == 0)
        status = blob_open(dir, &bo, b_r, e);
    return status ? status : replication_start(&rc, *s_r, *b_r, r_r, e);
}

/* ---- freeing the space of bodies, as node/janitor.c does ---- */

static bool body_live(void *arg, const struct body_hash *hash)
{
    struct sim_node *n = arg;
    struct store_view *v;
    struct store_content content;
    if (store_view_open(n->store, &v) != 0)
        return true;
    bool live = store_content_get(v, hash, &content) == 0;
    store_view_close(&v);
    return live;
}

static bool references_known(struct sim_node *n)
{
    struct replication_now now;
    return node_now(n, &now) && now.level;
}

static void janitor_run(void *arg)
{
    struct sim_node *n = arg;
    while (n->state == NODE_UP && script_clients) {
        sim_sleep((int64_t)sim_below(2 * plan.collect_ms) * SIM_MS);
        while (references_known(n) && blob_collect(n->blobs, body_live, n) > 0)
            sim_counts.collected++;
    }
    n->clients--;
}

void node_sessions(struct sim_node *n)
{
    for (unsigned i = 0; i < plan.clients_per_node; i++)
        client_spawn(n);
    n->clients++;
    sim_spawn(n->host, "queue", client_queue_run, n);
    if (!plan.collect)
        return;
    n->clients++;
    sim_spawn(n->host, "janitor", janitor_run, n);
}

/* Whatever its clock and its disk do. */
static void number_check(struct sim_node *n)
{
    struct replication_now now;
    replication_now(n->r, &now);
    if (now.id == n->id && now.boot <= n->boot)
        sim_fail(&sim_counts.other, "a start has number %llu, an earlier one had %llu", (unsigned long long)now.boot,
                 (unsigned long long)n->boot);
    n->id = now.id;
    n->boot = now.boot;
}

static void start_run(void *arg)
{
    struct sim_node *n = arg;
    struct err_detail e = {""};
    struct store *s = NULL;
    struct blob_log *b = NULL;
    struct replication *r = NULL;
    int status = parts_open(n, &s, &b, &r, &e);
    if (status != 0) {
        start_failed(n, status, &e);
        return;
    }
    n->store = s;
    n->blobs = b;
    n->r = r;
    n->state = NODE_UP;
    sim_trace("host %u is up", sim_host_index(n->host));
    number_check(n);
    if (script_queue)
        node_sessions(n);
}

void node_start(struct sim_node *n)
{
    n->state = NODE_STARTING;
    if (n->format_max && sim_chance(300000))
        n->format_max = 0; /* of the new build from now on */
    sim_counts.restarts++;
    sim_spawn(n->host, "main", start_run, n);
}

/* The format was raised while it was not a member yet: it is told to install a later build. */
static bool outdated(const struct sim_node *n)
{
    return n->state == NODE_UP && n->format_max && n->format_max < check_format();
}

void nodes_supervise(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].state == NODE_DOWN && nodes[i].down_until_us <= sim_now_us())
            node_start(&nodes[i]);
        if (outdated(&nodes[i])) {
            nodes[i].format_max = 0;
            node_stop(&nodes[i], 0);
        }
    }
}

bool sessions_ended(bool all)
{
    for (unsigned i = 0; i < NODES; i++)
        if ((all ? nodes[i].clients : nodes[i].sessions) > 0)
            return false;
    return true;
}

/* ---- end ---- */

void node_crash(struct sim_node *n, bool power, int64_t down_us)
{
    ++*(power ? &sim_counts.power_cuts : &sim_counts.crashes);
    bool aside = n->state == NODE_ASIDE;
    down(n, down_us);
    if (aside)
        n->state = NODE_ASIDE;
    sim_host_crash(n->host, power);
}

void node_wipe(struct sim_node *n)
{
    down(n, 0);
    n->state = NODE_ASIDE; /* until it has joined again */
    n->damaged = n->rotten = false;
    sim_host_crash(n->host, true);
    sim_disk_wipe(n->host);
}

static void stop_run(void *arg)
{
    struct sim_node *n = arg;
    sim_sleep((int64_t)sim_below(300) * SIM_MS);
    while (n->between > 0) /* whoever is not blocked may be about to ask */
        sim_sleep(SIM_MS);
    struct replication *r = n->r;
    replication_stop(&r);
    n->r = NULL;
    while (n->clients > 0)
        sim_sleep(SIM_MS);
    blob_close(&n->blobs);
    store_close(&n->store);
    down(n, n->down_until_us - sim_now_us());
    sim_host_crash(n->host, false);
}

void node_stop(struct sim_node *n, int64_t down_us)
{
    sim_counts.handovers++;
    n->state = NODE_STOPPING;
    n->down_until_us = sim_now_us() + down_us;
    sim_spawn(n->host, "stop", stop_run, n);
}
