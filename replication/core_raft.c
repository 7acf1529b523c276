/* libraft in its loop: opening it, its state machine callbacks, the guards' events, noticing what changed. */
#include "replication/core.h"
#include "replication/raft_segments.h"

#include "node/base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SNAPSHOT_THRESHOLD = 8192,
    SNAPSHOT_TRAILING = 16384,
    INFLIGHT_ENTRIES = 128,
    INSTALL_TIMEOUT_MS = 5000,
    UNFIT_WAIT_MS = 5000,
    STALLED_FREE_BYTES = 32 * 1024 * 1024,
    LOG_COUNT_MIN = 64,
    DISK_RETRY_MS = 2 * CORE_WATCHDOG_MS
};

uint64_t core_term_of(const struct replication *r, uint64_t index)
{
    return raft_guard_term_of(&r->raft, index);
}

uint64_t core_leader(struct replication *r)
{
    raft_id id = 0;
    const char *address;
    if (r->started)
        raft_leader(&r->raft, &id, &address);
    return id;
}

bool core_unfit(const struct replication *r)
{
    return r->syncing || r->disk_full || atomic_load(&r->draining) || r->life != CORE_RUNNING;
}

/* ---- state machine ---- */

/* libraft's buffer goes back to it: the entry is copied. Its index is the one after the last applied at this moment. */
static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct replication *r = fsm->data;
    *result = NULL;
    struct applier_entry *e = mem_alloc(sizeof *e + buf->len);
    e->next = NULL;
    e->index = raft_last_applied(&r->raft) + 1;
    e->term = core_term_of(r, e->index);
    e->n = buf->len;
    memcpy(e->p, buf->base, buf->len);
    *r->fresh_last = e;
    r->fresh_last = &e->next;
    r->entry_bytes += buf->len + 128;
    r->entry_count++;
    return 0;
}

/* ---- events of the guards ---- */

static int refuse(struct replication *r, int status, const char *what, uint64_t have, uint64_t want)
{
    r->load_status =
        err_set(&r->load_error, status,
                "%s (the log ends at %llu, %llu is needed): this node may not vote. Set %s aside and join the cluster "
                "again under a new "
                "name: on another node `mailctl member remove`, then `mailctl member add`, here `maild join`",
                what, (unsigned long long)have, (unsigned long long)want, r->data_dir);
    return status;
}

static int loaded(void *arg, uint64_t last, uint64_t last_term, bool empty)
{
    struct replication *r = arg;
    struct store_position p;
    store_position(r->store, &p);
    (void)empty;
    if (last < r->mark.index)
        return refuse(r, ERR_CORRUPT, "the Raft log lost entries that were acknowledged", last, r->mark.index);
    if (last == r->mark.index && r->mark.term != 0 && last_term != r->mark.term)
        return refuse(r, ERR_CORRUPT, "the Raft log's last entry is another one than was acknowledged", last,
                      r->mark.index);
    if (r->mark.fresh && last > 1)
        return refuse(r, ERR_CORRUPT, "the mark of acknowledged entries is missing", last, last);
    if (p.index > last)
        return refuse(r, ERR_CORRUPT, "the store is ahead of the Raft log", last, p.index);
    r->level_index = last;
    int rc = mark_raise(&r->mark, last, last_term);
    return rc ? err_set(&r->load_error, r->load_status = rc, "write %s/raft.mark: %s", r->data_dir, err_text(rc)) : 0;
}

static void persisted(void *arg, uint64_t index)
{
    (void)arg, (void)index; /* given to the applier at the end of the turn */
}

static bool answered(void *arg, uint64_t id, const struct raft_append_entries_result *a)
{
    return acked_take(arg, id, a);
}

static void send_message(void *arg, const struct raft_message *m)
{
    struct replication *r = arg;
    /* Not to win an election that would be given away at once; after a while anybody is better than nobody. */
    if (m->type == RAFT_REQUEST_VOTE && core_unfit(r) && r->leader_since_ms != 0 &&
        clock_steady_ms() - r->leader_since_ms < UNFIT_WAIT_MS)
        return;
    struct raft_message corrected = *m;
    raft_guard_vote_correct(&r->raft, &corrected);
    core_send(r, &corrected);
}

