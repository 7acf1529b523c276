/* A write of a session, on its way to the log:
 *
 *   prepare each body (hash, summary, record; large ones on the compute pool)
 *     └► put each body on a majority of voters (small ones ride in the command)
 *          └► pack the command, propose, wait for the own applier
 *               └► unpack the result into the session's struct write
 *
 * All steps of one write run on its worker's loop, except preparing large bodies. */
#include "node/backend_internal.h"
#include "node/base/clock.h"
#include "node/command_queue.h"
#include "node/command.h"
#include "node/queue.h"
#include "protocol/mime/summary.h"

enum {
    /* A record up to this size rides in the command while few writes with bodies are under way here: it spares the
     * round of fsyncs before the proposal. With many, that round is shared, and the log is better kept small (measured:
     * docs/measured.md). */
    BODY_INLINE_MAX = 6 * 1024,
    BODY_INLINE_WRITES = 2,
    /* Parsed and hashed on the loop up to this size. */
    PREPARE_ON_LOOP_MAX = 64 * 1024,
};

struct prepared {
    struct compute_job job;
    struct body_put put;
    struct write_flow *flow;
    struct slice message;
    struct body_hash hash;
    struct buf summary;
    struct bytes *record;
};

struct write_flow {
    struct propose propose;
    struct worker_backend *worker;
    struct write *w;
    struct bytes **bodies; /* references of our own */
    struct prepared *prepared;
    unsigned waiting; /* bodies on their way; one more while they are begun */
    bool inlined;     /* small records ride in the command */
    int status;
    uint64_t in_flight;
    uint8_t *command;
    struct queue_reservation *reservation; /* this node delivers it at once */
};

static bool rides_along(const struct write_flow *f, const struct prepared *p)
{
    return f->inlined && p->record->n <= BODY_INLINE_MAX;
}

static void flow_end(struct write_flow *f, int status)
{
    struct write *w = f->w;
    for (unsigned i = 0; i < w->message_n && f->prepared; i++) {
        bytes_unref(&f->prepared[i].record);
        bytes_unref(&f->bodies[i]);
        buf_close(&f->prepared[i].summary);
    }
    atomic_fetch_sub(&f->worker->services->in_flight, f->in_flight);
    if (f->prepared)
        atomic_fetch_sub(&f->worker->services->writes, 1);
    mem_free(f->prepared);
    mem_free(f->bodies);
    mem_free(f->command);
    mem_free(f);
    w->op.status = status;
    w->op.done(&w->op);
}

static void flow_body_kept(struct write_flow *f, int status)
{
    if (status)
        f->status = ERR_TIMEOUT; /* the write is there; nobody may be told that it is safe */
    if (--f->waiting == 0)
        flow_end(f, f->status);
}

static void body_put_again_done(struct task *t)
{
    struct prepared *p = container_of(t, struct prepared, put.task);
    flow_body_kept(p->flow, p->put.status);
}

/* A voter that has a body may have been replaced before the command that refers to it was in the log: nobody looked
 * after that body then. */
static void flow_keep(struct write_flow *f)
{
    f->waiting = 1;
    for (unsigned i = 0; i < f->w->message_n; i++) {
        struct prepared *p = &f->prepared[i];
        if (rides_along(f, p) || p->put.voters == f->propose.voters)
            continue;
        f->waiting++;
        p->put.task.run = body_put_again_done;
        p->put.deadline_ms = backend_deadline(f->worker);
        replication_body_put(f->worker->services->replication, &p->put);
    }
    flow_body_kept(f, 0);
}

static void flow_proposed(struct task *t)
{
    struct write_flow *f = container_of(t, struct write_flow, propose.task);
    int status = f->propose.status;
    uint64_t item = 0;
    if (status == 0)
        status = command_result(bytes_slice(f->propose.result), f->w, &item);
    bytes_unref(&f->propose.result);
    if (f->reservation && status == 0)
        queue_leased(f->worker->services->queue, &f->reservation, item, f->propose.index, f->bodies[0]);
    else if (f->reservation)
        queue_unreserve(f->worker->services->queue, &f->reservation);
    if (status == ERR_STALE) /* sent again so late that nobody can tell whether the first time took effect */
        status = ERR_TIMEOUT;
    f->status = status == ERR_CANCELED ? ERR_UNAVAILABLE : status;
    if (status == 0)
        flow_keep(f);
    else
        flow_end(f, f->status);
}

static bool queue_is_active(struct store *s)
{
    struct store_position p;
    store_position(s, &p);
    return p.format >= QUEUE_FORMAT;
}

