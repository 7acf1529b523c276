/* Members, the links to them, and what comes over those. Every member is dialled: those in Raft's configuration and
 * those that the state knows, invited ones too (so a joiner only has to listen). */
#include "replication/core.h"

#include "node/base/clock.h"
#include "replication/message.h"

#include <stdlib.h>

enum { CONTROL_DEAD_MS = 2000 };

struct peer *core_peer(struct replication *r, uint64_t id)
{
    for (unsigned i = 0; i < r->n_peers; i++)
        if (r->peers[i]->id == id)
            return r->peers[i];
    return NULL;
}

struct link *core_link(struct replication *r, uint64_t id)
{
    struct peer *p = core_peer(r, id);
    if (p && p->out && link_is_up(p->out))
        return p->out;
    LIST_EACH(it, tmp, &r->inbounds)
    {
        struct inbound *in = container_of(it, struct inbound, item);
        if (in->peer == id && link_is_up(in->link))
            return in->link;
    }
    return NULL;
}

unsigned core_voters(struct replication *r)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->raft.configuration.n; i++)
        n += r->raft.configuration.servers[i].role == RAFT_VOTER;
    return n;
}

uint64_t core_voters_sum(struct replication *r)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < r->raft.configuration.n; i++) {
        uint64_t id = r->raft.configuration.servers[i].id;
        if (r->raft.configuration.servers[i].role == RAFT_VOTER)
            sum += checksum64(slice_make(&id, sizeof id));
    }
    return sum;
}

bool core_is_voter(struct replication *r, uint64_t id)
{
    for (unsigned i = 0; i < r->raft.configuration.n; i++)
        if (r->raft.configuration.servers[i].id == id)
            return r->raft.configuration.servers[i].role == RAFT_VOTER;
    return false;
}

/* ---- sending ---- */

/* What a peer knows to be committed once it has this message. */
static void told_note(struct replication *r, uint64_t id, const struct raft_append_entries *a)
{
    struct peer *p = core_peer(r, id);
    uint64_t end = a->prev_log_index + a->n_entries, told = a->leader_commit < end ? a->leader_commit : end;
    if (p && told > p->told_commit)
        p->told_commit = told;
}

/* libraft tells followers of a commit with the next entries or heartbeat: up to 100 ms later, and a follower's own
 * proposal, or a read, would wait for that. So a heartbeat of ours follows each commit that nothing else told them: an
 * AppendEntries without entries, right after what the peer is known to have. */
void core_commit_tell(struct replication *r)
{
    uint64_t commit = raft_commit_index(&r->raft);
    for (unsigned i = 0; i < r->n_peers; i++) {
        struct peer *p = r->peers[i];
        raft_index match = 0;
        if (!p->in_config || p->told_commit >= commit || raft_match_index(&r->raft, p->id, &match) != 0)
            continue;
        uint64_t told = commit < match ? commit : match;
        uint64_t term = match ? core_term_of(r, match) : 0;
        if (told <= p->told_commit || term == 0)
            continue;
        struct raft_message m = {.type = RAFT_APPEND_ENTRIES,
                                 .server_id = p->id,
                                 .append_entries = {.term = raft_current_term(&r->raft),
                                                    .prev_log_index = match,
                                                    .prev_log_term = term,
                                                    .leader_commit = told}};
        core_send(r, &m);
    }
}

/* A peer that is down or slow costs nothing: its messages are dropped, Raft sends them again. */
void core_send(struct replication *r, const struct raft_message *m)
{
    struct link *l = core_link(r, m->server_id);
    if (!l)
        return;
    unsigned first = 0, total = m->type == RAFT_APPEND_ENTRIES ? m->append_entries.n_entries : 0;
    do {
        if (link_queued(l) > CORE_RAFT_SEND_MAX)
            return;
        unsigned n = total ? message_chunk(&m->append_entries, first) : 0;
        struct buf b = {0};
        int rc = message_encode(m, first, n, &b);
        if (rc == 0)
            rc = link_send(l, LINK_RAFT, buf_slice(&b), (struct slice){NULL, 0});
        buf_close(&b);
        if (rc != 0)
            return; /* what follows a part that is missing would be refused, and no commit was told */
        first += n;
    } while (first < total);
    if (m->type == RAFT_APPEND_ENTRIES)
        told_note(r, m->server_id, &m->append_entries);
}