static void snapshot_wanted(void *arg, uint64_t index)
{
    struct replication *r = arg;
    applier_snapshot(r->applier, index);
}

static void guard_fatal(void *arg, int status, const char *why)
{
    core_fatal(arg, status, why);
}

/* ---- opening ---- */

static int raft_error(struct replication *r, struct err_detail *e, const char *what, int rc)
{
    if (r->load_status != 0)
        return err_set(e, r->load_status, "%s", r->load_error.text);
    const char *detail = r->raft.errmsg[0] ? r->raft.errmsg : r->guard.io.errmsg;
    int status = rc == RAFT_CORRUPT || rc == RAFT_MALFORMED ? ERR_CORRUPT : rc == RAFT_NOSPACE ? ERR_NOSPACE : ERR_IO;
    return err_set(e, status, "%s in %s: %s (%s)%s", what, r->raft_dir, raft_strerror(rc), detail,
                   status == ERR_CORRUPT ? ": set the data directory aside and join the cluster again (maild join)"
                                         : "");
}

/* Only a cluster's first node, before its first entry: a first node that lost its log must not start over. */
static int bootstrap(struct replication *r, struct err_detail *e)
{
    struct store_position p;
    store_position(r->store, &p);
    if (!identity_is_first(r->data_dir) || r->mark.index != 0 || p.index != 0)
        return 0;
    struct raft_configuration c;
    raft_configuration_init(&c);
    int rc = raft_configuration_add(&c, r->identity.node_id, r->advertise, RAFT_VOTER);
    if (rc == 0)
        rc = raft_bootstrap(&r->raft, &c);
    raft_configuration_close(&c);
    return rc == 0 || rc == RAFT_CANTBOOTSTRAP ? 0 : raft_error(r, e, "make the first configuration", rc);
}

int core_mark_open(struct replication *r, struct err_detail *e)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/raft.mark", r->data_dir);
    return mark_open(&r->mark, path, e);
}

/* Nothing but what raft_bootstrap leaves when it dies between its term and its first entry. (metadata2 comes with the
 * first vote, so a node that ever led is never taken for this.) */
static bool bootstrap_half_done(const char *dir)
{
    bool term = false, more = false;
    DIR *d = opendir(dir);
    for (struct dirent *f = d ? readdir(d) : NULL; f; f = readdir(d)) {
        if (strcmp(f->d_name, "metadata1") == 0)
            term = true;
        else if (f->d_name[0] != '.' && strncmp(f->d_name, "open-", 5) != 0 && strncmp(f->d_name, "tmp-", 4) != 0)
            more = true;
    }
    if (d)
        closedir(d);
    return term && !more;
}

/* A first node that died while it made the cluster has acknowledged nothing: libraft would say for ever that it is
 * bootstrapped, and have no configuration. */
static int bootstrap_again(struct replication *r, struct err_detail *e)
{
    char path[1100];
    struct store_position p;
    store_position(r->store, &p);
    if (!identity_is_first(r->data_dir) || r->mark.index != 0 || p.index != 0 || !bootstrap_half_done(r->raft_dir))
        return 0;
    snprintf(path, sizeof path, "%s/metadata1", r->raft_dir);
    log_event(LOG_WARN, "the cluster was half made: once more", LOG_S("file", path));
    return unlink(path) == 0 ? 0 : err_set(e, err_from_errno(errno), "remove %s: %s", path, strerror(errno));
}

/* libraft syncs what it makes in its folder, but the folder's own name is ours to make durable: each time, because a
 * life that ended between the two leaves a name without it. */
