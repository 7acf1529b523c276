#include "node/config.h"

#include "node/base/mem.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum kind { TEXT, NUMBER, BYTES_MB, LEVEL, FORMAT };

struct key {
    const char *section, *name;
    enum kind kind;
    size_t offset;
    uint64_t min, max;
};

#define KEY(section, name, kind, member, ...)                                                                          \
    {                                                                                                                  \
        section, name, kind, offsetof(struct config, member), __VA_ARGS__                                              \
    }
/* Every key outside [listener …]. Numbers are unsigned int, BYTES_MB uint64_t in bytes. */
static const struct key keys[] = {
    KEY("node", "name", TEXT, name, 0, 63),
    KEY("node", "data", TEXT, data, 0, 4000),
    KEY("node", "hostname", TEXT, hostname, 0, 253),
    KEY("node", "log_level", LEVEL, log_level, 0, 0),
    KEY("node", "log_format", FORMAT, log_json, 0, 0),
    KEY("peer", "listen", TEXT, peer_listen, 0, 127),
    KEY("peer", "advertise", TEXT, peer_advertise, 0, 127),
    KEY("peer", "heartbeat_ms", NUMBER, heartbeat_ms, 10, 10000),
    KEY("peer", "election_ms", NUMBER, election_ms, 50, 60000),
    KEY("peer", "voters", NUMBER, voters, 1, 9),
    KEY("admin", "socket", TEXT, admin_socket, 0, 107),
    KEY("http", "listen", TEXT, http_listen, 0, 127),
    KEY("tls", "certificate", TEXT, tls_certificate, 0, 4000),
    KEY("tls", "key", TEXT, tls_key, 0, 4000),
    KEY("store", "map_size_mb", BYTES_MB, map_size, 16, 1 << 24),
    KEY("store", "disk_reserve_mb", BYTES_MB, disk_reserve, 1, 1 << 24),
    KEY("store", "snapshot_threshold", NUMBER, snapshot_threshold, 16, 1 << 20),
    KEY("store", "snapshot_trailing", NUMBER, snapshot_trailing, 16, 1 << 20),
    KEY("store", "check_interval_s", NUMBER, check_interval_s, 0, 31536000),
    KEY("queue", "resolvers", TEXT, queue_resolvers, 0, 1000),
    KEY("queue", "deliveries", NUMBER, queue_deliveries, 1, 10000),
    KEY("queue", "ca_file", TEXT, queue_ca_file, 0, 4000),
    KEY("limits", "message_size_mb", BYTES_MB, message_size_max, 1, 1024),
    KEY("limits", "write_wait_ms", NUMBER, write_wait_ms, 100, 600000),
    KEY("limits", "connections", NUMBER, connections, 1, 1000000),
    KEY("limits", "connections_per_address", NUMBER, connections_per_address, 1, 1000000),
    KEY("limits", "workers", NUMBER, workers, 1, 64),
    KEY("limits", "recipients", NUMBER, recipients_max, 1, 10000),
};
enum { KEY_N = sizeof keys / sizeof keys[0] };

struct parse {
    struct config *config;
    struct err_detail *e;
    const char *path;
    FILE *file;
    unsigned line; /* of what is being looked at */
    bool in_line;  /* the last piece read did not end a line */
    bool failed;
};

#define FAIL(p, ...) (parse_fail((p), __VA_ARGS__))
__attribute__((format(printf, 2, 3))) static int parse_fail(struct parse *p, const char *format, ...)
{
    char what[400];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    if (!p->failed) /* the first error is the one to tell */
        err_set(p->e, ERR_INVALID, "%s:%u: %s", p->path, p->line, what);
    p->failed = true;
    return ERR_INVALID;
}

static void names_of(const char *section, char *out, size_t n)
{
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < KEY_N; i++)
        if (strcmp(keys[i].section, section) == 0 && at < n)
            at += (size_t)snprintf(out + at, n - at, "%s%s", at ? ", " : "", keys[i].name);
}

static bool section_known(const char *section)
{
    for (size_t i = 0; i < KEY_N; i++)
        if (strcmp(keys[i].section, section) == 0)
            return true;
    return false;
}

/* ---- values ---- */

static int number_parse(struct parse *p, const char *name, const char *value, uint64_t min, uint64_t max,
                        uint64_t *out_r)
{
    if (slice_u64(slice_str(value), UINT64_MAX, out_r) || *out_r < min || *out_r > max)
        return FAIL(p, "%s = %s: write a whole number from %llu to %llu", name, value, (unsigned long long)min,
                    (unsigned long long)max);
    return 0;
}

static int bool_parse(struct parse *p, const char *name, const char *value, bool *out_r)
{
    *out_r = strcmp(value, "yes") == 0;
    return *out_r || strcmp(value, "no") == 0 ? 0 : FAIL(p, "%s = %s: write yes or no", name, value);
}

