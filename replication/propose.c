/* Proposals: from a caller's request to its result, exactly once.
 *
 *   replication_propose ──► waiting ──seq, id, time──► queue ──┬─ leader: entry, raft_apply ──┐
 *                                             ▲                └─ else: LINK_FORWARD ─────────┤
 *                                             └── delayed ◄── leader changed, refused, lost ──┤
 *                          done ◄── our own applier meets the request id ◄────────────────────┘ sent
 *
 * A command may be in the log twice after a retry: the store answers the second with the first one's result. While
 * applies are under way new proposals gather, and go down as one entry when one returns; an idle one goes at once.
 *
 * Internal ones (members, formats) are what a leader decided from its state, not what somebody asked for: to another
 * leader, or in another term, they would overwrite what was decided since. They end with the term they were made in. */
#include "replication/core.h"

#include "node/base/clock.h"
#include "replication/cluster_time.h"
#include "replication/propose.h"

enum { RETRY_MS = 20, RETRY_NOSPACE_MS = 200, FORWARD_HEAD = 16 };

void proposals_init(struct replication *r)
{
    struct proposals *s = &r->proposals;
    list_init(&s->waiting);
    list_init(&s->queue);
    list_init(&s->delayed);
    list_init(&s->sent);
    list_init(&s->pending);
    s->seq_next = 1;
}

/* ---- pending, by seq ---- */

static struct proposal **pending_slot(struct replication *r, uint64_t seq)
{
    struct proposal **at = &r->proposals.bucket[seq % PENDING_BUCKETS];
    while (*at && (*at)->seq != seq)
        at = &(*at)->hash_next;
    return at;
}

static struct proposal *pending_find(struct replication *r, uint64_t seq)
{
    return *pending_slot(r, seq);
}

static void proposal_free(struct proposal *x)
{
    list_remove(&x->item);
    list_remove(&x->order);
    bytes_unref(&x->command);
    mem_free(x);
}

/* Completes an own proposal. result: a reference of the caller's, taken over by the request on success. */
static void proposal_done(struct replication *r, struct proposal *x, int status, struct bytes *result, uint64_t index)
{
    if (x->seq) {
        struct proposal **at = pending_slot(r, x->seq);
        if (*at == x)
            *at = x->hash_next;
    }
    if (x->p) {
        struct propose *p = x->p;
        p->status = status;
        p->result = status == 0 ? bytes_ref(result) : NULL;
        p->index = index;
        p->voters = core_voters_sum(r);
        p->impl = NULL;
        task_post(p->home, &p->task);
    }
    proposal_cb cb = x->cb;
    void *arg = x->cb_arg;
    r->proposals.decisions -= cb != NULL;
    mem_free(x->p ? NULL : (void *)(uintptr_t)x->body.p);
    proposal_free(x);
    if (cb)
        cb(r, arg, status, bytes_slice(result));
}

/* Why an own proposal ends without a result. Once a leader had it, it may be in a log and take effect, now or later:
 * then nobody may be told that it did not. */
static int status_without_result(const struct proposal *x, int status)
{
    return x->sent_to ? ERR_TIMEOUT : status;
}

static void state_set(struct replication *r, struct proposal *x, enum proposal_state state)
{
    struct proposals *s = &r->proposals;
    struct list *lists[] = {&s->waiting, &s->queue, &s->delayed, &s->sent};
    list_remove(&x->item);
    list_append(lists[state], &x->item);
    x->state = state;
}

static void delay(struct replication *r, struct proposal *x, int64_t ms)
{
    x->not_before_ms = clock_steady_ms() + ms;
    state_set(r, x, PROPOSAL_DELAYED);
}

/* ---- entering ---- */

