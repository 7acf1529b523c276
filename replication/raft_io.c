#include "replication/raft_io.h"

#include "node/base/clock.h"
#include "node/base/log.h"
#include "node/base/mem.h"
#include "node/base/task.h"
#include "replication/core.h"
#include "replication/message.h"

#include <string.h>

struct guard_append {
    struct raft_io_append req; /* raft_uv's */
    struct raft_guard *g;
    struct raft_io_append *outer;
    struct list item;
    uint64_t first, last, last_term;
    int64_t started_ms;
};

struct guard_send {
    struct raft_io_send *req;
    struct list item;
};

struct guard_install {
    struct raft_io_snapshot_put req;
    struct raft_guard *g;
    struct raft_io_snapshot_put *outer;
    uint64_t index, term;
};

static struct raft_guard *guard_of(struct raft_io *io)
{
    return container_of(io, struct raft_guard, io);
}

static void fatal(struct raft_guard *g, int raft_status, const char *what)
{
    char why[160];
    snprintf(why, sizeof why, "%s: %s", what, raft_strerror(raft_status));
    g->ev.fatal(g->ev.arg, ERR_IO, why);
}

/* ---- load ---- */

static void loaded_free(struct raft_snapshot *s, struct raft_entry *entries, size_t n)
{
    void *batch = NULL;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].batch != batch) {
            batch = entries[i].batch;
            raft_free(batch);
        }
    }
    raft_free(entries);
    if (s) {
        for (unsigned i = 0; i < s->n_bufs; i++)
            raft_free(s->bufs[i].base);
        raft_free(s->bufs);
        raft_configuration_close(&s->configuration);
        raft_free(s);
    }
}

/* libraft silently cuts a damaged open segment short, and a store can be ahead of the log after a crash: whether this
 * node may vote is decided here, before libraft has seen anything. */
static int guard_load(struct raft_io *io, raft_term *term, raft_id *voted_for, struct raft_snapshot **snapshot,
                      raft_index *start_index, struct raft_entry *entries[], size_t *n_entries)
{
    struct raft_guard *g = guard_of(io);
    int rc = g->inner.load(io, term, voted_for, snapshot, start_index, entries, n_entries);
    if (rc != 0)
        return rc;
    bool falls = false; /* left over by a libraft that could not close a segment */
    for (size_t i = 1; i < *n_entries; i++)
        falls = falls || (*entries)[i].term < (*entries)[i - 1].term;
    uint64_t last = *start_index + *n_entries - 1, last_term = 0;
    if (*n_entries > 0)
        last_term = (*entries)[*n_entries - 1].term;
    if (*snapshot && (*snapshot)->index >= last) {
        last = (*snapshot)->index;
        last_term = (*snapshot)->term;
    }
    if (falls)
        snprintf(io->errmsg, sizeof io->errmsg, "terms fall along the log: its segments are out of order");
    if (falls || g->ev.loaded(g->ev.arg, last, last_term, !*snapshot && *n_entries == 0) != 0) {
        loaded_free(*snapshot, *entries, *n_entries);
        *snapshot = NULL;
        *entries = NULL;
        *n_entries = 0;
        return RAFT_CORRUPT;
    }
    g->next = last + 1;
    g->persisted = last;
    g->term = *term;
    return 0;
}

/* ---- what libraft keeps to itself ---- */

static bool begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* uv_finalize.c and uv_truncate.c note a failure in a flag that nothing reads. A segment that was not closed stays an
 * open one; those carry no indexes, so at the next start its entries are loaded behind newer, closed segments, and
 * replicas diverge. Their trace messages tell, out of the failing call: in libuv's pool, before the next segment can be
 * closed. Only ending the process right there keeps what is on disk in order. */
static void traced(struct raft_tracer *t, int type, const void *info)
{
    struct raft_guard *g = t->impl;
    const struct raft_tracer_info *i = info;
    if (type != RAFT_TRACER_DIAGNOSTIC || !i->diagnostic.message)
        return;
    const char *m = i->diagnostic.message;
    if (begins(m, "truncate segment "))
        g->ev.fatal(g->ev.arg, ERR_IO, m);
    else if (strcmp(m, "uv truncate work cb") == 0)
        atomic_store(&g->cutting, true);
    else if (strcmp(m, "uv truncate work cb ok") == 0)
        atomic_store(&g->cutting, false);
    else if (begins(m, "uv truncate after work cb") && atomic_load(&g->cutting))
        g->ev.fatal(g->ev.arg, ERR_IO, "cut the log");
}

