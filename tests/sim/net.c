/* Packets between hosts in simulated time, and what may befall them. A connection is TCP's: in order, and what was not
 * acknowledged counts as queued; but a frame may vanish while it stays up, which TCP never does: what is above must
 * stand that too. */
#include "tests/sim/net.h"

#include "replication/link.h"

#include <string.h>

enum { DELAY_MIN_US = 200, DELAY_MAX_US = 1000, CRASH_SILENT_PPM = 500000 };

static const struct sim_net_faults calm = {.delay_min_us = DELAY_MIN_US, .delay_max_us = DELAY_MAX_US};
static struct sim_net_faults faults[SIM_HOSTS_MAX][SIM_HOSTS_MAX];
static bool faulty[SIM_HOSTS_MAX][SIM_HOSTS_MAX], cuts[SIM_HOSTS_MAX][SIM_HOSTS_MAX];
/* It died without a word, and answers nobody until its next life listens. */
static bool silent[SIM_HOSTS_MAX];

/* All that live, for crashes. */
static struct net_conn **conns;
static size_t conns_n, conns_cap;

/* ---- what scripts set ---- */

void sim_net_cut(unsigned from, unsigned to, bool cut)
{
    ENSURE(from < SIM_HOSTS_MAX && to < SIM_HOSTS_MAX);
    if (cuts[from][to] != cut)
        sim_trace("net %u>%u %s", from, to, cut ? "cut" : "healed");
    cuts[from][to] = cut;
}

void sim_net_faults(unsigned from, unsigned to, const struct sim_net_faults *f)
{
    ENSURE(from < SIM_HOSTS_MAX && to < SIM_HOSTS_MAX);
    faulty[from][to] = f != NULL;
    if (f)
        faults[from][to] = *f;
}

static const struct sim_net_faults *faults_of(unsigned from, unsigned to)
{
    return faulty[from][to] ? &faults[from][to] : &calm;
}

/* ---- connections ---- */

struct net_conn *net_conn_new(unsigned from, unsigned to, unsigned port)
{
    struct net_conn *c = mem_zalloc(sizeof *c);
    c->refs = 1;
    c->port = port;
    c->side[0].host = from;
    c->side[1].host = to;
    if (conns_n == conns_cap) {
        conns_cap = conns_cap ? conns_cap * 2 : 64;
        conns = mem_realloc(conns, conns_cap * sizeof *conns);
    }
    conns[conns_n++] = c;
    return c;
}

void net_conn_unref(struct net_conn *c)
{
    ENSURE(c->refs > 0);
    if (--c->refs > 0)
        return;
    for (size_t i = 0; i < conns_n; i++) {
        if (conns[i] != c)
            continue;
        memmove(&conns[i], &conns[i + 1], (--conns_n - i) * sizeof *conns);
        break;
    }
    mem_free(c);
}

void packet_free(struct packet *p)
{
    net_conn_unref(p->conn);
    mem_free(p);
}

static struct packet *packet_new(struct net_conn *c, unsigned to, enum packet_kind kind, struct slice data)
{
    struct packet *p = mem_alloc(sizeof *p + data.n);
    *p = (struct packet){.conn = c, .to = to, .kind = kind, .n = data.n};
    if (data.n)
        memcpy(p->p, data.p, data.n);
    if (kind == PACKET_DATA)
        p->type = data.p[4];
    c->refs++;
    return p;
}

/* ---- arriving ---- */

static bool answers(unsigned host)
{
    return !silent[host] || net_listener_any(host);
}

static void take(void *arg)
{
    struct packet *p = arg;
    struct net_side *d = &p->conn->side[p->to];
    if (p->kind == PACKET_SYN)
        net_listener_take(p->conn);
    else if (d->stream)
        net_stream_take(d->stream, p);
    packet_free(p);
}

/* Nobody is there for it: a machine that runs says so. */
static void refuse(struct packet *p)
{
    unsigned host = p->conn->side[p->to].host;
    if (p->kind != PACKET_RST && answers(host))
        net_send(p->conn, p->to, PACKET_RST, NULL, (struct slice){0});
    packet_free(p);
}

