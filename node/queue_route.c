#include "node/queue_route.h"

#include "node/base/mem.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct source {
    char *pattern; /* "user@domain" or "@domain", lower case */
    char *address;
};

struct host {
    char *name;
    unsigned n;
    const char *addresses[ROUTE_ADDRESSES_MAX];
};

struct table {
    void *rows;
    size_t row; /* bytes of one */
    unsigned n, room;
};

struct routes {
    struct table routes, sources, hosts; /* sorted by their first member, a string */
    struct route fallback;
};

/* ---- lines ---- */

struct lines {
    struct slice rest;
    const char *name;
    unsigned line;
    struct err_detail *e;
};

__attribute__((format(printf, 2, 3))) static int fail(struct lines *l, const char *format, ...)
{
    char what[400];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    return err_set(l->e, ERR_INVALID, "%s, line %u: %s", l->name, l->line, what);
}

/* The next line that says something. */
static bool line_next(struct lines *l, struct slice *line_r)
{
    while (l->rest.n) {
        size_t n = 0;
        while (n < l->rest.n && l->rest.p[n] != '\n' && l->rest.p[n] != ';')
            n++;
        struct slice line = slice_first(l->rest, n);
        l->rest = slice_from(l->rest, n + 1);
        l->line++;
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        line = slice_trim(line);
        if (line.n && line.p[0] != '#') {
            *line_r = line;
            return true;
        }
    }
    return false;
}

/* The next word of a line; empty at its end. */
static struct slice word_next(struct slice *line)
{
    *line = slice_trim(*line);
    size_t n = 0;
    while (n < line->n && line->p[n] != ' ' && line->p[n] != '\t')
        n++;
    struct slice word = slice_first(*line, n);
    *line = slice_from(*line, n);
    return word;
}

static char *lower(struct slice s)
{
    char *out = mem_strndup(s);
    for (char *p = out; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + 32);
    return out;
}

/* Length and characters: what goes into logs and over the wire must not end a line early. */
static bool word_ok(struct slice s)
{
    if (s.n == 0 || s.n > ROUTE_TEXT_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == 127)
            return false;
    return true;
}

/* ---- tables ---- */

static void *row_new(struct table *t)
{
    if (t->n == t->room) {
        t->room = t->room ? 2 * t->room : 16;
        t->rows = mem_realloc(t->rows, t->room * t->row);
    }
    void *row = (char *)t->rows + t->n++ * t->row;
    memset(row, 0, t->row);
    return row;
}

static void *row_at(const struct table *t, unsigned i)
{
    return (char *)t->rows + i * t->row;
}

static int row_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int table_sort(struct lines *l, struct table *t)
{
    if (t->n)
        qsort(t->rows, t->n, t->row, row_cmp);
    for (unsigned i = 1; i < t->n; i++)
        if (row_cmp(row_at(t, i - 1), row_at(t, i)) == 0)
            return err_set(l->e, ERR_INVALID, "%s: \"%s\" is there twice", l->name, *(char **)row_at(t, i));
    return 0;
}

static void *row_find(const struct table *t, const char *key)
{
    return t->n ? bsearch(&key, t->rows, t->n, t->row, row_cmp) : NULL;
}

/* ---- addresses ---- */

bool route_is_address(struct slice text)
{
    char copy[64];
    struct in6_addr scratch;
    if (text.n == 0 || text.n >= sizeof copy || memchr(text.p, 0, text.n))
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    return inet_pton(AF_INET, copy, &scratch) == 1 || inet_pton(AF_INET6, copy, &scratch) == 1;
}

static int port_parse(struct slice text, uint16_t *port_r)
{
    uint64_t port;
    if (slice_u64(text, 65535, &port) || port == 0)
        return ERR_INVALID;
    *port_r = (uint16_t)port;
    return 0;
}

/* NAME, NAME:PORT, [NAME], [NAME]:PORT; a bare IPv6 address has no port. */
static int host_port_split(struct slice text, struct slice *host_r, uint16_t *port, bool *brackets_r)
{
    *brackets_r = text.n && text.p[0] == '[';
    *host_r = text;
    if (*brackets_r) {
        size_t end = slice_find(text, ']');
        if (end == text.n)
            return ERR_INVALID;
        *host_r = slice_make(text.p + 1, end - 1);
        text = slice_from(text, end + 1);
        if (text.n == 0)
            return host_r->n ? 0 : ERR_INVALID;
        return host_r->n == 0 || text.p[0] != ':' ? ERR_INVALID : port_parse(slice_from(text, 1), port);
    }
    if (route_is_address(text))
        return 0;
    size_t colon = slice_find(text, ':');
    *host_r = slice_first(text, colon);
    if (host_r->n == 0)
        return ERR_INVALID;
    return colon == text.n ? 0 : port_parse(slice_from(text, colon + 1), port);
}