void core_answer(struct replication *r, struct origin o, struct slice a, struct slice b)
{
    LIST_EACH(it, tmp, &r->inbounds)
    {
        struct inbound *in = container_of(it, struct inbound, item);
        if (in->serial == o.inbound) {
            link_answer(in->link, o.request, a, b);
            return;
        }
    }
}

void core_answer_status(struct replication *r, struct origin o, int status, uint64_t index)
{
    uint8_t a[12];
    put_le32(a, (uint32_t)status);
    put_le64(a + 4, index);
    core_answer(r, o, slice_make(a, sizeof a), (struct slice){NULL, 0});
}

/* ---- receiving ---- */

static void term_asked(struct replication *r, struct origin o)
{
    uint8_t a[8];
    put_le64(a, raft_current_term(&r->raft));
    core_answer(r, o, slice_make(a, sizeof a), (struct slice){NULL, 0});
}

static void raft_received(struct replication *r, struct link *l, struct slice payload)
{
    struct peer *p = core_peer(r, link_peer(l));
    uint64_t leader = core_leader(r);
    r->guard.leader_lost = leader != 0 && leader != r->identity.node_id && !core_link(r, leader);
    int rc = raft_guard_receive(&r->guard, &r->raft, link_peer(l), p ? p->address : "peer", payload);
    if (rc != 0)
        log_event(LOG_WARN, "malformed raft message", LOG_U("peer", link_peer(l)));
    else if (p)
        contact_raft_heard(r, p);
}

void core_frame(struct replication *r, struct link *l, uint64_t serial, uint8_t type, uint64_t request,
                struct slice payload)
{
    struct origin o = {serial, request};
    if (r->life == CORE_CLOSING || atomic_load(&r->failed))
        return;
    struct peer *p = core_peer(r, link_peer(l));
    if (p) {
        p->seen_ms = clock_steady_ms();
        contact_heard(r, p);
    }
    switch (type) {
    case LINK_RAFT:
        raft_received(r, l, payload);
        break;
    case LINK_FORWARD:
        proposals_forwarded(r, o, payload);
        break;
    case LINK_READ_INDEX:
        reads_asked(r, o);
        break;
    case LINK_TERM:
        term_asked(r, o);
        break;
    case LINK_STATUS:
        status_asked(r, o, payload);
        break;
    case LINK_DIGEST:
        status_digest_asked(r, o, payload);
        break;
    case LINK_MEMBER:
        membership_asked(r, o, payload);
        break;
    default:
        break; /* of a newer build */
    }
}

/* ---- dialled links ---- */

static void out_up(void *arg, struct link *l, const struct link_hello *hello)
{
    struct peer *p = arg;
    (void)l;
    p->up = true;
    p->hello = *hello;
    p->seen_ms = clock_steady_ms();
    contact_heard(p->r, p);
}

static void out_frame(void *arg, struct link *l, uint8_t type, uint64_t request, struct slice payload)
{
    struct peer *p = arg;
    core_frame(p->r, l, 0, type, request, payload);
}

static void out_down(void *arg, struct link *l, int status, const char *why)
{
    struct peer *p = arg;
    (void)l, (void)status, (void)why;
    if (p->up)
        p->seen_ms = clock_steady_ms();
    p->up = false;
}

static void out_drained(void *arg, struct link *l)
{
    (void)arg, (void)l;
}

static void out_failed(void *arg, struct link *l, int status, const char *why)
{
    struct peer *p = arg;
    struct replication *r = p->r;
    (void)l, (void)why;
    /* ERR_IO: the network's answer, as "connection refused"; not silence, nor a peer's own words. */
    if (status == ERR_IO) {
        contact_refused(r, p);
        gone_refused(r, p->id, clock_steady_ms());
    }
}

static const struct link_events out_events = {out_up, out_frame, out_down, out_drained};

/* ---- accepted links ---- */

static void in_frame(void *arg, struct link *l, uint8_t type, uint64_t request, struct slice payload)
{
    struct inbound *in = arg;
    core_frame(in->r, l, in->serial, type, request, payload);
}