static void arrive(void *arg)
{
    struct packet *p = arg;
    struct net_side *d = &p->conn->side[p->to], *from = &p->conn->side[!p->to];
    uv_loop_t *loop = NULL;
    if (cuts[from->host][d->host]) {
        packet_free(p);
        return;
    }
    if (p->kind == PACKET_SYN)
        loop = net_listener_loop(d->host, p->conn->port);
    else if (d->stream)
        loop = net_stream_loop(d->stream);
    if (!loop) {
        refuse(p);
        return;
    }
    if (p->end > from->acked) {
        from->acked = p->end;
        if (from->stream)
            net_stream_acked(from->stream);
    }
    sim_loop_post(loop, take, p);
}

/* ---- leaving ---- */

static bool twice_ok(uint8_t type)
{
    return type == LINK_RAFT || type == LINK_FORWARD || type == LINK_READ_INDEX || type == LINK_BODY_PUT;
}

static void launch(struct packet *p, const struct sim_net_faults *f)
{
    struct net_side *d = &p->conn->side[p->to];
    int64_t now = sim_now_us(), at = now + (int64_t)sim_between(f->delay_min_us, f->delay_max_us);
    bool stray = p->kind == PACKET_DATA && p->type != LINK_HELLO && sim_chance(f->reorder_ppm);
    if (stray) {
        at += (int64_t)sim_below(f->delay_max_us + 1);
    } else {
        at = at > d->last_at ? at : d->last_at;
        d->last_at = at;
    }
    sim_after(sim_host(0), at - now, arrive, p);
}

static void reset(struct net_conn *c, unsigned side)
{
    sim_trace("net %u>%u reset", c->side[side].host, c->side[!side].host);
    net_tell(c, side, PACKET_RST);
    net_send(c, side, PACKET_RST, NULL, (struct slice){0});
}

void net_send(struct net_conn *c, unsigned side, enum packet_kind kind, const struct sim_cert *cert, struct slice data)
{
    unsigned from = c->side[side].host, to = c->side[!side].host;
    const struct sim_net_faults *f = faults_of(from, to);
    bool frame = kind == PACKET_DATA;
    c->side[side].sent += data.n;
    if (frame && sim_chance(f->reset_ppm)) {
        reset(c, side);
        return;
    }
    /* TCP would bring what opens a connection again and again. */
    bool lost = frame && data.p[4] != LINK_HELLO && sim_chance(f->loss_ppm);
    if (cuts[from][to] || lost)
        return;
    struct packet *p = packet_new(c, !side, kind, data);
    p->end = c->side[side].sent;
    if (cert)
        p->cert = *cert;
    if (frame && twice_ok(p->type) && sim_chance(f->duplicate_ppm)) {
        struct packet *again = packet_new(c, !side, kind, data);
        launch(again, f);
    }
    launch(p, f);
}

void net_tell(struct net_conn *c, unsigned side, enum packet_kind kind)
{
    struct packet *p = packet_new(c, side, kind, (struct slice){0});
    if (c->side[side].stream)
        sim_loop_post(net_stream_loop(c->side[side].stream), take, p);
    else
        packet_free(p);
}

/* ---- crash ---- */

/* The streams are left behind with the rest of that life. */
void sim_net_crash(struct sim_host *h)
{
    unsigned host = sim_host_index(h);
    silent[host] = sim_chance(CRASH_SILENT_PPM);
    net_listener_crash(host);
    for (size_t i = 0; i < conns_n; i++)
        conns[i]->refs++;
    size_t n = conns_n;
    struct net_conn **all = mem_alloc((n + 1) * sizeof *all);
    if (n > 0)
        memcpy(all, conns, n * sizeof *all);
    for (size_t i = 0; i < n; i++) {
        for (unsigned side = 0; side < 2; side++) {
            struct net_side *d = &all[i]->side[side];
            if (d->host != host || !d->stream)
                continue;
            d->stream = NULL;
            all[i]->refs--; /* the stream's */
            if (!silent[host])
                net_send(all[i], side, PACKET_RST, NULL, (struct slice){0});
        }
        net_conn_unref(all[i]);
    }
    mem_free(all);
}
