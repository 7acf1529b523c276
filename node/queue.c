#include "node/queue_internal.h"

#include "node/address.h"
#include "node/base/clock.h"
#include "node/base/log.h"

#include <openssl/err.h>

enum { SLOW_TICKS = 10, SPREAD_MS = 50 };

/* ---- commands ---- */

void queue_job_begin(struct queue *q)
{
    q->jobs++;
}

void queue_job_end(struct queue *q)
{
    ENSURE(q->jobs > 0);
    q->jobs--;
}

static void command_done(struct task *t)
{
    struct queue_command *c = container_of(t, struct queue_command, propose.task);
    int status = c->propose.status;
    Merlion__Result *r = NULL;
    if (status == 0) {
        struct slice packed = bytes_slice(c->propose.result);
        r = merlion__result__unpack(NULL, packed.n, packed.p);
        status = r ? r->status : ERR_PROTOCOL;
    }
    bytes_unref(&c->propose.result);
    mem_free(c->packed);
    c->packed = NULL;
    c->busy = false;
    queue_job_end(c->q);
    c->done(c, status, r);
    if (r)
        merlion__result__free_unpacked(r, NULL);
}

void queue_command_send(struct queue *q, struct queue_command *c, const Merlion__Command *m,
                        void (*done)(struct queue_command *c, int status, const Merlion__Result *r))
{
    ENSURE(!c->busy);
    size_t n = merlion__command__get_packed_size(m);
    *c = (struct queue_command){.q = q, .done = done, .busy = true, .packed = mem_alloc(n)};
    merlion__command__pack(m, c->packed);
    c->propose.task.run = command_done;
    c->propose.home = queue_home(q);
    c->propose.command = slice_make(c->packed, n);
    c->propose.deadline_ms = clock_steady_ms() + (q->drain_begun ? QUEUE_DRAIN_OUTCOME_MS : QUEUE_COMMAND_MS);
    queue_job_begin(q);
    replication_propose(q->services->replication, &c->propose);
}

/* ---- what it knows of the cluster ---- */

static bool member_count(void *arg, const struct store_member *m)
{
    *(unsigned *)arg += m->invited_until_ms == 0;
    return true;
}

/* Leased to one destination: what is delivered at once, and what waits for a connection or whose outcome is on its way.
 */
static unsigned leases_share(const struct queue *q)
{
    unsigned share = QUEUE_LEASES_PER_SHARE * queue_share(q->settings.destination_max, q->nodes, q->deliveries_max);
    return share < q->leases_max / 3 ? share : q->leases_max / 3;
}

void queue_settings_refresh(struct queue *q, struct store_view *v)
{
    unsigned nodes = 0;
    if (queue_settings_load(&q->settings, v)) {
        atomic_store(&q->lifetime_ms, q->settings.schedule.lifetime_ms);
        for (unsigned i = 0; i < QUEUE_BUCKETS; i++)
            atomic_store(&q->held[i], false);
    }
    store_member_each(v, member_count, &nodes);
    q->nodes = nodes ? nodes : 1;
    atomic_store(&q->share_max, leases_share(q));
}

int64_t queue_lifetime_ms(struct queue *q)
{
    return atomic_load(&q->lifetime_ms);
}

/* The members' state, settings and what they say of the format. */
static void now_take(struct queue *q, const struct replication_now *now)
{
    struct store_position p;
    store_position(q->services->store, &p);
    bool ready = now->id && now->boot && !now->syncing && p.format >= QUEUE_FORMAT;
    atomic_store(&q->node, now->id);
    atomic_store(&q->boot, now->boot);
    if (ready && !atomic_exchange(&q->ready, ready))
        queue_lease_soon(q, SPREAD_MS);
    atomic_store(&q->ready, ready);
}

static void slow_tick(struct queue *q)
{
    struct store_view *v;
    queue_pool_tick(q);
    outcome_refused_tick(q);
    for (unsigned i = 0; i < QUEUE_TABLE; i++)
        LIST_EACH(it, tmp, &q->deliveries[i])
    if (delivery_overdue_cut(container_of(it, struct delivery, bucket)))
        break; /* the list may be another now */
    if (store_view_open(q->services->store, &v))
        return;
    queue_settings_refresh(q, v);
    queue_metrics_refresh(q, v, queue_clock_ms(q));
    store_view_close(&v);
}

