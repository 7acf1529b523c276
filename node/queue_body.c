/* A message's octets: from the own blob log (on the compute pool, as the page may not be in memory), else from a peer.
 */
#include "node/queue_internal.h"

#include "node/base/clock.h"

static void body_end(struct queue_body *b, int status, struct bytes *body)
{
    queue_job_end(b->q);
    b->done(b, status, body);
}

static void got(struct task *t)
{
    struct queue_body *b = container_of(t, struct queue_body, get.task);
    body_end(b, b->get.status, b->get.status ? NULL : b->get.body);
}

static void was_read(struct task *t)
{
    struct queue_body *b = container_of(t, struct queue_body, job.task);
    if (b->status == 0) {
        body_end(b, 0, b->body);
        return;
    }
    b->get = (struct body_get){.task.run = got,
                               .home = queue_home(b->q),
                               .hash = b->hash,
                               .deadline_ms = clock_steady_ms() + b->q->services->write_wait_ms};
    replication_body_get(b->q->services->replication, &b->get);
}

static void work(struct compute_job *job)
{
    struct queue_body *b = container_of(job, struct queue_body, job);
    b->status = blob_read(b->q->services->blobs, &b->hash, &b->body);
}

void queue_body_get(struct queue *q, struct queue_body *b, const struct body_hash *hash,
                    void (*done)(struct queue_body *b, int status, struct bytes *body))
{
    *b = (struct queue_body){.q = q, .hash = *hash, .done = done};
    b->job.task.run = was_read;
    b->job.home = queue_home(q);
    b->job.work = work;
    queue_job_begin(q);
    compute_submit(q->services->compute, &b->job);
}
