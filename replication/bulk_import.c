/* A state transfer into this node.
 *
 *   choosing ──STATE_GET──► receiving ──parts──► importer thread (LMDB) ──► finished ──► done
 *      ▲  (backoff)            │ failed, stalled, link down, stop
 *      └──────── aborted ◄─────┘ once the parts at the importer came back
 * From scratch each time: a copy is of one moment of one peer. */
#include "replication/bulk_impl.h"

enum { BACKOFF_MIN_MS = 200, BACKOFF_MAX_MS = 5000 };
enum phase { PHASE_CHOOSING, PHASE_RECEIVING, PHASE_FAILED, PHASE_ABORTING };

struct fetch {
    struct task task;
    struct bulk *b;
    struct state_fetch *f;
    enum phase phase;
    struct link *link; /* while receiving */
    uint64_t peer, request, index;
    uint64_t received, taken;
    bool ended; /* the peer said that it was all */
    unsigned at_importer, backoff_ms, attempt;
    int64_t next_ms, moved_ms, logged_ms;
    struct task abort;
    /* The importer thread's, while anything is at it. */
    struct store_import *import;
    struct store_position position;
    bool broken;
};

struct part {
    struct task task;
    struct fetch *t;
    struct bytes *data; /* NULL: the end */
    int status;
    struct err_detail detail;
};

static void fetch_complete(struct fetch *t, int status)
{
    struct state_fetch *f = t->f;
    t->b->fetch = NULL;
    f->status = status;
    f->import = status == 0 ? t->import : NULL;
    f->position = t->position;
    task_post(f->home, &f->task);
    mem_free(t);
}

static void ack_send(struct fetch *t, uint64_t taken)
{
    uint8_t out[8];
    put_le64(out, taken);
    if (t->link)
        link_send_numbered(t->link, LINK_STATE_ACK, t->request, slice_make(out, sizeof(out)), (struct slice){0});
}

/* ---- failure ---- */

static void aborted(struct task *task)
{
    struct fetch *t = container_of(task, struct fetch, abort);
    struct bulk *b = t->b;
    b->outstanding--;
    t->phase = PHASE_CHOOSING;
    t->broken = false;
    t->next_ms = clock_steady_ms() + t->backoff_ms;
    if (b->stopping)
        fetch_complete(t, ERR_CANCELED);
}

/* The importer's thread. */
static void abort_run(struct task *task)
{
    struct fetch *t = container_of(task, struct fetch, abort);
    if (t->import)
        store_import_abort(&t->import);
    task->run = aborted;
    bulk_home(t->b, task);
}

static void abort_when_back(struct fetch *t)
{
    if (t->phase != PHASE_FAILED || t->at_importer > 0)
        return;
    t->phase = PHASE_ABORTING;
    t->abort.run = abort_run;
    t->b->outstanding++;
    bulk_worker_post(&t->b->importer, &t->abort);
}

static void attempt_failed(struct fetch *t, int status, const char *why)
{
    if (t->phase != PHASE_RECEIVING)
        return;
    log_event(t->b->stopping ? LOG_DEBUG : LOG_WARN, "state transfer failed", LOG_U("from", t->peer),
              LOG_E("error", status), LOG_S("why", why), LOG_U("bytes", t->received));
    ack_send(t, UINT64_MAX);
    t->phase = PHASE_FAILED;
    t->link = NULL;
    unsigned next = t->backoff_ms ? t->backoff_ms * 2 : BACKOFF_MIN_MS;
    t->backoff_ms = next < BACKOFF_MAX_MS ? next : BACKOFF_MAX_MS;
    abort_when_back(t);
}

/* ---- parts ---- */

static void part_done(struct task *task)
{
    struct part *p = container_of(task, struct part, task);
    struct fetch *t = p->t;
    bool end = p->data == NULL;
    t->b->outstanding--;
    t->at_importer--;
    t->moved_ms = clock_steady_ms();
    if (p->status == 0 && !end) {
        t->taken += p->data->n;
        __atomic_store_n(&t->f->bytes, t->taken, __ATOMIC_RELAXED);
        if (t->phase == PHASE_RECEIVING)
            ack_send(t, t->taken);
    }
    bool whole = p->status == 0 && end && t->phase == PHASE_RECEIVING;
    if (p->status != 0)
        attempt_failed(t, p->status, p->detail.text);
    bytes_unref(&p->data);
    mem_free(p);
    if (!whole) {
        abort_when_back(t);
        return;
    }
    log_event(LOG_INFO, "state received", LOG_U("from", t->peer), LOG_U("index", t->position.index),
              LOG_U("bytes", t->taken));
    fetch_complete(t, 0);
}

/* The importer's thread. */
static void part_run(struct task *task)
{
    struct part *p = container_of(task, struct part, task);
    struct fetch *t = p->t;
    p->status = t->broken ? ERR_CANCELED : 0;
    if (p->status == 0 && !t->import)
        p->status = store_import_begin(t->f->data_dir, &t->import, &p->detail);
    if (p->status == 0 && p->data)
        p->status = store_import_feed(t->import, bytes_slice(p->data), &p->detail);
    else if (p->status == 0)
        p->status = store_import_finish(t->import, &t->position, &p->detail);
    if (p->status == 0 && !p->data && t->position.index < t->f->min_index)
        p->status = err_set(&p->detail, ERR_STALE, "the copy is older than asked for");
    t->broken = t->broken || p->status != 0;
    task->run = part_done;
    bulk_home(t->b, task);
}

