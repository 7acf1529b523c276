/* raft_uv_*: libraft's disk half above log.c, with raft_uv's own order of things: appends that wait while one write is
 * under way go down together in the next; truncations and installed snapshots wait for what was appended before and
 * hold up what comes after; a snapshot of our own runs beside. Term and vote are written while the caller waits. */
#include "tests/sim/log.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <raft/uv.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

struct log_io {
    struct raft_io *io;
    uv_loop_t *loop;
    struct sim_host *host;
    struct log_disk *disk;
    struct raft_tracer *tracer;
    unsigned retry_ms;
    uint64_t next; /* index of the next append */
    struct list waiting;
    bool writing;          /* the run at the head of disk->under_way */
    struct log_op *beside; /* a snapshot of our own */
    unsigned owed;         /* posts that will come */
    uv_timer_t tick;
    uv_prepare_t prepare;
    uv_check_t check;
    unsigned open; /* handles */
    raft_io_tick_cb tick_cb;
    raft_io_close_cb close_cb;
    bool closing, stuck;
};

static struct log_io *io_of(const struct raft_io *io)
{
    return io->impl;
}

static unsigned host_of(const struct log_io *l)
{
    return sim_host_index(l->host);
}

static void work(struct log_io *l);

/* ---- what completed requests wait for ---- */

/* libraft leaves its clients' completed requests for raft_uv to call; the function is not exported. */
static void requests_fire(struct raft *r)
{
    void **head = r->legacy.requests;
    while (r->legacy.requests[0] && r->legacy.requests[0] != (void *)head) {
        void **item = r->legacy.requests[0], **next = item[0], **previous = item[1];
        previous[0] = next;
        next[1] = previous;
        struct raft_barrier *b = container_of((void *(*)[2])(void *)item, struct raft_barrier, queue);
        switch (b->type) {
        case RAFT_COMMAND:
            ((struct raft_apply *)b)->cb((struct raft_apply *)b, b->status, ((struct raft_apply *)b)->result);
            break;
        case RAFT_BARRIER:
            b->cb(b, b->status);
            break;
        case RAFT_CHANGE:
            ((struct raft_change *)b)->cb((struct raft_change *)b, b->status);
            break;
        default: /* a transfer */
            ENSURE(b->type == RAFT_CHANGE + 1);
            ((struct raft_transfer *)b)->cb((struct raft_transfer *)b);
        }
    }
}

static void turn(struct log_io *l)
{
    l->io->capacity = disk_faults(host_of(l))->full ? 0 : 16 * 1024; /* two segments ahead, in KiB */
    if (l->io->data)
        requests_fire(l->io->data);
}

static void prepare_cb(uv_prepare_t *h)
{
    turn(h->data);
}

static void check_cb(uv_check_t *h)
{
    turn(h->data);
}

static void tick_cb(uv_timer_t *h)
{
    struct log_io *l = h->data;
    l->tick_cb(l->io);
}

static void trace(const struct log_io *l, const char *message)
{
    struct raft_tracer_info info = {.version = 1, .diagnostic = {.level = 3, .message = message, .file = "log_io"}};
    if (l->tracer)
        l->tracer->emit(l->tracer, RAFT_TRACER_DIAGNOSTIC, &info);
}

/* ---- the end ---- */

static void handle_closed(uv_handle_t *h)
{
    struct log_io *l = h->data;
    if (--l->open == 0)
        l->close_cb(l->io);
}

/* The loop lives on until what is under way has ended: as long as the timer is a handle of it. */
static void maybe_closed(struct log_io *l)
{
    if (!l->closing || l->writing || l->beside || l->owed > 0 || uv_is_closing((uv_handle_t *)&l->tick))
        return;
    uv_close((uv_handle_t *)&l->tick, handle_closed);
}

static void post(struct log_io *l, sim_fn *fn, void *arg)
{
    l->owed++;
    sim_loop_post(l->loop, fn, arg);
}

/* ---- writes ---- */

/* From the loop. */
static void op_answer(struct log_op *op)
{
    void *req = op->req;
    enum log_kind kind = op->kind;
    int status = op->status;
    log_op_free(op);
    if (kind == LOG_APPEND_)
        ((struct raft_io_append *)req)->cb(req, status);
    else if (kind != LOG_TRUNCATE)
        ((struct raft_io_snapshot_put *)req)->cb(req, status);
}

