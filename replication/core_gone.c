/* A leader whose process ended: nobody listens where it was, and its links are gone. No use in waiting for the election
 * timeout, which is there for leaders that may only be slow. Terms and votes are Raft's own, and the others grant a
 * vote only when they lost the leader too (vote_unstick). */
#include "replication/core.h"

#include "node/base/clock.h"

/* Longer than libraft's tick, which notices that the time is over. */
static int64_t step_ms(const struct replication *r)
{
    return (int64_t)r->c.heartbeat_ms * 3 / 2;
}

/* All see it at once. One after the other they stand for election, lest they take the votes from each other. */
static unsigned rank(struct replication *r, uint64_t gone)
{
    unsigned before = 0;
    for (unsigned i = 0; i < r->raft.configuration.n; i++) {
        const struct raft_server *s = &r->raft.configuration.servers[i];
        before += s->role == RAFT_VOTER && s->id != gone && s->id < r->identity.node_id;
    }
    return before;
}

static bool is_gone(struct replication *r, uint64_t leader)
{
    return r->started && raft_state(&r->raft) == RAFT_FOLLOWER && core_leader(r) == leader && !core_link(r, leader);
}

void gone_refused(struct replication *r, uint64_t peer, int64_t now)
{
    uint64_t term = raft_current_term(&r->raft);
    if (!is_gone(r, peer) || core_unfit(r) || !core_is_voter(r, r->identity.node_id) ||
        (r->gone.leader == peer && r->gone.term == term))
        return;
    r->gone = (struct gone){.leader = peer, .term = term, .next_ms = now + rank(r, peer) * step_ms(r)};
    log_event(LOG_INFO, "the leader is gone", LOG_U("leader", peer), LOG_U("term", term));
    gone_tick(r, now);
}

/* Again and again: while entries are on their way to the disk, libraft lets the time start anew instead. */
void gone_tick(struct replication *r, int64_t now)
{
    raft_time past = 2 * (raft_time)r->c.election_ms;
    if (r->gone.leader == 0 || now < r->gone.next_ms)
        return;
    if (!is_gone(r, r->gone.leader) || raft_current_term(&r->raft) != r->gone.term || core_unfit(r)) {
        r->gone.leader = 0;
        return;
    }
    r->gone.next_ms = now + step_ms(r);
    if (r->raft.election_timer_start >= past)
        r->raft.election_timer_start -= past;
}
