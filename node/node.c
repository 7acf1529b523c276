#include "node/node.h"

#include "node/admin.h"
#include "node/base/clock.h"
#include "node/check.h"
#include "node/health.h"
#include "node/janitor.h"
#include "node/listener.h"
#include "node/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* Mail listeners follow what replication says:
 *
 *   CLOSED ──(member, synced, a leader is known)──► OPEN ──(syncing | drain | stop)──► CLOSING ──► CLOSED
 *
 * Once open they stay open over elections: sessions wait, they are not dropped. */
enum serving { SERVING_CLOSED, SERVING_OPEN, SERVING_CLOSING };

enum { CHECK_MS = 100, DRAIN_MS = 10000, DRAIN_QUIET_MS = 3000, COMPUTE_THREADS_MIN = 2 };

struct node {
    struct config *config;
    struct loop loop;
    struct services services;
    struct session_limits limits;
    struct tls *tls;
    struct metrics *metrics;
    struct workers *workers;
    struct listeners *listeners;
    struct admin *admin;
    struct http *http;
    struct janitor *janitor;
    struct checker *checker;
    _Atomic(struct queue *) queue; /* services.queue, for the applier's thread */
    struct health health;
    uv_timer_t check;
    uv_signal_t signals[3];
    enum serving serving;
    bool draining, stopping, told_ready;
    bool healed; /* nothing is set aside any more */
    int lock_fd;
    int64_t started_ms;
};

struct services *node_services(struct node *n)
{
    return &n->services;
}

const struct config *node_config(const struct node *n)
{
    return n->config;
}

struct loop *node_loop(struct node *n)
{
    return &n->loop;
}

bool node_is_member(const struct node *n)
{
    return n->services.replication != NULL;
}

int64_t node_uptime_ms(const struct node *n)
{
    return clock_steady_ms() - n->started_ms;
}

/* ---- replication ---- */

static void mailbox_changed(void *arg, uint64_t mailbox, uint64_t account)
{
    struct node *n = arg;
    (void)account;
    services_mailbox_changed(&n->services, mailbox);
}

static void queue_changed(void *arg, bool retry)
{
    struct node *n = arg;
    struct queue *q = atomic_load(&n->queue);
    if (q && retry)
        queue_flush_host_marks(q);
    if (q)
        queue_wake(q);
}

/* Storage that failed is not survivable in place (DESIGN section 3): end at once, be restarted, check, rejoin. */
static void fatal(void *arg, int status, const char *why)
{
    (void)arg;
    log_event(LOG_ERROR, "ending the process", LOG_E("code", status), LOG_S("why", why));
    _exit(70);
}

static void state_damaged(void *arg, const char *what)
{
    (void)what; /* it is in the log */
    fatal(arg, ERR_CORRUPT, "a read met damage in the state");
}

static int queue_begin(struct node *n, struct err_detail *e)
{
    const struct queue_config qc = {.services = &n->services,
                                    .metrics = n->metrics,
                                    .hostname = n->config->hostname,
                                    .resolvers = n->config->queue_resolvers,
                                    .ca_file = n->config->queue_ca_file,
                                    .deliveries = n->config->queue_deliveries};
    int r = queue_new(&qc, &n->services.queue, e);
    atomic_store(&n->queue, n->services.queue);
    return r;
}

int node_become_member(struct node *n, struct err_detail *e)
{
    const struct config *c = n->config;
    const struct replication_config rc = {
        .data_dir = c->data,
        .name = c->name,
        .listen = c->peer_listen,
        .advertise = c->peer_advertise,
        .heartbeat_ms = c->heartbeat_ms,
        .election_ms = c->election_ms,
        .write_wait_ms = c->write_wait_ms,
        .snapshot_threshold = c->snapshot_threshold,
        .snapshot_trailing = c->snapshot_trailing,
        .voters_target = c->voters,
        .disk_reserve_bytes = c->disk_reserve,
        .arg = n,
        .mailbox_changed = mailbox_changed,
        .queue_changed = queue_changed,
        .fatal = fatal,
    };
    int r = replication_start(&rc, n->services.store, n->services.blobs, &n->services.replication, e);
    return r ? r : queue_begin(n, e);
}

/* ---- serving ---- */

static int listeners_start(struct node *n, struct err_detail *e)
{
    for (unsigned i = 0; i < n->config->listener_n; i++) {
        int r = listener_open(n->listeners, &n->config->listeners[i].listener, NULL, e);
        if (r)
            return r;
    }
    return 0;
}

static void replication_end(struct node *n)
{
    if (n->services.queue)
        queue_stop(n->services.queue);
    if (n->services.replication)
        replication_stop(&n->services.replication);
}

