/* Where a delivery goes: its route, then MX and addresses (RFC 5321 5.1), tried one after another. */
#include "node/queue_internal.h"

#include "node/base/clock.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>

void outcome_set(struct smtp_outcome *o, enum smtp_outcome_kind kind, int code, const char *enhanced,
                 const char *format, ...)
{
    *o = (struct smtp_outcome){.kind = kind, .code = code};
    snprintf(o->enhanced, sizeof o->enhanced, "%s", enhanced);
    va_list ap;
    va_start(ap, format);
    vsnprintf(o->text, sizeof o->text, format, ap);
    va_end(ap);
}

static void end_with(struct delivery *d, enum smtp_outcome_kind kind, const char *enhanced, const char *text,
                     const char *what)
{
    struct smtp_outcome o;
    outcome_set(&o, kind, 0, enhanced, "%.300s%s", what, text);
    result_all(d, &o);
}

/* What did not work. The last one counts; a temporary trouble counts more than a lasting one, as that may pass. */
void target_trouble(struct delivery *d, const struct smtp_outcome *o)
{
    if (d->has_trouble && d->trouble.kind == SMTP_DEFERRED && o->kind == SMTP_FAILED)
        return;
    d->trouble = *o;
    d->has_trouble = true;
}

/* ---- addresses of the present target ---- */

static uint16_t port_of(const struct delivery *d)
{
    return d->route.port ? d->route.port : d->route.tls == SMTP_TLS_WRAPPED ? 465 : 25;
}

static void addresses_take(struct delivery *d, const char *const *texts, unsigned n)
{
    d->addresses = arena_alloc(&d->arena, (n + 1) * sizeof d->addresses[0]);
    d->address_n = d->address = 0;
    for (unsigned i = 0; i < n; i++)
        if (route_address(slice_str(texts[i]), port_of(d), d->addresses[d->address_n], sizeof d->addresses[0]) == 0)
            d->address_n++;
}

/* Is that one of us? A cluster that is its own next hop would go round in circles. Members are known by their peer
 * address; loopback says nothing, as many servers may share it. */
static bool is_member(void *arg, const struct store_member *m)
{
    struct {
        const char *address;
        bool found;
    } *look = arg;
    struct slice host = slice_first(m->address, m->address.n);
    while (host.n && host.p[host.n - 1] != ':')
        host.n--;
    host.n -= host.n > 0;
    if (host.n >= 2 && host.p[0] == '[')
        host = slice_make(host.p + 1, host.n - 2);
    look->found |= slice_eq(host, slice_str(look->address));
    return !look->found;
}

static bool address_is_ours(struct delivery *d, const char *address)
{
    struct store_view *v;
    struct {
        const char *address;
        bool found;
    } look = {address, false};
    if (strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 || store_view_open(d->q->services->store, &v))
        return false;
    store_member_each(v, is_member, &look);
    store_view_close(&v);
    return look.found;
}

static void addresses_failed(struct delivery *d, const struct dns_answer *a, const char *host)
{
    struct smtp_outcome o;
    /* A mail host without address is its domain's fault; a smarthost's is ours to mend. */
    enum smtp_outcome_kind kind = a->result == DNS_TEMPORARY || d->route.host ? SMTP_DEFERRED : SMTP_FAILED;
    if (a->result == DNS_TEMPORARY)
        outcome_set(&o, kind, 0, "4.4.3", "address of %s: %s", host, a->why);
    else
        outcome_set(&o, kind, 0, kind == SMTP_FAILED ? "5.4.4" : "4.4.4", "mail host %s has no address", host);
    target_trouble(d, &o);
}

static void addresses_got(struct dns_lookup *l, const struct dns_answer *a)
{
    struct delivery *d = container_of(l, struct delivery, lookup);
    const struct queue_target *t = &d->targets[d->target - 1];
    const char *texts[DNS_ADDRESSES_MAX];
    unsigned n = 0;
    if (a->result != DNS_FOUND)
        addresses_failed(d, a, t->name);
    for (unsigned i = 0; i < a->n; i++) {
        if (!address_is_ours(d, a->addresses[i])) {
            texts[n++] = a->addresses[i];
            continue;
        }
        struct smtp_outcome o;
        outcome_set(&o, SMTP_FAILED, 0, "5.4.6", "mail for %.*s loops back to us (%s)", (int)d->destination.n,
                    (const char *)d->destination.p, a->addresses[i]);
        target_trouble(d, &o);
        d->target_n = d->target; /* and so would those behind it */
        break;
    }
    addresses_take(d, texts, n);
    target_next(d);
}

/* ---- one address after another ---- */

void target_host_use(struct delivery *d, bool fresh)
{
    struct queue_host_key key = {.address = d->host_address,
                                 .source = d->source,
                                 .name = d->host_name,
                                 .user = d->route.user,
                                 .password = d->route.password,
                                 .tls = d->route.tls};
    queue_host_use(queue_host_get(d->q, &key), d, fresh);
}

static void address_use(struct delivery *d)
{
    d->tried++;
    snprintf(d->host_name, sizeof d->host_name, "%s", d->targets[d->target - 1].name);
    snprintf(d->host_address, sizeof d->host_address, "%s", d->addresses[d->address++]);
    d->tls_text[0] = 0;
    d->fresh_tried = false;
    target_host_use(d, false);
}

