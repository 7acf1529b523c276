/* The time that commands carry. The state machine's time is the highest it has seen, so one node with a clock far ahead
 * would pull it forward for good: the leader knows every member's clock from its status polls, takes the middle one for
 * the cluster's, and corrects commands that are more than CLUSTER_TIME_AHEAD_MS ahead of that (whoever sent them,
 * itself too). Proposers go by that clock, or by the state's time when it is ahead of that (propose.c): their mail
 * would be refused as too old else. The log says whose clock is wrong. With two members that differ nobody can tell
 * which one is right: the earlier one is believed.
 *
 * When all clocks were ahead, and are set right, the state's time is ahead of them. It must not go back, and must not
 * stand still either: no retry would be due, and no lease end. So it goes on at half speed until they reach it. */
#include "replication/cluster_time.h"

#include "node/base/clock.h"
#include "node/base/log.h"
#include "replication/core.h"

#include <stdlib.h>

enum { STATUS_FRESH_MS = 5000, COMPLAIN_MS = 60 * 1000 };

static int order(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

int64_t cluster_time_middle(int64_t *ahead, unsigned n)
{
    if (n == 0)
        return 0;
    qsort(ahead, n, sizeof *ahead, order);
    return ahead[(n - 1) / 2];
}

/* One varint; false when it is cut short or too long. */
static bool varint_read(struct slice *in, uint64_t *v_r)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 10 && i < in->n; i++) {
        v |= (uint64_t)(in->p[i] & 0x7f) << (7 * i);
        if (in->p[i] < 0x80) {
            *in = slice_from(*in, i + 1);
            *v_r = v;
            return true;
        }
    }
    return false;
}

/* Field 2 of merlion.Command, without unpacking the rest: the last one counts. */
bool cluster_time_read(struct slice command, int64_t *time_r)
{
    uint64_t tag, v = 0, time = 0;
    while (command.n) {
        if (!varint_read(&command, &tag))
            return false;
        size_t skip = (tag & 7) == 1 ? 8 : (tag & 7) == 5 ? 4 : 0;
        if ((tag & 7) == 0 || (tag & 7) == 2) {
            if (!varint_read(&command, &v))
                return false;
            skip = (tag & 7) == 2 ? v : 0;
            time = tag == (2 << 3 | 0) ? v : time;
        } else if (skip == 0) {
            return false;
        }
        if (skip > command.n)
            return false;
        command = slice_from(command, skip);
    }
    *time_r = (int64_t)time;
    return true;
}

/* A field given twice: the last one counts. */
struct bytes *cluster_time_replace(struct slice command, int64_t time_ms)
{
    uint8_t tail[11] = {2 << 3 | 0};
    size_t n = 1;
    uint64_t t = (uint64_t)time_ms;
    for (; t >= 0x80; t >>= 7)
        tail[n++] = (uint8_t)(t | 0x80);
    tail[n++] = (uint8_t)t;
    struct bytes *out = bytes_new(command.n + n);
    memcpy(out->p, command.p, command.n);
    memcpy(out->p + command.n, tail, n);
    return out;
}

int64_t cluster_time_limit(int64_t time_ms, int64_t cluster_ms, int64_t state_ms)
{
    /* What is no later than the state's time changes nothing; brought down below it, it could be too old. */
    if (time_ms <= state_ms || time_ms <= cluster_ms + CLUSTER_TIME_AHEAD_MS)
        return time_ms;
    return cluster_ms > state_ms ? cluster_ms : state_ms;
}

int64_t cluster_time_go_on(_Atomic int64_t *ahead_ms, int64_t state_ms, int64_t steady_ms)
{
    int64_t ahead = state_ms - steady_ms / 2, most = atomic_load(ahead_ms);
    while (most < ahead && !atomic_compare_exchange_weak(ahead_ms, &most, ahead))
        ;
    return (most < ahead ? ahead : most) + steady_ms / 2;
}

/* ---- of a running node ---- */

static int64_t state_time(struct replication *r)
{
    struct store_position p;
    store_position(r->store, &p);
    return cluster_time_go_on(&r->state_ahead_ms, p.time_ms, clock_steady_ms());
}

