/* Members and roles, as leader. One change at a time, with a barrier before and after: a follower records a wrong index
 * for a configuration that is not the first new entry of its message, and the sender may put entries of others before
 * and behind it.
 *
 *   CHANGE_IDLE ──decide──► CHANGE_BEFORE ──barrier──► CHANGE_DOING ──raft_add/assign/remove──► CHANGE_AFTER
 * ──barrier──► CHANGE_IDLE ▲                        │ any failure: look again a second later └────────────────────────┘
 *
 * The state's member records say who shall be a member; Raft's configuration follows them. A joiner: record with an
 * instance ► spare ► standby ► voter, when it lacks nothing and voters are short. A voter silent for long: a standby
 * takes its place first. */
#include "replication/core.h"

#include "node/base/clock.h"
#include "replication/cluster_time.h"
#include "store/command.pb-c.h"

enum {
    DECIDE_MS = 100,
    POLL_MS = 500,
    RETRY_AFTER_MS = 1000,
    UNFIT_RETRY_MS = 1000,
    STATUS_FRESH_MS = 3000,
    CAUGHT_UP_ENTRIES = 512
};

void membership_init(struct replication *r)
{
    member_requests_init(r);
}

int membership_pin(struct store_view *v, uint64_t id)
{
    char name[64];
    struct slice value;
    snprintf(name, sizeof name, "member.%llu.role", (unsigned long long)id);
    if (store_setting_get(v, slice_str(name), &value) != 0)
        return -1;
    if (slice_eq(value, SLICE_LITERAL("voter")))
        return RAFT_VOTER;
    if (slice_eq(value, SLICE_LITERAL("standby")))
        return RAFT_STANDBY;
    return slice_eq(value, SLICE_LITERAL("spare")) ? RAFT_SPARE : -1;
}

void membership_propose(struct replication *r, const Merlion__Command *c, int64_t deadline_ms, proposal_cb cb,
                        void *arg)
{
    size_t n = merlion__command__get_packed_size(c);
    uint8_t *packed = mem_alloc(n ? n : 1);
    merlion__command__pack(c, packed);
    proposals_internal(r, slice_make(packed, n), deadline_ms, cb, arg);
    mem_free(packed);
}

/* ---- leadership ---- */

static bool status_fresh(const struct peer *p, int64_t now)
{
    return p->up && p->status.known && now - p->status.at_ms < STATUS_FRESH_MS;
}

static bool heir_fit(const struct peer *p, int64_t now)
{
    return p->role == RAFT_VOTER && status_fresh(p, now) && !p->status.syncing && !p->status.disk_full &&
           !p->status.draining;
}

static uint64_t heir(struct replication *r, bool fit)
{
    const struct peer *best = NULL;
    int64_t now = clock_steady_ms();
    for (unsigned i = 0; i < r->n_peers; i++) {
        const struct peer *p = r->peers[i];
        if (p->role != RAFT_VOTER || !p->up || (fit && !heir_fit(p, now)))
            continue;
        if (!best || p->status.last > best->status.last)
            best = p;
    }
    return best ? best->id : 0;
}

uint64_t membership_best_heir(struct replication *r)
{
    uint64_t id = heir(r, true);
    return id ? id : heir(r, false);
}

static void transfer_done(struct raft_transfer *t)
{
    struct replication *r = t->data;
    struct membership *m = &r->membership;
    m->transferring = false;
    if (!list_empty(&m->transfers)) { /* one at most; it may begin the next transfer */
        struct list *it = m->transfers.next;
        list_remove(it);
        member_transferred(r, it);
    }
}

int membership_transfer(struct replication *r, uint64_t to, struct list *wait)
{
    struct membership *m = &r->membership;
    if (!core_is_leader(r))
        return ERR_NOTLEADER;
    if (to == 0 || m->transferring)
        return to == 0 ? ERR_UNAVAILABLE : ERR_BUSY;
    m->transfer.data = r;
    if (raft_transfer(&r->raft, &m->transfer, to, transfer_done) != 0)
        return ERR_UNAVAILABLE;
    m->transferring = true;
    if (wait)
        list_append(&m->transfers, wait);
    pthread_mutex_lock(&r->now_lock);
    r->now.transfers++;
    pthread_mutex_unlock(&r->now_lock);
    log_event(LOG_INFO, "handing leadership over", LOG_U("to", to));
    return 0;
}

/* ---- one change ---- */

static void change_end(struct replication *r, bool ok)
{
    r->membership.step = CHANGE_IDLE;
    r->membership.retry_ms = ok ? 0 : clock_steady_ms() + RETRY_AFTER_MS;
}

