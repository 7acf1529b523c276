/* What others may know: a node's own state, a table of all members, and every replica's digest at one index.
 *
 * LINK_STATUS u64 term, u64 acknowledged (may lack; core_acked.c), i64 the cluster's clock, ms (may lack; 0: not known)
 * -> u8 version (1), u8 flags, u64 id, applied, last,
 * missing, uptime ms, u32 + build version, u32 + state, i64 wall clock ms (may lack) LINK_DIGEST u64 index (0: the
 * leader puts a marker into the log first) -> u32 status, u64 index, u64 digest lo, hi A marker is an entry without
 * commands: every replica takes its digest there, so all are of the same index. */
#include "replication/core.h"

#include "node/base/clock.h"
#include "replication/cluster_time.h"

enum { STATUS_VERSION = 1, STATUS_MS = 2000, DIGEST_MS = 10000, ASK_SLACK_MS = 50 };
enum { FLAG_LEADER = 1, FLAG_SERVING = 2, FLAG_SYNCING = 4, FLAG_FULL = 8, FLAG_DRAINING = 16 };

struct status_wait {
    struct task task;
    struct list item;
    struct replication *r;
    struct replication_status *s;
    uint64_t serial;
    unsigned outstanding;
    int64_t deadline_ms;
};

struct ask {
    struct replication *r;
    uint64_t serial, peer; /* serial 0: membership's poll */
};

static struct list *waits(struct replication *r)
{
    return &r->statuses;
}

static bool serving(struct replication *r)
{
    return !r->syncing && core_leader(r) != 0 && !atomic_load(&r->draining) && r->life == CORE_RUNNING;
}

static const char *state_text(struct replication *r)
{
    if (r->syncing)
        return r->healing ? "healing" : "syncing";
    if (atomic_load(&r->draining))
        return "draining";
    if (r->disk_full)
        return "disk-full";
    if (core_leader(r) == 0)
        return r->refused ? "refused" : "no-leader";
    return applier_applied(r->applier) + 1024 < raft_commit_index(&r->raft) ? "catching-up" : "ok";
}

static void own_encode(struct replication *r, struct buf *b)
{
    unsigned flags = (core_is_leader(r) ? FLAG_LEADER : 0u) | (serving(r) ? FLAG_SERVING : 0u) |
                     (r->syncing ? FLAG_SYNCING : 0u) | (r->disk_full ? FLAG_FULL : 0u) |
                     (atomic_load(&r->draining) ? FLAG_DRAINING : 0u);
    buf_put_u8(b, STATUS_VERSION);
    buf_put_u8(b, (uint8_t)flags);
    buf_put_u64(b, r->identity.node_id);
    buf_put_u64(b, applier_applied(r->applier));
    buf_put_u64(b, raft_last_index(&r->raft));
    buf_put_u64(b, blob_missing_count(r->blobs));
    buf_put_u64(b, (uint64_t)(clock_steady_ms() - r->started_ms));
    buf_put_bytes(b, slice_str(MERLION_VERSION));
    buf_put_bytes(b, slice_str(state_text(r)));
    buf_put_u64(b, (uint64_t)clock_wall_ms());
}

static void text_copy(char *out, size_t n, struct slice s)
{
    s = slice_first(s, n - 1);
    if (s.n)
        memcpy(out, s.p, s.n);
    out[s.n] = 0;
}

static int answer_decode(struct slice in, struct member_status *m, unsigned *flags_r, int64_t *clock_ms_r)
{
    struct reader rd = {.in = in};
    uint8_t version = read_u8(&rd);
    *flags_r = read_u8(&rd);
    m->id = read_u64(&rd);
    m->applied = read_u64(&rd);
    m->last = read_u64(&rd);
    m->missing = read_u64(&rd);
    m->uptime_ms = (int64_t)read_u64(&rd);
    text_copy(m->version, sizeof m->version, read_bytes(&rd, 256));
    text_copy(m->state, sizeof m->state, read_bytes(&rd, 256));
    *clock_ms_r = rd.in.n >= 8 ? (int64_t)read_u64(&rd) : 0;
    m->leader = *flags_r & FLAG_LEADER;
    m->serving = *flags_r & FLAG_SERVING;
    return rd.failed || version == 0 ? ERR_PROTOCOL : 0;
}