/* id and time, as fields 1 and 2 of merlion.Command, after the rest: protobuf allows any order. */
void propose_command_finish(struct slice body, uint64_t node, uint64_t boot, uint64_t seq, int64_t time_ms,
                            struct bytes **out_r)
{
    uint8_t tail[64];
    size_t n = 0;
    tail[n++] = 0x0a; /* field 1, length-delimited */
    size_t length_at = n++;
    tail[n++] = 0x09; /* node: field 1, fixed64 */
    put_le64(tail + n, node);
    n += 8;
    tail[n++] = 0x11; /* boot: field 2, fixed64 */
    put_le64(tail + n, boot);
    n += 8;
    tail[n++] = 0x18; /* seq: field 3, varint */
    for (; seq >= 0x80; seq >>= 7)
        tail[n++] = (uint8_t)(seq | 0x80);
    tail[n++] = (uint8_t)seq;
    tail[length_at] = (uint8_t)(n - length_at - 1);
    tail[n++] = 0x10; /* field 2, varint */
    uint64_t t = (uint64_t)time_ms;
    for (; t >= 0x80; t >>= 7)
        tail[n++] = (uint8_t)(t | 0x80);
    tail[n++] = (uint8_t)t;
    struct bytes *out = bytes_new(body.n + n);
    if (body.n)
        memcpy(out->p, body.p, body.n);
    memcpy(out->p + body.n, tail, n);
    *out_r = out;
}

/* Gives seqs, in order. The oldest unfinished one is never further back than the store's table of recent requests
 * reaches: a retry from below it would be refused as stale though it may have taken effect. */
static void waiting_admit(struct replication *r)
{
    struct proposals *s = &r->proposals;
    int64_t time_ms = list_empty(&s->waiting) ? 0 : replication_time_ms(r);
    while (!list_empty(&s->waiting)) {
        struct proposal *oldest =
            list_empty(&s->pending) ? NULL : container_of(s->pending.next, struct proposal, order);
        if (oldest && s->seq_next - oldest->seq >= CORE_SEQ_WINDOW)
            return;
        struct proposal *x = container_of(s->waiting.next, struct proposal, item);
        x->seq = s->seq_next++;
        propose_command_finish(x->body, r->identity.node_id, r->boot, x->seq, time_ms, &x->command);
        list_append(&s->pending, &x->order);
        *pending_slot(r, x->seq) = x;
        state_set(r, x, PROPOSAL_QUEUED);
    }
}

static void proposal_enter(struct replication *r, struct proposal *x)
{
    if (x->body.n + 64 > COMMAND_MAX) {
        proposal_done(r, x, ERR_TOOBIG, NULL, 0);
    } else if (r->life == CORE_CLOSING) {
        proposal_done(r, x, ERR_CANCELED, NULL, 0);
    } else if (r->disk_full && x->body.n > CORE_NOSPACE_SMALL) {
        proposal_done(r, x, ERR_NOSPACE, NULL, 0);
    } else {
        if (x->deadline_ms == 0)
            x->deadline_ms = clock_steady_ms() + r->c.write_wait_ms;
        x->state = PROPOSAL_WAITING;
        list_append(&r->proposals.waiting, &x->item);
    }
}

static void propose_run(struct task *t)
{
    struct proposal *x = container_of(t, struct proposal, task);
    struct replication *r = x->r;
    pthread_mutex_lock(&r->now_lock);
    r->now.proposals++;
    pthread_mutex_unlock(&r->now_lock);
    proposal_enter(r, x);
}

static struct proposal *proposal_new(struct replication *r)
{
    struct proposal *x = mem_zalloc(sizeof *x);
    x->r = r;
    list_init(&x->item);
    list_init(&x->order);
    return x;
}

void replication_propose(struct replication *r, struct propose *p)
{
    if (!r->member) {
        p->status = ERR_UNAVAILABLE;
        p->result = NULL;
        task_post(p->home, &p->task);
        return;
    }
    struct proposal *x = proposal_new(r);
    x->task.run = propose_run;
    x->p = p;
    x->body = p->command;
    x->deadline_ms = p->deadline_ms;
    p->impl = x;
    task_post(&r->loop.queue, &x->task);
}

/* ---- internal ---- */

void proposals_internal(struct replication *r, struct slice command, int64_t deadline_ms, proposal_cb cb, void *arg)
{
    struct proposal *x = proposal_new(r);
    uint8_t *copy = mem_alloc(command.n ? command.n : 1);
    memcpy(copy, command.p, command.n);
    x->body = slice_make(copy, command.n);
    x->cb = cb;
    x->cb_arg = arg;
    x->deadline_ms = deadline_ms;
    x->term = raft_current_term(&r->raft);
    r->proposals.decisions++;
    if (core_is_leader(r))
        proposal_enter(r, x);
    else
        proposal_done(r, x, ERR_NOTLEADER, NULL, 0);
}

