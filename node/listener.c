/* Accepting and handing over, limits of the whole, draining. */
#include "node/listener_internal.h"

#include "node/base/clock.h"
#include "node/base/log.h"
#include "node/base/task.h"
#include "node/listener_socket.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPT_BATCH = 64, BACKLOG_MAX = 4096, RETRY_MS = 100, DRAIN_POLL_MS = 20, DRAIN_GRACE_MS = 5000 };

/* The listening socket and its handles, freed when both are closed. */
struct acceptor {
    struct listener *listener;
    int fd;
    uv_poll_t poll;
    uv_timer_t retry; /* after running out of file descriptors */
    unsigned handles;
};

struct drain {
    uv_timer_t timer;
    struct listeners *all;
    int64_t cut_ms; /* steady clock */
    bool cut;
    void (*done)(void *arg);
    void *arg;
};

/* A word to a worker: an accepted socket, or about all its connections. */
struct errand {
    struct task task;
    struct worker *worker;
    struct listener *listener;
    int fd;
    bool cut;
};

static const char *const protocol_names[LISTENER_PROTOCOLS] = {"imap", "pop3", "smtp", "submission", "lmtp"};
static const char *const tls_names[] = {"none", "starttls", "implicit"};

int listener_protocol_parse(struct slice name, enum listener_protocol *p_r)
{
    for (unsigned i = 0; i < LISTENER_PROTOCOLS; i++)
        if (slice_eq(name, slice_str(protocol_names[i]))) {
            *p_r = (enum listener_protocol)i;
            return 0;
        }
    return ERR_INVALID;
}

const char *listener_protocol_name(enum listener_protocol p)
{
    return protocol_names[p];
}

int listener_tls_parse(struct slice name, enum listener_tls *t_r)
{
    for (unsigned i = 0; i <= LISTENER_TLS_IMPLICIT; i++)
        if (slice_eq(name, slice_str(tls_names[i]))) {
            *t_r = (enum listener_tls)i;
            return 0;
        }
    return ERR_INVALID;
}

int listener_address_parse(struct slice text, struct listener_config *c)
{
    return socket_address_parse(text, c->address, sizeof c->address, &c->port);
}

static double gauge_read(void *arg)
{
    return atomic_load((_Atomic unsigned *)arg);
}

static double not_after_read(void *arg)
{
    return (double)tls_not_after(arg);
}

static void metrics_register(struct listeners *l, struct metrics *m)
{
    for (unsigned i = 0; i < LISTENER_PROTOCOLS; i++) {
        char label[64];
        snprintf(label, sizeof label, "protocol=\"%s\"", protocol_names[i]);
        l->total[i] = metrics_counter(m, "merlion_connections_total", "Client connections taken.", label);
        l->bytes_in[i] = metrics_counter(m, "merlion_received_bytes_total", "Bytes from clients, TLS included.", label);
        l->bytes_out[i] = metrics_counter(m, "merlion_sent_bytes_total", "Bytes to clients, TLS included.", label);
        metrics_gauge(m, "merlion_connections", "Client connections open.", label, gauge_read, &l->open_by[i]);
    }
    static const char refused[] = "merlion_connections_refused_total", help[] = "Client connections refused.";
    l->refused_total = metrics_counter(m, refused, help, "reason=\"total\"");
    l->refused_address = metrics_counter(m, refused, help, "reason=\"address\"");
    l->refused_proxy = metrics_counter(m, refused, help, "reason=\"proxy\"");
    l->tls_failed = metrics_counter(m, "merlion_tls_handshake_failures_total", "TLS handshakes that failed.", NULL);
    l->timeouts = metrics_counter(m, "merlion_session_timeouts_total", "Sessions ended for silence.", NULL);
    if (l->options.tls)
        metrics_gauge(m, "merlion_tls_certificate_not_after_seconds", "End of validity of the certificate (Unix time).",
                      NULL, not_after_read, l->options.tls);
}

