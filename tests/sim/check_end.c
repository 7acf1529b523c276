/* When all is quiet: every replica is whole, and has every body. Blocks; from a coroutine of the scripts' host. */
#include "tests/sim/check.h"

#include "node/base/err.h"
#include "store/blob.h"
#include "tests/sim/script.h"

enum { HEAL_S = 20, LOOK_MS = 200 };

/* ---- bodies: made from a serial number, so that each is another ---- */

struct body_hash check_body_make(uint64_t serial, size_t n, struct bytes **body_r)
{
    struct bytes *b = bytes_new(n);
    int head = snprintf((char *)b->p, n, "Subject: %llu\r\n\r\n", (unsigned long long)serial);
    uint64_t x = serial * 0x9e3779b97f4a7c15;
    for (size_t i = (size_t)head; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        b->p[i] = (uint8_t)(x % 7 ? 'a' + x % 23 : '\n');
    }
    *body_r = b;
    return body_hash_of(bytes_slice(b));
}

/* A host that does not run may have it. Three voters or more: a majority is two at least. */
void check_body_durable(const struct body_hash *hash)
{
    unsigned there = 0;
    sim_counts.bodies++;
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].damaged || nodes[i].rotten || nodes[i].state == NODE_ASIDE)
            return; /* one disk may have lost it: it is healed from the others */
        if (nodes[i].state == NODE_UP)
            there += blob_has(nodes[i].blobs, hash);
        else
            there += nodes[i].state != NODE_NONE;
    }
    if (there < 2)
        sim_fail(&sim_counts.lost, "a body is said to be on a majority's disks, and is on %u", there);
}

/* Reading finds damage, and damage is healed from a peer. */
static int body_there(const struct check_replica *at, const struct body_hash *hash)
{
    struct bytes *body;
    int rc = blob_read(at->blobs, hash, &body);
    if (rc != 0)
        return rc;
    struct body_hash have = body_hash_of(bytes_slice(body));
    bytes_unref(&body);
    return body_hash_eq(&have, hash) ? 0 : ERR_CORRUPT;
}

static unsigned bodies_missing(const struct check_replica *at, int *rc_r)
{
    unsigned missing = 0;
    for (unsigned i = 0; i < model.mailbox_n; i++) {
        for (unsigned k = 0; !model.mailboxes[i].gone && k < model.mailboxes[i].n; k++) {
            int rc = body_there(at, &model.mailboxes[i].at[k].hash);
            if (rc != 0)
                *rc_r = rc;
            missing += rc != 0;
        }
    }
    return missing;
}

struct end_call {
    struct check_replica at;
    unsigned missing;
    int rc;
    bool moved; /* something was committed meanwhile */
};

/* On its host: the copy of a store and its log are that host's. */
static int replica_bodies(struct sim_node *n, void *arg)
{
    struct end_call *c = arg;
    (void)n;
    c->missing = bodies_missing(&c->at, &c->rc);
    return 0;
}

static int replica_state(struct sim_node *n, void *arg)
{
    struct end_call *c = arg;
    struct sum128 digest;
    struct store_position p;
    struct store_view *v;
    (void)n;
    if (store_scrub(c->at.store, &digest) != 0)
        sim_fail(&sim_counts.diverged, "host %u: the state is not what its digest says", c->at.host);
    store_position(c->at.store, &p);
    c->moved = p.index != model.frontier;
    if (c->moved)
        return 0;
    if (store_view_open(c->at.store, &v) != 0)
        sim_fail(&sim_counts.other, "host %u has no view", c->at.host);
    check_whole(v);
    store_view_close(&v);
    return 0;
}

static void bodies_check(struct end_call *c)
{
    struct sim_node *n = &nodes[c->at.host - 1];
    int64_t until = sim_now_us() + (int64_t)HEAL_S * SIM_S;
    for (;;) {
        node_call(n, replica_bodies, c, SIM_S);
        if (c->missing == 0)
            return;
        if (sim_now_us() > until)
            sim_fail(&sim_counts.lost, "host %u lacks %u bodies: %s", c->at.host, c->missing, err_name(c->rc));
        sim_sleep(LOOK_MS * SIM_MS);
    }
}

bool check_end(const struct check_replica *at, unsigned n)
{
    if (n < 3)
        sim_fail(&sim_counts.other, "only %u nodes are left", n);
    for (unsigned i = 0; i < n; i++) {
        struct end_call *c = mem_zalloc(sizeof *c);
        c->at = at[i];
        if (node_call(&nodes[at[i].host - 1], replica_state, c, SIM_S) != 0)
            sim_fail(&sim_counts.other, "host %u could not be looked at", at[i].host);
        if (c->moved)
            return false;
        bodies_check(c);
    }
    return true;
}
