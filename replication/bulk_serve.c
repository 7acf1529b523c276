/* What peers ask of us, over the connections that they dialled. */
#include "replication/bulk_impl.h"

struct receive {
    struct task task; /* to a reader and back */
    struct blob_append append;
    struct conn *c;
    uint64_t request;
    struct bytes *record;
    int status;
};

struct read_job {
    struct task task;
    struct list item; /* conn.reads, until it goes to a reader */
    struct conn *c;
    uint64_t request;
    struct body_hash hash;
    struct bytes *record;
    int status;
};

void conn_unref(struct conn *c)
{
    if (--c->refs == 0)
        mem_free(c);
}

static void status_answer(struct conn *c, uint64_t request, int status)
{
    uint8_t out[4];
    put_le32(out, (uint32_t)status);
    if (c->link)
        link_answer(c->link, request, slice_make(out, sizeof(out)), (struct slice){0});
}

/* ---- bodies to keep ---- */

static void receive_end(struct receive *r, int status)
{
    struct conn *c = r->c;
    c->receiving -= r->record->n;
    status_answer(c, r->request, status);
    bytes_unref(&r->record);
    mem_free(r);
    conn_unref(c);
}

static void received(struct task *t)
{
    struct receive *r = container_of(container_of(t, struct blob_append, task), struct receive, append);
    r->c->b->outstanding--;
    if (r->append.status == ERR_IO)
        bulk_fatal(r->c->b, ERR_IO, "append of a body failed");
    receive_end(r, r->append.status);
}

static void verified(struct task *t)
{
    struct receive *r = container_of(t, struct receive, task);
    struct bulk *b = r->c->b;
    b->outstanding--;
    if (r->status != 0) {
        log_event(LOG_ERROR, "peer sent a body under a wrong name", LOG_U("peer", r->c->hello.node_id),
                  LOG_E("error", r->status));
        receive_end(r, r->status);
        return;
    }
    r->append = (struct blob_append){.task = {.run = received}, .home = &b->loop.queue, .record = r->record};
    b->outstanding++;
    blob_append(b->c.blobs, &r->append);
}

/* A reader's thread. The checksums of record and link tell of damage; that these bytes are what their name says only
 * the hash does, and once stored under it wrong ones would be read, and given to others, as the message. */
static void verify_run(struct task *t)
{
    struct receive *r = container_of(t, struct receive, task);
    struct bytes *body = NULL;
    r->status = blob_decode(bytes_slice(r->record), true, &body);
    if (body)
        bytes_unref(&body);
    t->run = verified;
    bulk_home(r->c->b, t);
}

static void body_put(struct conn *c, uint64_t request, struct slice record)
{
    struct body_hash hash;
    uint64_t size;
    int rv = blob_record_check(record, &hash, &size);
    if (rv == 0 && c->receiving > 0 && record.n > BULK_RECEIVE_MAX - c->receiving)
        rv = ERR_BUSY;
    if (rv != 0) {
        status_answer(c, request, rv);
        return;
    }
    struct receive *r = mem_zalloc(sizeof(*r));
    r->c = c;
    r->request = request;
    r->record = bytes_copy(record);
    r->task.run = verify_run;
    c->refs++;
    c->receiving += record.n;
    c->b->outstanding++;
    bulk_read_post(c->b, &r->task);
}

/* ---- bodies to give ---- */

static void read_job_free(struct read_job *j)
{
    struct conn *c = j->c;
    bytes_unref(&j->record);
    mem_free(j);
    conn_unref(c);
}

static void reads_start(struct conn *c);

static void read_done(struct task *t)
{
    struct read_job *j = container_of(t, struct read_job, task);
    struct conn *c = j->c;
    uint8_t status[4];
    c->b->outstanding--;
    c->reads_running--;
    if (j->status == 0 && j->record->n > LINK_FRAME_MAX - LINK_FRAME_HEADER - sizeof(status))
        j->status = ERR_TOOBIG;
    put_le32(status, (uint32_t)j->status);
    if (c->link)
        link_answer(c->link, j->request, slice_make(status, sizeof(status)),
                    j->status == 0 ? bytes_slice(j->record) : (struct slice){0});
    reads_start(c);
    read_job_free(j);
}