static void after_done(struct raft_barrier *b, int status)
{
    struct replication *r = b->data;
    if (r->membership.step == CHANGE_AFTER)
        change_end(r, status == 0);
}

static void change_done(struct raft_change *c, int status)
{
    struct replication *r = c->data;
    struct membership *m = &r->membership;
    if (m->step != CHANGE_DOING)
        return;
    if (status != 0) {
        log_event(LOG_WARN, "configuration change failed", LOG_U("member", m->id), LOG_S("why", raft_strerror(status)));
        change_end(r, false);
        return;
    }
    log_event(LOG_INFO, "configuration changed", LOG_U("member", m->id),
              LOG_S("what", m->kind == CHANGE_ADD      ? "added"
                            : m->kind == CHANGE_REMOVE ? "removed"
                                                       : raft_role_name(m->role)));
    m->step = CHANGE_AFTER;
    m->barrier.data = r;
    if (raft_barrier(&r->raft, &m->barrier, after_done) != 0)
        change_end(r, true);
}

static void before_done(struct raft_barrier *b, int status)
{
    struct replication *r = b->data;
    struct membership *m = &r->membership;
    if (m->step != CHANGE_BEFORE)
        return;
    int rc = status;
    m->step = CHANGE_DOING;
    m->change.data = r;
    if (rc == 0 && m->kind == CHANGE_ADD)
        rc = raft_add(&r->raft, &m->change, m->id, m->address, change_done);
    else if (rc == 0 && m->kind == CHANGE_REMOVE)
        rc = raft_remove(&r->raft, &m->change, m->id, change_done);
    else if (rc == 0)
        rc = raft_assign(&r->raft, &m->change, m->id, m->role, change_done);
    if (rc != 0) {
        log_event(LOG_WARN, "configuration change refused", LOG_U("member", m->id), LOG_S("why", raft_strerror(rc)));
        change_end(r, false);
    }
}

static void change_begin(struct replication *r, enum change_kind kind, uint64_t id, const char *address, int role)
{
    struct membership *m = &r->membership;
    m->kind = kind;
    m->id = id;
    m->role = role;
    snprintf(m->address, sizeof m->address, "%s", address ? address : "");
    m->step = CHANGE_BEFORE;
    m->barrier.data = r;
    if (raft_barrier(&r->raft, &m->barrier, before_done) != 0)
        change_end(r, false);
}

/* ---- what to change ---- */

struct survey {
    struct replication *r;
    int64_t now;
    bool self_known, others_known;
    unsigned voters, dead, leaving; /* of all; silent for long; that are to be no voters any more */
    struct store_view *v;
};

static bool record_seen(void *arg, const struct store_member *m)
{
    struct survey *s = arg;
    bool self = m->id == s->r->identity.node_id;
    s->self_known = s->self_known || self;
    s->others_known = s->others_known || !self;
    return true;
}

static bool pinned_away(struct store_view *v, uint64_t id)
{
    int pin = membership_pin(v, id);
    return pin == RAFT_STANDBY || pin == RAFT_SPARE;
}

bool membership_role_spared(struct replication *r, struct store_view *v, uint64_t id)
{
    unsigned left = 0;
    struct store_member m;
    for (unsigned i = 0; i < r->raft.configuration.n; i++) {
        uint64_t other = r->raft.configuration.servers[i].id;
        left += other != id && !pinned_away(v, other) && store_member_get(v, other, &m) == 0 && m.instance != 0;
    }
    return left >= r->c.voters_target;
}

static bool dead_voter(const struct survey *s, const struct peer *p)
{
    return p->role == RAFT_VOTER && !p->up && s->now - p->seen_ms > (int64_t)s->r->replace_after_ms;
}

static bool caught_up(const struct survey *s, const struct peer *p)
{
    return status_fresh(p, s->now) && !p->status.syncing && !p->status.disk_full && p->status.missing == 0 &&
           p->status.applied + CAUGHT_UP_ENTRIES >= raft_commit_index(&s->r->raft) && p->status.applied > 0;
}

static bool joined(const struct survey *s, uint64_t id)
{
    struct store_member m;
    return store_member_get(s->v, id, &m) == 0 && m.instance != 0;
}

/* Raft's configuration follows the records. Who goes comes first: a new machine may have its address, and libraft adds
 * none twice. */
