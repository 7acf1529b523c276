#include "node/health.h"

static void healthz(void *arg, struct http_reply *reply)
{
    (void)arg;
    buf_append_str(&reply->body, "alive\n");
}

/* 404 tells balancers, as they have it, to let sessions end and to begin none; 503, that nothing works. */
static void readyz(void *arg, struct http_reply *reply)
{
    struct health *h = arg;
    reply->status = h->draining ? 404 : h->not_ready ? 503 : 200;
    buf_printf(&reply->body, "%s\n", h->not_ready ? h->not_ready : "ready");
}

static void metrics_route(void *arg, struct http_reply *reply)
{
    struct health *h = arg;
    reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
    blob_stats(h->services->blobs, &h->blobs);
    store_stats(h->services->store, &h->store);
    metrics_write(h->metrics, &reply->body);
}

void health_set(struct health *h, bool member, const struct replication_now *now, bool serving, bool draining)
{
    h->now = *now;
    h->draining = member && draining;
    h->not_ready = !member            ? "belongs to no cluster"
                   : draining         ? "draining"
                   : now->healing     ? "healing: the state was damaged, and is made anew"
                   : now->syncing     ? "syncing state from a peer"
                   : now->refused     ? "the cluster does not let this node in: its log says why"
                   : !now->has_leader ? "no leader is known: no quorum"
                   : !serving         ? "not serving yet"
                                      : NULL;
}

static double read_u64_field(void *arg)
{
    return (double)*(const uint64_t *)arg;
}

static double read_bool_field(void *arg)
{
    return *(const bool *)arg;
}

static double read_in_flight(void *arg)
{
    return (double)atomic_load(&((struct services *)arg)->in_flight);
}

void health_init(struct health *h, struct metrics *m, struct services *s)
{
    *h = (struct health){.metrics = m, .services = s, .not_ready = "starting"};
    h->routes[0] = (struct http_route){"/healthz", "the process is alive", healthz, h};
    h->routes[1] = (struct http_route){"/readyz", "serves clients: in quorum, synced, not draining", readyz, h};
    h->routes[2] = (struct http_route){"/metrics", "Prometheus metrics", metrics_route, h};
    const struct {
        const char *name, *help;
        uint64_t *field;
        bool counter;
    } numbers[] = {
        {"merlion_raft_term", "Raft term", &h->now.term, false},
        {"merlion_raft_commit_index", "Highest committed log index known here", &h->now.commit, false},
        {"merlion_raft_applied_index", "Highest log index applied here", &h->now.applied, false},
        {"merlion_raft_oldest_write_ms", "Age of the oldest log write under way", &h->now.oldest_write_ms, false},
        {"merlion_bodies_missing", "Bodies referred to and not here yet", &h->now.missing, false},
        {"merlion_proposals_total", "Commands proposed through this node", &h->now.proposals, true},
        {"merlion_raft_entries_total", "Log entries made as leader", &h->now.entries, true},
        {"merlion_forwards_total", "Commands forwarded to the leader", &h->now.forwards, true},
        {"merlion_elections_total", "Changes of leader seen", &h->now.elections, true},
        {"merlion_read_barriers_total", "Linearizable reads confirmed", &h->now.read_barriers, true},
        {"merlion_state_transfers_total", "State transfers taken in", &h->now.transfers, true},
        {"merlion_blob_bodies", "Bodies in the blob log", &h->blobs.bodies, false},
        {"merlion_blob_bytes", "Bytes in the blob log", &h->blobs.bytes, false},
        {"merlion_blob_segments", "Segment files", &h->blobs.segments, false},
        {"merlion_blob_appends_total", "Bodies appended", &h->blobs.appends, true},
        {"merlion_blob_syncs_total", "Syncs of the blob log", &h->blobs.syncs, true},
        {"merlion_blob_corrupt_total", "Damaged bodies met", &h->blobs.corrupt, true},
        {"merlion_disk_free_bytes", "Free space of the data folder's file system", &h->blobs.free_bytes, false},
        {"merlion_accounts", "Accounts", &h->store.accounts, false},
        {"merlion_mailboxes", "Mailboxes", &h->store.mailboxes, false},
        {"merlion_messages", "Messages", &h->store.messages, false},
        {"merlion_store_map_used_bytes", "Used part of the store's map", &h->store.map_used, false},
        {"merlion_store_map_size_bytes", "Size of the store's map", &h->store.map_size, false},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        (numbers[i].counter ? metrics_counter_read : metrics_gauge)(m, numbers[i].name, numbers[i].help, NULL,
                                                                    read_u64_field, numbers[i].field);
    metrics_gauge(m, "merlion_leader", "1 on the Raft leader", NULL, read_bool_field, &h->now.is_leader);
    metrics_gauge(m, "merlion_has_leader", "1 when a leader is known", NULL, read_bool_field, &h->now.has_leader);
    metrics_gauge(m, "merlion_syncing", "1 while state is taken over from a peer", NULL, read_bool_field,
                  &h->now.syncing);
    metrics_gauge(m, "merlion_disk_full", "1 while new mail is refused for lack of space", NULL, read_bool_field,
                  &h->now.disk_full);
    metrics_gauge(m, "merlion_in_flight_bytes", "Bytes of messages being taken in", NULL, read_in_flight, s);
}