static int text_set(struct parse *p, const char *name, const char *value, size_t max, char **to)
{
    if (!value[0])
        return FAIL(p, "%s is empty: write a value or leave the line out", name);
    if (strlen(value) > max)
        return FAIL(p, "%s is longer than %zu characters", name, max);
    mem_free(*to);
    *to = mem_strdup(value);
    return 0;
}

static int key_set(struct parse *p, const struct key *k, const char *value)
{
    void *to = (char *)p->config + k->offset;
    uint64_t v;
    switch (k->kind) {
    case TEXT:
        return text_set(p, k->name, value, (size_t)k->max, to);
    case NUMBER:
        if (number_parse(p, k->name, value, k->min, k->max, &v))
            return ERR_INVALID;
        *(unsigned *)to = (unsigned)v;
        return 0;
    case BYTES_MB:
        if (number_parse(p, k->name, value, k->min, k->max, &v))
            return ERR_INVALID;
        *(uint64_t *)to = v << 20;
        return 0;
    case LEVEL:
        return log_level_parse(value, to) ? FAIL(p, "log_level = %s: write debug, info, warn or error", value) : 0;
    case FORMAT:
        *(bool *)to = strcmp(value, "json") == 0;
        return *(bool *)to || strcmp(value, "text") == 0 ? 0 : FAIL(p, "log_format = %s: write text or json", value);
    }
    return ERR_INVALID;
}

/* ---- [listener NAME] ---- */

static struct config_listener *listener_get(struct parse *p, const char *name)
{
    struct config *c = p->config;
    if (c->listener_n && strcmp(c->listeners[c->listener_n - 1].name, name) == 0)
        return &c->listeners[c->listener_n - 1];
    for (unsigned i = 0; i < c->listener_n; i++)
        if (strcmp(c->listeners[i].name, name) == 0)
            return &c->listeners[i];
    if (c->listener_n == CONFIG_LISTENERS_MAX) {
        FAIL(p, "more than %d listeners", CONFIG_LISTENERS_MAX);
        return NULL;
    }
    struct config_listener *l = &c->listeners[c->listener_n++];
    snprintf(l->name, sizeof l->name, "%s", name);
    l->line = p->line;
    l->listener.tls = LISTENER_TLS_STARTTLS;
    return l;
}

/* Networks separated by spaces or commas. */
static int trusted_set(struct parse *p, struct listener_config *l, const char *value)
{
    struct slice rest = slice_str(value);
    while (rest.n) {
        size_t n = 0;
        while (n < rest.n && rest.p[n] != ' ' && rest.p[n] != ',')
            n++;
        struct slice one = slice_first(rest, n);
        rest = slice_from(rest, n + 1);
        if (one.n == 0)
            continue;
        if (l->trusted_n == PROXY_NETWORKS_MAX)
            return FAIL(p, "proxy_trusted: more than %d networks", PROXY_NETWORKS_MAX);
        if (network_parse(one, &l->trusted[l->trusted_n++]))
            return FAIL(p, "proxy_trusted = %s: write networks, as 192.0.2.0/24 2001:db8::/32", value);
    }
    return 0;
}

static int listener_set(struct parse *p, struct config_listener *l, const char *name, const char *value)
{
    struct slice text = slice_str(value);
    if (strcmp(name, "protocol") == 0) {
        l->has_protocol = true;
        return listener_protocol_parse(text, &l->listener.protocol)
                   ? FAIL(p, "protocol = %s: write imap, pop3, smtp, submission or lmtp", value)
                   : 0;
    }
    if (strcmp(name, "tls") == 0)
        return listener_tls_parse(text, &l->listener.tls) ? FAIL(p, "tls = %s: write starttls, implicit or none", value)
                                                          : 0;
    if (strcmp(name, "listen") == 0) {
        l->has_listen = true;
        return listener_address_parse(text, &l->listener) || l->listener.port == 0
                   ? FAIL(p, "listen = %s: write ADDRESS:PORT, as 127.0.0.1:143 or [::]:143", value)
                   : 0;
    }
    if (strcmp(name, "proxy_protocol") == 0)
        return bool_parse(p, name, value, &l->listener.proxy);
    if (strcmp(name, "proxy_trusted") == 0)
        return trusted_set(p, &l->listener, value);
    return FAIL(p, "%s is not known in [listener]: write protocol, listen, tls, proxy_protocol or proxy_trusted", name);
}

/* ---- the file ---- */

static int section_pair(struct parse *p, const char *section, const char *name, const char *value)
{
    if (strncmp(section, "listener ", 9) == 0) {
        struct config_listener *l = listener_get(p, section + 9);
        return l ? listener_set(p, l, name, value) : ERR_INVALID;
    }
    for (size_t i = 0; i < KEY_N; i++)
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
            return key_set(p, &keys[i], value);
    char known[400];
    names_of(section, known, sizeof known);
    if (section_known(section))
        return FAIL(p, "%s is not known in [%s]: write one of %s", name, section, known);
    return FAIL(
        p,
        "section [%s] is not known: write [node], [peer], [admin], [http], [tls], [store], [queue], [limits] or "
        "[listener NAME]",
        section);
}