/* Those that are in no log yet, and whose term is over. */
static void decisions_drop(struct replication *r)
{
    struct proposals *s = &r->proposals;
    struct list *unplaced[] = {&s->waiting, &s->queue, &s->delayed};
    if (s->decisions == 0)
        return;
    for (int i = 0; i < 3; i++) {
        LIST_EACH(it, tmp, unplaced[i])
        {
            struct proposal *x = container_of(it, struct proposal, item);
            if (x->cb && (!core_is_leader(r) || x->term != raft_current_term(&r->raft)))
                proposal_done(r, x, ERR_NOTLEADER, NULL, 0);
        }
    }
}

/* ---- as leader: batches ---- */

struct batch_item {
    bool forwarded;
    uint64_t seq;
    struct origin origin;
};
struct batch {
    struct raft_apply req;
    struct replication *r;
    size_t bytes;
    bool marker;
    unsigned n, cap;
    struct batch_item *items;
};

static void batch_free(struct batch *b)
{
    mem_free(b->items);
    mem_free(b);
}

/* Leadership was lost: it may be committed yet, or not. Once more, under the same id. */
static void placed_lost(struct replication *r, struct proposal *x)
{
    if (!x || x->state != PROPOSAL_SENT || x->sent_to != r->identity.node_id)
        return;
    if (x->cb) {
        proposal_done(r, x, ERR_TIMEOUT, NULL, 0);
        return;
    }
    x->unsure = true;
    delay(r, x, 0);
}

static void batch_done(struct raft_apply *req, int status, void *result)
{
    struct batch *b = req->data;
    struct replication *r = b->r;
    (void)result;
    r->proposals.applies--;
    r->proposals.apply_bytes -= b->bytes;
    for (unsigned i = 0; i < b->n; i++) {
        struct batch_item *it = &b->items[i];
        if (it->forwarded && b->marker && status == 0) {
            status_marker_done(r, it->origin, req->index);
        } else if (it->forwarded) {
            core_answer_status(r, it->origin, status == 0 ? 0 : ERR_NOTLEADER, req->index);
        } else if (status != 0) {
            placed_lost(r, pending_find(r, it->seq));
        }
    }
    batch_free(b);
}

static struct batch *batch_new(struct replication *r)
{
    struct batch *b = mem_zalloc(sizeof *b);
    b->req.data = b;
    b->r = r;
    return b;
}

static void batch_note(struct batch *b, const struct proposal *x)
{
    if (b->n == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 16;
        b->items = mem_realloc(b->items, b->cap * sizeof *b->items);
    }
    b->items[b->n++] = (struct batch_item){.forwarded = x->forwarded, .seq = x->seq, .origin = x->origin};
}

/* raft_apply with one buffer: with more it would drop all but the first. entry_end pads to 8 bytes: other lengths are
 * refused by the disk code, and the next apply crashes then. */
static int batch_submit(struct replication *r, struct batch *b, struct slice entry)
{
    ENSURE(entry.n > 0 && entry.n % 8 == 0);
    struct raft_buffer buf = {raft_malloc(entry.n), entry.n};
    ENSURE(buf.base);
    memcpy(buf.base, entry.p, entry.n);
    b->bytes = entry.n;
    int rc = raft_apply(&r->raft, &b->req, &buf, 1, batch_done);
    if (rc == 0) {
        r->proposals.applies++;
        r->proposals.apply_bytes += b->bytes;
        pthread_mutex_lock(&r->now_lock);
        r->now.entries++;
        pthread_mutex_unlock(&r->now_lock);
        return 0;
    }
    /* Only after these three is the buffer still ours and libraft's state whole. */
    if (rc == RAFT_NOTLEADER || rc == RAFT_NOSPACE || rc == RAFT_CANTCHANGE) {
        raft_free(buf.base);
        return rc == RAFT_NOSPACE ? ERR_NOSPACE : ERR_NOTLEADER;
    }
    core_fatal(r, ERR_IO, raft_strerror(rc));
    return ERR_IO;
}

static void refused(struct replication *r, struct proposal *x, int status)
{
    if (x->forwarded) {
        core_answer_status(r, x->origin, status, 0);
        proposal_free(x);
    } else {
        delay(r, x, status == ERR_NOSPACE ? RETRY_NOSPACE_MS : RETRY_MS);
    }
}