static int folder_make(struct replication *r, struct err_detail *e)
{
    if (mkdir(r->raft_dir, 0700) != 0 && errno != EEXIST)
        return err_set(e, err_from_errno(errno), "make %s: %s", r->raft_dir, strerror(errno));
    int fd = open(r->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc =
        fd >= 0 && fsync(fd) == 0 ? 0 : err_set(e, err_from_errno(errno), "sync %s: %s", r->data_dir, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

int core_raft_open(struct replication *r, struct err_detail *e)
{
    int rc;
    if ((rc = folder_make(r, e)) != 0 || (rc = bootstrap_again(r, e)) != 0 ||
        (rc = raft_segments_lengthen(r->raft_dir, e)) != 0)
        return rc;
    raft_guard_transport(&r->transport);
    if ((rc = raft_uv_init(&r->guard.io, &r->loop.uv, r->raft_dir, &r->transport)) != 0)
        return raft_error(r, e, "open the Raft log", rc);
    /* Off: it would rename a damaged segment away and go on with a shorter log. */
    raft_uv_set_auto_recovery(&r->guard.io, false);
    /* libraft tells nobody of a write that failed: it arms a timer, and retries through a null pointer when it fires.
     * Our watchdog ends the process before. */
    raft_uv_set_disk_retry(&r->guard.io, DISK_RETRY_MS);
    struct raft_guard_events ev = {.arg = r,
                                   .loaded = loaded,
                                   .send = send_message,
                                   .persisted = persisted,
                                   .answered = answered,
                                   .snapshot_wanted = snapshot_wanted,
                                   .fatal = guard_fatal};
    raft_guard_init(&r->guard, &r->mark, &ev);
    raft_guard_watch(&r->guard);
    r->fsm = (struct raft_fsm){
        .version = 1, .data = r, .apply = fsm_apply, .snapshot = core_fsm_snapshot, .restore = core_fsm_restore};
    if ((rc = raft_init(&r->raft, &r->guard.io, &r->fsm, r->identity.node_id, r->advertise)) != 0) {
        rc = raft_error(r, e, "open the Raft log", rc);
        raft_uv_close(&r->guard.io);
        return rc;
    }
    r->raft_ready = true;
    return bootstrap(r, e);
}

/* The state is behind the log's snapshot, as when it was damaged and set aside; somebody else must have a copy. */
static int copy_check(struct replication *r, struct err_detail *e)
{
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].id != r->identity.node_id && c->servers[i].role != RAFT_SPARE)
            return 0;
    return err_set(e, ERR_CORRUPT,
                   "the state in %s is lost, the log does not reach back, and no other member has a copy: restore %s "
                   "from a backup%s",
                   r->data_dir, r->data_dir, r->healing ? " (what was damaged lies in its state.damaged)" : "");
}

static void log_limits_set(struct replication *r)
{
    /* libraft holds the log since the last snapshot, and the trailing part, in memory. */
    uint64_t average = r->entry_count ? r->entry_bytes / r->entry_count : 256;
    uint64_t most = CORE_LOG_BYTES / (average ? average : 1);
    unsigned threshold = r->c.snapshot_threshold ? r->c.snapshot_threshold : SNAPSHOT_THRESHOLD;
    unsigned trailing = r->c.snapshot_trailing ? r->c.snapshot_trailing : SNAPSHOT_TRAILING;
    if (most < LOG_COUNT_MIN)
        most = LOG_COUNT_MIN;
    if (r->raft.legacy
            .snapshot_taking) /* the trailing count is used twice for one snapshot: it must not change in between */
        return;
    raft_set_snapshot_threshold(&r->raft, threshold < most ? threshold : (unsigned)most);
    raft_set_snapshot_trailing(&r->raft, trailing < most ? trailing : (unsigned)most);
    if (r->entry_count > 4096) {
        r->entry_count /= 2;
        r->entry_bytes /= 2;
    }
}

int core_raft_start(struct replication *r, struct err_detail *e)
{
    raft_set_election_timeout(&r->raft, r->c.election_ms);
    raft_set_heartbeat_timeout(&r->raft, r->c.heartbeat_ms);
    raft_set_install_snapshot_timeout(&r->raft, INSTALL_TIMEOUT_MS);
    raft_set_pre_vote(&r->raft, true);
    raft_set_max_inflight_entries(&r->raft, INFLIGHT_ENTRIES);
    /* Whether there is space is asked before (disk_reserve_bytes). libraft's own limit (4 MB of made segments on a
     * majority) is in the way of the entry that a new leader begins its term with: it would lead without the half of
     * libraft that answers requests knowing, commit nothing, and answer nobody after it lost the term. */
    raft_set_capacity_threshold(&r->raft, 0);
    log_limits_set(r);
    int rc = raft_start(&r->raft);
    if (rc != 0)
        return raft_error(r, e, "start Raft", rc);
    if (r->syncing && (rc = copy_check(r, e)) != 0)
        return rc;
    /* An idle connection falls back to probing, one message a heartbeat: a write after a pause would wait for the next
     * one. The tick stays as started, so that heartbeats stay apart; a dead peer costs nothing, its link takes no
     * messages. */
    raft_set_heartbeat_timeout(&r->raft, 1);
    r->started = true;
    r->leader_since_ms = clock_steady_ms();
    return 0;
}

/* ---- each turn and tick ---- */

static void leader_noticed(struct replication *r, uint64_t leader, unsigned short state)
{
    uint64_t term = raft_current_term(&r->raft);
    bool was_leader = r->seen_state == RAFT_LEADER, is_leader = state == RAFT_LEADER;
    if (leader == r->seen_leader && term == r->seen_term && was_leader == is_leader)
        return;
    if ((leader != r->seen_leader || was_leader != is_leader) &&
        !(is_leader && leader == 0)) /* it shows none while it hands over */
        log_event(LOG_INFO, "leader", LOG_U("leader", leader), LOG_U("term", term), LOG_U("self", is_leader));
    if (was_leader && (!is_leader || term != r->seen_term))
        membership_lost(r);
    if (is_leader && (!was_leader || term != r->seen_term)) {
        r->judging_ms = clock_steady_ms();
        r->membership.from_index = raft_last_index(&r->raft);
        r->membership.next_ms = 0;
        pthread_mutex_lock(&r->now_lock);
        r->now.elections++;
        pthread_mutex_unlock(&r->now_lock);
    }
    for (unsigned i = 0; i < r->n_peers; i++)
        r->peers[i]->told_commit = 0;
    r->leader_since_ms = leader ? 0 : clock_steady_ms();
    r->seen_leader = leader;
    r->seen_term = term;
    r->seen_state = state;
    proposals_leader_changed(r);
    reads_leader_changed(r);
}

void core_raft_turn(struct replication *r)
{
    leader_noticed(r, core_leader(r), (unsigned short)raft_state(&r->raft));
    uint64_t config = r->raft.configuration_committed_index, uncommitted = r->raft.configuration_uncommitted_index;
    if (config != r->seen_config || uncommitted != r->seen_config_uncommitted || r->peers_stale) {
        r->seen_config = config;
        r->seen_config_uncommitted = uncommitted;
        r->peers_stale = false;
        core_peers_refresh(r);
    }
    raft_guard_flush(&r->guard);
    uint64_t committed = raft_last_applied(&r->raft);
    if (r->fresh || committed != r->given_committed || r->guard.persisted != r->given_persisted) {
        struct applier_entry *first = r->fresh;
        r->fresh = NULL;
        r->fresh_last = &r->fresh;
        r->given_committed = committed;
        r->given_persisted = r->guard.persisted;
        applier_give(r->applier, first, committed, committed ? core_term_of(r, committed) : 0, r->guard.persisted);
    }
}

static void watchdog(struct replication *r)
{
    uint64_t oldest = raft_guard_oldest_ms(&r->guard);
    if (oldest <= CORE_WATCHDOG_MS)
        return;
    /* Without space raft_uv waits for a new segment by itself: nothing is lost, and ending would not help. */
    if (applier_disk_free(r->applier) < STALLED_FREE_BYTES)
        return;
    core_fatal(r, ERR_IO, "a write to the Raft log takes longer than 5 s");
}

void core_raft_tick(struct replication *r)
{
    watchdog(r);
    log_limits_set(r);
    uint64_t reserve = r->c.disk_reserve_bytes, free_bytes = applier_disk_free(r->applier);
    /* A little hysteresis, so that one mail does not flip it. */
    bool full = reserve != 0 && free_bytes < (r->disk_full ? reserve + reserve / 8 : reserve);
    /* Space that statvfs does not know of may lack: inodes, a quota. */
    full = full || applier_refused(r->applier) > 0;
    if (full != r->disk_full)
        log_event(full ? LOG_ERROR : LOG_INFO, full ? "disk full: mail is refused" : "disk has space again",
                  LOG_U("free", free_bytes), LOG_U("reserve", reserve));
    r->disk_full = full;
    atomic_store(&r->disk_full_now, full);
}
