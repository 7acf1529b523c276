/* Start, loop turn, stop. */
#include "replication/core.h"

#include "node/base/clock.h"

#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    HEARTBEAT_MS = 100,
    ELECTION_MS = 500,
    WRITE_WAIT_MS = 30000,
    VOTERS_TARGET = 3,
    HANDOVER_MS = 3000,
    REPLACE_AFTER_MS = 60000,
    DEAD_AFTER_MS = 1000,
    BULK_DEAD_MS = 5000
};

void core_fatal(struct replication *r, int status, const char *why)
{
    if (atomic_exchange(&r->failed, true))
        return;
    log_event(LOG_ERROR, "fatal", LOG_E("error", status), LOG_S("why", why));
    if (r->c.fatal)
        r->c.fatal(r->c.arg, status, why);
}

/* ---- turns ---- */

void core_turn(struct replication *r)
{
    if (r->life == CORE_CLOSING || atomic_load(&r->failed))
        return;
    core_raft_turn(r);
    member_requests_turn(r);
    proposals_turn(r);
    reads_turn(r);
    if (core_is_leader(r))
        core_commit_tell(r);
    raft_guard_flush(&r->guard);
}

static void prepare_cb(uv_prepare_t *h)
{
    core_turn(h->data);
}

static void check_cb(uv_check_t *h)
{
    core_turn(h->data);
}

static void handover_step(struct replication *r, int64_t now);

static void tick_cb(uv_timer_t *h)
{
    struct replication *r = h->data;
    int64_t now = clock_steady_ms();
    if (r->life == CORE_CLOSING || atomic_load(&r->failed)) {
        handover_step(r, now);
        return;
    }
    core_raft_tick(r);
    proposals_tick(r, now);
    reads_tick(r, now);
    membership_tick(r, now);
    core_knock_tick(r, now);
    core_sync_tick(r);
    status_applied(r, now);
    contact_tick(r, now);
    gone_tick(r, now);
    status_now_update(r);
    handover_step(r, now);
}

static void applier_has_news(void *arg)
{
    struct replication *r = arg;
    struct applier_news n;
    applier_take(r->applier, &n);
    while (n.results) {
        struct applier_result *x = n.results;
        n.results = x->next;
        proposals_result(r, x);
        bytes_unref(&x->result);
        mem_free(x);
    }
    if (r->life == CORE_CLOSING)
        return;
    if (n.cluster_changed)
        r->peers_stale = true;
    core_sync_news(r, &n);
    reads_applied(r);
    status_applied(r, clock_steady_ms());
    status_now_update(r);
}

static void applier_missing(void *arg)
{
    struct replication *r = arg;
    if (r->life != CORE_CLOSING)
        bulk_missing_kick(r->bulk);
}

static void applier_mailbox_changed(void *arg, uint64_t mailbox, uint64_t account)
{
    struct replication *r = arg;
    if (r->c.mailbox_changed)
        r->c.mailbox_changed(r->c.arg, mailbox, account);
}

static void applier_cluster_changed(void *arg)
{
    struct replication *r = arg;
    if (r->c.cluster_changed)
        r->c.cluster_changed(r->c.arg);
}

static void applier_queue_changed(void *arg, bool retry)
{
    struct replication *r = arg;
    if (r->c.queue_changed)
        r->c.queue_changed(r->c.arg, retry);
}

static void any_fatal(void *arg, int status, const char *why)
{
    core_fatal(arg, status, why);
}

/* ---- start ---- */

static struct replication *replication_new(const struct replication_config *c, struct store *s, struct blob_log *b)
{
    struct replication *r = mem_zalloc(sizeof *r);
    r->c = *c;
    r->data_dir = mem_strdup(c->data_dir);
    r->advertise = mem_strdup(c->advertise ? c->advertise : "");
    r->listen = mem_strdup(c->listen ? c->listen : "");
    size_t n = strlen(c->data_dir) + sizeof "/raft";
    r->raft_dir = mem_alloc(n);
    snprintf(r->raft_dir, n, "%s/raft", c->data_dir);
    r->c.heartbeat_ms = c->heartbeat_ms ? c->heartbeat_ms : HEARTBEAT_MS;
    r->c.election_ms = c->election_ms ? c->election_ms : ELECTION_MS;
    r->c.write_wait_ms = c->write_wait_ms ? c->write_wait_ms : WRITE_WAIT_MS;
    r->c.voters_target = c->voters_target ? c->voters_target : VOTERS_TARGET;
    r->c.dead_after_ms = c->dead_after_ms ? c->dead_after_ms : DEAD_AFTER_MS;
    r->replace_after_ms = c->replace_after_ms ? c->replace_after_ms : REPLACE_AFTER_MS;
    r->store = s;
    r->blobs = b;
    r->healing = store_is_aside(c->data_dir);
    r->started_ms = clock_steady_ms();
    r->fresh_last = &r->fresh;
    r->mark.fd = -1;
    list_init(&r->inbounds);
    list_init(&r->digests);
    list_init(&r->statuses);
    pthread_mutex_init(&r->now_lock, NULL);
    proposals_init(r);
    reads_init(r);
    membership_init(r);
    return r;
}

