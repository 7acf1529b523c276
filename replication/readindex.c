/* Linearizable reads without a log write (Raft dissertation 6.4):
 *
 *   leader:    has committed in its term (else: a barrier first) ► notes its commit index ► asks the voters for their
 * term ► a majority still at ours: nobody else led before we noted it ► the index is good follower:  asks the leader
 * for such an index both:      wait until the own store has applied it One round, and one request, serves all that wait
 * when it starts. */
#include "replication/core.h"

#include "node/base/clock.h"

enum { ASK_MS = 1000, RETRY_MS = 10 };

void reads_init(struct replication *r)
{
    list_init(&r->reads.waiting);
    list_init(&r->reads.asked);
    list_init(&r->reads.known);
}

static void read_done(struct replication *r, struct read_wait *w, int status)
{
    list_remove(&w->item);
    if (w->b) {
        w->b->status = status;
        w->b->impl = NULL;
        task_post(w->b->home, &w->b->task);
    } else if (w->cb) {
        bool leads = core_is_leader(r) && raft_current_term(&r->raft) == w->term;
        w->cb(r, w->cb_arg, status == 0 && !leads ? ERR_NOTLEADER : status);
    } else {
        core_answer_status(r, w->origin, status, w->index);
    }
    mem_free(w);
}

static void move_all(struct list *from, struct list *to)
{
    while (!list_empty(from)) {
        struct list *it = from->next;
        list_remove(it);
        list_append(to, it);
    }
}

static void read_run(struct task *t)
{
    struct read_wait *w = container_of(t, struct read_wait, task);
    struct replication *r = w->r;
    list_init(&w->item);
    pthread_mutex_lock(&r->now_lock);
    r->now.read_barriers++;
    pthread_mutex_unlock(&r->now_lock);
    if (r->life == CORE_CLOSING) {
        read_done(r, w, ERR_CANCELED);
        return;
    }
    if (w->deadline_ms == 0)
        w->deadline_ms = clock_steady_ms() + r->c.write_wait_ms;
    list_append(&r->reads.waiting, &w->item);
}

void replication_read(struct replication *r, struct read_barrier *b)
{
    if (!r->member) {
        b->status = ERR_UNAVAILABLE;
        task_post(b->home, &b->task);
        return;
    }
    struct read_wait *w = mem_zalloc(sizeof *w);
    *w = (struct read_wait){.task.run = read_run, .r = r, .b = b, .deadline_ms = b->deadline_ms};
    b->impl = w;
    task_post(&r->loop.queue, &w->task);
}

void reads_asked(struct replication *r, struct origin o)
{
    if (!core_is_leader(r)) {
        core_answer_status(r, o, ERR_NOTLEADER, 0);
        return;
    }
    struct read_wait *w = mem_zalloc(sizeof *w);
    *w = (struct read_wait){.r = r, .origin = o, .deadline_ms = clock_steady_ms() + ASK_MS};
    list_append(&r->reads.waiting, &w->item);
}

void reads_internal(struct replication *r, int64_t deadline_ms, read_cb cb, void *arg)
{
    struct read_wait *w = mem_zalloc(sizeof *w);
    *w = (struct read_wait){.r = r, .cb = cb, .cb_arg = arg, .deadline_ms = deadline_ms};
    w->term = raft_current_term(&r->raft);
    list_append(&r->reads.waiting, &w->item);
}

/* The index of those in `asked` is known. Others only wanted the index; ours wait for the store. */
static void asked_known(struct replication *r, uint64_t index)
{
    LIST_EACH(it, tmp, &r->reads.asked)
    {
        struct read_wait *w = container_of(it, struct read_wait, item);
        w->index = index;
        if (w->b || w->cb) {
            list_remove(&w->item);
            list_append(&r->reads.known, &w->item);
        } else {
            read_done(r, w, 0);
        }
    }
    reads_applied(r);
}

/* ---- leader ---- */

struct term_ask {
    struct replication *r;
    uint64_t round;
};

static void round_check(struct replication *r)
{
    struct reads *s = &r->reads;
    if (s->votes < s->votes_needed)
        return;
    s->round = false;
    asked_known(r, s->round_index);
}

static void term_answered(void *arg, int status, struct slice payload)
{
    struct term_ask *a = arg;
    struct replication *r = a->r;
    struct reads *s = &r->reads;
    bool current = s->round && a->round == s->round_serial;
    mem_free(a);
    struct reader in = {.in = payload};
    if (!current || status != 0 || r->life == CORE_CLOSING)
        return;
    uint64_t term = read_u64(&in);
    if (in.failed || term != s->round_term)
        return;
    s->votes++;
    round_check(r);
}

static void round_start(struct replication *r, int64_t now)
{
    struct reads *s = &r->reads;
    uint8_t term[8];
    s->round = true;
    s->round_serial++;
    s->round_term = raft_current_term(&r->raft);
    s->round_index = raft_commit_index(&r->raft);
    s->started_ms = now;
    s->votes = core_is_voter(r, r->identity.node_id) ? 1 : 0;
    s->votes_needed = core_voters(r) / 2 + 1;
    move_all(&s->waiting, &s->asked);
    put_le64(term, s->round_term);
    for (unsigned i = 0; i < r->n_peers; i++) {
        struct peer *p = r->peers[i];
        if (p->role != RAFT_VOTER || !p->out)
            continue;
        struct term_ask *a = mem_zalloc(sizeof *a);
        *a = (struct term_ask){r, s->round_serial};
        if (link_request(p->out, LINK_TERM, slice_make(term, sizeof term), (struct slice){NULL, 0}, CORE_ROUND_MS,
                         term_answered, a) != 0)
            mem_free(a);
    }
    round_check(r);
}