static void in_up(void *arg, struct link *l, const struct link_hello *hello)
{
    (void)arg, (void)l, (void)hello;
}

static void in_down(void *arg, struct link *l, int status, const char *why)
{
    struct inbound *in = arg;
    (void)l, (void)status, (void)why;
    list_remove(&in->item);
    link_close(&in->link);
    mem_free(in);
}

static const struct link_events in_events = {in_up, in_frame, in_down, out_drained};

static void accepted(void *arg, struct link *l, const struct link_hello *hello)
{
    struct replication *r = arg;
    struct inbound *in = mem_zalloc(sizeof *in);
    *in = (struct inbound){.r = r, .link = l, .serial = ++r->inbound_serial, .peer = hello->node_id};
    list_append(&r->inbounds, &in->item);
    link_set_events(l, &in_events, in);
    struct peer *p = core_peer(r, hello->node_id);
    if (p)
        contact_heard(r, p);
}

static bool config_has(struct replication *r, uint64_t id, bool *empty_r)
{
    bool found = false;
    pthread_mutex_lock(&r->now_lock);
    *empty_r = r->n_config_ids == 0;
    for (unsigned i = 0; i < r->n_config_ids; i++)
        found = found || r->config_ids[i] == id;
    pthread_mutex_unlock(&r->now_lock);
    return found;
}

static bool id_max(void *arg, const struct store_member *m)
{
    uint64_t *max = arg;
    if (m->id > *max)
        *max = m->id;
    return true;
}

/* Ids only ascend. One that we know of and that is no member was removed; a higher one joined after what our state
 * shows: it may lead by now, and shut out it could never tell us. */
static bool removed(struct store_view *v, uint64_t id)
{
    uint64_t last = 0, noted = 0;
    struct slice value;
    store_member_each(v, id_max, &last);
    if (store_setting_get(v, SLICE_LITERAL("member.last"), &value) == 0 &&
        slice_u64(value, UINT64_MAX / 2, &noted) == 0 && noted > last)
        last = noted;
    return id <= last;
}

/* Its certificate is of our CA already. The state says who is a member; a node that knows nothing yet takes anybody's
 * word for it. */
int core_hello_ok(void *arg, const struct link_hello *hello)
{
    struct replication *r = arg;
    struct store_view *v;
    struct store_member m;
    struct store_position p;
    bool empty, in_config = config_has(r, hello->node_id, &empty);
    if (hello->node_id == r->identity.node_id)
        return ERR_DENIED;
    store_position(r->store, &p);
    if (hello->format_max < p.format)
        return ERR_VERSION; /* it could not apply what is in the log */
    if (store_view_open(r->store, &v) != 0)
        return ERR_UNAVAILABLE;
    int rc = store_member_get(v, hello->node_id, &m);
    if (rc != 0)
        rc = in_config || empty || !removed(v, hello->node_id) ? 0 : ERR_DENIED;
    else if (m.instance != 0)
        rc = m.instance == hello->instance ? 0 : ERR_CONFLICT;
    else
        rc = m.invited_until_ms == 0 || m.invited_until_ms > replication_time_ms(r) ? 0 : ERR_STALE;
    store_view_close(&v);
    return rc;
}

/* ---- who there is ---- */

static struct peer *peer_get(struct replication *r, uint64_t id, struct slice address)
{
    if (id == r->identity.node_id || id == 0 || address.n == 0 || address.n >= sizeof((struct peer *)0)->address)
        return NULL;
    struct peer *p = core_peer(r, id);
    if (!p) {
        if (r->n_peers == REPLICATION_MEMBERS_MAX)
            return NULL;
        p = r->peers[r->n_peers++] = mem_zalloc(sizeof *p);
        *p = (struct peer){.r = r, .id = id, .role = -1, .seen_ms = clock_steady_ms()};
    }
    if (!slice_eq(slice_str(p->address), address)) {
        memcpy(p->address, address.p, address.n);
        p->address[address.n] = 0;
        if (p->out)
            link_close(&p->out);
        p->up = false;
    }
    return p;
}

static bool member_seen(void *arg, const struct store_member *m)
{
    struct replication *r = arg;
    struct peer *p = peer_get(r, m->id, m->address);
    if (p)
        p->is_member = true;
    return true;
}