struct listeners *listeners_new(struct loop *loop, struct workers *workers, const struct listeners_options *o)
{
    struct listeners *l = mem_zalloc(sizeof *l);
    l->loop = loop;
    l->workers = workers;
    l->options = *o;
    l->host_name = mem_strdup(o->host_name);
    l->boot = (uint32_t)(clock_wall_ms() / 1000);
    list_init(&l->all);
    l->addresses = address_counts_new();
    if (!o->metrics)
        l->own_metrics = metrics_new();
    metrics_register(l, o->metrics ? o->metrics : l->own_metrics);
    return l;
}

unsigned listeners_connections(const struct listeners *l)
{
    return atomic_load(&l->open);
}

static void take_over(struct task *t)
{
    struct errand *e = container_of(t, struct errand, task);
    conn_open(e->worker, e->listener, e->fd);
    mem_free(e);
}

static void hand_over(struct listener *l, int fd)
{
    struct listeners *all = l->all;
    if (all->options.connections_max && atomic_load(&all->open) >= all->options.connections_max) {
        counter_add(all->refused_total, 1);
        if (l->config.tls != LISTENER_TLS_IMPLICIT && !l->config.proxy) {
            struct slice text = refusal_text(l->config.protocol);
            if (send(fd, text.p, text.n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                log_event(LOG_DEBUG, "refusal not sent");
        }
        close(fd);
        return;
    }
    atomic_fetch_add(&all->open, 1);
    struct errand *e = mem_zalloc(sizeof *e);
    *e = (struct errand){.task.run = take_over, .worker = workers_assign(all->workers), .listener = l, .fd = fd};
    task_post(&e->worker->loop.queue, &e->task);
}

static void acceptable(uv_poll_t *poll, int status, int events);

static void retry(uv_timer_t *t)
{
    struct acceptor *a = t->data;
    uv_poll_start(&a->poll, UV_READABLE, acceptable);
}

static void acceptable(uv_poll_t *poll, int status, int events)
{
    struct acceptor *a = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(a->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            hand_over(a->listener, fd);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        /* Out of descriptors or memory: asking again at once would only burn the processor. */
        log_event(LOG_WARN, "cannot accept", LOG_S("why", strerror(errno)));
        uv_poll_stop(&a->poll);
        uv_timer_start(&a->retry, retry, RETRY_MS, 0);
        return;
    }
}

static void acceptor_closed(uv_handle_t *h)
{
    struct acceptor *a = h->data;
    if (--a->handles > 0)
        return;
    mem_free(a);
}

static void acceptor_stop(struct listener *l)
{
    struct acceptor *a = l->acceptor;
    if (!a)
        return;
    l->acceptor = NULL;
    uv_poll_stop(&a->poll);
    uv_close((uv_handle_t *)&a->poll, acceptor_closed);
    uv_close((uv_handle_t *)&a->retry, acceptor_closed);
    close(a->fd);
}

/* To their clients they are connected: closing the socket would break them. */
static void backlog_take(struct listener *l)
{
    for (int fd, i = 0; l->acceptor && i < BACKLOG_MAX; i++) {
        if ((fd = accept4(l->acceptor->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0)
            return;
        hand_over(l, fd);
    }
}

int listener_open(struct listeners *l, const struct listener_config *c, uint16_t *port_r, struct err_detail *e)
{
    int fd;
    uint16_t port;
    if (c->tls != LISTENER_TLS_NONE && !l->options.tls)
        return err_set(e, ERR_INVALID, "a listener with TLS needs a certificate");
    int rc = socket_listen(c->address, c->port, &fd, &port, e);
    if (rc < 0)
        return rc;
    struct acceptor *a = mem_zalloc(sizeof *a);
    a->fd = fd;
    rc = uv_poll_init(&l->loop->uv, &a->poll, fd);
    if (rc < 0) {
        close(fd);
        mem_free(a);
        return err_set(e, err_from_errno(-rc), "poll: %s", uv_strerror(rc));
    }
    uv_timer_init(&l->loop->uv, &a->retry);
    a->poll.data = a->retry.data = a;
    a->handles = 2;
    struct listener *n = mem_zalloc(sizeof *n);
    *n = (struct listener){.all = l, .config = *c, .acceptor = a};
    n->config.port = port;
    a->listener = n;
    list_append(&l->all, &n->link);
    if (!l->drain)
        atomic_store(&l->draining, false);
    uv_poll_start(&a->poll, UV_READABLE, acceptable);
    log_event(LOG_INFO, "listening", LOG_S("protocol", protocol_names[c->protocol]), LOG_S("address", c->address),
              LOG_U("port", port), LOG_S("tls", tls_names[c->tls]), LOG_S("proxy", c->proxy ? "yes" : "no"));
    if (port_r)
        *port_r = port;
    return 0;
}

static void end_all(struct task *t)
{
    struct errand *e = container_of(t, struct errand, task);
    LIST_EACH(it, tmp, &e->worker->connections)
    {
        struct conn *c = container_of(it, struct conn, link);
        if (e->cut)
            conn_cut(c, "shut down");
        else
            conn_shutdown(c);
    }
    mem_free(e);
}

static void tell_workers(struct listeners *l, bool cut)
{
    for (unsigned i = 0; i < workers_count(l->workers); i++) {
        struct errand *e = mem_zalloc(sizeof *e);
        *e = (struct errand){.task.run = end_all, .worker = workers_get(l->workers, i), .cut = cut};
        task_post(&e->worker->loop.queue, &e->task);
    }
}

static void drain_closed(uv_handle_t *h)
{
    struct drain *d = h->data;
    void (*done)(void *) = d->done;
    void *arg = d->arg;
    d->all->drain = NULL;
    mem_free(d);
    done(arg);
}

static void drain_poll(uv_timer_t *t)
{
    struct drain *d = t->data;
    int64_t now = clock_steady_ms();
    unsigned left = listeners_connections(d->all);
    if (left == 0 || now >= d->cut_ms + DRAIN_GRACE_MS) {
        log_event(LOG_INFO, "listeners drained", LOG_U("left", left));
        uv_close((uv_handle_t *)t, drain_closed);
    } else if (!d->cut && now >= d->cut_ms) {
        d->cut = true;
        log_event(LOG_WARN, "cutting connections that did not end", LOG_U("left", left));
        tell_workers(d->all, true);
    }
}

void listeners_drain(struct listeners *l, unsigned quiet_ms, unsigned deadline_ms, void (*done)(void *arg), void *arg)
{
    ENSURE(!l->drain);
    LIST_EACH(it, tmp, &l->all)
    {
        backlog_take(container_of(it, struct listener, link));
        acceptor_stop(container_of(it, struct listener, link));
    }
    atomic_store(&l->drain_quiet_ms, quiet_ms);
    atomic_store(&l->draining, true);
    tell_workers(l, false);
    struct drain *d = mem_zalloc(sizeof *d);
    *d = (struct drain){.all = l, .cut_ms = clock_steady_ms() + deadline_ms, .done = done, .arg = arg};
    l->drain = d;
    uv_timer_init(&l->loop->uv, &d->timer);
    d->timer.data = d;
    uv_timer_start(&d->timer, drain_poll, DRAIN_POLL_MS, DRAIN_POLL_MS);
}

void listeners_free(struct listeners **l)
{
    if (!*l)
        return;
    ENSURE(!(*l)->drain);
    LIST_EACH(it, tmp, &(*l)->all)
    {
        acceptor_stop(container_of(it, struct listener, link));
        mem_free(container_of(it, struct listener, link));
    }
    address_counts_free(&(*l)->addresses);
    metrics_free(&(*l)->own_metrics);
    mem_free((*l)->host_name);
    mem_free(*l);
    *l = NULL;
}