/* ---- asked by others ---- */

void status_asked(struct replication *r, struct origin o, struct slice payload)
{
    acked_check(r, payload);
    struct buf b = {0};
    cluster_time_told(r, slice_from(payload, ACKED_BYTES));
    own_encode(r, &b);
    core_answer(r, o, buf_slice(&b), (struct slice){NULL, 0});
    buf_close(&b);
}

static void status_done(struct status_wait *w);

static struct status_wait *wait_find(struct replication *r, uint64_t serial)
{
    LIST_EACH(it, tmp, waits(r))
    {
        struct status_wait *w = container_of(it, struct status_wait, item);
        if (w->serial == serial)
            return w;
    }
    return NULL;
}

static struct member_status *member_of(struct replication_status *s, uint64_t id)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->members[i].id == id)
            return &s->members[i];
    return NULL;
}

static void outstanding_less(struct status_wait *w)
{
    if (--w->outstanding == 0)
        status_done(w);
}

/* A digest that somebody waits for is there, or will not be. */
static void digest_wait_end(struct replication *r, struct digest_wait *d, int status)
{
    struct sum128 sum = {0, 0};
    if (status == 0)
        status = applier_digest(r->applier, d->index, &sum);
    if (d->origin.inbound != 0) {
        uint8_t a[28];
        put_le32(a, (uint32_t)status);
        put_le64(a + 4, d->index);
        put_le64(a + 12, sum.lo);
        put_le64(a + 20, sum.hi);
        core_answer(r, d->origin, slice_make(a, sizeof a), (struct slice){NULL, 0});
    } else {
        struct status_wait *w = wait_find(r, d->origin.request);
        struct member_status *m = w ? member_of(w->s, r->identity.node_id) : NULL;
        if (m && status == 0) {
            m->digest = sum;
            m->digest_index = d->index;
        }
        if (w)
            outstanding_less(w);
    }
    list_remove(&d->item);
    mem_free(d);
}

static void digest_wait_add(struct replication *r, struct origin o, uint64_t index)
{
    struct digest_wait *d = mem_zalloc(sizeof *d);
    *d = (struct digest_wait){.origin = o, .index = index, .deadline_ms = clock_steady_ms() + DIGEST_MS};
    list_append(&r->digests, &d->item);
    status_applied(r, clock_steady_ms());
}

void status_digest_asked(struct replication *r, struct origin o, struct slice payload)
{
    struct reader in = {.in = payload};
    uint64_t index = read_u64(&in);
    int rc = in.failed ? ERR_PROTOCOL : index == 0 ? proposals_marker(r, o) : 0;
    if (rc != 0)
        core_answer_status(r, o, rc, 0);
    else if (index != 0)
        digest_wait_add(r, o, index);
}

void status_applied(struct replication *r, int64_t now)
{
    uint64_t applied = applier_applied(r->applier);
    LIST_EACH(it, tmp, &r->digests)
    {
        struct digest_wait *d = container_of(it, struct digest_wait, item);
        if (applied >= d->index && !r->syncing)
            digest_wait_end(r, d, 0);
        else if (now >= d->deadline_ms)
            digest_wait_end(r, d, ERR_TIMEOUT);
    }
    LIST_EACH(it2, tmp2, waits(r))
    {
        struct status_wait *w = container_of(it2, struct status_wait, item);
        if (now >= w->deadline_ms)
            status_done(w);
    }
}

/* ---- asking others ---- */