static void config_ids_set(struct replication *r)
{
    pthread_mutex_lock(&r->now_lock);
    r->n_config_ids = 0;
    for (unsigned i = 0; i < r->raft.configuration.n && r->n_config_ids < REPLICATION_MEMBERS_MAX; i++)
        r->config_ids[r->n_config_ids++] = r->raft.configuration.servers[i].id;
    pthread_mutex_unlock(&r->now_lock);
}

static void bulk_told(struct replication *r)
{
    struct bulk_peer b[REPLICATION_MEMBERS_MAX];
    size_t n = 0;
    for (unsigned i = 0; i < r->n_peers; i++) {
        struct peer *p = r->peers[i];
        const char *colon = strrchr(p->address, ':');
        if (!p->in_config || !colon)
            continue;
        b[n] = (struct bulk_peer){.id = p->id, .voter = p->role == RAFT_VOTER};
        snprintf(b[n].address, sizeof b[n].address, "%.*s:%d", (int)(colon - p->address), p->address,
                 atoi(colon + 1) + 1);
        n++;
    }
    bulk_peers_set(r->bulk, b, n, core_is_voter(r, r->identity.node_id));
    atomic_store(&r->voters, core_voters_sum(r));
}

/* Accepted links of members that were removed. */
static void removed_close(struct replication *r)
{
    struct store_view *v;
    if (store_view_open(r->store, &v) != 0)
        return;
    LIST_EACH(it, tmp, &r->inbounds)
    {
        struct inbound *in = container_of(it, struct inbound, item);
        if (core_peer(r, in->peer) || !removed(v, in->peer))
            continue;
        list_remove(&in->item);
        link_close(&in->link);
        mem_free(in);
    }
    store_view_close(&v);
}

void core_peers_refresh(struct replication *r)
{
    for (unsigned i = 0; i < r->n_peers; i++) {
        r->peers[i]->in_config = r->peers[i]->is_member = false;
        r->peers[i]->role = -1;
    }
    struct store_view *v;
    if (store_view_open(r->store, &v) == 0) {
        store_member_each(v, member_seen, r);
        store_view_close(&v);
    }
    for (unsigned i = 0; i < r->raft.configuration.n; i++) {
        const struct raft_server *s = &r->raft.configuration.servers[i];
        struct peer *p = core_peer(r, s->id);
        if (!p)
            p = peer_get(r, s->id, slice_str(s->address));
        if (p) {
            p->in_config = true;
            p->role = s->role;
        }
    }
    for (unsigned i = 0; i < r->n_peers;) {
        struct peer *p = r->peers[i];
        if (!p->in_config && !p->is_member) {
            if (p->out)
                link_close(&p->out);
            r->peers[i] = r->peers[--r->n_peers];
            mem_free(p);
            continue;
        }
        if (!p->out) {
            p->out =
                link_dial(&r->loop.uv, &r->identity, LINK_CONTROL, p->id, p->address, CONTROL_DEAD_MS, &out_events, p);
            /* A folder that was wiped and joined again with the same token has the id, but forgot its votes and its
             * log. */
            link_set_ok(p->out, core_hello_ok, r);
            link_set_failed(p->out, out_failed, p);
        }
        i++;
    }
    removed_close(r);
    config_ids_set(r);
    bulk_told(r);
}

int core_peers_start(struct replication *r, struct err_detail *e)
{
    static const struct link_listener_events events = {core_hello_ok, accepted};
    config_ids_set(r);
    int rc = link_listen(&r->loop.uv, &r->identity, r->listen, LINK_CONTROL, &events, r, &r->listener, e);
    if (rc == 0) {
        core_peers_refresh(r);
        core_knock_start(r);
    }
    return rc;
}

void core_peers_close(struct replication *r)
{
    core_knock_close(r);
    if (r->listener)
        link_listener_close(&r->listener);
    while (r->n_peers > 0) {
        struct peer *p = r->peers[--r->n_peers];
        if (p->out)
            link_close(&p->out);
        mem_free(p);
    }
    while (!list_empty(&r->inbounds)) {
        struct inbound *in = container_of(r->inbounds.next, struct inbound, item);
        list_remove(&in->item);
        link_close(&in->link);
        mem_free(in);
    }
}