void raft_guard_watch(struct raft_guard *g)
{
    g->tracer = (struct raft_tracer){.impl = g, .version = 2, .emit = traced};
    raft_uv_set_tracer(&g->io, &g->tracer);
}

/* ---- log writes ---- */

static void append_done(struct raft_io_append *req, int status)
{
    struct guard_append *a = req->data;
    struct raft_guard *g = a->g;
    struct raft_io_append *outer = a->outer;
    list_remove(&a->item);
    if (status == 0 && a->last >= a->first) {
        int rc = mark_raise(g->mark, a->last, a->last_term);
        if (rc != 0)
            g->ev.fatal(g->ev.arg, rc, "write the mark of acknowledged entries");
        g->persisted = a->last;
        g->ev.persisted(g->ev.arg, a->last);
    }
    mem_free(a);
    /* libraft believes that an append fails only while closing; going on would leave a hole in the log. */
    if (status != 0 && status != RAFT_CANCELED)
        fatal(g, status, "write the log");
    else
        outer->cb(outer, status);
}

static int guard_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                        raft_io_append_cb cb)
{
    struct raft_guard *g = guard_of(io);
    struct guard_append *a = mem_zalloc(sizeof *a);
    *a = (struct guard_append){.g = g,
                               .outer = req,
                               .first = g->next,
                               .last = g->next + n - 1,
                               .last_term = entries[n - 1].term,
                               .started_ms = clock_steady_ms()};
    a->req.data = a;
    req->cb = cb;
    list_append(&g->appends, &a->item);
    g->next += n;
    int rc = g->inner.append(io, &a->req, entries, n, append_done);
    if (rc != 0) {
        list_remove(&a->item);
        mem_free(a);
        if (rc != RAFT_CANCELED)
            fatal(g, rc, "append to the log");
    }
    return rc;
}

/* What was under way and is cut off now must not raise the mark when it ends. */
static void appends_clip(struct raft_guard *g, uint64_t index)
{
    LIST_EACH(it, tmp, &g->appends)
    {
        struct guard_append *a = container_of(it, struct guard_append, item);
        if (a->last >= index) {
            a->last = index - 1;
            a->last_term = 0; /* that of what is left is not known here */
        }
    }
}

/* libraft truncates before each append, nearly always at the end, where nothing is cut. */
static int guard_truncate(struct raft_io *io, raft_index index)
{
    struct raft_guard *g = guard_of(io);
    appends_clip(g, index);
    if (g->persisted >= index)
        g->persisted = index - 1;
    if (g->mark->index >= index) {
        int rc = mark_lower(g->mark, index - 1, 0);
        if (rc != 0) {
            g->ev.fatal(g->ev.arg, rc, "lower the mark of acknowledged entries");
            return RAFT_IOERR;
        }
    }
    g->next = index;
    int rc = g->inner.truncate(io, index);
    if (rc != 0 && rc != RAFT_CANCELED)
        fatal(g, rc, "truncate the log");
    return rc;
}

/* A candidate that is asked for its vote once more (its request came twice) gets it again, and libraft writes that down
 * again: the term first, with no vote, then the vote. A crash between the two would take back a vote that was given,
 * and the term could have two leaders. */
static int guard_set_term(struct raft_io *io, raft_term term)
{
    struct raft_guard *g = guard_of(io);
    if (term == g->term)
        return 0;
    int rc = g->inner.set_term(io, term);
    if (rc != 0)
        fatal(g, rc, "write the term");
    else
        g->term = term;
    return rc;
}

static int guard_set_vote(struct raft_io *io, raft_id id)
{
    struct raft_guard *g = guard_of(io);
    int rc = g->inner.set_vote(io, id);
    if (rc != 0)
        fatal(g, rc, "write the vote");
    return rc;
}