static void peer_answered(void *arg, int status, struct slice payload)
{
    struct ask *a = arg;
    struct replication *r = a->r;
    struct peer *p = core_peer(r, a->peer);
    struct status_wait *w = a->serial ? wait_find(r, a->serial) : NULL;
    mem_free(a);
    struct member_status got = {.id = 0};
    unsigned flags;
    int64_t clock_ms;
    if (status == 0 && answer_decode(payload, &got, &flags, &clock_ms) == 0 && p && got.id == p->id) {
        bool clock_known = clock_ms > 0 && clock_ms < INT64_MAX / 4;
        p->status = (struct peer_status){.known = true,
                                         .at_ms = clock_steady_ms(),
                                         .applied = got.applied,
                                         .last = got.last,
                                         .missing = got.missing,
                                         .uptime_ms = got.uptime_ms,
                                         .clock_known = clock_known,
                                         .clock_ms = clock_known ? clock_ms - clock_steady_ms() : 0,
                                         .syncing = flags & FLAG_SYNCING,
                                         .disk_full = flags & FLAG_FULL,
                                         .draining = flags & FLAG_DRAINING};
        struct member_status *m = w ? member_of(w->s, got.id) : NULL;
        if (m) {
            m->applied = got.applied;
            m->last = got.last;
            m->missing = got.missing;
            m->uptime_ms = got.uptime_ms;
            m->leader = got.leader;
            m->serving = got.serving;
            m->reachable = true;
            m->seen_ms_ago = 0;
            memcpy(m->version, got.version, sizeof m->version);
            memcpy(m->state, got.state, sizeof m->state);
        }
    }
    if (w)
        outstanding_less(w);
}

static bool peer_ask(struct replication *r, struct peer *p, uint64_t serial, unsigned timeout_ms)
{
    if (!p->out || !link_is_up(p->out))
        return false;
    struct ask *a = mem_zalloc(sizeof *a);
    *a = (struct ask){r, serial, p->id};
    struct buf payload = {0};
    acked_encode(r, p, buf_reserve(&payload, ACKED_BYTES));
    buf_commit(&payload, ACKED_BYTES);
    buf_put_u64(&payload, (uint64_t)cluster_time_tell(r));
    int rc =
        link_request(p->out, LINK_STATUS, buf_slice(&payload), (struct slice){NULL, 0}, timeout_ms, peer_answered, a);
    buf_close(&payload);
    if (rc != 0) {
        mem_free(a);
        return false;
    }
    return true;
}

void status_poll(struct replication *r)
{
    for (unsigned i = 0; i < r->n_peers; i++)
        peer_ask(r, r->peers[i], 0, STATUS_MS);
}

static void peer_digest(void *arg, int status, struct slice payload)
{
    struct ask *a = arg;
    struct status_wait *w = wait_find(a->r, a->serial);
    struct reader in = {.in = payload};
    if (status == 0)
        status = (int)(int32_t)read_u32(&in);
    uint64_t index = read_u64(&in);
    struct sum128 sum = {.lo = read_u64(&in)};
    sum.hi = read_u64(&in);
    struct member_status *m = w && status == 0 && !in.failed ? member_of(w->s, a->peer) : NULL;
    mem_free(a);
    if (m) {
        m->digest = sum;
        m->digest_index = index;
    }
    if (w)
        outstanding_less(w);
}

/* The index is known: everybody's digest there. */
static void digests_ask(struct status_wait *w, uint64_t index)
{
    struct replication *r = w->r;
    uint8_t q[8];
    put_le64(q, index);
    for (unsigned i = 0; i < r->n_peers; i++) {
        struct peer *p = r->peers[i];
        if (!p->in_config || p->role == RAFT_SPARE || !p->out || !link_is_up(p->out))
            continue;
        struct ask *a = mem_zalloc(sizeof *a);
        *a = (struct ask){r, w->serial, p->id};
        if (link_request(p->out, LINK_DIGEST, slice_make(q, sizeof q), (struct slice){NULL, 0}, DIGEST_MS, peer_digest,
                         a) == 0)
            w->outstanding++;
        else
            mem_free(a);
    }
    w->outstanding++;
    digest_wait_add(r, (struct origin){0, w->serial}, index);
}

