/* The cluster: made, extended, replaced in parts; when it is whole, when it is settled. */
#include "tests/sim/script.h"

enum { FORM_S = 60, LOOK_MS = 50, INIT_US = 5 * SIM_S };

static uint64_t damage_index; /* where the log was when a disk was damaged last */

/* ---- forming ---- */

struct ca {
    char *cert, *key;
};

static int init_run(struct sim_node *n, void *arg)
{
    struct ca *ca = arg;
    struct err_detail e = {""};
    int rc = replication_cluster_init(sim_disk_dir(n->host), n->name, n->address, &ca->cert, &ca->key, &e);
    if (rc != 0)
        sim_fail(&sim_counts.other, "cluster init: %s: %s", err_name(rc), e.text);
    return rc;
}

static int first_settings(struct sim_node *n, void *arg)
{
    struct ca *ca = arg;
    struct client *c = client_new(n);
    char address[64];
    n->between++;
    int rc = client_setting(c, "ca.cert", ca->cert);
    if (rc == 0)
        rc = client_setting(c, "ca.key", ca->key);
    if (rc == 0)
        rc = client_domain_add(c, "sim.test");
    for (unsigned i = 0; rc == 0 && i < ACCOUNTS; i++) {
        snprintf(address, sizeof address, "user%u@sim.test", i);
        rc = client_user_add(c, address);
    }
    n->between--;
    client_free(&c);
    return rc;
}

static bool leads(const struct sim_node *n)
{
    struct replication_now now;
    return node_now(n, &now) && now.is_leader;
}

static bool formed(unsigned n)
{
    struct replication_now now;
    unsigned voters = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!node_now(&nodes[i], &now) || !now.has_leader || now.role < 0 || now.syncing)
            return false;
        voters += now.role == 1;
    }
    if (voters < 3)
        return false;
    for (unsigned i = 0; i < model.account_n; i++)
        if (!model.accounts[i].known)
            return false;
    return model.account_n == ACCOUNTS;
}

void cluster_form(void)
{
    static struct ca ca;
    unsigned n = 3 + plan.standbys;
    int64_t until = sim_now_us() + (int64_t)FORM_S * SIM_S;
    node_call(&nodes[0], init_run, &ca, INIT_US);
    node_start(&nodes[0]);
    while (!leads(&nodes[0]))
        sim_sleep(LOOK_MS * SIM_MS);
    int rc = node_call(&nodes[0], first_settings, &ca, INIT_US);
    if (rc != 0)
        sim_fail(&sim_counts.other, "the first settings: %s", err_name(rc));
    for (unsigned i = 1; i < n; i++)
        while (!cluster_join(&nodes[i]) && sim_now_us() < until)
            sim_sleep(LOOK_MS * SIM_MS);
    while (!formed(n)) {
        if (sim_now_us() > until)
            sim_fail(&sim_counts.other, "the cluster did not form within %d s", FORM_S);
        nodes_supervise();
        sim_sleep(LOOK_MS * SIM_MS);
    }
}

/* ---- joining ---- */

struct join {
    char *token;
};

static int join_run(struct sim_node *n, void *arg)
{
    struct join *j = arg;
    struct err_detail e = {""};
    int rc = replication_join(sim_disk_dir(n->host), n->name, j->token, &e);
    sim_trace("host %u joins as %s: %s %s", sim_host_index(n->host), n->name, err_name(rc), e.text);
    return rc;
}

bool cluster_join(struct sim_node *n)
{
    struct sim_node *at = node_any(NODE_UP);
    struct join *j = mem_zalloc(sizeof *j);
    if (!at || node_member(at, MEMBER_INVITE, n->name, n->address, 0, false, &j->token) != 0 || !j->token)
        return false;
    sim_counts.membership++;
    n->damaged = false;
    int rc = node_call(n, join_run, j, INIT_US);
    if (rc != 0)
        return false;
    node_start(n);
    return true;
}

static void name_next(struct sim_node *n)
{
    snprintf(n->name, sizeof n->name, "n%u-%u", sim_host_index(n->host), ++n->generation);
}

struct holder {
    char address[64], name[64];
};

static bool holder_seen(void *arg, const struct store_member *m)
{
    struct holder *h = arg;
    if (slice_eq(m->address, slice_str(h->address)))
        snprintf(h->name, sizeof h->name, "%.*s", (int)m->name.n, (const char *)m->name.p);
    return !*h->name;
}

static int holder_find(struct sim_node *n, void *arg)
{
    struct store_view *v;
    if (n->state != NODE_UP || store_view_open(n->store, &v) != 0)
        return ERR_UNAVAILABLE;
    store_member_each(v, holder_seen, arg);
    store_view_close(&v);
    return 0;
}

/* An invitation whose answer was lost may take effect after its name was found to be nobody's: the list of members
 * shows it, and the operator removes it. */
static void address_clear(struct sim_node *n)
{
    struct sim_node *at = node_any(NODE_UP);
    struct holder *h = mem_zalloc(sizeof *h); /* left behind when its host dies */
    memcpy(h->address, n->address, sizeof h->address);
    if (at && node_call(at, holder_find, h, SIM_S) == 0 && *h->name && strcmp(h->name, n->name) != 0)
        node_member(at, MEMBER_REMOVE, h->name, NULL, 0, false, NULL);
}

bool cluster_replace(struct sim_node *n)
{
    struct sim_node *at = node_any(NODE_UP);
    if (!at)
        return false;
    int rc = node_member(at, MEMBER_REMOVE, n->name, NULL, 0, false, NULL);
    if (rc != 0 && rc != ERR_NOTFOUND)
        return false;
    sim_counts.membership++;
    node_wipe(n);
    name_next(n);
    for (unsigned tries = 0; tries < 20; tries++) {
        if (tries > 0)
            address_clear(n);
        if (cluster_join(n))
            return true;
        sim_sleep(500 * SIM_MS);
    }
    return false;
}

/* ---- whole, settled ---- */

bool cluster_whole(void)
{
    struct replication_now now;
    unsigned voters = 0;
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].state == NODE_NONE)
            continue;
        if (!node_now(&nodes[i], &now) || !now.has_leader || now.syncing || now.missing || now.refused ||
            nodes[i].damaged || nodes[i].rotten || now.applied < damage_index)
            return false;
        voters += now.role == 1;
    }
    return voters >= 3;
}

bool cluster_caught_up(const struct sim_node *n)
{
    struct replication_now now;
    return node_now(n, &now) && now.applied >= damage_index;
}

void cluster_damaged(void)
{
    damage_index = model.frontier;
}

const char *cluster_unsettled(void)
{
    struct replication_now now;
    struct store_position first = {0}, p;
    static char text[128];
    unsigned n = 0;
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].state == NODE_NONE)
            continue;
        if (!node_now(&nodes[i], &now)) {
            snprintf(text, sizeof text, "host %u does not run (%d)", i + 1, (int)nodes[i].state);
            return text;
        }
        store_position(nodes[i].store, &p);
        if (n++ == 0)
            first = p;
        if (!now.has_leader || now.role < 0 || now.syncing || now.missing || now.disk_full || now.refused ||
            p.index != first.index || p.index != model.frontier) {
            snprintf(text, sizeof text,
                     "host %u: leader %d, syncing %d, missing %llu, full %d, refused %d, role %d, at %llu of %llu",
                     i + 1, now.has_leader, now.syncing, (unsigned long long)now.missing, now.disk_full, now.refused,
                     now.role, (unsigned long long)p.index, (unsigned long long)model.frontier);
            return text;
        }
    }
    return NULL;
}