/* Takes what waits off the queue, up to the size of an entry (one command may be larger alone). */
static bool batch_build(struct replication *r, struct buf *entry, struct list *taken)
{
    struct proposals *s = &r->proposals;
    size_t bytes = 0;
    unsigned n = 0;
    entry_begin(entry);
    while (!list_empty(&s->queue) && n < PROPOSE_BATCH_MAX) {
        struct proposal *x = container_of(s->queue.next, struct proposal, item);
        cluster_time_check(r, &x->command);
        size_t size = x->command->n + 4;
        if (n > 0 && bytes + size > ENTRY_MAX - 64)
            break;
        if (s->applies > 0 && s->apply_bytes + bytes + size > CORE_APPLY_BYTES_MAX)
            break;
        entry_add(entry, bytes_slice(x->command));
        list_remove(&x->item);
        list_append(taken, &x->item);
        bytes += size;
        n++;
    }
    entry_end(entry);
    return n > 0;
}

static bool batch_send(struct replication *r)
{
    struct buf entry = {0};
    struct list taken;
    list_init(&taken);
    if (!batch_build(r, &entry, &taken)) {
        buf_close(&entry);
        return false;
    }
    struct batch *b = batch_new(r);
    LIST_EACH(it, tmp, &taken)
    batch_note(b, container_of(it, struct proposal, item));
    int rc = batch_submit(r, b, buf_slice(&entry));
    buf_close(&entry);
    if (rc != 0)
        batch_free(b);
    LIST_EACH(it2, tmp2, &taken)
    {
        struct proposal *x = container_of(it2, struct proposal, item);
        if (rc != 0) {
            refused(r, x, rc);
        } else if (x->forwarded) {
            proposal_free(x);
        } else {
            x->sent_to = r->identity.node_id;
            state_set(r, x, PROPOSAL_SENT);
            if (x->cb) /* also when its outcome is not waited for: the next decision knows it */
                r->membership.from_index = raft_last_index(&r->raft);
        }
    }
    return rc == 0;
}

int proposals_marker(struct replication *r, struct origin o)
{
    struct buf entry = {0};
    struct batch *b = batch_new(r);
    struct proposal x = {.forwarded = true, .origin = o};
    applier_marker(&entry);
    batch_note(b, &x);
    b->marker = true;
    int rc = core_is_leader(r) ? batch_submit(r, b, buf_slice(&entry)) : ERR_NOTLEADER;
    buf_close(&entry);
    if (rc != 0)
        batch_free(b);
    return rc;
}

/* ---- as follower: forwarding ---- */

struct forward {
    struct replication *r;
    uint64_t seq, leader;
};

static void forward_answered(void *arg, int status, struct slice payload)
{
    struct forward *f = arg;
    struct replication *r = f->r;
    struct proposal *x = pending_find(r, f->seq);
    struct reader in = {.in = payload};
    uint64_t leader = f->leader;
    mem_free(f);
    /* Done already, or sent to somebody else meanwhile. */
    if (!x || x->state != PROPOSAL_SENT || x->sent_to != leader || r->life == CORE_CLOSING)
        return;
    int answer = status == 0 ? (int)(int32_t)read_u32(&in) : status;
    if (status == 0 && in.failed)
        answer = ERR_PROTOCOL;
    if (answer == 0)
        return; /* committed: our own applier will meet it */
    if (answer == ERR_NOSPACE && x->command->n > CORE_NOSPACE_SMALL) {
        /* A leader before this one may have put it into the log. */
        proposal_done(r, x, x->unsure ? ERR_TIMEOUT : ERR_NOSPACE, NULL, 0);
        return;
    }
    x->unsure = x->unsure || answer != ERR_NOSPACE;
    delay(r, x, RETRY_MS);
}

static bool forward_send(struct replication *r, uint64_t leader)
{
    struct proposals *s = &r->proposals;
    struct peer *p = core_peer(r, leader);
    if (list_empty(&s->queue) || !p || !p->out || !link_is_up(p->out))
        return false;
    struct proposal *x = container_of(s->queue.next, struct proposal, item);
    uint8_t head[FORWARD_HEAD];
    put_le64(head, r->boot);
    put_le64(head + 8, x->seq);
    struct forward *f = mem_zalloc(sizeof *f);
    *f = (struct forward){r, x->seq, leader};
    if (link_request(p->out, LINK_FORWARD, slice_make(head, sizeof head), bytes_slice(x->command), CORE_FORWARD_MS,
                     forward_answered, f) != 0) {
        mem_free(f);
        return false;
    }
    x->sent_to = leader;
    state_set(r, x, PROPOSAL_SENT);
    pthread_mutex_lock(&r->now_lock);
    r->now.forwards++;
    pthread_mutex_unlock(&r->now_lock);
    return true;
}