static int pair(void *arg, const char *section, const char *name, const char *value)
{
    return section_pair(arg, section, name, value) == 0;
}

/* Debian's inih does not tell its handler the line, so the reader counts them. It takes strings, so a NUL ends all. */
static char *line_read(char *out, int n, void *arg)
{
    struct parse *p = arg;
    int at = 0, c = 0;
    do {
        c = getc(p->file);
        if (c > 0)
            out[at++] = (char)c;
    } while (c > 0 && c != '\n' && at < n - 1);
    if (at == 0 && c != 0)
        return NULL;
    if (!p->in_line)
        p->line++;
    if (c == 0) {
        FAIL(p, "a NUL byte: write text");
        return NULL;
    }
    out[at] = 0;
    p->in_line = out[at - 1] != '\n';
    return out;
}

static int required(struct parse *p, const char *value, const char *section, const char *name)
{
    return value ? 0 : err_set(p->e, ERR_INVALID, "%s: [%s] %s is missing: write %s = …", p->path, section, name, name);
}

static int complete(struct parse *p)
{
    struct config *c = p->config;
    if (required(p, c->name, "node", "name") || required(p, c->data, "node", "data") ||
        required(p, c->peer_listen, "peer", "listen"))
        return ERR_INVALID;
    if (!c->hostname)
        c->hostname = mem_strdup(c->name);
    if (!c->peer_advertise)
        c->peer_advertise = mem_strdup(c->peer_listen);
    if (!c->admin_socket)
        c->admin_socket = mem_strdup("/run/merlion/admin.sock");
    if (!c->tls_certificate != !c->tls_key)
        return err_set(p->e, ERR_INVALID, "%s: [tls] certificate and key go together: write both or neither", p->path);
    if (c->election_ms < 3 * c->heartbeat_ms)
        return err_set(p->e, ERR_INVALID, "%s: [peer] election_ms must be at least three times heartbeat_ms (%u)",
                       p->path, c->heartbeat_ms);
    for (unsigned i = 0; i < c->listener_n; i++) {
        const struct config_listener *l = &c->listeners[i];
        p->line = l->line;
        if (!l->has_protocol || !l->has_listen)
            return FAIL(p, "[listener %s] needs protocol and listen", l->name);
        if (l->listener.proxy && l->listener.trusted_n == 0)
            return FAIL(p, "[listener %s] has proxy_protocol: write proxy_trusted with the balancers' networks",
                        l->name);
        for (unsigned j = 0; j < i; j++)
            if (c->listeners[j].listener.port == l->listener.port &&
                strcmp(c->listeners[j].listener.address, l->listener.address) == 0)
                return FAIL(p, "[listener %s] listens on %s port %u like [listener %s]", l->name, l->listener.address,
                            l->listener.port, c->listeners[j].name);
    }
    return 0;
}

static void defaults(struct config *c)
{
    c->log_level = LOG_INFO;
    c->heartbeat_ms = 100;
    c->election_ms = 500;
    c->voters = 3;
    c->map_size = (uint64_t)64 << 30;
    c->disk_reserve = (uint64_t)256 << 20;
    c->check_interval_s = 24 * 3600;
    c->message_size_max = (uint64_t)50 << 20;
    c->write_wait_ms = 30000;
    c->connections = 20000;
    c->connections_per_address = 20000;
    c->recipients_max = 1000;
    c->queue_deliveries = 100;
}

int config_load(const char *path, struct config **c_r, struct err_detail *e)
{
    struct config *c = *c_r = mem_zalloc(sizeof *c);
    struct parse p = {.config = c, .e = e, .path = path};
    c->path = mem_strdup(path);
    defaults(c);
    p.file = fopen(path, "re");
    if (!p.file)
        return err_set(e, ERR_NOTFOUND, "%s: cannot be read: %s", path, strerror(errno));
    int r = ini_parse_stream(line_read, &p, pair, &p);
    fclose(p.file);
    if (p.failed)
        return ERR_INVALID;
    if (r > 0)
        return err_set(e, ERR_INVALID, "%s:%d: neither a [section] nor NAME = VALUE", path, r);
    return complete(&p);
}

void config_free(struct config **cp)
{
    struct config *c = *cp;
    *cp = NULL;
    if (!c)
        return;
    char *texts[] = {c->path,
                     c->name,
                     c->data,
                     c->hostname,
                     c->peer_listen,
                     c->peer_advertise,
                     c->admin_socket,
                     c->http_listen,
                     c->tls_certificate,
                     c->tls_key,
                     c->queue_resolvers,
                     c->queue_ca_file};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        mem_free(texts[i]);
    mem_free(c);
}