int route_address(struct slice text, uint16_t port, char *out, size_t n)
{
    struct slice host;
    bool brackets;
    if (text.n > 128 || host_port_split(text, &host, &port, &brackets) || !route_is_address(host))
        return ERR_INVALID;
    bool six = slice_find(host, ':') < host.n;
    int len = snprintf(out, n, six ? "[%.*s]:%u" : "%.*s:%u", (int)host.n, (const char *)host.p, port);
    return len < 0 || (size_t)len >= n ? ERR_INVALID : 0;
}

/* ---- queue.routes ---- */

static int route_tls_parse(struct slice v, enum smtp_tls_policy *tls_r)
{
    static const char *const names[] = {"may", "none", "require", "verify", "wrapped"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (slice_eq(v, slice_str(names[i]))) {
            *tls_r = (enum smtp_tls_policy)i;
            return 0;
        }
    return ERR_INVALID;
}

static int route_host_set(struct lines *l, struct route *r, struct slice v)
{
    struct slice host;
    bool brackets;
    if (host_port_split(v, &host, &r->port, &brackets))
        return fail(l, "host=%.*s: write host=NAME, host=NAME:PORT or host=[NAME]:PORT", (int)v.n, (const char *)v.p);
    mem_free(r->host);
    r->host = lower(host);
    r->direct = brackets || route_is_address(host);
    return 0;
}

static int route_key_set(struct lines *l, struct route *r, struct slice key, struct slice v)
{
    if (slice_eq(key, SLICE_LITERAL("host")))
        return route_host_set(l, r, v);
    if (slice_eq(key, SLICE_LITERAL("tls"))) {
        r->has_tls = true;
        return route_tls_parse(v, &r->tls)
                   ? fail(l, "tls=%.*s: write may, none, require, verify or wrapped", (int)v.n, (const char *)v.p)
                   : 0;
    }
    if (slice_eq(key, SLICE_LITERAL("hold"))) {
        r->hold = slice_eq(v, SLICE_LITERAL("yes"));
        return r->hold ? 0 : fail(l, "hold: write hold=yes, or leave it out");
    }
    if (slice_eq(key, SLICE_LITERAL("source")) && !route_is_address(v))
        return fail(l, "source=%.*s: write an address, as source=192.0.2.1", (int)v.n, (const char *)v.p);
    char **to = slice_eq(key, SLICE_LITERAL("user"))       ? &r->user
                : slice_eq(key, SLICE_LITERAL("password")) ? &r->password
                : slice_eq(key, SLICE_LITERAL("source"))   ? &r->source
                                                           : NULL;
    if (!to)
        return fail(l, "%.*s is not known: write host=, tls=, user=, password=, source= or hold=", (int)key.n,
                    (const char *)key.p);
    mem_free(*to);
    *to = mem_strndup(v);
    return 0;
}

static int route_check(struct lines *l, struct route *r)
{
    if (!r->user != !r->password)
        return fail(l, "user= and password= go together");
    if (r->user && !r->has_tls)
        r->tls = SMTP_TLS_VERIFY;
    if (r->user && (r->tls == SMTP_TLS_NONE || r->tls == SMTP_TLS_MAY))
        return fail(l, "a password is not sent without TLS: write tls=verify, require or wrapped");
    return 0;
}

static int route_parse(struct lines *l, struct route *r, struct slice line)
{
    struct slice pattern = word_next(&line), word;
    r->pattern = mem_strdup("");
    if (!slice_eq(pattern, SLICE_LITERAL("*"))) {
        if (!word_ok(pattern) || slice_find(pattern, '@') < pattern.n || slice_find(pattern, '*') < pattern.n ||
            slice_find(pattern, '=') < pattern.n || slice_eq(pattern, SLICE_LITERAL(".")))
            return fail(l, "%.*s: write a domain, .domain for those below it, or * for all others",
                        (int)slice_first(pattern, 200).n, (const char *)pattern.p);
        mem_free(r->pattern);
        r->pattern = lower(pattern);
    }
    while ((word = word_next(&line)).n) {
        size_t equal = slice_find(word, '=');
        struct slice v = slice_from(word, equal + 1);
        if (equal == word.n || !word_ok(v))
            return fail(l, "%.*s: write key=value", (int)slice_first(word, 200).n, (const char *)word.p);
        if (route_key_set(l, r, slice_first(word, equal), v))
            return ERR_INVALID;
    }
    return route_check(l, r);
}

/* ---- queue.sources, queue.hosts ---- */

static int source_parse(struct lines *l, struct source *s, struct slice line)
{
    struct slice pattern = word_next(&line), address = word_next(&line);
    s->pattern = lower(slice_first(pattern, ROUTE_TEXT_MAX));
    s->address = mem_strndup(slice_first(address, ROUTE_TEXT_MAX));
    if (!word_ok(pattern) || slice_find(pattern, '@') == pattern.n)
        return fail(l, "%s: write @domain ADDRESS or user@domain ADDRESS", s->pattern);
    if (!route_is_address(address) || slice_trim(line).n)
        return fail(l, "%s: write a local address behind it, as 192.0.2.1", s->pattern);
    return 0;
}

static int host_parse(struct lines *l, struct host *h, struct slice line)
{
    struct slice name = word_next(&line);
    h->name = lower(slice_first(name, ROUTE_TEXT_MAX));
    if (!word_ok(name))
        return fail(l, "%s: write NAME ADDRESS[,ADDRESS…]", h->name);
    line = slice_trim(line);
    while (line.n) {
        size_t comma = slice_find(line, ',');
        struct slice one = slice_trim(slice_first(line, comma));
        char scratch[160];
        line = slice_from(line, comma + 1);
        if (route_address(one, 25, scratch, sizeof scratch))
            return fail(l, "%s: write addresses, as 192.0.2.1 or [2001:db8::1]:2525, not \"%.*s\"", h->name,
                        (int)slice_first(one, 100).n, (const char *)one.p);
        if (h->n == ROUTE_ADDRESSES_MAX)
            return fail(l, "%s: more than %d addresses", h->name, ROUTE_ADDRESSES_MAX);
        h->addresses[h->n++] = mem_strndup(one);
    }
    return h->n ? 0 : fail(l, "%s: write an address behind it", h->name);
}

static int table_parse(struct table *t, const char *name, struct slice text,
                       int (*parse)(struct lines *, void *row, struct slice line), struct err_detail *e)
{
    struct lines l = {.rest = text, .name = name, .e = e};
    struct slice line;
    while (line_next(&l, &line)) {
        if (t->n == ROUTES_MAX)
            return err_set(e, ERR_TOOBIG, "%s: more than %d lines", name, ROUTES_MAX);
        int r = parse(&l, row_new(t), line);
        if (r)
            return r;
    }
    return table_sort(&l, t);
}

static int route_row(struct lines *l, void *row, struct slice line)
{
    return route_parse(l, row, line);
}

static int source_row(struct lines *l, void *row, struct slice line)
{
    return source_parse(l, row, line);
}

static int host_row(struct lines *l, void *row, struct slice line)
{
    return host_parse(l, row, line);
}

int routes_new(struct slice routes, struct slice sources, struct slice hosts, struct routes **r_r, struct err_detail *e)
{
    struct routes *r = mem_zalloc(sizeof *r);
    *r_r = NULL;
    r->routes.row = sizeof(struct route);
    r->sources.row = sizeof(struct source);
    r->hosts.row = sizeof(struct host);
    r->fallback = (struct route){.pattern = "", .tls = SMTP_TLS_MAY};
    int rc = table_parse(&r->routes, "queue.routes", routes, route_row, e);
    if (rc == 0)
        rc = table_parse(&r->sources, "queue.sources", sources, source_row, e);
    if (rc == 0)
        rc = table_parse(&r->hosts, "queue.hosts", hosts, host_row, e);
    if (rc)
        routes_free(&r);
    else
        *r_r = r;
    return rc;
}

void routes_free(struct routes **rp)
{
    struct routes *r = *rp;
    *rp = NULL;
    if (!r)
        return;
    for (unsigned i = 0; i < r->routes.n; i++) {
        struct route *t = row_at(&r->routes, i);
        char *texts[] = {t->pattern, t->host, t->user, t->password, t->source};
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++)
            mem_free(texts[k]);
    }
    for (unsigned i = 0; i < r->sources.n; i++) {
        struct source *s = row_at(&r->sources, i);
        mem_free(s->pattern);
        mem_free(s->address);
    }
    for (unsigned i = 0; i < r->hosts.n; i++) {
        struct host *h = row_at(&r->hosts, i);
        mem_free(h->name);
        for (unsigned k = 0; k < h->n; k++)
            mem_free((void *)(uintptr_t)h->addresses[k]);
    }
    mem_free(r->routes.rows);
    mem_free(r->sources.rows);
    mem_free(r->hosts.rows);
    mem_free(r);
}