static void run_answer(void *arg)
{
    struct log_io *l = arg;
    struct list done;
    list_init(&done);
    LIST_EACH(it, tmp, &l->disk->under_way)
    {
        if (container_of(it, struct log_op, item) != l->beside) {
            list_remove(it);
            list_append(&done, it);
        }
    }
    while (!list_empty(&done)) {
        struct log_op *op = container_of(done.next, struct log_op, item);
        list_remove(&op->item);
        if (op->kind == LOG_TRUNCATE)
            trace(l, "uv truncate after work cb status:0");
        if (l->stuck)
            op->status = RAFT_CANCELED;
        op_answer(op);
    }
    l->writing = false;
    l->owed--;
    work(l);
    maybe_closed(l);
}

/* raft_uv tells nobody of a write that failed: it never ends. A failure before the write comes back with its request.
 */
static bool run_fails(struct log_io *l, struct log_op *first)
{
    if (!disk_error(host_of(l)))
        return false;
    if (first->kind == LOG_TRUNCATE) {
        trace(l, "uv truncate work cb");
        post(l, run_answer, l);
        return true;
    }
    l->stuck = first->kind == LOG_APPEND_ && sim_below(2);
    if (l->stuck)
        return true;
    LIST_EACH(it, tmp, &l->disk->under_way)
    {
        struct log_op *op = container_of(it, struct log_op, item);
        op->status = op == l->beside ? op->status : RAFT_IOERR;
    }
    post(l, run_answer, l);
    return true;
}

static void run_done(void *arg)
{
    struct log_io *l = arg;
    struct log_op *first = NULL;
    LIST_EACH(it, tmp, &l->disk->under_way)
    {
        struct log_op *op = container_of(it, struct log_op, item);
        first = !first && op != l->beside ? op : first;
    }
    ENSURE(first);
    disk_point(host_of(l));
    if (run_fails(l, first))
        return;
    LIST_EACH(it, tmp, &l->disk->under_way)
    {
        struct log_op *op = container_of(it, struct log_op, item);
        if (op == l->beside)
            continue;
        log_op_apply(l->disk, op);
        op->done = true;
    }
    if (first->kind == LOG_TRUNCATE) {
        trace(l, "uv truncate work cb");
        trace(l, "uv truncate work cb ok");
    }
    disk_point(host_of(l));
    post(l, run_answer, l);
}

/* A full disk holds up the write that needs a new segment, until there is space. */
static void run_begin(void *arg)
{
    struct log_io *l = arg;
    if (disk_faults(host_of(l))->full && sim_below(8) == 0) {
        sim_after(l->host, (int64_t)l->retry_ms * SIM_MS, run_begin, l);
        return;
    }
    sim_after(l->host, disk_sync_us(host_of(l)), run_done, l);
}

static void beside_answer(void *arg)
{
    struct log_io *l = arg;
    struct log_op *op = l->beside;
    l->beside = NULL;
    list_remove(&op->item);
    op_answer(op);
    l->owed--;
    maybe_closed(l);
}

static void beside_done(void *arg)
{
    struct log_io *l = arg;
    if (disk_faults(host_of(l))->full) {
        sim_after(l->host, (int64_t)l->retry_ms * SIM_MS, beside_done, l);
        return;
    }
    l->beside->status = disk_error(host_of(l)) ? RAFT_IOERR : 0;
    disk_point(host_of(l));
    if (l->beside->status == 0) {
        log_op_apply(l->disk, l->beside);
        l->beside->done = true;
    }
    post(l, beside_answer, l);
}

static void give(struct log_io *l, struct log_op *op)
{
    list_remove(&op->item);
    list_append(&l->disk->under_way, &op->item);
}

/* Begins what can begin. */
static void work(struct log_io *l)
{
    while (!l->writing && !list_empty(&l->waiting)) {
        struct log_op *op = container_of(l->waiting.next, struct log_op, item);
        if (op->kind == LOG_SNAPSHOT) {
            ENSURE(!l->beside);
            l->beside = op;
            give(l, op);
            sim_after(l->host, disk_sync_us(host_of(l)) + disk_sync_us(host_of(l)), beside_done, l);
            continue;
        }
        l->writing = true;
        if (op->kind != LOG_APPEND_)
            give(l, op);
        while (op->kind == LOG_APPEND_) {
            give(l, op);
            if (list_empty(&l->waiting))
                break;
            op = container_of(l->waiting.next, struct log_op, item);
        }
        run_begin(l);
    }
}

