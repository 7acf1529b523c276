/* A state transfer, the giving end. The exporter thread makes a part, the loop sends it, the thread makes the next one:
 * at most one part lies here, and at most BULK_STATE_WINDOW is with the peer and not taken. The export holds an LMDB
 * read transaction: a peer that takes nothing for BULK_STATE_STALL_MS loses it. */
#include "replication/bulk_impl.h"

struct export
{
    struct task task; /* at the exporter thread while `away` */
    struct bulk *b;
    struct conn *c; /* NULL: gone; end as soon as it can be */
    uint64_t request, min_index;
    struct store_export *x;
    struct store_position position;
    uint64_t total, sent, taken;
    int64_t moved_ms;
    struct buf out;                    /* the part made last: filled by the thread */
    bool away, begun, full, done, end; /* full: out is to be sent; end: the thread is to close it */
    int status;
};

static void export_free(struct export *x)
{
    x->b->exports--;
    buf_close(&x->out);
    mem_free(x);
}

/* Takes it from its connection. */
static void leave(struct export *x)
{
    if (!x->c)
        return;
    x->c->export = NULL;
    conn_unref(x->c);
    x->c = NULL;
}

static int part_send(struct export *x, enum state_part kind, struct slice payload)
{
    uint8_t head = (uint8_t)kind;
    return link_send_numbered(x->c->link, LINK_STATE_PART, x->request, slice_make(&head, 1), payload);
}

static void failed_send(struct conn *c, uint64_t request, int status)
{
    uint8_t out[5] = {STATE_FAILED};
    put_le32(out + 1, (uint32_t)status);
    link_send_numbered(c->link, LINK_STATE_PART, request, slice_make(out, sizeof(out)), (struct slice){0});
}

/* The exporter's thread: the next part, or the end. */
static void step_run(struct task *t);

static void stepped(struct task *t);

static void step(struct export *x)
{
    x->away = true;
    x->task.run = step_run;
    x->b->outstanding++;
    bulk_worker_post(&x->b->exporter, &x->task);
}

static void step_run(struct task *t)
{
    struct export *x = container_of(t, struct export, task);
    if (x->end)
        store_export_end(&x->x);
    else if (!x->begun)
        x->status = store_export_begin(x->b->c.store, &x->x, &x->position, &x->total);
    else
        x->status = store_export_next(x->x, BULK_STATE_PART, &x->out, &x->done);
    t->run = stepped;
    bulk_home(x->b, t);
}

static void finish(struct export *x)
{
    leave(x);
    if (x->away)
        return; /* comes back to stepped */
    if (!x->x) {
        export_free(x);
        return;
    }
    x->end = true;
    step(x);
}

static void begin_send(struct export *x)
{
    struct buf b = {0};
    buf_put_u64(&b, x->position.index);
    buf_put_u64(&b, x->position.term);
    buf_put_u64(&b, x->total);
    int rv = part_send(x, STATE_BEGIN, buf_slice(&b));
    buf_close(&b);
    x->begun = true;
    log_event(LOG_INFO, "state transfer begins", LOG_U("to", x->c->hello.node_id), LOG_U("index", x->position.index),
              LOG_U("bytes", x->total));
    if (rv != 0 && rv != ERR_BUSY)
        finish(x);
    else
        step(x); /* ERR_BUSY is no trouble: the index is in the stream's end too, this is for progress */
}

/* Sends what is made, has more made while the window allows. */
void export_push(struct export *x)
{
    if (x->away || !x->c)
        return;
    if (x->full) {
        int rv = part_send(x, STATE_DATA, buf_slice(&x->out));
        if (rv == ERR_BUSY)
            return; /* drained, or the tick */
        if (rv != 0) {
            finish(x);
            return;
        }
        x->sent += buf_len(&x->out);
        x->full = false;
        buf_clear(&x->out);
    }
    if (x->done) {
        int rv = part_send(x, STATE_END, (struct slice){0});
        if (rv == ERR_BUSY)
            return;
        log_event(LOG_INFO, "state transfer sent", LOG_U("to", x->c->hello.node_id), LOG_U("bytes", x->sent));
        finish(x);
        return;
    }
    if (x->sent - x->taken < BULK_STATE_WINDOW)
        step(x);
}

static void stepped(struct task *t)
{
    struct export *x = container_of(t, struct export, task);
    x->b->outstanding--;
    x->away = false;
    if (!x->c || x->end) {
        finish(x);
        return;
    }
    if (x->status == 0 && !x->begun && x->position.index < x->min_index)
        x->status = ERR_STALE;
    if (x->status != 0) {
        log_event(LOG_WARN, "state transfer failed", LOG_U("to", x->c->hello.node_id), LOG_E("error", x->status));
        failed_send(x->c, x->request, x->status);
        finish(x);
        return;
    }
    if (!x->begun) {
        begin_send(x);
        return;
    }
    x->full = buf_len(&x->out) > 0;
    export_push(x);
}

void export_begin(struct conn *c, uint64_t request, uint64_t min_index)
{
    struct bulk *b = c->b;
    struct store_position p;
    store_position(b->c.store, &p);
    if (c->export && c->export->request != request)
        export_stop(c->export); /* it started over */
    int refuse = p.index < min_index ? ERR_STALE : c->export || b->exports >= BULK_EXPORTS_MAX ? ERR_BUSY : 0;
    if (refuse != 0) {
        failed_send(c, request, refuse);
        return;
    }
    struct export *x = mem_zalloc(sizeof(*x));
    x->b = b;
    x->c = c;
    x->request = request;
    x->min_index = min_index;
    x->moved_ms = clock_steady_ms();
    c->export = x;
    c->refs++;
    b->exports++;
    bulk_busy(b);
    step(x);
}

void export_ack(struct export *x, uint64_t request, uint64_t taken)
{
    if (request != x->request)
        return;
    if (taken > x->sent || taken < x->taken) { /* ~0: wants no more */
        export_stop(x);
        return;
    }
    x->taken = taken;
    x->moved_ms = clock_steady_ms();
    export_push(x);
}

void export_tick(struct export *x, int64_t now)
{
    if (now - x->moved_ms >= BULK_STATE_STALL_MS && x->begun && !x->away) {
        log_event(LOG_WARN, "state transfer stalls", LOG_U("to", x->c->hello.node_id), LOG_U("sent", x->sent));
        failed_send(x->c, x->request, ERR_TIMEOUT);
        finish(x);
        return;
    }
    export_push(x);
}

void export_stop(struct export *x)
{
    finish(x);
}