static bool decide_config(struct survey *s)
{
    struct replication *r = s->r;
    for (unsigned i = 0; i < r->n_peers; i++) {
        struct peer *p = r->peers[i];
        if (p->in_config && !p->is_member && s->self_known) {
            change_begin(r, CHANGE_REMOVE, p->id, NULL, 0);
            return true;
        }
    }
    for (unsigned i = 0; i < r->n_peers; i++) {
        struct peer *p = r->peers[i];
        if (!p->in_config && p->is_member && p->up && joined(s, p->id)) {
            change_begin(r, CHANGE_ADD, p->id, p->address, RAFT_SPARE);
            return true;
        }
    }
    return false;
}

static bool decide_role(struct survey *s, struct peer *p)
{
    struct replication *r = s->r;
    int pin = membership_pin(s->v, p->id);
    unsigned alive = s->voters - s->dead, target = r->c.voters_target;
    if (!p->in_config)
        return false;
    if (p->role == RAFT_VOTER) {
        /* Never so few that the rest has no majority that is alive, nor fewer than wanted: another one takes the place
         * first. */
        bool spared = s->voters > 1 && alive - (dead_voter(s, p) ? 0 : 1) >= (s->voters - 1) / 2 + 1;
        if (!spared || s->voters <= target || !(pinned_away(s->v, p->id) || dead_voter(s, p)))
            return false;
        change_begin(r, CHANGE_ASSIGN, p->id, NULL, RAFT_STANDBY);
        return true;
    }
    if (p->role == RAFT_SPARE && pin != RAFT_SPARE && p->up) {
        change_begin(r, CHANGE_ASSIGN, p->id, NULL, RAFT_STANDBY);
        return true;
    }
    if (p->role == RAFT_STANDBY && pin == RAFT_SPARE) {
        change_begin(r, CHANGE_ASSIGN, p->id, NULL, RAFT_SPARE);
        return true;
    }
    bool wanted = pin == RAFT_VOTER ||
                  (pin == -1 && (s->voters - s->leaving < target || (s->voters == target && alive < target)));
    if (p->role == RAFT_STANDBY && wanted && caught_up(s, p)) {
        change_begin(r, CHANGE_ASSIGN, p->id, NULL, RAFT_VOTER);
        return true;
    }
    return false;
}

static void record_set_done(struct replication *r, void *arg, int status, struct slice result)
{
    (void)arg, (void)status, (void)result;
    r->membership.proposing = false;
}

static void record_set(struct replication *r, uint64_t id, const char *name, const char *address, uint64_t instance,
                       uint32_t format, const char *version)
{
    Merlion__MemberSet m = MERLION__MEMBER_SET__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    m.id = id;
    m.name = (char *)(uintptr_t)name;
    m.address = (char *)(uintptr_t)address;
    m.format_max = format;
    m.instance = instance;
    m.version = (char *)(uintptr_t)version;
    c.op_case = MERLION__COMMAND__OP_MEMBER_SET;
    c.member_set = &m;
    r->membership.proposing = true;
    membership_propose(r, &c, 0, record_set_done, NULL);
}

/* An invited node came for the first time, or a member with another build. */
static bool record_note(struct survey *s, struct peer *p)
{
    struct store_member m;
    if (!p->up || store_member_get(s->v, p->id, &m) != 0)
        return false;
    if (m.instance != 0 && m.instance != p->hello.instance)
        return false; /* an impostor, or a data folder that was set up anew: never let in */
    if (m.instance == 0 && m.invited_until_ms != 0 && m.invited_until_ms < replication_time_ms(s->r))
        return false;
    if (m.instance == p->hello.instance && m.format_max == p->hello.format_max &&
        slice_eq(m.version, slice_str(p->hello.version)))
        return false;
    char *name = mem_strndup(m.name), *address = mem_strndup(m.address);
    record_set(s->r, p->id, name, address, p->hello.instance, p->hello.format_max, p->hello.version);
    mem_free(name);
    mem_free(address);
    return true;
}

/* This node, with another build than its record tells. */
static bool own_record_note(struct survey *s)
{
    struct replication *r = s->r;
    struct store_member m;
    if (store_member_get(s->v, r->identity.node_id, &m) != 0 || m.instance != r->identity.instance ||
        (m.format_max == r->identity.format_max && slice_eq(m.version, slice_str(MERLION_VERSION))))
        return false;
    char *name = mem_strndup(m.name), *address = mem_strndup(m.address);
    record_set(r, m.id, name, address, m.instance, r->identity.format_max, MERLION_VERSION);
    mem_free(name);
    mem_free(address);
    return true;
}

/* What all joined members know; invited ones are asked when they come. */
static bool format_least(void *arg, const struct store_member *m)
{
    uint32_t *least = arg;
    if (m->invited_until_ms == 0 && m->format_max < *least)
        *least = m->format_max;
    return true;
}