/* ---- draining ---- */

static void drain_begin(struct queue *q)
{
    if (q->drain_begun)
        return;
    q->drain_begun = true;
    q->drain_ms = clock_steady_ms();
    uv_timer_stop(&q->lease_timer);
    for (unsigned i = 0; i < QUEUE_TABLE; i++)
        LIST_EACH(it, tmp, &q->deliveries[i])
        {
            struct delivery *d = container_of(it, struct delivery, bucket);
            if (d->state == DELIVERY_WAITING || d->state == DELIVERY_PARKED)
                delivery_cut(d);
        }
    queue_pool_close(q);
}

static unsigned deliveries_open(const struct queue *q)
{
    unsigned n = 0;
    for (unsigned i = 0; i < QUEUE_TABLE; i++)
        LIST_EACH(it, tmp, &q->deliveries[i])
    n += container_of(it, struct delivery, bucket)->state < DELIVERY_OUTCOME;
    return n;
}

static void cut_all(struct queue *q)
{
    for (unsigned i = 0; i < QUEUE_TABLE; i++)
        LIST_EACH(it, tmp, &q->deliveries[i])
    delivery_cut(container_of(it, struct delivery, bucket));
}

static void finish(struct queue *q)
{
    q->stopped = true;
    cut_all(q);
    queue_pool_close(q);
    for (unsigned i = 0; i < QUEUE_TABLE; i++)
        LIST_EACH(it, tmp, &q->deliveries[i])
    delivery_free(container_of(it, struct delivery, bucket));
    queue_unseen_drop(q);
    dns_free(&q->dns);
    uv_timer_t *timers[] = {&q->tick, &q->lease_timer, &q->retry_timer, &q->outcome_timer};
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++)
        uv_close((uv_handle_t *)timers[i], NULL);
    loop_stop(&q->loop);
}

static void drain_step(struct queue *q)
{
    int64_t since = clock_steady_ms() - q->drain_ms;
    unsigned open = deliveries_open(q);
    if (open > 0 && since >= QUEUE_DRAIN_MS)
        cut_all(q);
    if (!atomic_load(&q->stop_wanted) || q->jobs > 0)
        return; /* what is on other threads comes home first; all of it has a time limit */
    bool late = since >= QUEUE_DRAIN_MS + QUEUE_DRAIN_OUTCOME_MS;
    if ((open == 0 && !outcome_pending(q) && list_empty(&q->unseen)) || late)
        finish(q);
}

static void marks_flush(struct queue *q)
{
    if (atomic_exchange(&q->flush, false))
        queue_pool_flush(q);
}

static void tick(uv_timer_t *t)
{
    struct queue *q = t->data;
    struct replication_now now;
    replication_now(q->services->replication, &now);
    now_take(q, &now);
    if (atomic_load(&q->draining))
        drain_begin(q);
    marks_flush(q);
    delivery_confirm_tick(q);
    queue_unseen_check(q);
    queue_dispatch(q);
    if (atomic_load(&q->ready))
        queue_void_tick(q, &now);
    if (++q->ticks % SLOW_TICKS == 0)
        slow_tick(q);
    if (q->drain_begun)
        drain_step(q);
}

/* ---- any thread ---- */

static void woken(struct task *t)
{
    struct queue *q = container_of(t, struct queue, wake_task);
    atomic_store(&q->wake_posted, false);
    if (q->stopped)
        return;
    marks_flush(q); /* before what is retried finds them */
    queue_lease_soon(q, SPREAD_MS);
}

void queue_wake(struct queue *q)
{
    if (!atomic_exchange(&q->wake_posted, true))
        task_post(queue_home(q), &q->wake_task);
}

void queue_drain(struct queue *q)
{
    atomic_store(&q->draining, true); /* seen at the next tick */
}

void queue_flush_host_marks(struct queue *q)
{
    atomic_store(&q->flush, true);
}

void queue_stats(struct queue *q, struct queue_stats *s)
{
    *s = (struct queue_stats){.deliveries = atomic_load(&q->running_now),
                              .deliveries_max = q->deliveries_max,
                              .leased = atomic_load(&q->used),
                              .leased_max = q->leases_max,
                              .connections = atomic_load(&q->conns),
                              .connections_idle = atomic_load(&q->idle_now),
                              .hosts_marked = atomic_load(&q->marked),
                              .bytes = atomic_load(&q->body_bytes) + atomic_load(&q->kept_bytes),
                              .delivered = atomic_load(&q->delivered),
                              .deferred = atomic_load(&q->deferred),
                              .failed = atomic_load(&q->failed)};
}

