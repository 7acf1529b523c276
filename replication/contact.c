/* Who is dead: a leader says whose leases of the queue are void. (Whether a node may count on its own leases, it asks
 * by a read.)
 *
 * Silence is judged only by a leader that hears a majority itself, and that was awake all the time: one that was paused
 * would take everybody for dead. */
#include "replication/core.h"

#include "node/base/clock.h"

#include <stdlib.h>

enum { REFUSED_MS = 300 }; /* a restart takes longer; a listener that is slow to come does not */

void contact_heard(struct replication *r, struct peer *p)
{
    (void)r;
    p->heard_ms = clock_steady_ms();
    p->refused_ms = 0;
}

void contact_raft_heard(struct replication *r, struct peer *p)
{
    (void)r;
    p->raft_ms = clock_steady_ms();
}

void contact_refused(struct replication *r, struct peer *p)
{
    if (p->refused_ms == 0 && !core_link(r, p->id))
        p->refused_ms = clock_steady_ms();
}

static int later_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* As leader: when the last one that makes a majority was heard from; 0: never. */
static int64_t majority_heard(struct replication *r, int64_t now)
{
    int64_t heard[REPLICATION_MEMBERS_MAX + 1];
    unsigned n = 0, needed = core_voters(r) / 2 + 1;
    if (core_is_voter(r, r->identity.node_id))
        heard[n++] = now;
    for (unsigned i = 0; i < r->n_peers; i++)
        if (r->peers[i]->role == RAFT_VOTER)
            heard[n++] = r->peers[i]->raft_ms;
    if (n < needed)
        return 0;
    qsort(heard, n, sizeof *heard, later_first);
    return heard[needed - 1];
}

static bool dead(struct replication *r, const struct peer *p, int64_t now)
{
    int64_t heard = p->heard_ms, byte_ms = p->out ? link_seen_ms(p->out) : 0;
    if (!p->in_config)
        return false;
    if (p->refused_ms != 0 && now - p->refused_ms >= REFUSED_MS && !core_link(r, p->id))
        return true;
    if (heard < byte_ms)
        heard = byte_ms;
    if (heard < r->judging_ms)
        heard = r->judging_ms;
    return now - heard > (int64_t)r->c.dead_after_ms;
}

void contact_tick(struct replication *r, int64_t now)
{
    int64_t patience = (int64_t)r->c.dead_after_ms / 2;
    uint64_t ids[REPLICATION_MEMBERS_MAX];
    unsigned n = 0;
    if (now - r->contact_tick_ms > patience)
        r->judging_ms = now;
    r->contact_tick_ms = now;
    if (core_is_leader(r)) {
        int64_t heard = majority_heard(r, now);
        for (unsigned i = 0; now - heard <= patience && i < r->n_peers; i++)
            if (dead(r, r->peers[i], now))
                ids[n++] = r->peers[i]->id;
    }
    pthread_mutex_lock(&r->now_lock);
    r->now.dead_n = n;
    memcpy(r->now.dead, ids, n * sizeof *ids);
    pthread_mutex_unlock(&r->now_lock);
}
