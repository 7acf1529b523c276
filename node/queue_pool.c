/* Connections to mail hosts, kept a while for the next mail, and what is known of hosts that do not answer. */
#include "node/queue_internal.h"

#include "node/base/clock.h"
#include "node/base/log.h"

#include <stdio.h>

enum {
    BAD_FIRST_MS = 15000, /* doubles with each failure in a row */
    BAD_MAX_MS = 240000,
    PLAIN_MS = 3600000, /* broken TLS is not offered for so long */
};

/* ---- hosts ---- */

static void key_text(const struct queue_host_key *k, struct buf *out)
{
    buf_printf(out, "%s %d %s %s %s %s", k->address, (int)k->tls, k->name, k->source ? k->source : "-",
               k->user ? k->user : "-", k->password ? k->password : "-");
}

static struct list *host_bucket(struct queue *q, struct slice text)
{
    return &q->hosts[checksum64(text) % QUEUE_TABLE];
}

static char *copy(const char *s)
{
    return s ? mem_strdup(s) : NULL;
}

struct queue_host *queue_host_get(struct queue *q, const struct queue_host_key *k)
{
    struct buf text = {0};
    key_text(k, &text);
    LIST_EACH(it, tmp, host_bucket(q, buf_slice(&text)))
    {
        struct queue_host *h = container_of(it, struct queue_host, bucket);
        if (slice_eq(slice_str(h->text), buf_slice(&text))) {
            buf_close(&text);
            return h;
        }
    }
    struct queue_host *h = mem_zalloc(sizeof *h);
    h->q = q;
    h->text = mem_strndup(buf_slice(&text));
    h->key = (struct queue_host_key){.address = copy(k->address),
                                     .source = copy(k->source),
                                     .name = copy(k->name),
                                     .user = copy(k->user),
                                     .password = copy(k->password),
                                     .tls = k->tls};
    list_init(&h->idle);
    list_init(&h->parked);
    list_append(host_bucket(q, buf_slice(&text)), &h->bucket);
    buf_close(&text);
    return h;
}

static void host_free(struct queue_host *h)
{
    list_remove(&h->bucket);
    char *texts[] = {(char *)(uintptr_t)h->key.address,  (char *)(uintptr_t)h->key.source,
                     (char *)(uintptr_t)h->key.name,     (char *)(uintptr_t)h->key.user,
                     (char *)(uintptr_t)h->key.password, h->text};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        mem_free(texts[i]);
    mem_free(h);
}

static bool host_is_bad(const struct queue_host *h)
{
    return h->bad_until_ms > clock_steady_ms();
}

static void host_mark(struct queue_host *h, const struct smtp_outcome *o)
{
    int64_t now = clock_steady_ms(), rest = BAD_FIRST_MS;
    if (host_is_bad(h)) /* several found out at the same time */
        return;
    for (unsigned i = 0; i < h->failures && rest < BAD_MAX_MS; i++)
        rest *= 2;
    h->failures++;
    h->bad_until_ms = now + rest;
    h->bad = *o;
    log_event(LOG_WARN, "mail host does not answer", LOG_S("host", h->key.name), LOG_S("address", h->key.address),
              LOG_S("why", o->text), LOG_I("rest_ms", rest));
}

/* ---- links ---- */

static void link_idle_leave(struct queue_link *l)
{
    list_remove(&l->host_link);
    list_remove(&l->idle);
    l->q->idle_n--;
    atomic_store(&l->q->idle_now, l->q->idle_n);
}

static unsigned conns_max(const struct queue_host *h)
{
    return queue_share(0, 1, h->q->deliveries_max);
}

/* Those who wait for this host go on, as far as it has room, or is of no use. */
static void parked_next(struct queue_host *h)
{
    while (!list_empty(&h->parked) && (!list_empty(&h->idle) || host_is_bad(h) || h->conns < conns_max(h))) {
        struct delivery *d = container_of(h->parked.next, struct delivery, place);
        list_remove(&d->place);
        queue_host_use(h, d, false);
    }
}

static void link_gone(struct queue_link *l)
{
    struct queue_host *h = l->host;
    h->conns--;
    mem_free(l);
    parked_next(h);
}

static void conn_ready(struct queue_conn *c)
{
    struct queue_link *l = queue_conn_owner(c);
    l->host->failures = 0;
    delivery_connected(l->user, false);
}

static void conn_confirm(struct queue_conn *c)
{
    delivery_confirm(((struct queue_link *)queue_conn_owner(c))->user);
}

static void conn_done(struct queue_conn *c, bool again)
{
    struct queue_link *l = queue_conn_owner(c);
    struct delivery *d = l->user;
    if (!again) {
        d->link = NULL;
        link_gone(l);
    }
    struct queue *q = d->q;
    delivery_done(d, again);
    queue_dispatch(q);
}