void proposals_forwarded(struct replication *r, struct origin o, struct slice payload)
{
    if (payload.n <= FORWARD_HEAD || payload.n - FORWARD_HEAD > COMMAND_MAX) {
        core_answer_status(r, o, ERR_PROTOCOL, 0);
    } else if (!core_is_leader(r) || raft_transferee(&r->raft) != 0) {
        core_answer_status(r, o, ERR_NOTLEADER, 0);
    } else if (r->disk_full && payload.n > CORE_NOSPACE_SMALL) {
        core_answer_status(r, o, ERR_NOSPACE, 0);
    } else {
        struct proposal *x = proposal_new(r);
        x->forwarded = true;
        x->origin = o;
        x->command = bytes_copy(slice_from(payload, FORWARD_HEAD));
        x->state = PROPOSAL_QUEUED;
        list_append(&r->proposals.queue, &x->item);
    }
}

/* ---- turns ---- */

/* A leader that was deposed cannot place what others forwarded: they look for the new one. */
static void forwarded_refuse(struct replication *r)
{
    LIST_EACH(it, tmp, &r->proposals.queue)
    {
        struct proposal *x = container_of(it, struct proposal, item);
        if (x->forwarded)
            refused(r, x, ERR_NOTLEADER);
    }
}

void proposals_turn(struct replication *r)
{
    struct proposals *s = &r->proposals;
    decisions_drop(r);
    waiting_admit(r);
    if (list_empty(&s->queue))
        return;
    if (core_is_leader(r)) {
        while (s->applies < CORE_APPLIES_MAX && !list_empty(&s->queue) && batch_send(r))
            continue;
        return;
    }
    forwarded_refuse(r);
    uint64_t leader = core_leader(r);
    while (leader != 0 && forward_send(r, leader))
        continue;
}

void proposals_tick(struct replication *r, int64_t now)
{
    LIST_EACH(it, tmp, &r->proposals.delayed)
    {
        struct proposal *x = container_of(it, struct proposal, item);
        if (x->not_before_ms <= now)
            state_set(r, x, PROPOSAL_QUEUED);
    }
    struct list *own[] = {&r->proposals.waiting, &r->proposals.queue, &r->proposals.delayed, &r->proposals.sent};
    for (int i = 0; i < 4; i++) {
        LIST_EACH(it2, tmp2, own[i])
        {
            struct proposal *x = container_of(it2, struct proposal, item);
            if (!x->forwarded && x->deadline_ms <= now)
                proposal_done(r, x, status_without_result(x, ERR_UNAVAILABLE), NULL, 0);
        }
    }
}

void proposals_leader_changed(struct replication *r)
{
    uint64_t leader = core_leader(r);
    if (!core_is_leader(r))
        forwarded_refuse(r);
    if (leader == 0)
        return;
    /* What went to another leader is unknown there: to the new one, at once. Our own entries' callbacks tell
     * themselves. */
    LIST_EACH(it, tmp, &r->proposals.sent)
    {
        struct proposal *x = container_of(it, struct proposal, item);
        if (x->sent_to != leader && x->sent_to != r->identity.node_id) {
            x->unsure = true;
            state_set(r, x, PROPOSAL_QUEUED);
        }
    }
}

void proposals_result(struct replication *r, const struct applier_result *result)
{
    struct proposal *x = pending_find(r, result->seq);
    if (x && (!result->early || (x->p && x->p->early)))
        proposal_done(r, x, 0, result->result, result->index);
}

void proposals_cancel(struct replication *r)
{
    struct list *all[] = {&r->proposals.waiting, &r->proposals.queue, &r->proposals.delayed, &r->proposals.sent};
    for (int i = 0; i < 4; i++) {
        while (!list_empty(all[i])) {
            struct proposal *x = container_of(all[i]->next, struct proposal, item);
            if (x->forwarded)
                refused(r, x, ERR_NOTLEADER);
            else
                proposal_done(r, x, status_without_result(x, ERR_CANCELED), NULL, 0);
        }
    }
}
