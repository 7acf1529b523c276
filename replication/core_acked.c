/* What followers told this leader to be on their disks, in its term.
 *
 * A refusal of what a follower has acknowledged came late: of entries that had overtaken others. libraft takes it for a
 * new one while it probes, goes back behind what it knows to be there, and then sends that follower no entry any more.
 *
 * A log that ends before what it acknowledged is found at the start, by the mark. But the mark is synced about once a
 * second: after a power cut it may be behind, and when the last entries are damaged then, too, libraft takes them for a
 * write that was torn, and goes on with a shorter log. Its leader never looks back behind what was acknowledged, so
 * such a follower would get no entry any more as long as that term lasts, and say nothing. So the leader tells what it
 * was told, with each question for the state; who has less knows that its log cannot be trusted. */
#include "replication/core.h"

bool acked_take(struct replication *r, uint64_t id, const struct raft_append_entries_result *a)
{
    struct peer *p = core_peer(r, id);
    if (!p || !core_is_leader(r) || a->term != raft_current_term(&r->raft))
        return true;
    if (p->acked_term != a->term)
        p->acked = 0;
    p->acked_term = a->term;
    if (a->rejected == 0 && a->last_log_index > p->acked)
        p->acked = a->last_log_index;
    return a->rejected == 0 || a->rejected > p->acked;
}

void acked_encode(struct replication *r, const struct peer *p, uint8_t out[ACKED_BYTES])
{
    bool known = core_is_leader(r) && p->acked_term == raft_current_term(&r->raft);
    put_le64(out, known ? p->acked_term : 0);
    put_le64(out + 8, known ? p->acked : 0);
}

/* Of an earlier build: nothing. Of another term than ours: its leader may have cut our log since. */
void acked_check(struct replication *r, struct slice payload)
{
    struct reader in = {.in = payload};
    uint64_t term = read_u64(&in), acked = read_u64(&in), last = raft_last_index(&r->raft);
    if (in.failed || term != raft_current_term(&r->raft) || raft_state(&r->raft) != RAFT_FOLLOWER || last >= acked)
        return;
    char why[160];
    snprintf(why, sizeof why, "the Raft log lost entries that were acknowledged: it ends at %llu, %llu was told",
             (unsigned long long)last, (unsigned long long)acked);
    int rc = mark_raise(&r->mark, acked, 0); /* the next start says what to do, and does not vote */
    if (rc == 0)
        rc = mark_sync(&r->mark);
    if (rc != 0)
        log_event(LOG_ERROR, "the mark was not written", LOG_E("error", rc));
    core_fatal(r, ERR_CORRUPT, why);
}