static void part_post(struct fetch *t, struct bytes *data)
{
    struct part *p = mem_zalloc(sizeof(*p));
    p->task.run = part_run;
    p->t = t;
    p->data = data;
    t->at_importer++;
    t->b->outstanding++;
    bulk_worker_post(&t->b->importer, &p->task);
}

static void begin_take(struct fetch *t, struct reader *r)
{
    t->index = read_u64(r);
    read_u64(r); /* term */
    uint64_t total = read_u64(r);
    if (r->failed || t->index < t->f->min_index) {
        attempt_failed(t, r->failed ? ERR_PROTOCOL : ERR_STALE, "malformed, or older than asked for");
        return;
    }
    __atomic_store_n(&t->f->bytes_total, total, __ATOMIC_RELAXED);
    log_event(LOG_INFO, "state transfer begins", LOG_U("from", t->peer), LOG_U("index", t->index),
              LOG_U("bytes", total));
}

void fetch_part(struct bulk *b, struct link *l, uint64_t request, struct slice payload)
{
    struct fetch *t = b->fetch;
    if (!t || t->phase != PHASE_RECEIVING || t->link != l || t->request != request)
        return; /* of an attempt that was given up */
    struct reader r = {.in = payload};
    t->moved_ms = clock_steady_ms();
    uint8_t kind = read_u8(&r);
    int32_t status = kind == STATE_FAILED ? (int32_t)read_u32(&r) : 0;
    if (t->ended || r.failed)
        attempt_failed(t, ERR_PROTOCOL, "a part after the end");
    else if (kind == STATE_BEGIN)
        begin_take(t, &r);
    else if (kind == STATE_FAILED)
        attempt_failed(t, status < 0 ? status : ERR_PROTOCOL, "the peer cannot");
    else if (kind == STATE_END) {
        t->ended = true;
        part_post(t, NULL);
    } else if (kind != STATE_DATA || r.in.n > 2 * BULK_STATE_WINDOW - (t->received - t->taken))
        attempt_failed(t, ERR_PROTOCOL, "more than was asked for");
    else {
        t->received += r.in.n;
        part_post(t, bytes_copy(r.in));
    }
}

/* ---- choosing ---- */

static void choose(struct fetch *t)
{
    struct bulk *b = t->b;
    uint8_t min[8];
    struct peer *p = bulk_peer_next(b, &t->peer, 1);
    if (!p)
        p = bulk_peer_next(b, NULL, 0);
    if (!p)
        return;
    uint64_t request = UINT64_C(1) << 63 | ++b->state_requests; /* apart from the link's own numbers */
    put_le64(min, t->f->min_index);
    t->peer = p->info.id;
    if (link_send_numbered(p->link, LINK_STATE_GET, request, slice_make(min, sizeof(min)), (struct slice){0}) != 0)
        return;
    t->link = p->link;
    t->request = request;
    t->phase = PHASE_RECEIVING;
    t->received = t->taken = 0;
    t->ended = false;
    t->moved_ms = clock_steady_ms();
    __atomic_store_n(&t->f->bytes, 0, __ATOMIC_RELAXED);
}

void fetch_tick(struct bulk *b, int64_t now)
{
    struct fetch *t = b->fetch;
    if (!t || b->stopping)
        return;
    if (t->phase == PHASE_CHOOSING && t->next_ms <= now)
        choose(t);
    if (t->phase != PHASE_RECEIVING)
        return;
    if (t->at_importer == 0 && now - t->moved_ms >= BULK_STATE_STALL_MS)
        attempt_failed(t, ERR_TIMEOUT, "nothing came for too long");
    else if (now - t->logged_ms >= BULK_LOG_MS) {
        if (t->logged_ms)
            log_event(LOG_INFO, "state transfer", LOG_U("from", t->peer), LOG_U("bytes", t->taken),
                      LOG_U("of", t->f->bytes_total));
        t->logged_ms = now;
    }
}

void fetch_peer_down(struct bulk *b, const struct link *l)
{
    if (b->fetch && b->fetch->link == l)
        attempt_failed(b->fetch, ERR_CLOSED, "the connection went down");
}

static void fetch_run(struct task *task)
{
    struct fetch *t = container_of(task, struct fetch, task);
    struct bulk *b = t->b;
    if (b->stopping || b->fetch) {
        struct state_fetch *f = t->f;
        f->status = b->stopping ? ERR_CANCELED : ERR_BUSY;
        f->import = NULL;
        task_post(f->home, &f->task);
        mem_free(t);
        return;
    }
    b->fetch = t;
    bulk_busy(b);
    choose(t);
}

void bulk_state_fetch(struct bulk *b, struct state_fetch *f)
{
    struct fetch *t = mem_zalloc(sizeof(*t));
    t->task.run = fetch_run;
    t->b = b;
    t->f = f;
    bulk_home(b, &t->task);
}

void fetch_stop(struct bulk *b)
{
    struct fetch *t = b->fetch;
    if (!t)
        return;
    if (t->phase == PHASE_CHOOSING)
        fetch_complete(t, ERR_CANCELED);
    else
        attempt_failed(t, ERR_CANCELED, "stopped");
}