void status_marker_done(struct replication *r, struct origin o, uint64_t index)
{
    if (o.inbound != 0) {
        digest_wait_add(r, o, index);
        return;
    }
    struct status_wait *w = wait_find(r, o.request);
    if (!w)
        return;
    digests_ask(w, index);
    w = wait_find(r, o.request);
    if (w)
        outstanding_less(w);
}

static void leader_marked(void *arg, int status, struct slice payload)
{
    struct ask *a = arg;
    struct status_wait *w = wait_find(a->r, a->serial);
    struct reader in = {.in = payload};
    mem_free(a);
    if (status == 0)
        status = (int)(int32_t)read_u32(&in);
    uint64_t index = read_u64(&in);
    if (!w)
        return;
    if (status == 0 && !in.failed)
        status_marker_done(w->r, (struct origin){0, w->serial}, index);
    else
        outstanding_less(w);
}

static void marker_ask(struct status_wait *w)
{
    struct replication *r = w->r;
    uint8_t q[8] = {0};
    struct peer *p = core_peer(r, core_leader(r));
    if (core_is_leader(r)) {
        w->outstanding += proposals_marker(r, (struct origin){0, w->serial}) == 0;
    } else if (p && p->out) {
        struct ask *a = mem_zalloc(sizeof *a);
        *a = (struct ask){r, w->serial, p->id};
        if (link_request(p->out, LINK_DIGEST, slice_make(q, sizeof q), (struct slice){NULL, 0}, DIGEST_MS,
                         leader_marked, a) == 0)
            w->outstanding++;
        else
            mem_free(a);
    }
}

/* ---- the table ---- */

static void self_fill(struct replication *r, struct member_status *m)
{
    *m = (struct member_status){.id = r->identity.node_id,
                                .role = raft_role(&r->raft),
                                .self = true,
                                .leader = core_is_leader(r),
                                .reachable = true,
                                .serving = serving(r),
                                .applied = applier_applied(r->applier),
                                .last = raft_last_index(&r->raft),
                                .missing = blob_missing_count(r->blobs),
                                .uptime_ms = clock_steady_ms() - r->started_ms};
    text_copy(m->name, sizeof m->name, slice_str(r->identity.name));
    text_copy(m->address, sizeof m->address, slice_str(r->advertise));
    text_copy(m->version, sizeof m->version, slice_str(MERLION_VERSION));
    text_copy(m->state, sizeof m->state, slice_str(state_text(r)));
}

static void peer_fill(struct peer *p, struct member_status *m, int64_t now)
{
    *m = (struct member_status){.id = p->id,
                                .role = p->in_config ? p->role : -1,
                                .reachable = p->up,
                                .seen_ms_ago = p->up                                 ? 0
                                               : p->hello.node_id || p->status.known ? now - p->seen_ms
                                                                                     : -1};
    text_copy(m->address, sizeof m->address, slice_str(p->address));
    text_copy(m->version, sizeof m->version, slice_str(p->hello.version));
    text_copy(m->state, sizeof m->state, slice_str(!p->in_config ? "invited" : p->up ? "no-answer" : "unreachable"));
}

static bool name_fill(void *arg, const struct store_member *x)
{
    struct member_status *m = member_of(arg, x->id);
    if (m)
        text_copy(m->name, sizeof m->name, x->name);
    return true;
}

static void status_done(struct status_wait *w)
{
    list_remove(&w->item);
    w->s->impl = NULL;
    task_post(w->s->home, &w->s->task);
    mem_free(w);
}

