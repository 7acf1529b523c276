#include "node/backend_internal.h"

#include "node/address.h"
#include "node/base/clock.h"

/* ---- sync, compute: a small carrier that goes away and comes home ---- */

struct sync_carrier {
    struct read_barrier barrier;
    struct backend_sync *op;
};

static void sync_done(struct task *t)
{
    struct sync_carrier *c = container_of(t, struct sync_carrier, barrier.task);
    struct backend_sync *op = c->op;
    op->op.status = c->barrier.status ? ERR_UNAVAILABLE : 0;
    mem_free(c);
    op->op.done(&op->op);
}

int64_t backend_deadline(const struct worker_backend *w)
{
    return clock_steady_ms() + w->services->write_wait_ms;
}

static void backend_sync(struct backend *b, struct backend_sync *op)
{
    struct worker_backend *w = worker_of(b);
    struct sync_carrier *c = mem_zalloc(sizeof *c);
    c->op = op;
    c->barrier.task.run = sync_done;
    c->barrier.home = home_of(w);
    c->barrier.deadline_ms = backend_deadline(w);
    replication_read(w->services->replication, &c->barrier);
}

struct compute_carrier {
    struct compute_job job;
    struct backend_compute *op;
};

static void compute_work(struct compute_job *job)
{
    struct compute_carrier *c = container_of(job, struct compute_carrier, job);
    c->op->work(c->op->arg);
}

static void compute_done(struct task *t)
{
    struct compute_carrier *c = container_of(t, struct compute_carrier, job.task);
    struct backend_compute *op = c->op;
    mem_free(c);
    op->op.status = 0;
    op->op.done(&op->op);
}

static void backend_compute(struct backend *b, struct backend_compute *op)
{
    struct worker_backend *w = worker_of(b);
    struct compute_carrier *c = mem_zalloc(sizeof *c);
    c->op = op;
    c->job.task.run = compute_done;
    c->job.home = home_of(w);
    c->job.work = compute_work;
    compute_submit(w->services->compute, &c->job);
}

/* ---- watches ---- */

static struct backend_watch **bucket_of(struct worker_backend *w, uint64_t mailbox)
{
    return &w->watches[mailbox % WATCH_BUCKETS];
}

static void backend_watch(struct backend *b, struct backend_watch *watch)
{
    struct worker_backend *w = worker_of(b);
    struct backend_watch **first = bucket_of(w, watch->mailbox);
    watch->prev = NULL;
    watch->next = *first;
    if (*first)
        (*first)->prev = watch;
    *first = watch;
    atomic_fetch_add(&w->watch_n, 1);
}

static void backend_unwatch(struct backend *b, struct backend_watch *watch)
{
    struct worker_backend *w = worker_of(b);
    if (watch->prev)
        watch->prev->next = watch->next;
    else
        *bucket_of(w, watch->mailbox) = watch->next;
    if (watch->next)
        watch->next->prev = watch->prev;
    watch->prev = watch->next = NULL;
    atomic_fetch_sub(&w->watch_n, 1);
}

struct changed_task {
    struct task task;
    struct worker_backend *worker;
    uint64_t mailbox;
};

/* changed() may unwatch its own watch and no other, so the next one is taken first. */
static void changed_run(struct task *t)
{
    struct changed_task *c = container_of(t, struct changed_task, task);
    for (struct backend_watch *w = *bucket_of(c->worker, c->mailbox), *next; w; w = next) {
        next = w->next;
        if (w->mailbox == c->mailbox)
            w->changed(w);
    }
    mem_free(c);
}

void services_mailbox_changed(struct services *s, uint64_t mailbox)
{
    for (unsigned i = 0; i < s->worker_n; i++) {
        struct worker_backend *w = s->workers[i];
        if (atomic_load(&w->watch_n) == 0)
            continue;
        struct changed_task *c = mem_zalloc(sizeof *c);
        *c = (struct changed_task){.task.run = changed_run, .worker = w, .mailbox = mailbox};
        task_post(home_of(w), &c->task);
    }
}

/* ---- immediate ---- */

static const enum recipient_kind recipient_kinds[] = {
    [RESOLVE_LOCAL] = RECIPIENT_LOCAL,         [RESOLVE_UNKNOWN] = RECIPIENT_UNKNOWN,
    [RESOLVE_FOREIGN] = RECIPIENT_FOREIGN,     [RESOLVE_LOCKED] = RECIPIENT_LOCKED,
    [RESOLVE_OVERQUOTA] = RECIPIENT_OVERQUOTA,
};

static void backend_recipient(struct backend *b, struct slice address, struct recipient *r)
{
    struct store_view *v;
    *r = (struct recipient){.kind = RECIPIENT_UNSURE}; /* no view is no reason to send mail back */
    if (store_view_open(worker_of(b)->services->store, &v))
        return;
    char text[ADDRESS_TEXT_MAX];
    struct slice known = slice_str(address_ascii(address, text));
    struct resolve_foreign elsewhere = {.n = 0};
    enum resolve found = store_resolve(v, known, r->accounts, RECIPIENT_ACCOUNTS_MAX, &r->n, &elsewhere);
    r->kind = recipient_kinds[found];
    store_view_close(&v);
    _Static_assert(sizeof elsewhere.text <= RECIPIENT_FOREIGN_BYTES, "what the store finds fits");
    memcpy(r->foreign, elsewhere.text, elsewhere.n);
    r->foreign_bytes = elsewhere.n;
    r->foreign_n = elsewhere.count;
}

static bool backend_sender_allowed(struct backend *b, uint64_t account, struct slice address)
{
    struct store_view *v;
    struct slice policy;
    char text[ADDRESS_TEXT_MAX];
    if (store_view_open(worker_of(b)->services->store, &v))
        return false;
    bool any =
        store_setting_get(v, SLICE_LITERAL("queue.sender"), &policy) == 0 && slice_ieq(policy, SLICE_LITERAL("any"));
    bool allowed = any || store_address_belongs(v, account, slice_str(address_ascii(address, text)));
    store_view_close(&v);
    return allowed;
}

static int backend_admit(struct backend *b, uint64_t size)
{
    struct services *s = worker_of(b)->services;
    struct replication_now now;
    replication_now(s->replication, &now);
    if (now.disk_full)
        return ERR_NOSPACE;
    return atomic_load(&s->in_flight) + size > s->in_flight_max ? ERR_BUSY : 0;
}

static int64_t backend_auth_delay_ms(struct backend *b, struct slice client_address)
{
    return throttle_delay_ms(worker_of(b)->services->throttle, client_address, clock_steady_ms());
}

static const struct backend_ops worker_ops = {
    .view_open = backend_view_open,
    .sync = backend_sync,
    .auth = backend_auth,
    .body_get = backend_body_get,
    .compute = backend_compute,
    .write = backend_write,
    .watch = backend_watch,
    .unwatch = backend_unwatch,
    .recipient = backend_recipient,
    .sender_allowed = backend_sender_allowed,
    .admit = backend_admit,
    .auth_delay_ms = backend_auth_delay_ms,
};

struct backend *backend_new(struct services *s, struct loop *loop)
{
    ENSURE(s->worker_n < SERVICES_WORKERS_MAX);
    struct worker_backend *w = mem_zalloc(sizeof *w);
    w->backend.ops = &worker_ops;
    w->services = s;
    w->loop = loop;
    s->workers[s->worker_n++] = w;
    return &w->backend;
}

void backend_free(struct backend **b)
{
    mem_free(worker_of(*b));
    *b = NULL;
}
