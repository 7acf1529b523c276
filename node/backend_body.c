/* Bodies: from the own blob log (on the compute pool, as the page may not be in memory), else from a peer. */
#include "node/backend_internal.h"

struct body_fetch {
    struct compute_job job;
    struct body_get get;
    struct worker_backend *worker;
    struct backend_body *op;
    struct bytes *body;
    int status;
};

static void fetch_end(struct body_fetch *f, int status, struct bytes *body)
{
    struct backend_body *op = f->op;
    mem_free(f);
    op->body = body;
    op->op.status = status;
    op->op.done(&op->op);
}

static bool is_referenced(struct body_fetch *f)
{
    struct store_view *v;
    struct store_content content;
    if (store_view_open(f->worker->services->store, &v))
        return true;
    bool referenced = store_content_get(v, &f->op->hash, &content) == 0;
    store_view_close(&v);
    return referenced;
}

/* A body that the state refers to is somewhere, though no peer that has it answers now. */
static void fetch_got(struct task *t)
{
    struct body_fetch *f = container_of(t, struct body_fetch, get.task);
    int status = f->get.status;
    if (status)
        status = status == ERR_NOTFOUND && !is_referenced(f) ? ERR_NOTFOUND : ERR_UNAVAILABLE;
    fetch_end(f, status, f->get.body);
}

/* Missing, lost and damaged are one case: a peer has it (DESIGN section 5). */
static void fetch_read(struct task *t)
{
    struct body_fetch *f = container_of(t, struct body_fetch, job.task);
    if (f->status == 0) {
        fetch_end(f, 0, f->body);
        return;
    }
    f->get.task.run = fetch_got;
    f->get.home = home_of(f->worker);
    f->get.hash = f->op->hash;
    f->get.deadline_ms = backend_deadline(f->worker);
    replication_body_get(f->worker->services->replication, &f->get);
}

static void fetch_work(struct compute_job *job)
{
    struct body_fetch *f = container_of(job, struct body_fetch, job);
    f->status = blob_read(f->worker->services->blobs, &f->op->hash, &f->body);
}

void backend_body_get(struct backend *b, struct backend_body *op)
{
    struct body_fetch *f = mem_zalloc(sizeof *f);
    f->worker = worker_of(b);
    f->op = op;
    f->job.task.run = fetch_read;
    f->job.home = home_of(f->worker);
    f->job.work = fetch_work;
    compute_submit(f->worker->services->compute, &f->job);
}