uint64_t raft_guard_oldest_ms(const struct raft_guard *g)
{
    if (list_empty(&g->appends))
        return 0;
    const struct guard_append *a = container_of(g->appends.next, struct guard_append, item);
    int64_t age = clock_steady_ms() - a->started_ms;
    return age > 0 ? (uint64_t)age : 0;
}

/* ---- snapshots ---- */

static void install_done(struct raft_io_snapshot_put *req, int status)
{
    struct guard_install *i = req->data;
    struct raft_guard *g = i->g;
    struct raft_io_snapshot_put *outer = i->outer;
    if (status == 0) {
        int rc = mark_raise(g->mark, i->index, i->term);
        if (rc != 0)
            g->ev.fatal(g->ev.arg, rc, "write the mark of acknowledged entries");
        g->persisted = i->index;
        g->next = i->index + 1;
        g->ev.persisted(g->ev.arg, i->index);
    }
    mem_free(i);
    if (status != 0 && status != RAFT_CANCELED)
        fatal(g, status, "store an installed snapshot");
    else
        outer->cb(outer, status);
}

/* A snapshot from the leader (trailing 0): the whole log goes, so the mark may not stay above it meanwhile. */
static int install_put(struct raft_guard *g, struct raft_io_snapshot_put *req, const struct raft_snapshot *s)
{
    appends_clip(g, 1);
    if (g->mark->index > s->index) {
        int rc = mark_lower(g->mark, s->index, s->term);
        if (rc != 0) {
            g->ev.fatal(g->ev.arg, rc, "lower the mark of acknowledged entries");
            return RAFT_IOERR;
        }
    }
    struct guard_install *i = mem_zalloc(sizeof *i);
    *i = (struct guard_install){.g = g, .outer = req, .index = s->index, .term = s->term};
    i->req.data = i;
    int rc = g->inner.snapshot_put(&g->io, 0, &i->req, s, install_done);
    if (rc != 0) {
        mem_free(i);
        if (rc != RAFT_CANCELED)
            fatal(g, rc, "store an installed snapshot");
    }
    return rc;
}

static int guard_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                              const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct raft_guard *g = guard_of(io);
    req->cb = cb;
    if (trailing == 0)
        return install_put(g, req, snapshot);
    ENSURE(!g->held.req);
    g->held.req = req;
    g->held.snapshot = snapshot;
    g->held.trailing = trailing;
    g->held.cb = cb;
    g->ev.snapshot_wanted(g->ev.arg, snapshot->index);
    return 0;
}

static void taken_done(struct raft_io_snapshot_put *req, int status)
{
    struct guard_install *i = req->data;
    struct raft_guard *g = i->g;
    struct raft_io_snapshot_put *outer = i->outer;
    mem_free(i);
    if (status != 0 && status != RAFT_CANCELED)
        fatal(g, status, "store a snapshot");
    else
        outer->cb(outer, status);
}

void raft_guard_snapshot_put(struct raft_guard *g, struct slice descriptor)
{
    if (!g->held.req)
        return;
    struct raft_io_snapshot_put *outer = g->held.req;
    ENSURE(g->held.snapshot->n_bufs == 1 && g->held.snapshot->bufs[0].len == descriptor.n);
    memcpy(g->held.snapshot->bufs[0].base, descriptor.p, descriptor.n);
    struct guard_install *i = mem_zalloc(sizeof *i);
    *i = (struct guard_install){.g = g, .outer = outer, .index = g->held.snapshot->index};
    i->req.data = i;
    g->held.req = NULL;
    int rc = g->inner.snapshot_put(&g->io, g->held.trailing, &i->req, g->held.snapshot, taken_done);
    if (rc != 0) {
        mem_free(i);
        if (rc != RAFT_CANCELED)
            fatal(g, rc, "store a snapshot");
        outer->cb(outer, RAFT_CANCELED);
    }
}

/* ---- messages ---- */

/* Entries are encoded before send returns, and its callback comes within the same loop turn: an entry's count of
 * references has 16 bits, so 65,536 unfinished sends of one entry would free it under us. */
static int guard_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *m, raft_io_send_cb cb)
{
    struct raft_guard *g = guard_of(io);
    g->ev.send(g->ev.arg, m);
    struct guard_send *s = mem_zalloc(sizeof *s);
    s->req = req;
    req->cb = cb;
    list_append(&g->sends, &s->item);
    return 0;
}