static void conn_failed(struct queue_conn *c, enum queue_conn_trouble t, const struct smtp_outcome *o)
{
    struct queue_link *l = queue_conn_owner(c);
    struct delivery *d = l->user;
    struct smtp_outcome copied = *o;
    if (!d)
        link_idle_leave(l);
    else
        d->link = NULL;
    if (d && t == QUEUE_CONN_TLS && l->host->key.tls == SMTP_TLS_MAY)
        l->host->plain_until_ms = clock_steady_ms() + PLAIN_MS;
    else if (d && t == QUEUE_CONN_SILENT && !d->q->drain_begun)
        host_mark(l->host, o);
    link_gone(l);
    if (!d)
        return;
    struct queue *q = d->q;
    delivery_conn_failed(d, t, &copied);
    queue_dispatch(q);
}

static const struct queue_conn_events conn_events = {conn_ready, conn_confirm, conn_done, conn_failed};

static void link_new(struct queue_host *h, struct delivery *d)
{
    struct queue *q = h->q;
    struct queue_link *l = mem_zalloc(sizeof *l);
    bool plain = h->key.tls == SMTP_TLS_MAY && h->plain_until_ms > clock_steady_ms();
    l->q = q;
    l->host = h;
    l->user = d;
    list_init(&l->host_link);
    list_init(&l->idle);
    h->conns++;
    d->link = l;
    d->state = DELIVERY_CONNECTING;
    l->conn = queue_conn_new(&(struct queue_conn_config){.loop = &q->loop.uv,
                                                         .address = h->key.address,
                                                         .source = h->key.source,
                                                         .server_name = h->key.name,
                                                         .helo = q->hostname,
                                                         .tls = plain ? SMTP_TLS_NONE : h->key.tls,
                                                         .user = h->key.user,
                                                         .password = h->key.password,
                                                         .tls_any = q->tls_any,
                                                         .tls_verify = q->tls_verify,
                                                         .events = &conn_events,
                                                         .owner = l,
                                                         .count = &q->conns});
}

void queue_host_use(struct queue_host *h, struct delivery *d, bool fresh)
{
    d->host = h;
    if (!fresh && !list_empty(&h->idle)) {
        struct queue_link *l = container_of(h->idle.prev, struct queue_link, host_link);
        link_idle_leave(l);
        l->user = d;
        d->link = l;
        delivery_connected(d, true);
    } else if (host_is_bad(h)) {
        struct smtp_outcome o = h->bad;
        snprintf(o.text, sizeof o.text, "%.400s (not tried again yet)", h->bad.text);
        target_trouble(d, &o);
        target_next(d);
    } else if (h->conns >= conns_max(h)) {
        d->state = DELIVERY_PARKED;
        list_append(&h->parked, &d->place);
        delivery_unslot(d);
    } else {
        link_new(h, d);
    }
}

static void link_quit(struct queue_link *l)
{
    struct queue_conn *c = l->conn;
    l->host->conns--;
    mem_free(l);
    queue_conn_quit(c);
}

void queue_link_release(struct queue_link *l)
{
    struct queue *q = l->q;
    struct queue_host *h = l->host;
    l->user->link = NULL;
    l->user = NULL;
    if (queue_conn_mails(l->conn) >= QUEUE_MAILS_MAX || q->drain_begun) {
        link_quit(l);
        parked_next(h);
        return;
    }
    l->idle_since_ms = clock_steady_ms();
    list_append(&h->idle, &l->host_link);
    list_append(&q->idle, &l->idle);
    atomic_store(&q->idle_now, ++q->idle_n);
    parked_next(h);
}

/* ---- upkeep ---- */

static void idle_quit(struct queue_link *l)
{
    link_idle_leave(l);
    link_quit(l);
}

void queue_pool_tick(struct queue *q)
{
    int64_t now = clock_steady_ms();
    unsigned marked = 0;
    while (!list_empty(&q->idle)) {
        struct queue_link *l = container_of(q->idle.next, struct queue_link, idle);
        if (now - l->idle_since_ms < QUEUE_IDLE_MS && q->idle_n <= q->deliveries_max)
            break;
        idle_quit(l);
    }
    for (unsigned i = 0; i < QUEUE_TABLE; i++)
        LIST_EACH(it, tmp, &q->hosts[i])
        {
            struct queue_host *h = container_of(it, struct queue_host, bucket);
            marked += h->bad_until_ms > now;
            /* Its record of failures is kept for as long again as it rested. */
            if (h->conns == 0 && list_empty(&h->parked) && now > h->bad_until_ms + BAD_MAX_MS &&
                now > h->plain_until_ms)
                host_free(h);
        }
    atomic_store(&q->marked, marked);
}

void queue_pool_flush(struct queue *q)
{
    for (unsigned i = 0; i < QUEUE_TABLE; i++)
        LIST_EACH(it, tmp, &q->hosts[i])
        {
            struct queue_host *h = container_of(it, struct queue_host, bucket);
            h->bad_until_ms = h->plain_until_ms = 0;
            h->failures = 0;
        }
    dns_flush(q->dns);
}

void queue_pool_close(struct queue *q)
{
    while (!list_empty(&q->idle))
        idle_quit(container_of(q->idle.next, struct queue_link, idle));
}

void queue_pool_free(struct queue *q)
{
    for (unsigned i = 0; i < QUEUE_TABLE; i++)
        LIST_EACH(it, tmp, &q->hosts[i])
    host_free(container_of(it, struct queue_host, bucket));
}