static void table_fill(struct replication *r, struct replication_status *s)
{
    struct store_view *v;
    int64_t now = clock_steady_ms();
    s->cluster_id = r->identity.cluster_id;
    s->term = raft_current_term(&r->raft);
    s->commit = raft_commit_index(&r->raft);
    s->applied = applier_applied(r->applier);
    s->leader = core_leader(r);
    s->n = 0;
    self_fill(r, &s->members[s->n++]);
    for (unsigned i = 0; i < r->n_peers && s->n < REPLICATION_MEMBERS_MAX; i++)
        peer_fill(r->peers[i], &s->members[s->n++], now);
    if (store_view_open(r->store, &v) == 0) {
        store_member_each(v, name_fill, s);
        store_view_close(&v);
    }
}

static void status_run(struct task *t)
{
    struct status_wait *w = container_of(t, struct status_wait, task);
    struct replication *r = w->r;
    w->serial = ++r->status_serial;
    list_append(waits(r), &w->item);
    if (r->life == CORE_CLOSING) {
        w->s->status = ERR_CANCELED;
        status_done(w);
        return;
    }
    int64_t timeout = w->s->timeout_ms > 0 ? w->s->timeout_ms : STATUS_MS;
    w->deadline_ms = clock_steady_ms() + timeout + ASK_SLACK_MS;
    table_fill(r, w->s);
    w->outstanding = 1;
    for (unsigned i = 0; i < r->n_peers; i++)
        w->outstanding += peer_ask(r, r->peers[i], w->serial, (unsigned)timeout);
    if (w->s->digests)
        marker_ask(w);
    outstanding_less(w);
}

void replication_status(struct replication *r, struct replication_status *s)
{
    s->status = 0;
    s->n = 0;
    if (!r->member) {
        s->status = ERR_UNAVAILABLE;
        task_post(s->home, &s->task);
        return;
    }
    struct status_wait *w = mem_zalloc(sizeof *w);
    *w = (struct status_wait){.task.run = status_run, .r = r, .s = s};
    list_init(&w->item);
    s->impl = w;
    task_post(&r->loop.queue, &w->task);
}

void status_cancel(struct replication *r)
{
    while (!list_empty(&r->digests)) {
        struct digest_wait *d = container_of(r->digests.next, struct digest_wait, item);
        digest_wait_end(r, d, ERR_CANCELED);
    }
    while (!list_empty(waits(r))) {
        struct status_wait *w = container_of(waits(r)->next, struct status_wait, item);
        w->s->status = ERR_CANCELED;
        status_done(w);
    }
}

/* ---- now ---- */

void status_now_update(struct replication *r)
{
    pthread_mutex_lock(&r->now_lock);
    struct replication_now *n = &r->now;
    n->is_leader = core_is_leader(r);
    n->leader = core_leader(r);
    n->has_leader = n->leader != 0;
    n->syncing = r->syncing;
    n->level = !r->syncing && applier_applied(r->applier) >= r->level_index;
    n->healing = r->healing && !n->level;
    n->refused = r->refused;
    n->term = raft_current_term(&r->raft);
    n->commit = raft_commit_index(&r->raft);
    n->role = raft_role(&r->raft);
    n->oldest_write_ms = raft_guard_oldest_ms(&r->guard);
    pthread_mutex_unlock(&r->now_lock);
}

void replication_now(struct replication *r, struct replication_now *n_r)
{
    pthread_mutex_lock(&r->now_lock);
    *n_r = r->now;
    pthread_mutex_unlock(&r->now_lock);
    n_r->draining = atomic_load(&r->draining);
    n_r->disk_full = atomic_load(&r->disk_full_now);
    if (!r->member) {
        n_r->role = -1;
        return;
    }
    n_r->id = r->identity.node_id;
    n_r->cluster_id = r->identity.cluster_id;
    n_r->boot = r->boot;
    n_r->applied = applier_applied(r->applier);
    n_r->missing = blob_missing_count(r->blobs);
}

void replication_drain(struct replication *r)
{
    atomic_store(&r->draining, true);
}
