#include "node/io/dns_internal.h"

#include "node/base/buf.h"
#include "node/base/clock.h"
#include "node/base/hash.h"
#include "node/base/mem.h"
#include "node/base/slice.h"
#include "node/base/task.h"

#include <arpa/nameser.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { BUCKETS = 1024, EDNS_OCTETS = 1232 /* of an answer by UDP, without fragments */ };

/* A question, its answer once there is one, and who waits for it. */
struct entry {
    struct list bucket, age; /* age: oldest answer first; only when answered */
    struct list waiting;     /* dns_lookup's */
    struct list ready;       /* in dns.ready while answered with lookups waiting */
    struct dns *dns;
    bool mx;
    unsigned asking; /* queries not yet answered */
    int64_t until_ms;
    unsigned six_n;
    enum dns_result six, four;
    const char *six_why, *four_why;
    struct dns_answer answer;
    char name[DNS_NAME_MAX + 1]; /* lower case */
};

/* A socket of c-ares'. */
struct poller {
    struct list link;
    uv_poll_t poll;
    struct dns *dns;
    ares_socket_t fd;
};

struct dns {
    uv_loop_t *loop;
    ares_channel channel;
    uv_timer_t timer; /* c-ares' retries, while questions are open */
    uv_idle_t idle;   /* while lookups wait for an answer that is there */
    struct list ready;
    struct list buckets[BUCKETS], age;
    struct list pollers;
    unsigned entries, questions, handles;
    bool closing;
};

/* ---- the loop under c-ares ---- */

static void dns_unref(struct dns *d)
{
    if (--d->handles == 0)
        mem_free(d);
}

static void handle_closed(uv_handle_t *h)
{
    dns_unref(h->data);
}

static void poller_closed(uv_handle_t *h)
{
    struct poller *p = container_of((uv_poll_t *)h, struct poller, poll);
    struct dns *d = p->dns;
    mem_free(p);
    dns_unref(d);
}

static void timer_update(struct dns *d);

static void timed_out(uv_timer_t *t)
{
    struct dns *d = t->data;
    ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    timer_update(d);
}

static void timer_update(struct dns *d)
{
    struct timeval tv, *next = ares_timeout(d->channel, NULL, &tv);
    if (d->questions == 0 || !next) {
        uv_timer_stop(&d->timer);
        return;
    }
    uv_timer_start(&d->timer, timed_out, (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000 + 1, 0);
}

static void polled(uv_poll_t *h, int status, int events)
{
    struct poller *p = container_of(h, struct poller, poll);
    struct dns *d = p->dns;
    ares_socket_t fd = p->fd;
    ares_process_fd(d->channel, status < 0 || (events & UV_READABLE) ? fd : ARES_SOCKET_BAD,
                    status < 0 || (events & UV_WRITABLE) ? fd : ARES_SOCKET_BAD);
    timer_update(d);
}

static struct poller *poller_find(struct dns *d, ares_socket_t fd)
{
    LIST_EACH(it, tmp, &d->pollers)
    {
        struct poller *p = container_of(it, struct poller, link);
        if (p->fd == fd)
            return p;
    }
    return NULL;
}

/* c-ares wants to hear of a socket, or is about to close it. */
static void socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct dns *d = arg;
    struct poller *p = poller_find(d, fd);
    if (!readable && !writable) {
        if (p) {
            list_remove(&p->link);
            uv_close((uv_handle_t *)&p->poll, poller_closed);
        }
        return;
    }
    if (!p) {
        p = mem_zalloc(sizeof *p);
        p->dns = d;
        p->fd = fd;
        if (uv_poll_init(d->loop, &p->poll, fd)) {
            mem_free(p);
            return; /* its question times out */
        }
        d->handles++;
        list_append(&d->pollers, &p->link);
    }
    uv_poll_start(&p->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0), polled);
}

/* ---- entries ---- */

static struct list *bucket_of(struct dns *d, const char *name, bool mx)
{
    return &d->buckets[(checksum64(slice_str(name)) + mx) % BUCKETS];
}

static void entry_free(struct entry *e)
{
    ENSURE(e->asking == 0);
    list_remove(&e->bucket);
    list_remove(&e->age);
    list_remove(&e->ready);
    e->dns->entries--;
    mem_free(e);
}