/* A reader's thread. */
static void read_run(struct task *t)
{
    struct read_job *j = container_of(t, struct read_job, task);
    struct bulk *b = j->c->b;
    j->status = blob_record_read(b->c.blobs, &j->hash, &j->record);
    t->run = read_done;
    bulk_home(b, t);
}

/* As many as may run; none while the peer does not take what it asked for before. */
static void reads_start(struct conn *c)
{
    while (c->link && c->reads_running < BULK_READS_MAX && !list_empty(&c->reads) &&
           link_queued(c->link) <= LINK_QUEUE_HIGH) {
        struct read_job *j = container_of(c->reads.next, struct read_job, item);
        list_remove(&j->item);
        c->reads_queued--;
        c->reads_running++;
        c->b->outstanding++;
        bulk_read_post(c->b, &j->task);
    }
}

static void body_get(struct conn *c, uint64_t request, struct slice hash)
{
    if (hash.n != BODY_HASH_SIZE || c->reads_queued >= BULK_READS_QUEUED_MAX) {
        status_answer(c, request, hash.n == BODY_HASH_SIZE ? ERR_BUSY : ERR_PROTOCOL);
        return;
    }
    struct read_job *j = mem_zalloc(sizeof(*j));
    j->task.run = read_run;
    j->c = c;
    j->request = request;
    memcpy(j->hash.b, hash.p, BODY_HASH_SIZE);
    c->refs++;
    c->reads_queued++;
    list_append(&c->reads, &j->item);
    reads_start(c);
}

/* ---- connections ---- */

static void conn_close(struct conn *c)
{
    link_close(&c->link);
    list_remove(&c->item);
    while (!list_empty(&c->reads)) {
        struct read_job *j = container_of(c->reads.next, struct read_job, item);
        list_remove(&j->item);
        read_job_free(j);
    }
    if (c->export)
        export_stop(c->export);
    conn_unref(c);
}

static void conn_frame(void *arg, struct link *l, uint8_t type, uint64_t request, struct slice payload)
{
    struct conn *c = arg;
    struct reader r = {.in = payload};
    (void)l;
    switch (type) {
    case LINK_BODY_PUT:
        body_put(c, request, payload);
        break;
    case LINK_BODY_GET:
        body_get(c, request, payload);
        break;
    case LINK_STATE_GET: {
        uint64_t min_index = read_u64(&r);
        if (!r.failed)
            export_begin(c, request, min_index);
        break;
    }
    case LINK_STATE_ACK: {
        uint64_t taken = read_u64(&r);
        if (!r.failed && c->export)
            export_ack(c->export, request, taken);
        break;
    }
    default: /* of a later version */
        break;
    }
}

static void conn_down(void *arg, struct link *l, int status, const char *why)
{
    (void)l;
    (void)status;
    (void)why;
    conn_close(arg);
}

static void conn_drained(void *arg, struct link *l)
{
    struct conn *c = arg;
    (void)l;
    reads_start(c);
    if (c->export)
        export_push(c->export);
}

void serve_accepted(void *arg, struct link *l, const struct link_hello *hello)
{
    static const struct link_events EVENTS = {NULL, conn_frame, conn_down, conn_drained};
    struct bulk *b = arg;
    struct conn *c = mem_zalloc(sizeof(*c));
    c->b = b;
    c->link = l;
    c->hello = *hello;
    c->refs = 1;
    list_init(&c->reads);
    list_append(&b->conns, &c->item);
    link_set_events(l, &EVENTS, c);
}

/* A member that was removed is cut off, not only kept from coming back. */
void serve_members_changed(struct bulk *b)
{
    LIST_EACH(it, next, &b->conns)
    {
        struct conn *c = container_of(it, struct conn, item);
        if (b->c.hello_ok && b->c.hello_ok(b->c.arg, &c->hello) != 0) {
            log_event(LOG_INFO, "peer cut off", LOG_U("peer", c->hello.node_id), LOG_S("link", "bulk"));
            conn_close(c);
        }
    }
}

void serve_tick(struct bulk *b, int64_t now)
{
    LIST_EACH(it, next, &b->conns)
    {
        struct conn *c = container_of(it, struct conn, item);
        reads_start(c);
        if (c->export)
            export_tick(c->export, now);
    }
}

void serve_stop(struct bulk *b)
{
    while (!list_empty(&b->conns))
        conn_close(container_of(b->conns.next, struct conn, item));
}