static void target_use(struct delivery *d)
{
    const struct queue_target *t = &d->targets[d->target++];
    const char *const *texts;
    unsigned n = route_host(d->q->settings.routes, slice_str(t->name), &texts);
    if (n == 0 && t->numeric) {
        addresses_take(d, (const char *[]){t->name}, 1);
        target_next(d);
    } else if (n > 0) {
        addresses_take(d, texts, n);
        target_next(d);
    } else {
        d->lookup.done = addresses_got;
        dns_addresses(d->q->dns, t->name, &d->lookup);
    }
}

void target_next(struct delivery *d)
{
    d->state = DELIVERY_TARGET;
    if (d->q->drain_begun) {
        delivery_giveback(d);
    } else if (d->address < d->address_n && d->tried < QUEUE_ADDRESSES_MAX) {
        address_use(d);
    } else if (d->target < d->target_n && d->tried < QUEUE_ADDRESSES_MAX) {
        target_use(d);
    } else if (d->has_trouble) {
        result_all(d, &d->trouble);
    } else {
        end_with(d, SMTP_DEFERRED, "4.4.4", "no mail host was found", "");
    }
}

/* ---- hosts ---- */

static struct queue_target *target_add(struct delivery *d, const char *name)
{
    if (!d->targets)
        d->targets = arena_alloc(&d->arena, DNS_HOSTS_MAX * sizeof d->targets[0]);
    struct queue_target *t = &d->targets[d->target_n++];
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

/* RFC 5321 5.1: hosts that are not better than ourselves are left out. */
static bool hosts_take(struct delivery *d, const struct dns_answer *a)
{
    unsigned n = a->n;
    for (unsigned i = 0; i < a->n; i++)
        if (slice_ieq(slice_str(a->mx[i].host), slice_str(d->q->hostname)))
            for (n = 0; n < i && a->mx[n].preference < a->mx[i].preference; n++)
                ;
    for (unsigned i = 0; i < n; i++)
        target_add(d, a->mx[i].host);
    return n > 0;
}

static void mx_got(struct dns_lookup *l, const struct dns_answer *a)
{
    struct delivery *d = container_of(l, struct delivery, lookup);
    char name[DNS_NAME_MAX + 1];
    const char *asked = d->route.host ? d->route.host : arena_str(&d->arena, d->destination);
    snprintf(name, sizeof name, "%s", asked);
    switch (a->result) {
    case DNS_FOUND:
        if (hosts_take(d, a))
            break;
        end_with(d, SMTP_FAILED, "5.4.6", " loops back to us: we are its best mail host", name);
        return;
    case DNS_NO_DATA: /* the implicit MX */
        target_add(d, name);
        break;
    case DNS_NULL_MX:
        end_with(d, SMTP_FAILED, "5.1.10", " takes no mail (null MX)", name);
        return;
    case DNS_NO_NAME:
        end_with(d, d->route.host ? SMTP_DEFERRED : SMTP_FAILED, d->route.host ? "4.4.4" : "5.1.2", " does not exist",
                 name);
        return;
    case DNS_TEMPORARY:
        snprintf(name, sizeof name, "mail hosts of %.200s: ", asked);
        end_with(d, SMTP_DEFERRED, "4.4.3", a->why, name);
        return;
    }
    target_next(d);
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). */
static bool literal_parse(struct slice destination, char *out, size_t n)
{
    if (destination.n < 3 || destination.p[0] != '[' || destination.p[destination.n - 1] != ']')
        return false;
    struct slice a = slice_make(destination.p + 1, destination.n - 2);
    if (slice_istarts(a, SLICE_LITERAL("IPv6:")))
        a = slice_from(a, 5);
    if (!route_is_address(a))
        return false;
    snprintf(out, n, "%.*s", (int)a.n, (const char *)a.p);
    return true;
}

static char *keep(struct delivery *d, const char *s)
{
    return s ? arena_str(&d->arena, slice_str(s)) : NULL;
}

void target_start(struct delivery *d)
{
    const struct route *r = route_find(d->q->settings.routes, d->destination);
    const char *source = route_source(d->q->settings.routes, d->i.sender);
    const char *const *texts;
    char literal[64];
    d->route = *r;
    d->route.host = keep(d, r->host);
    d->route.user = keep(d, r->user);
    d->route.password = keep(d, r->password);
    d->source = keep(d, source ? source : r->source);
    char *name = d->route.host ? d->route.host : arena_str(&d->arena, d->destination);
    if (!d->route.host && literal_parse(d->destination, literal, sizeof literal)) {
        target_add(d, literal)->numeric = true;
        if (address_is_ours(d, literal)) {
            end_with(d, SMTP_FAILED, "5.4.6", " is an address of ours", literal);
            return;
        }
    } else if (d->route.direct || route_host(d->q->settings.routes, slice_str(name), &texts)) {
        target_add(d, name)->numeric = route_is_address(slice_str(name));
    } else {
        d->lookup.done = mx_got;
        dns_mx(d->q->dns, name, &d->lookup);
        return;
    }
    target_next(d);
}