static void node_end(struct node *n)
{
    uv_timer_stop(&n->check);
    admin_close(&n->admin);
    if (n->http)
        http_close(&n->http);
    uv_close((uv_handle_t *)&n->check, NULL);
    for (size_t i = 0; i < sizeof n->signals / sizeof n->signals[0]; i++)
        uv_close((uv_handle_t *)&n->signals[i], NULL);
    /* Workers still run: what was pending comes home to them as canceled. */
    replication_end(n);
    janitor_stop(&n->janitor);
    checker_stop(&n->checker);
    compute_free(&n->services.compute);
    workers_free(&n->workers);
    if (n->services.queue) {
        atomic_store(&n->queue, NULL);
        queue_free(&n->services.queue);
    }
    listeners_free(&n->listeners);
    loop_stop(&n->loop);
}

static void listeners_closed(void *arg)
{
    struct node *n = arg;
    n->serving = SERVING_CLOSED;
    if (n->stopping)
        node_end(n);
}

static void serving_close(struct node *n)
{
    if (n->serving != SERVING_OPEN)
        return;
    n->serving = SERVING_CLOSING;
    /* A node that has to fetch the state has nothing to show. */
    listeners_drain(n->listeners, n->draining ? DRAIN_QUIET_MS : 0, DRAIN_MS, listeners_closed, n);
}

static void serving_open(struct node *n)
{
    struct err_detail e = {{0}};
    int r = listeners_start(n, &e);
    if (r) {
        log_event(LOG_ERROR, "cannot listen", LOG_E("code", r), LOG_S("why", e.text));
        fatal(n, r, e.text);
    }
    n->serving = SERVING_OPEN;
    log_event(LOG_INFO, "serving clients", LOG_U("listeners", n->config->listener_n));
}

static void healed(struct node *n)
{
    n->healed = true;
    if (!store_is_aside(n->config->data))
        return;
    log_event(LOG_INFO, "healed: the state is whole again, the damaged one is removed");
    store_aside_remove(n->config->data);
}

static void check(uv_timer_t *t)
{
    struct node *n = t->data;
    struct replication_now now = {0};
    if (blob_failed(n->services.blobs))
        fatal(n, ERR_IO, "bodies cannot be written or found any more");
    if (n->services.replication)
        replication_now(n->services.replication, &now);
    bool synced = n->services.replication && !now.syncing;
    atomic_store(&n->services.references_known, now.level);
    if (now.level && !n->healed)
        healed(n);
    health_set(&n->health, n->services.replication != NULL, &now, n->serving == SERVING_OPEN, n->draining);
    if (n->serving == SERVING_CLOSED && synced && now.has_leader && now.applied > 0 && now.role != 2 && !n->draining)
        serving_open(n);
    else if (n->serving == SERVING_OPEN && (!synced || n->draining))
        serving_close(n);
    if (!n->told_ready && (n->serving == SERVING_OPEN || !n->services.replication)) {
        n->told_ready = true;
        sd_notify(0, "READY=1");
    }
}

void node_drain(struct node *n)
{
    if (n->draining)
        return;
    n->draining = true;
    log_event(LOG_INFO, "draining", LOG_S("why", n->stopping ? "stop" : "asked"));
    if (n->services.queue)
        queue_drain(n->services.queue);
    if (n->services.replication)
        replication_drain(n->services.replication);
    check(&n->check);
}

void node_stop(struct node *n)
{
    if (n->stopping)
        return;
    n->stopping = true;
    sd_notify(0, "STOPPING=1");
    node_drain(n);
    if (n->serving == SERVING_CLOSED)
        node_end(n);
}

void node_reload(struct node *n)
{
    struct config *fresh;
    struct err_detail e = {{0}};
    if (config_load(n->config->path, &fresh, &e)) {
        log_event(LOG_ERROR, "configuration not reloaded", LOG_S("why", e.text));
    } else {
        log_set_level(fresh->log_level);
        log_set_json(fresh->log_json);
        if (tls_reload(n->tls, &e))
            log_event(LOG_ERROR, "TLS certificate not reloaded", LOG_S("why", e.text));
        else
            log_event(LOG_INFO, "reloaded", LOG_S("file", n->config->path));
    }
    config_free(&fresh);
}

static void signaled(uv_signal_t *s, int number)
{
    struct node *n = s->data;
    if (number == SIGHUP)
        node_reload(n);
    else
        node_stop(n);
}

/* ---- start ---- */