/* ---- looking up ---- */

const struct route *route_find(const struct routes *r, struct slice destination)
{
    const struct route *found = NULL;
    if (destination.n == 0 || destination.n > ROUTE_TEXT_MAX)
        return &r->fallback;
    char *name = lower(destination);
    found = row_find(&r->routes, name);
    for (const char *dot = name + 1; !found && (dot = strchr(dot, '.')); dot++)
        found = row_find(&r->routes, dot);
    if (!found)
        found = row_find(&r->routes, "");
    mem_free(name);
    return found ? found : &r->fallback;
}

const char *route_source(const struct routes *r, struct slice sender)
{
    if (sender.n == 0 || sender.n > ROUTE_TEXT_MAX || r->sources.n == 0)
        return NULL;
    char *address = lower(sender);
    const struct source *s = row_find(&r->sources, address);
    const char *at = strrchr(address, '@');
    if (!s && at)
        s = row_find(&r->sources, at);
    mem_free(address);
    return s ? s->address : NULL;
}

unsigned route_host(const struct routes *r, struct slice name, const char *const **addresses_r)
{
    if (name.n == 0 || name.n > ROUTE_TEXT_MAX || r->hosts.n == 0)
        return 0;
    char *key = lower(name);
    const struct host *h = row_find(&r->hosts, key);
    mem_free(key);
    if (!h)
        return 0;
    *addresses_r = h->addresses;
    return h->n;
}