static void barrier_done(struct raft_barrier *b, int status)
{
    struct replication *r = b->data;
    (void)status; /* a new leader is noticed by itself */
    r->reads.barrier_pending = false;
}

/* Entries of earlier terms are committed only through one of ours: until then our commit index may lie behind what was
 * acknowledged. */
static bool committed_in_term(struct replication *r)
{
    struct reads *s = &r->reads;
    if (core_term_of(r, raft_commit_index(&r->raft)) == raft_current_term(&r->raft))
        return true;
    if (s->barrier_pending)
        return false;
    s->barrier.data = r;
    int rc = raft_barrier(&r->raft, &s->barrier, barrier_done);
    s->barrier_pending = rc == 0;
    if (rc != 0 && rc != RAFT_NOTLEADER && rc != RAFT_NOSPACE && rc != RAFT_CANTCHANGE)
        core_fatal(r, ERR_IO, raft_strerror(rc));
    return false;
}

/* ---- follower ---- */

struct index_ask {
    struct replication *r;
    uint64_t round;
};

static void index_answered(void *arg, int status, struct slice payload)
{
    struct index_ask *a = arg;
    struct replication *r = a->r;
    struct reads *s = &r->reads;
    bool current = s->round && a->round == s->round_serial;
    mem_free(a);
    if (!current || r->life == CORE_CLOSING)
        return;
    struct reader in = {.in = payload};
    s->round = false;
    if (status == 0)
        status = (int)(int32_t)read_u32(&in);
    uint64_t index = read_u64(&in);
    if (status == 0 && !in.failed) {
        asked_known(r, index);
        return;
    }
    /* Again, a little later. */
    move_all(&s->asked, &s->waiting);
    s->not_before_ms = clock_steady_ms() + RETRY_MS;
}

static void index_ask(struct replication *r, uint64_t leader, int64_t now)
{
    struct reads *s = &r->reads;
    struct peer *p = core_peer(r, leader);
    if (!p || !p->out || !link_is_up(p->out))
        return;
    struct index_ask *a = mem_zalloc(sizeof *a);
    *a = (struct index_ask){r, s->round_serial + 1};
    if (link_request(p->out, LINK_READ_INDEX, (struct slice){NULL, 0}, (struct slice){NULL, 0}, ASK_MS, index_answered,
                     a) != 0) {
        mem_free(a);
        return;
    }
    s->round = true;
    s->round_serial++;
    s->started_ms = now;
    move_all(&s->waiting, &s->asked);
}

/* ---- turns ---- */

/* What other nodes, or its own parts, asked a leader that is none any more. */
static void leaders_refuse(struct replication *r)
{
    LIST_EACH(it, tmp, &r->reads.waiting)
    {
        struct read_wait *w = container_of(it, struct read_wait, item);
        if (!w->b)
            read_done(r, w, ERR_NOTLEADER);
    }
}

/* Internal ones end with their term, also when this node leads the next one, or only waits for its own state. */
static void internal_refuse(struct replication *r)
{
    struct list *all[] = {&r->reads.waiting, &r->reads.known};
    for (int i = 0; i < 2; i++) {
        LIST_EACH(it, tmp, all[i])
        {
            struct read_wait *w = container_of(it, struct read_wait, item);
            if (w->cb && (!core_is_leader(r) || w->term != raft_current_term(&r->raft)))
                read_done(r, w, ERR_NOTLEADER);
        }
    }
}

void reads_turn(struct replication *r)
{
    struct reads *s = &r->reads;
    if (s->round || list_empty(&s->waiting))
        return;
    int64_t now = clock_steady_ms();
    if (core_is_leader(r)) {
        if (committed_in_term(r))
            round_start(r, now);
        return;
    }
    leaders_refuse(r);
    uint64_t leader = core_leader(r);
    if (leader != 0 && !list_empty(&s->waiting) && now >= s->not_before_ms)
        index_ask(r, leader, now);
}

void reads_tick(struct replication *r, int64_t now)
{
    struct reads *s = &r->reads;
    struct list *all[] = {&s->waiting, &s->asked, &s->known};
    for (int i = 0; i < 3; i++) {
        LIST_EACH(it, tmp, all[i])
        {
            struct read_wait *w = container_of(it, struct read_wait, item);
            if (w->deadline_ms <= now)
                read_done(r, w, ERR_UNAVAILABLE);
        }
    }
    /* A round that found no majority: a new one, for all. */
    if (s->round && now - s->started_ms > CORE_ROUND_MS) {
        s->round = false;
        move_all(&s->asked, &s->waiting);
    }
}

void reads_applied(struct replication *r)
{
    uint64_t applied = applier_applied(r->applier);
    LIST_EACH(it, tmp, &r->reads.known)
    {
        struct read_wait *w = container_of(it, struct read_wait, item);
        if (w->index <= applied && !r->syncing)
            read_done(r, w, 0);
    }
}

void reads_leader_changed(struct replication *r)
{
    struct reads *s = &r->reads;
    s->round = false;
    s->not_before_ms = 0;
    move_all(&s->asked, &s->waiting);
    internal_refuse(r);
    if (!core_is_leader(r))
        leaders_refuse(r);
}

void reads_cancel(struct replication *r)
{
    struct list *all[] = {&r->reads.waiting, &r->reads.asked, &r->reads.known};
    r->reads.round = false;
    for (int i = 0; i < 3; i++)
        while (!list_empty(all[i]))
            read_done(r, container_of(all[i]->next, struct read_wait, item), ERR_CANCELED);
}