/* Every member knows a higher command format than the active one: it becomes active. The state machine asks the same
 * question again. */
static bool decide_format(struct survey *s)
{
    struct membership *m = &s->r->membership;
    struct store_position p;
    uint32_t format = s->r->identity.format_max;
    store_position(s->r->store, &p);
    store_member_each(s->v, format_least, &format);
    if (format <= p.format || !s->self_known || s->now < m->format_ms)
        return false;
    Merlion__FormatRaise raise = MERLION__FORMAT_RAISE__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    raise.format = format;
    c.op_case = MERLION__COMMAND__OP_FORMAT_RAISE;
    c.format_raise = &raise;
    m->format_ms = s->now + RETRY_AFTER_MS;
    m->proposing = true;
    log_event(LOG_INFO, "raising the command format", LOG_U("from", p.format), LOG_U("to", format));
    membership_propose(s->r, &c, 0, record_set_done, NULL);
    return true;
}

static bool decide_records(struct survey *s)
{
    struct replication *r = s->r;
    if (r->membership.proposing)
        return true;
    if (r->membership.turn != 0)
        return false;
    if (!s->self_known && !s->others_known) {
        const char *name = r->identity.name[0] ? r->identity.name : r->c.name ? r->c.name : "node";
        record_set(r, r->identity.node_id, name, r->advertise, r->identity.instance, r->identity.format_max,
                   MERLION_VERSION);
        return true;
    }
    if (own_record_note(s))
        return true;
    for (unsigned i = 0; i < r->n_peers; i++)
        if (record_note(s, r->peers[i]))
            return true;
    return decide_format(s);
}

/* A state that still replays the log knows some members and not the others. An election that no turn has noticed yet
 * has not set from_index. */
bool membership_known(struct replication *r)
{
    struct store_position p;
    store_position(r->store, &p);
    return core_is_leader(r) && r->seen_state == RAFT_LEADER && r->seen_term == raft_current_term(&r->raft) &&
           p.index >= r->membership.from_index;
}

static void decide(struct replication *r, int64_t now)
{
    struct membership *m = &r->membership;
    struct survey s = {.r = r, .now = now, .voters = core_voters(r)};
    if (m->step != CHANGE_IDLE || now < m->retry_ms || raft_transferee(&r->raft) != 0 || r->syncing)
        return;
    if (!membership_known(r) || store_view_open(r->store, &s.v) != 0)
        return;
    m->looked_term = r->seen_term;
    store_member_each(s.v, record_seen, &s);
    for (unsigned i = 0; i < r->n_peers; i++)
        s.dead += dead_voter(&s, r->peers[i]);
    for (unsigned i = 0; i < r->raft.configuration.n; i++)
        s.leaving += r->raft.configuration.servers[i].role == RAFT_VOTER &&
                     pinned_away(s.v, r->raft.configuration.servers[i].id);
    bool done = decide_records(&s) || decide_config(&s);
    for (unsigned i = 0; !done && i < r->n_peers; i++)
        done = decide_role(&s, r->peers[i]);
    bool leave = (!s.self_known && s.others_known) || pinned_away(s.v, r->identity.node_id);
    store_view_close(&s.v);
    /* Removed or demoted ourselves: the next leader does it. */
    if (!done && leave && now >= m->unfit_ms) {
        m->unfit_ms = now + UNFIT_RETRY_MS;
        membership_transfer(r, heir(r, true), NULL);
    }
}

void membership_tick(struct replication *r, int64_t now)
{
    struct membership *m = &r->membership;
    if (now < m->next_ms || r->life != CORE_RUNNING)
        return;
    m->next_ms = now + DECIDE_MS;
    if (!core_is_leader(r))
        return;
    if (now >= m->status_ms) {
        m->status_ms = now + POLL_MS;
        cluster_time_tick(r, now); /* with what the last poll brought */
        status_poll(r);
    }
    if (core_unfit(r) && now >= m->unfit_ms) {
        uint64_t to = heir(r, true);
        m->unfit_ms = now + UNFIT_RETRY_MS;
        if (to != 0)
            membership_transfer(r, to, NULL);
    }
    decide(r, now);
}

void membership_lost(struct replication *r)
{
    struct membership *m = &r->membership;
    m->step = CHANGE_IDLE; /* libraft's callbacks for what was under way are ignored by that */
    m->retry_ms = clock_steady_ms() + RETRY_AFTER_MS;
}

void membership_cancel(struct replication *r)
{
    membership_requests_cancel(r);
}