static struct entry *entry_get(struct dns *d, const char *name, bool mx)
{
    char lower[DNS_NAME_MAX + 1];
    snprintf(lower, sizeof lower, "%s", name);
    for (char *p = lower; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    int64_t now = clock_steady_ms();
    LIST_EACH(it, tmp, bucket_of(d, lower, mx))
    {
        struct entry *e = container_of(it, struct entry, bucket);
        if (e->mx != mx || strcmp(e->name, lower) != 0)
            continue;
        if (e->asking || !list_empty(&e->waiting) || e->until_ms > now)
            return e;
        entry_free(e);
        break;
    }
    while (d->entries >= DNS_CACHE_MAX && !list_empty(&d->age)) {
        struct entry *oldest = container_of(d->age.next, struct entry, age);
        if (!list_empty(&oldest->waiting))
            break;
        entry_free(oldest);
    }
    struct entry *e = mem_zalloc(sizeof *e);
    e->dns = d;
    e->mx = mx;
    memcpy(e->name, lower, sizeof lower);
    list_init(&e->waiting);
    list_init(&e->age);
    list_init(&e->ready);
    list_append(bucket_of(d, lower, mx), &e->bucket);
    d->entries++;
    return e;
}

/* ---- asking ---- */

static void answers_give(uv_idle_t *idle)
{
    struct dns *d = idle->data;
    while (!list_empty(&d->ready)) {
        struct entry *e = container_of(d->ready.next, struct entry, ready);
        if (list_empty(&e->waiting)) {
            list_remove(&e->ready);
            continue;
        }
        struct dns_lookup *l = container_of(e->waiting.next, struct dns_lookup, link);
        list_remove(&l->link);
        l->pending = false;
        struct dns_answer a = e->answer;
        dns_mx_shuffle(&a);
        l->done(l, &a); /* may free the dns' entries (flush), not the dns */
    }
    uv_idle_stop(idle);
}

static void entry_ready(struct entry *e)
{
    list_remove(&e->ready);
    list_append(&e->dns->ready, &e->ready);
    uv_idle_start(&e->dns->idle, answers_give);
}

static void entry_answered(struct entry *e)
{
    struct dns *d = e->dns;
    if (d->closing)
        return;
    bool temporary = e->answer.result == DNS_TEMPORARY;
    e->until_ms = clock_steady_ms() + (temporary ? DNS_KEEP_FAILED_MS : DNS_KEEP_MS);
    list_append(&d->age, &e->age);
    entry_ready(e);
}

static void mx_got(void *arg, int status, int timeouts, unsigned char *in, int n)
{
    struct entry *e = arg;
    (void)timeouts;
    e->dns->questions--;
    e->asking--;
    dns_answer_mx(status, in, n, &e->answer);
    entry_answered(e);
}

static void four_got(void *arg, int status, int timeouts, unsigned char *in, int n)
{
    struct entry *e = arg;
    (void)timeouts;
    e->dns->questions--;
    e->asking--;
    e->four = dns_answer_addresses(status, in, n, AF_INET, &e->answer, &e->four_why);
    dns_answer_merge(&e->answer, e->six, e->six_n, e->four, e->six_why, e->four_why);
    entry_answered(e);
}

static void six_got(void *arg, int status, int timeouts, unsigned char *in, int n)
{
    struct entry *e = arg;
    struct dns *d = e->dns;
    (void)timeouts;
    e->six = dns_answer_addresses(status, in, n, AF_INET6, &e->answer, &e->six_why);
    e->six_n = e->answer.n;
    if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED) {
        d->questions--;
        e->asking--;
        return;
    }
    ares_query(d->channel, e->name, ns_c_in, ns_t_a, four_got, e);
}

static void lookup_start(struct dns *d, const char *name, bool mx, struct dns_lookup *l)
{
    struct entry *e = entry_get(d, name, mx);
    ENSURE(!l->pending);
    l->pending = true;
    list_append(&e->waiting, &l->link);
    if (e->asking)
        return;
    if (e->until_ms) {
        entry_ready(e);
        return;
    }
    e->asking = 1;
    d->questions++;
    if (strlen(name) > DNS_NAME_MAX) /* cannot be a name */
        (mx ? mx_got : six_got)(e, ARES_EBADNAME, 0, NULL, 0);
    else
        ares_query(d->channel, e->name, ns_c_in, mx ? ns_t_mx : ns_t_aaaa, mx ? mx_got : six_got, e);
    timer_update(d);
}

void dns_mx(struct dns *d, const char *domain, struct dns_lookup *l)
{
    lookup_start(d, domain, true, l);
}

void dns_addresses(struct dns *d, const char *host, struct dns_lookup *l)
{
    lookup_start(d, host, false, l);
}

void dns_cancel(struct dns_lookup *l)
{
    if (!l->pending)
        return;
    l->pending = false;
    list_remove(&l->link);
}