/* libraft answers a pre-vote with the term that it was asked for, also when it refuses because its own is higher. Then
 * a candidate that has the best log, and alone could win, never learns of that term, and those who have it have not the
 * log: nobody is elected any more. With its own term in the answer the candidate goes on from there. */
void raft_guard_vote_correct(const struct raft *r, struct raft_message *m)
{
    struct raft_request_vote_result *v = &m->request_vote_result;
    if (m->type == RAFT_REQUEST_VOTE_RESULT && v->pre_vote && !v->vote_granted && v->term < r->current_term)
        v->term = r->current_term;
}

static void sends_finish(struct raft_guard *g, int status)
{
    while (!list_empty(&g->sends)) {
        struct guard_send *s = container_of(g->sends.next, struct guard_send, item);
        list_remove(&s->item);
        struct raft_io_send *req = s->req;
        mem_free(s);
        if (req->cb)
            req->cb(req, status);
    }
}

void raft_guard_flush(struct raft_guard *g)
{
    sends_finish(g, 0);
}

static int guard_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct raft_guard *g = guard_of(io);
    g->recv = recv;
    return g->inner.start(io, msecs, tick, recv);
}

/* A follower with a leader grants no vote, so that a node that alone lost the leader cannot disturb the others (Raft
 * dissertation 4.2.3). The dissertation's limit is the minimum election timeout since the leader was heard; libraft
 * waits for the follower's own, randomized one, so a dead leader was replaced at the later of two such times instead of
 * the earlier. Nothing of what makes a vote safe depends on this flag: terms and logs are compared all the same. */
static void vote_unstick(struct raft_guard *g, const struct raft *r, struct raft_request_vote *v)
{
    if (r->state != RAFT_FOLLOWER)
        return;
    raft_time now = g->inner.time(&g->io);
    if (g->leader_lost || (now >= r->election_timer_start && now - r->election_timer_start >= r->election_timeout))
        v->disrupt_leader = true;
}

uint64_t raft_guard_term_of(const struct raft *r, uint64_t index)
{
    const struct raft_trail *t = &r->trail;
    unsigned n = t->size ? (t->back + t->size - t->front) % t->size : 0;
    if (index == t->snapshot.index)
        return t->snapshot.term;
    if (index <= t->offset)
        return 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned at = (t->front + i) % t->size;
        if (index <= t->records[at].index)
            return t->records[at].term;
    }
    return 0;
}

/* An AppendEntries that was sent once more, or was held up, may begin with entries that were committed and cut off the
 * log since. libraft (checkConflictingEntries) finds no term for them, takes them for new ones behind its last, and
 * crashes. Whoever leads has all that is committed here, so the message says the same when it begins behind that.
 * False: nothing can be made of it. */
static bool entries_cut_off_skip(const struct raft *r, struct raft_append_entries *a)
{
    if (a->prev_log_index >= r->commit_index || a->prev_log_index > r->trail.offset || r->trail.offset == 0)
        return true;
    uint64_t skip = r->commit_index - a->prev_log_index, term = raft_guard_term_of(r, r->commit_index);
    if (term == 0)
        return false;
    unsigned gone = skip < a->n_entries ? (unsigned)skip : a->n_entries;
    a->prev_log_index = r->commit_index;
    a->prev_log_term = term;
    a->n_entries -= gone;
    if (a->n_entries > 0) {
        memmove(a->entries, a->entries + gone, a->n_entries * sizeof *a->entries);
    } else if (gone > 0) {
        raft_free(a->entries[0].batch);
        raft_free(a->entries);
        a->entries = NULL;
    }
    return true;
}

/* A sender's libraft may load a newer snapshot than the one that it meant to send; it then tells the newer one's index
 * and the older one's term (legacyLoadSnapshotCb). With a leader elected between the two, the receiver's log
 * contradicts every entry behind the snapshot, for ever, and libraft frees such entries twice. The descriptor has both
 * right. */
static void snapshot_term_correct(struct raft_install_snapshot *s)
{
    uint64_t index;
    struct store_position p;
    if (descriptor_decode(slice_make(s->data.base, s->data.len), &index, &p) == 0 && index == s->last_index)
        s->last_term = p.term;
}