static void op_add(struct log_io *l, struct log_op *op)
{
    list_append(&l->waiting, &op->item);
    work(l);
}

static int io_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                     raft_io_append_cb cb)
{
    struct log_io *l = io_of(io);
    ENSURE(!l->closing && n > 0);
    for (unsigned i = 0; i < n; i++) {
        if (entries[i].buf.len % 8 == 0)
            continue;
        snprintf(io->errmsg, sizeof io->errmsg, "entry buffers must be 8-byte aligned");
        return RAFT_INVALID;
    }
    struct log_op *op = mem_zalloc(sizeof *op);
    *op = (struct log_op){.kind = LOG_APPEND_, .index = l->next, .n = n, .req = req};
    op->entries = mem_alloc(n * sizeof *op->entries);
    for (unsigned i = 0; i < n; i++)
        op->entries[i] = log_entry_of(entries[i].term, entries[i].type, &entries[i].buf);
    req->cb = cb;
    l->next += n;
    op_add(l, op);
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    struct log_io *l = io_of(io);
    ENSURE(!l->closing && index > 0);
    if (index >= l->next)
        return 0;
    struct log_op *op = mem_zalloc(sizeof *op);
    *op = (struct log_op){.kind = LOG_TRUNCATE, .index = index};
    l->next = index;
    op_add(l, op);
    return 0;
}

static int io_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *s, raft_io_snapshot_put_cb cb)
{
    struct log_io *l = io_of(io);
    struct log_snapshot *copy;
    int rc = l->closing ? RAFT_CANCELED : log_snapshot_of(s, &copy);
    if (rc != 0)
        return rc;
    struct log_op *op = mem_zalloc(sizeof *op);
    *op = (struct log_op){.kind = trailing ? LOG_SNAPSHOT : LOG_INSTALL,
                          .index = s->index,
                          .trailing = trailing,
                          .snapshot = copy,
                          .req = req};
    req->cb = cb;
    if (trailing == 0)
        l->next = s->index + 1;
    op_add(l, op);
    return 0;
}

/* ---- term and vote: durable before they return ---- */

static int meta_store(struct log_io *l, uint64_t term, uint64_t vote)
{
    if (disk_error(host_of(l))) {
        snprintf(l->io->errmsg, sizeof l->io->errmsg, "write metadata: input/output error");
        return RAFT_IOERR;
    }
    log_meta_begin(l->disk, term, vote);
    disk_point(host_of(l));
    sim_sleep(disk_sync_us(host_of(l)));
    log_meta_end(l->disk);
    disk_point(host_of(l));
    return 0;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    return meta_store(io_of(io), term, 0);
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    return meta_store(io_of(io), io_of(io)->disk->term, id);
}

static int io_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
    struct log_io *l = io_of(io);
    struct raft_buffer b;
    if (l->disk->term != 0) {
        snprintf(io->errmsg, sizeof io->errmsg, "metadata contains term %llu", (unsigned long long)l->disk->term);
        return RAFT_CANTBOOTSTRAP;
    }
    int rc = raft_configuration_encode(conf, &b);
    if (rc == 0)
        rc = meta_store(l, 1, 0);
    if (rc != 0)
        return rc;
    struct log_entry *e = log_entry_of(1, RAFT_CHANGE, &b);
    raft_free(b.base);
    sim_sleep(disk_sync_us(host_of(l)));
    log_first_write(l->disk, e);
    return 0;
}

static int io_recover(struct raft_io *io, const struct raft_configuration *conf)
{
    (void)conf;
    snprintf(io->errmsg, sizeof io->errmsg, "no such operation here");
    return RAFT_IOERR;
}

/* ---- reading ---- */

static int io_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                   raft_index *start, struct raft_entry *entries[], size_t *n)
{
    struct log_io *l = io_of(io);
    struct log_disk *d = l->disk;
    *snapshot = NULL;
    *entries = NULL;
    *n = 0;
    *term = d->term;
    *vote = d->vote;
    int rc = log_check(d, io->errmsg);
    if (rc != 0)
        return rc;
    if (d->snapshot)
        *snapshot = log_snapshot_read(d);
    *start = d->first;
    *entries = log_entries_read(d);
    *n = d->n;
    l->next = d->first + d->n;
    return 0;
}