static void replication_delete(struct replication **rp)
{
    struct replication *r = *rp;
    *rp = NULL;
    while (r->fresh) {
        struct applier_entry *e = r->fresh;
        r->fresh = e->next;
        mem_free(e);
    }
    applier_free(&r->applier);
    mark_close(&r->mark);
    if (r->member)
        identity_close(&r->identity);
    pthread_mutex_destroy(&r->now_lock);
    mem_free(r->data_dir);
    mem_free(r->raft_dir);
    mem_free(r->advertise);
    mem_free(r->listen);
    mem_free(r);
}

static int applier_begin(struct replication *r)
{
    struct applier_config c = {.store = r->store,
                               .blobs = r->blobs,
                               .mark = &r->mark,
                               .data_dir = r->data_dir,
                               .node = r->identity.node_id,
                               .boot = r->boot,
                               .home = &r->loop.queue,
                               .arg = r,
                               .news = applier_has_news,
                               .missing = applier_missing,
                               .mailbox_changed = applier_mailbox_changed,
                               .cluster_changed = applier_cluster_changed,
                               .queue_changed = applier_queue_changed,
                               .fatal = any_fatal};
    return applier_start(&c, &r->applier);
}

static void body_nowhere(void *arg, const struct body_hash *hash)
{
    struct replication *r = arg;
    applier_body_nowhere(r->applier, hash);
}

static int bulk_begin(struct replication *r, struct err_detail *e)
{
    char address[256];
    const char *colon = strrchr(r->listen, ':');
    if (!colon || atoi(colon + 1) <= 0)
        return err_set(e, ERR_INVALID, "peer address %s: write host:port", r->listen);
    snprintf(address, sizeof address, "%.*s:%d", (int)(colon - r->listen), r->listen, atoi(colon + 1) + 1);
    struct bulk_config c = {.identity = &r->identity,
                            .listen = address,
                            .blobs = r->blobs,
                            .store = r->store,
                            .dead_ms = BULK_DEAD_MS,
                            .arg = r,
                            .hello_ok = core_hello_ok,
                            .nowhere = body_nowhere,
                            .fatal = any_fatal};
    return bulk_start(&c, &r->bulk, e);
}

static void raft_closed(struct raft *raft)
{
    struct replication *r = container_of(raft, struct replication, raft);
    r->raft_closed = true;
}

/* Bodies that are being appended still come home, to a loop that has ended. */
static void bodies_wait(struct replication *r)
{
    while (r->applier && applier_pending(r->applier) > 0) {
        task_queue_run(&r->loop.queue);
        usleep(1000);
    }
    task_queue_run(&r->loop.queue);
}

/* After a failed start, on the starting thread. */
static void start_undo(struct replication *r)
{
    r->life = CORE_CLOSING;
    if (r->applier)
        applier_stop(r->applier);
    if (r->bulk)
        bulk_stop(&r->bulk);
    core_peers_close(r);
    if (r->raft_ready) {
        raft_close(&r->raft, raft_closed);
        while (!r->raft_closed)
            uv_run(&r->loop.uv, UV_RUN_ONCE);
        raft_uv_close(&r->guard.io);
    }
    loop_stop(&r->loop);
    loop_run(&r->loop);
    bodies_wait(r);
    loop_close(&r->loop);
}

static void handles_start(struct replication *r)
{
    uv_prepare_init(&r->loop.uv, &r->prepare);
    uv_check_init(&r->loop.uv, &r->check);
    uv_timer_init(&r->loop.uv, &r->tick);
    r->prepare.data = r->check.data = r->tick.data = r;
    uv_prepare_start(&r->prepare, prepare_cb);
    uv_check_start(&r->check, check_cb);
    uv_timer_start(&r->tick, tick_cb, CORE_TICK_MS, CORE_TICK_MS);
}