/* ---- life ---- */

static int contexts_open(struct queue *q, const char *ca_file, struct err_detail *e)
{
    SSL_CTX **all[] = {&q->tls_any, &q->tls_verify};
    for (size_t i = 0; i < 2; i++) {
        SSL_CTX *ctx = *all[i] = SSL_CTX_new(TLS_client_method());
        if (!ctx)
            return err_set(e, ERR_NOMEM, "TLS context");
        SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
        SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
        int ok = ca_file ? SSL_CTX_load_verify_locations(ctx, ca_file, NULL) : SSL_CTX_set_default_verify_paths(ctx);
        ERR_clear_error();
        if (ca_file && ok != 1)
            return err_set(e, ERR_INVALID, "[queue] ca_file = %s: cannot be read as PEM certificates", ca_file);
    }
    SSL_CTX_set_verify(q->tls_verify, SSL_VERIFY_PEER, NULL);
    return 0;
}

static void lists_open(struct queue *q)
{
    struct list *lists[] = {&q->turn, &q->unseen,   &q->bodies_waiting, &q->confirming,
                            &q->idle, &q->outcomes, &q->outcomes_sent,  &q->refused};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        list_init(lists[i]);
    for (unsigned i = 0; i < QUEUE_TABLE; i++) {
        list_init(&q->deliveries[i]);
        list_init(&q->classes[i]);
        list_init(&q->hosts[i]);
    }
}

static void timers_open(struct queue *q)
{
    uv_timer_t *timers[] = {&q->tick, &q->lease_timer, &q->retry_timer, &q->outcome_timer};
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        uv_timer_init(&q->loop.uv, timers[i]);
        timers[i]->data = q;
    }
    uv_timer_start(&q->tick, tick, 0, QUEUE_TICK_MS);
}

static void memory_free(struct queue *q)
{
    SSL_CTX_free(q->tls_any);
    SSL_CTX_free(q->tls_verify);
    queue_settings_close(&q->settings);
    queue_pool_free(q);
    queue_metrics_close(q);
    mem_free(q->hostname);
    mem_free(q->look_name);
    mem_free(q);
}

int queue_new(const struct queue_config *c, struct queue **q_r, struct err_detail *e)
{
    struct queue *q = mem_zalloc(sizeof *q);
    *q_r = NULL;
    q->services = c->services;
    q->hostname = mem_strdup(c->hostname);
    q->deliveries_max = c->deliveries ? c->deliveries : QUEUE_DELIVERIES_DEFAULT;
    q->leases_max = QUEUE_LEASES_PER_DELIVERY * q->deliveries_max;
    q->wake_task.run = woken;
    q->nodes = 1;
    q->next_due_ms = INT64_MAX;
    lists_open(q);
    queue_settings_init(&q->settings);
    atomic_store(&q->lifetime_ms, q->settings.schedule.lifetime_ms);
    atomic_store(&q->share_max, leases_share(q));
    int r = loop_init(&q->loop, "queue");
    if (r) {
        memory_free(q);
        return err_set(e, r, "event loop: %s", err_text(r));
    }
    r = contexts_open(q, c->ca_file, e);
    if (r == 0)
        r = dns_new(&q->loop.uv, &(struct dns_config){.servers = c->resolvers}, &q->dns, e);
    if (r == 0) {
        queue_metrics_open(q, c->metrics);
        timers_open(q);
        r = loop_start(&q->loop);
    }
    if (r) {
        loop_close(&q->loop);
        memory_free(q);
        return r;
    }
    *q_r = q;
    return 0;
}

void queue_stop(struct queue *q)
{
    queue_drain(q);
    atomic_store(&q->stop_wanted, true);
    loop_join(&q->loop);
}

void queue_free(struct queue **qp)
{
    struct queue *q = *qp;
    *qp = NULL;
    if (!q)
        return;
    task_queue_run(queue_home(q)); /* what came too late */
    queue_unseen_drop(q);
    loop_close(&q->loop);
    memory_free(q);
}