struct snapshot_get {
    struct log_io *l;
    struct raft_io_snapshot_get *req;
};

static void snapshot_got(void *arg)
{
    struct snapshot_get *g = arg;
    struct raft_io_snapshot_get *req = g->req;
    struct log_io *l = g->l;
    mem_free(g);
    l->owed--;
    if (l->disk->snapshot)
        req->cb(req, log_snapshot_read(l->disk), 0);
    else
        req->cb(req, NULL, RAFT_NOTFOUND);
    maybe_closed(l);
}

static int io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    struct snapshot_get *g = mem_alloc(sizeof *g);
    *g = (struct snapshot_get){io_of(io), req};
    req->cb = cb;
    post(g->l, snapshot_got, g);
    return 0;
}

static raft_time io_time(struct raft_io *io)
{
    return uv_now(io_of(io)->loop);
}

static int io_random(struct raft_io *io, int min, int max)
{
    (void)io;
    return min + (int)sim_below((uint64_t)(max - min));
}

/* ---- life ---- */

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    struct log_io *l = io_of(io);
    (void)id, (void)address;
    uv_timer_init(l->loop, &l->tick);
    uv_prepare_init(l->loop, &l->prepare);
    uv_check_init(l->loop, &l->check);
    l->tick.data = l->prepare.data = l->check.data = l;
    l->open = 3;
    return 0;
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct log_io *l = io_of(io);
    (void)recv; /* the guard's */
    l->tick_cb = tick;
    uv_timer_start(&l->tick, tick_cb, msecs, msecs);
    uv_prepare_start(&l->prepare, prepare_cb);
    uv_check_start(&l->check, check_cb);
    return 0;
}

static void canceled(void *arg)
{
    struct log_io *l = arg;
    l->owed--;
    while (!list_empty(&l->waiting)) {
        struct log_op *op = container_of(l->waiting.next, struct log_op, item);
        list_remove(&op->item);
        op->status = RAFT_CANCELED;
        op_answer(op);
    }
    maybe_closed(l);
}

static void nothing(uv_timer_t *h)
{
    (void)h;
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct log_io *l = io_of(io);
    ENSURE(!l->closing);
    l->closing = true;
    l->close_cb = cb;
    ENSURE(l->open == 3);
    uv_timer_start(&l->tick, nothing, UINT32_MAX, 0);
    uv_close((uv_handle_t *)&l->prepare, handle_closed);
    uv_close((uv_handle_t *)&l->check, handle_closed);
    post(l, canceled, l);
    if (l->stuck)
        post(l, run_answer, l);
}

int raft_uv_init(struct raft_io *io, struct uv_loop_s *loop, const char *dir, struct raft_uv_transport *transport)
{
    void *data = io->data;
    struct log_io *l = mem_zalloc(sizeof *l);
    ENSURE(transport->version == 1);
    *l = (struct log_io){.io = io, .loop = loop, .host = sim_host_now(), .retry_ms = 1000, .next = 1};
    l->disk = log_disk(host_of(l));
    snprintf(l->disk->dir, sizeof l->disk->dir, "%s", dir);
    list_init(&l->waiting);
    *io = (struct raft_io){.version = 2, .data = data, .impl = l};
    io->init = io_init;
    io->close = io_close;
    io->load = io_load;
    io->start = io_start;
    io->bootstrap = io_bootstrap;
    io->recover = io_recover;
    io->set_term = io_set_term;
    io->set_vote = io_set_vote;
    io->append = io_append;
    io->truncate = io_truncate;
    io->snapshot_put = io_snapshot_put;
    io->snapshot_get = io_snapshot_get;
    io->time = io_time;
    io->random = io_random;
    return 0;
}

void raft_uv_close(struct raft_io *io)
{
    mem_free(io->impl);
    io->impl = NULL;
}

void raft_uv_set_disk_retry(struct raft_io *io, unsigned msecs)
{
    io_of(io)->retry_ms = msecs;
}

void raft_uv_set_tracer(struct raft_io *io, struct raft_tracer *tracer)
{
    io_of(io)->tracer = tracer;
}

/* Off is what log.c does. */
void raft_uv_set_auto_recovery(struct raft_io *io, bool flag)
{
    (void)io;
    ENSURE(!flag);
}