/* The applier first (libraft hands entries over while it starts), then the log, then whoever may ask. */
static int member_start(struct replication *r, struct err_detail *e)
{
    int rc = loop_init(&r->loop, "raft");
    if (rc != 0)
        return err_set(e, rc, "make the core loop: %s", err_text(rc));
    if ((rc = core_mark_open(r, e)) == 0 && (rc = applier_begin(r)) == 0 && (rc = core_raft_open(r, e)) == 0 &&
        (rc = bulk_begin(r, e)) == 0 && (rc = core_raft_start(r, e)) == 0)
        rc = core_peers_start(r, e);
    if (rc != 0) {
        start_undo(r);
        return rc;
    }
    handles_start(r);
    status_now_update(r);
    if ((rc = loop_start(&r->loop)) != 0)
        err_panic(__FILE__, __LINE__, "a thread for the core loop");
    r->loop_running = true;
    bulk_missing_kick(r->bulk);
    return 0;
}

int replication_start(const struct replication_config *c, struct store *s, struct blob_log *b, struct replication **r_r,
                      struct err_detail *e)
{
    struct replication *r = replication_new(c, s, b);
    int rc = identity_load(c->data_dir, &r->identity, e);
    r->member = rc == 0;
    if (rc == 0 && c->format_max && c->format_max < r->identity.format_max)
        r->identity.format_max = c->format_max;
    if (rc == 0)
        rc = identity_boot_next(r->data_dir, (uint64_t)clock_wall_ms(), &r->boot, e);
    if (rc == 0)
        rc = member_start(r, e);
    else if (rc == ERR_NOTFOUND && !r->member)
        rc = 0; /* no member yet: answers "unavailable" until init or join and a new start */
    if (rc != 0) {
        replication_delete(&r);
        return rc;
    }
    *r_r = r;
    return 0;
}

/* ---- stop ---- */

struct stop_step {
    struct task task;
    struct replication *r;
    sem_t done;
};

static void pending_cancel(struct replication *r)
{
    proposals_cancel(r);
    reads_cancel(r);
    membership_cancel(r);
    status_cancel(r);
}

/* Leadership goes first, so that the others need no election; then nothing new is taken. */
static void handover_step(struct replication *r, int64_t now)
{
    if (r->life != CORE_HANDING_OVER)
        return;
    bool leader = core_is_leader(r) && core_voters(r) > 1 && !atomic_load(&r->failed);
    if (leader && now < r->handover_until_ms) {
        if (!r->membership.transferring)
            membership_transfer(r, membership_best_heir(r), NULL);
        return;
    }
    r->life = CORE_CLOSING;
    pending_cancel(r);
    sem_post(&r->stop->done);
}

static void handover_begin(struct task *t)
{
    struct stop_step *s = container_of(t, struct stop_step, task);
    s->r->stop = s;
    atomic_store(&s->r->draining, true);
    s->r->handover_until_ms = clock_steady_ms() + HANDOVER_MS;
    s->r->life = CORE_HANDING_OVER;
    handover_step(s->r, clock_steady_ms());
}

static void close_begin(struct task *t)
{
    struct stop_step *s = container_of(t, struct stop_step, task);
    struct replication *r = s->r;
    core_peers_close(r);
    uv_close((uv_handle_t *)&r->prepare, NULL);
    uv_close((uv_handle_t *)&r->check, NULL);
    uv_close((uv_handle_t *)&r->tick, NULL);
    raft_close(&r->raft, raft_closed);
    loop_stop(&r->loop);
    sem_post(&s->done);
}

static void step_run(struct replication *r, void (*run)(struct task *t))
{
    struct stop_step s = {.task.run = run, .r = r};
    sem_init(&s.done, 0, 0);
    task_post(&r->loop.queue, &s.task);
    while (sem_wait(&s.done) != 0)
        continue;
    sem_destroy(&s.done);
}

void replication_stop(struct replication **rp)
{
    struct replication *r = *rp;
    if (!r)
        return;
    *rp = NULL;
    if (r->member) {
        step_run(r, handover_begin);
        applier_stop(r->applier);
        bulk_stop(&r->bulk);
        step_run(r, close_begin);
        loop_join(&r->loop);
        ENSURE(r->raft_closed);
        raft_uv_close(&r->guard.io);
        bodies_wait(r);
        pending_cancel(r);
        loop_close(&r->loop);
    }
    replication_delete(&r);
}

/* ---- bodies: the bulk loop's ---- */

void replication_body_put(struct replication *r, struct body_put *p)
{
    if (r->member) {
        p->voters = atomic_load(&r->voters);
        bulk_body_put(r->bulk, p);
        return;
    }
    p->status = ERR_UNAVAILABLE;
    task_post(p->home, &p->task);
}

void replication_body_get(struct replication *r, struct body_get *g)
{
    if (r->member) {
        bulk_body_get(r->bulk, g);
        return;
    }
    g->status = ERR_UNAVAILABLE;
    task_post(g->home, &g->task);
}