/* The part of the command that is for the queue; NULL: none. This node delivers at once if it has room. */
static struct Merlion__Enqueue *flow_enqueue(struct write_flow *f, struct arena *a)
{
    struct services *s = f->worker->services;
    if (f->w->kind != WRITE_DELIVER || f->w->foreign_n == 0)
        return NULL;
    Merlion__Enqueue *e = command_enqueue_pack(a, f->w);
    struct slice *destinations = arena_alloc(a, e->n_legs * sizeof *destinations);
    for (size_t i = 0; i < e->n_legs; i++)
        destinations[i] = slice_str(e->legs[i]->destination);
    e->expires_ms = replication_clock_ms(s->replication) + queue_lifetime_ms(s->queue);
    f->reservation = queue_reserve(s->queue, destinations, (unsigned)e->n_legs);
    if (f->reservation)
        command_lease_set(a, e, f->reservation->node, f->reservation->boot, f->reservation->until_ms);
    return e;
}

static void flow_propose(struct write_flow *f)
{
    struct write *w = f->w;
    struct arena a = {0};
    if (w->foreign_n && !queue_is_active(f->worker->services->store)) {
        flow_end(f, ERR_VERSION); /* a member of an earlier build would keep the local part alone */
        return;
    }
    struct command_body *bodies = mem_zalloc((w->message_n + 1) * sizeof *bodies);
    for (unsigned i = 0; i < w->message_n; i++) {
        const struct prepared *p = &f->prepared[i];
        bodies[i] = (struct command_body){&p->hash, p->message.n, buf_slice(&p->summary), {NULL, 0}};
        if (rides_along(f, p))
            bodies[i].record = bytes_slice(p->record);
    }
    size_t n = command_pack(w, bodies, flow_enqueue(f, &a), &f->command);
    arena_close(&a);
    mem_free(bodies);
    f->propose.task.run = flow_proposed;
    f->propose.home = home_of(f->worker);
    f->propose.command = slice_make(f->command, n);
    f->propose.deadline_ms = backend_deadline(f->worker);
    f->propose.early = w->kind == WRITE_DELIVER; /* its session reads no mailbox */
    replication_propose(f->worker->services->replication, &f->propose);
}

/* One of the bodies went as far as it goes; after the last one the command follows. */
static void flow_body_done(struct write_flow *f, int status)
{
    if (status)
        f->status = status;
    if (--f->waiting > 0)
        return;
    if (f->status)
        flow_end(f, f->status);
    else
        flow_propose(f);
}

static void body_put_done(struct task *t)
{
    struct prepared *p = container_of(t, struct prepared, put.task);
    int status = p->put.status;
    flow_body_done(p->flow, status == 0 || status == ERR_NOSPACE ? status : ERR_UNAVAILABLE);
}

static void body_prepared(struct task *t)
{
    struct prepared *p = container_of(t, struct prepared, job.task);
    struct write_flow *f = p->flow;
    if (rides_along(f, p)) {
        flow_body_done(f, 0);
        return;
    }
    p->put.task.run = body_put_done;
    p->put.home = home_of(f->worker);
    p->put.record = p->record;
    p->put.deadline_ms = backend_deadline(f->worker);
    replication_body_put(f->worker->services->replication, &p->put);
}

static void body_prepare(struct compute_job *job)
{
    struct prepared *p = container_of(job, struct prepared, job);
    p->hash = body_hash_of(p->message);
    mime_summary_build(p->message, &p->summary);
    p->record = blob_encode(&p->hash, p->message);
}

static void flow_prepare(struct write_flow *f)
{
    struct write *w = f->w;
    f->prepared = mem_zalloc(w->message_n * sizeof *f->prepared);
    f->bodies = mem_zalloc(w->message_n * sizeof(struct bytes *));
    f->waiting = w->message_n;
    f->inlined =
        atomic_fetch_add(&f->worker->services->writes, 1) < BODY_INLINE_WRITES && w->message_n <= BODY_INLINE_WRITES;
    for (unsigned i = 0; i < w->message_n; i++) {
        struct prepared *p = &f->prepared[i];
        f->bodies[i] = bytes_ref(w->messages[i].body);
        p->flow = f;
        p->message = bytes_slice(f->bodies[i]);
        p->job.work = body_prepare;
        p->job.task.run = body_prepared;
        p->job.home = home_of(f->worker);
        f->in_flight += p->message.n;
    }
    atomic_fetch_add(&f->worker->services->in_flight, f->in_flight);
    for (unsigned i = 0, n = w->message_n; i < n; i++) {
        struct prepared *p = &f->prepared[i];
        if (p->message.n <= PREPARE_ON_LOOP_MAX) {
            body_prepare(&p->job);
            task_post(p->job.home, &p->job.task); /* completion must not come before the call returns */
        } else {
            compute_submit(f->worker->services->compute, &p->job);
        }
    }
}

void backend_write(struct backend *b, struct write *w)
{
    struct write_flow *f = mem_zalloc(sizeof *f);
    f->worker = worker_of(b);
    f->w = w;
    if (w->message_n)
        flow_prepare(f);
    else
        flow_propose(f);
}