void dns_flush(struct dns *d)
{
    LIST_EACH(it, tmp, &d->age)
    {
        struct entry *e = container_of(it, struct entry, age);
        if (list_empty(&e->waiting))
            entry_free(e);
    }
}

/* ---- life ---- */

/* "192.0.2.1", "192.0.2.1:53", "2001:db8::1", "[2001:db8::1]:53"; c-ares itself takes anything. */
static bool is_server(struct slice text)
{
    char host[64];
    struct in6_addr scratch;
    struct slice port = {0};
    if (text.n && text.p[0] == '[') {
        size_t end = slice_find(text, ']');
        if (end == text.n)
            return false;
        port = slice_from(text, end + 1);
        text = slice_make(text.p + 1, end - 1);
    } else if (slice_find(text, '.') < text.n) {
        size_t colon = slice_find(text, ':');
        port = slice_from(text, colon);
        text = slice_first(text, colon);
    }
    uint64_t number;
    if (port.n && (port.p[0] != ':' || slice_u64(slice_from(port, 1), 65535, &number) || number == 0))
        return false;
    snprintf(host, sizeof host, "%.*s", (int)slice_first(text, 63).n, (const char *)text.p);
    return uv_inet_pton(AF_INET, host, &scratch) == 0 || uv_inet_pton(AF_INET6, host, &scratch) == 0;
}

/* "A, B": c-ares wants them without spaces. */
static int servers_set(struct dns *d, const char *servers, struct err_detail *e)
{
    struct buf list = {0};
    bool good = true;
    struct slice rest = slice_str(servers);
    while (rest.n && good) {
        size_t comma = slice_find(rest, ',');
        struct slice one = slice_trim(slice_first(rest, comma));
        rest = slice_from(rest, comma + 1);
        good = is_server(one);
        buf_append_slice(&list, one);
        buf_append_str(&list, rest.n ? "," : "");
    }
    buf_append_byte(&list, 0);
    good = good && buf_len(&list) > 1 && ares_set_servers_ports_csv(d->channel, (char *)list.base) == ARES_SUCCESS;
    buf_close(&list);
    return good ? 0
                : err_set(e, ERR_INVALID, "resolvers = %s: write ADDRESS or ADDRESS:PORT, with commas between them",
                          servers);
}

static int channel_open(struct dns *d, const struct dns_config *c, struct err_detail *e)
{
    struct ares_options o = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
        .ednspsz = EDNS_OCTETS,
        .timeout = (int)(c->timeout_ms ? c->timeout_ms : 3000),
        .tries = (int)(c->tries ? c->tries : 2),
        .lookups = (char[]){"b"},
        .sock_state_cb = socket_state,
        .sock_state_cb_data = d,
    };
    int r = ares_init_options(&d->channel, &o,
                              ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
                                  ARES_OPT_SOCK_STATE_CB | ARES_OPT_EDNSPSZ);
    if (r != ARES_SUCCESS)
        return err_set(e, ERR_INVALID, "resolver: %s", ares_strerror(r));
    r = c->servers ? servers_set(d, c->servers, e) : 0;
    if (r)
        ares_destroy(d->channel);
    return r;
}

int dns_new(uv_loop_t *loop, const struct dns_config *c, struct dns **d_r, struct err_detail *e)
{
    struct dns *d = mem_zalloc(sizeof *d);
    *d_r = NULL;
    d->loop = loop;
    list_init(&d->ready);
    list_init(&d->age);
    list_init(&d->pollers);
    for (unsigned i = 0; i < BUCKETS; i++)
        list_init(&d->buckets[i]);
    int r = ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS ? channel_open(d, c, e) : ERR_NOMEM;
    if (r) {
        mem_free(d);
        return r;
    }
    uv_timer_init(loop, &d->timer);
    uv_idle_init(loop, &d->idle);
    d->timer.data = d->idle.data = d;
    d->handles = 2;
    *d_r = d;
    return 0;
}

void dns_free(struct dns **dp)
{
    struct dns *d = *dp;
    *dp = NULL;
    if (!d)
        return;
    d->closing = true;
    ares_destroy(d->channel); /* answers what is open, closes the sockets */
    for (unsigned i = 0; i < BUCKETS; i++)
        LIST_EACH(it, tmp, &d->buckets[i])
        {
            struct entry *e = container_of(it, struct entry, bucket);
            LIST_EACH(jt, jtmp, &e->waiting)
            dns_cancel(container_of(jt, struct dns_lookup, link));
            entry_free(e);
        }
    uv_close((uv_handle_t *)&d->timer, handle_closed);
    uv_close((uv_handle_t *)&d->idle, handle_closed);
}