static int data_open(struct node *n, struct err_detail *e)
{
    const struct config *c = n->config;
    char path[4200];
    if (mkdir(c->data, 0700) && errno != EEXIST)
        return err_set(e, ERR_IO, "data folder %s: %s", c->data, strerror(errno));
    snprintf(path, sizeof path, "%s/lock", c->data);
    n->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (n->lock_fd < 0)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (flock(n->lock_fd, LOCK_EX | LOCK_NB))
        return err_set(e, ERR_BUSY, "another maild runs in %s", c->data);
    const struct store_options so = {.map_size = c->map_size, .damaged = state_damaged, .arg = n};
    int r = check_at_start(c->data, e);
    if (r == 0)
        r = store_open(c->data, &so, &n->services.store, e);
    return r ? r : blob_open(c->data, &(struct blob_options){0}, &n->services.blobs, e);
}

static struct backend *worker_backend_new(void *arg, struct loop *loop)
{
    return backend_new(arg, loop);
}

static void worker_backend_free(void *arg, struct backend *b)
{
    (void)arg;
    backend_free(&b);
}

static int workers_open(struct node *n)
{
    const struct workers_config wc = {.n = n->config->workers,
                                      .backend_new = worker_backend_new,
                                      .backend_free = worker_backend_free,
                                      .arg = &n->services};
    int r = workers_start(&wc, &n->workers);
    if (r)
        return r;
    const struct listeners_options lo = {.host_name = n->config->hostname,
                                         .limits = &n->limits,
                                         .tls = n->tls,
                                         .metrics = n->metrics,
                                         .connections_max = n->config->connections,
                                         .connections_per_address_max = n->config->connections_per_address};
    n->listeners = listeners_new(&n->loop, n->workers, &lo);
    return 0;
}

static int http_start(struct node *n, struct err_detail *e)
{
    if (!n->config->http_listen)
        return 0;
    health_init(&n->health, n->metrics, &n->services);
    return http_open(&n->loop, n->config->http_listen, n->health.routes, HEALTH_ROUTES, &n->http, e);
}

static void timers_start(struct node *n)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    uv_timer_init(&n->loop.uv, &n->check);
    n->check.data = n;
    uv_timer_start(&n->check, check, 0, CHECK_MS);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        uv_signal_init(&n->loop.uv, &n->signals[i]);
        n->signals[i].data = n;
        uv_signal_start(&n->signals[i], signaled, numbers[i]);
    }
}

static int services_open(struct node *n, struct err_detail *e)
{
    const struct config *c = n->config;
    unsigned cores = (unsigned)uv_available_parallelism();
    n->services.write_wait_ms = c->write_wait_ms;
    n->services.in_flight_max =
        8 * c->message_size_max > ((uint64_t)256 << 20) ? 8 * c->message_size_max : (uint64_t)256 << 20;
    n->services.compute = compute_new(cores > COMPUTE_THREADS_MIN ? cores : COMPUTE_THREADS_MIN);
    n->services.auth_cache = auth_cache_new();
    n->services.throttle = throttle_new();
    n->limits = session_limits_default;
    n->limits.message_max = c->message_size_max;
    n->limits.recipients_max = c->recipients_max;
    const struct tls_config tc = {
        .certificate = c->tls_certificate, .key = c->tls_key, .data = c->data, .host_name = c->hostname};
    return tls_new(&tc, &n->tls, e);
}

int node_start(struct config *c, struct node **n_r, struct err_detail *e)
{
    struct node *n = *n_r = mem_zalloc(sizeof *n);
    n->config = c;
    n->lock_fd = -1;
    n->started_ms = clock_steady_ms();
    log_set_node(c->name);
    int r = loop_init(&n->loop, "main");
    if (r)
        return err_set(e, r, "event loop: %s", err_text(r));
    n->metrics = metrics_new();
    if ((r = data_open(n, e)) || (r = services_open(n, e)) || (r = workers_open(n)) || (r = http_start(n, e)))
        return r;
    if (replication_is_member(c->data) && (r = node_become_member(n, e)))
        return r;
    n->janitor = janitor_start(&n->services);
    n->checker = checker_start(n->services.store, n->services.blobs, c->check_interval_s, fatal, n);
    timers_start(n);
    r = admin_listen(n, c->admin_socket, &n->admin, e);
    if (r == 0)
        log_event(LOG_INFO, "started", LOG_S("version", MERLION_VERSION), LOG_S("data", c->data),
                  LOG_S("cluster", node_is_member(n) ? "member" : "none yet"));
    return r;
}

int node_run(struct node *n)
{
    loop_run(&n->loop);
    log_event(LOG_INFO, "stopped");
    return 0;
}

void node_free(struct node **np)
{
    struct node *n = *np;
    *np = NULL;
    loop_close(&n->loop);
    tls_free(&n->tls);
    metrics_free(&n->metrics);
    throttle_free(&n->services.throttle);
    auth_cache_free(&n->services.auth_cache);
    blob_close(&n->services.blobs);
    store_close(&n->services.store);
    close(n->lock_fd);
    mem_free(n);
}