int64_t replication_time_ms(struct replication *r)
{
    int64_t clock = replication_clock_ms(r), state = r ? state_time(r) : 0;
    return clock > state ? clock : state;
}

static bool clock_fresh(const struct peer *p, int64_t now)
{
    return p->in_config && p->status.known && p->status.clock_known && now - p->status.at_ms < STATUS_FRESH_MS;
}

/* All against our steady clock: our own wall clock may jump at any moment, also while we lead, and must not take the
 * others' along. */
bool cluster_time_now(struct replication *r, int64_t *now_r)
{
    int64_t clocks[REPLICATION_MEMBERS_MAX + 1], now = clock_steady_ms();
    unsigned n = 1, voters = core_is_voter(r, r->identity.node_id) ? 1 : 0;
    clocks[0] = clock_wall_ms() - now;
    for (unsigned i = 0; i < r->n_peers; i++) {
        const struct peer *p = r->peers[i];
        if (!clock_fresh(p, now))
            continue;
        clocks[n++] = p->status.clock_ms;
        voters += core_is_voter(r, p->id);
    }
    *now_r = now + cluster_time_middle(clocks, n);
    return voters >= core_voters(r) / 2 + 1;
}

void cluster_time_check(struct replication *r, struct bytes **command)
{
    int64_t t, cluster;
    bool known = cluster_time_now(r, &cluster);
    if (!cluster_time_read(bytes_slice(*command), &t) || (known && t <= cluster + CLUSTER_TIME_AHEAD_MS))
        return;
    struct store_position p;
    int64_t state = state_time(r);
    store_position(r->store, &p);
    /* A new leader that has not heard of enough clocks yet believes none. A state that has no time yet takes any. */
    if (!known && p.time_ms > 0)
        cluster = state;
    int64_t right = cluster_time_limit(t, cluster, state);
    if (right == t)
        return;
    struct bytes *corrected = cluster_time_replace(bytes_slice(*command), right);
    bytes_unref(command);
    *command = corrected;
    if (known && t - right > CLUSTER_TIME_AHEAD_MS && clock_steady_ms() >= r->clock_logged_ms) {
        r->clock_logged_ms = clock_steady_ms() + COMPLAIN_MS;
        log_event(LOG_ERROR, "a command's time is far ahead of the members' clocks: corrected",
                  LOG_I("ahead_s", (t - cluster) / 1000));
    }
}

static void complain(uint64_t member, int64_t ahead)
{
    if (ahead > CLUSTER_TIME_COMPLAIN_MS || ahead < -CLUSTER_TIME_COMPLAIN_MS)
        log_event(LOG_ERROR, "a member's clock is wrong: set it, and keep it right with NTP", LOG_U("member", member),
                  LOG_I("ahead_s", ahead / 1000));
}

static void offset_set(struct replication *r, int64_t cluster_ms)
{
    atomic_store(&r->clock_offset_ms, cluster_ms - clock_steady_ms());
    atomic_store(&r->clock_known, true);
}

int64_t cluster_time_tell(struct replication *r)
{
    int64_t cluster;
    return core_is_leader(r) && cluster_time_now(r, &cluster) && cluster > 0 ? cluster : 0;
}

void cluster_time_told(struct replication *r, struct slice payload)
{
    struct reader in = {.in = payload};
    uint64_t cluster = read_u64(&in);
    if (!in.failed && !core_is_leader(r) && cluster > 0 && cluster < INT64_MAX / 4)
        offset_set(r, (int64_t)cluster);
}

int64_t replication_clock_ms(struct replication *r)
{
    if (!r || !atomic_load(&r->clock_known))
        return clock_wall_ms();
    return clock_steady_ms() + atomic_load(&r->clock_offset_ms);
}

void cluster_time_tick(struct replication *r, int64_t now)
{
    int64_t cluster;
    if (!cluster_time_now(r, &cluster))
        return;
    offset_set(r, cluster);
    if (now < r->clock_complain_ms)
        return;
    r->clock_complain_ms = now + COMPLAIN_MS;
    complain(r->identity.node_id, clock_wall_ms() - cluster);
    for (unsigned i = 0; i < r->n_peers; i++) {
        const struct peer *p = r->peers[i];
        if (clock_fresh(p, now))
            complain(p->id, p->status.clock_ms + now - cluster);
    }
}