/* Whoever is asked votes, whatever its own configuration says (dissertation 4.1): a member that was just made a voter
 * may be needed for the majority before it has the entry that says so, and gets that from nobody but the leader who is
 * to be elected. libraft asks for the own role; it is done with it when it returns. */
static void vote_receive(struct raft_guard *g, struct raft *r, struct raft_message *m)
{
    struct raft_server *self = NULL;
    for (unsigned i = 0; i < r->configuration.n && !self; i++)
        if (r->configuration.servers[i].id == r->id)
            self = &r->configuration.servers[i];
    int role = self ? self->role : RAFT_VOTER;
    vote_unstick(g, r, &m->request_vote);
    if (self)
        self->role = RAFT_VOTER;
    g->recv(&g->io, m);
    if (self)
        self->role = role;
}

int raft_guard_receive(struct raft_guard *g, struct raft *r, uint64_t id, const char *address, struct slice payload)
{
    struct message_list l;
    int rc = message_decode(payload, &l);
    if (rc != 0)
        return rc;
    for (unsigned i = 0; i < l.n; i++) {
        struct raft_message *m = &l.items[i];
        m->server_id = id;
        m->server_address = address;
        if (m->type == RAFT_INSTALL_SNAPSHOT)
            snapshot_term_correct(&m->install_snapshot);
        /* libraft crashes (taking) or leaks (installing) when a snapshot comes meanwhile; the leader sends it again. */
        bool busy = r->legacy.snapshot_taking || r->legacy.snapshot_install || r->snapshot.installing;
        bool usable = m->type == RAFT_APPEND_ENTRIES          ? entries_cut_off_skip(r, &m->append_entries)
                      : m->type == RAFT_APPEND_ENTRIES_RESULT ? g->ev.answered(g->ev.arg, id, &m->append_entries_result)
                                                              : true;
        if (!g->recv || g->closed || !usable || (busy && m->type == RAFT_INSTALL_SNAPSHOT))
            message_discard(m);
        else if (m->type == RAFT_REQUEST_VOTE)
            vote_receive(g, r, m);
        else
            g->recv(&g->io, m);
    }
    message_list_free(&l);
    return 0;
}

/* ---- life ---- */

static void guard_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct raft_guard *g = guard_of(io);
    g->closed = true;
    sends_finish(g, RAFT_CANCELED);
    struct raft_io_snapshot_put *held = g->held.req;
    g->held.req = NULL;
    if (held)
        held->cb(held, RAFT_CANCELED);
    g->inner.close(io, cb);
}

void raft_guard_init(struct raft_guard *g, struct mark *mark, const struct raft_guard_events *ev)
{
    struct raft_io io = g->io;
    *g = (struct raft_guard){.io = io, .inner = io, .ev = *ev, .mark = mark, .next = 1};
    list_init(&g->appends);
    list_init(&g->sends);
    g->io.load = guard_load;
    g->io.start = guard_start;
    g->io.close = guard_close;
    g->io.send = guard_send;
    g->io.append = guard_append;
    g->io.truncate = guard_truncate;
    g->io.snapshot_put = guard_snapshot_put;
    g->io.set_term = guard_set_term;
    g->io.set_vote = guard_set_vote;
}

static int transport_init(struct raft_uv_transport *t, raft_id id, const char *address)
{
    (void)t, (void)id, (void)address;
    return 0;
}

static int transport_listen(struct raft_uv_transport *t, raft_uv_accept_cb cb)
{
    (void)t, (void)cb;
    return 0;
}

static int transport_connect(struct raft_uv_transport *t, struct raft_uv_connect *req, raft_id id, const char *address,
                             raft_uv_connect_cb cb)
{
    (void)t, (void)req, (void)id, (void)address, (void)cb;
    return RAFT_NOCONNECTION;
}

static void transport_close(struct raft_uv_transport *t, raft_uv_transport_close_cb cb)
{
    cb(t);
}

void raft_guard_transport(struct raft_uv_transport *t)
{
    *t = (struct raft_uv_transport){.version = 1,
                                    .init = transport_init,
                                    .listen = transport_listen,
                                    .connect = transport_connect,
                                    .close = transport_close};
}
