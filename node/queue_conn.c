#include "node/queue_conn.h"

#include "node/base/task.h"

#include <stdio.h>

enum phase { CONNECTING, OPEN, HANDSHAKE, ENDED };

enum { QUIT_LINGER_MS = 1000 };

struct queue_conn {
    struct stream *stream;
    struct smtp_client *client;
    uv_timer_t timer;
    enum phase phase;
    struct queue_conn_config config; /* texts are copies */
    const struct queue_conn_events *events;
    void *owner;
    unsigned mails;
    bool pumping, orphan;                                         /* orphan: nobody hears of it any more */
    bool ready, confirm, done, again, failed, tls_failed, silent; /* to be told */
    struct smtp_outcome outcome;
    char tls[128];
};

/* ---- what the client tells, kept until it has returned ---- */

static void client_ready(void *arg)
{
    ((struct queue_conn *)arg)->ready = true;
}

static void client_confirm(void *arg)
{
    ((struct queue_conn *)arg)->confirm = true;
}

static void client_done(void *arg, bool again)
{
    struct queue_conn *c = arg;
    c->confirm = false;
    c->done = true;
    c->again = again;
}

static void client_failed(void *arg, const struct smtp_outcome *o)
{
    struct queue_conn *c = arg;
    c->failed = true;
    c->outcome = *o;
    if (c->tls_failed)
        snprintf(c->outcome.enhanced, sizeof c->outcome.enhanced, "4.7.5");
}

/* ---- the end ---- */

static void timer_closed(uv_handle_t *h)
{
    struct queue_conn *c = container_of((uv_timer_t *)h, struct queue_conn, timer);
    char *texts[] = {(char *)(uintptr_t)c->config.address,     (char *)(uintptr_t)c->config.source,
                     (char *)(uintptr_t)c->config.server_name, (char *)(uintptr_t)c->config.helo,
                     (char *)(uintptr_t)c->config.user,        (char *)(uintptr_t)c->config.password};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i] && texts[i] == c->config.password)
            mem_wipe(texts[i], strlen(texts[i]));
        mem_free(texts[i]);
    }
    mem_free(c);
}

static void conn_end(struct queue_conn *c, unsigned linger_ms)
{
    if (c->phase == ENDED)
        return;
    c->phase = ENDED;
    smtp_client_free(&c->client);
    stream_close(c->stream, linger_ms);
    if (c->config.count)
        atomic_fetch_sub(c->config.count, 1);
    uv_timer_stop(&c->timer);
    uv_close((uv_handle_t *)&c->timer, timer_closed); /* frees, from the loop */
}

/* ---- pumping ---- */

static void timed_out(uv_timer_t *t);

static void timer_set(struct queue_conn *c)
{
    uint64_t ms = c->config.connect_ms;
    if (c->phase == OPEN) {
        if (smtp_client_idle(c->client)) {
            uv_timer_stop(&c->timer); /* whoever keeps it decides how long */
            return;
        }
        ms = smtp_client_timeout_s(c->client) * (uint64_t)1000;
    }
    uv_timer_start(&c->timer, timed_out, ms, 0);
}

static void handshake_begin(struct queue_conn *c)
{
    SSL_CTX *ctx = c->config.tls == SMTP_TLS_VERIFY ? c->config.tls_verify : c->config.tls_any;
    c->phase = HANDSHAKE;
    if (stream_tls_connect(c->stream, ctx, c->config.server_name)) {
        c->tls_failed = true;
        smtp_client_closed(c->client, ERR_INVALID, "TLS cannot be started");
    }
}

/* Moves bytes from the client to the stream; true when that may have changed something. */
static bool output(struct queue_conn *c)
{
    bool moved = false;
    struct buf *out = smtp_client_out(c->client);
    while (c->phase == OPEN && buf_len(out) > 0) {
        stream_write(c->stream, buf_slice(out));
        buf_clear(out);
        moved = true;
        if (stream_queued(c->stream) < STREAM_OUT_LOW)
            smtp_client_drained(c->client);
    }
    if (c->phase == OPEN && smtp_client_wants_tls(c->client)) {
        handshake_begin(c);
        moved = true;
    }
    return moved;
}

static void tell_failed(struct queue_conn *c)
{
    enum queue_conn_trouble t = c->tls_failed ? QUEUE_CONN_TLS : c->silent ? QUEUE_CONN_SILENT : QUEUE_CONN_REFUSED;
    c->orphan = true;
    c->events->failed(c, t, &c->outcome);
}

/* One event a call, as each may change what comes next. */
static bool tell(struct queue_conn *c)
{
    bool told = c->ready || c->confirm || c->done || c->failed;
    if (!told || c->orphan) {
        c->ready = c->confirm = c->done = c->failed = false;
        return false;
    }
    if (c->ready) {
        c->ready = false;
        c->events->ready(c);
    } else if (c->confirm) {
        c->confirm = false;
        c->events->confirm(c);
    } else if (c->done) {
        c->done = false;
        c->orphan = !c->again;
        c->events->done(c, c->again);
    } else {
        c->failed = false;
        tell_failed(c);
    }
    return true;
}

static void pump(struct queue_conn *c)
{
    if (c->pumping || c->phase == ENDED)
        return;
    c->pumping = true;
    bool more = true;
    while (more && c->phase != ENDED) {
        more = c->client && c->phase == OPEN && output(c);
        more |= tell(c);
    }
    c->pumping = false;
    if (c->phase == ENDED)
        return;
    if (c->client && smtp_client_closing(c->client))
        conn_end(c, QUIT_LINGER_MS);
    else
        timer_set(c);
}

/* ---- stream ---- */

static void stream_up(void *arg)
{
    struct queue_conn *c = arg;
    struct smtp_client_config cc = {
        .helo = c->config.helo, .tls = c->config.tls, .user = c->config.user, .password = c->config.password};
    struct smtp_client_events ev = {c, client_ready, client_confirm, client_done, client_failed};
    c->client = smtp_client_new(&cc, &ev);
    c->phase = OPEN;
    pump(c);
}

static size_t stream_read(void *arg, struct slice in)
{
    struct queue_conn *c = arg;
    if (c->phase == OPEN)
        smtp_client_input(c->client, in);
    pump(c);
    return in.n;
}

static void stream_drained(void *arg)
{
    struct queue_conn *c = arg;
    if (c->phase == OPEN)
        smtp_client_drained(c->client);
    pump(c);
}

static void tls_text(struct queue_conn *c)
{
    SSL *ssl = stream_ssl(c->stream);
    X509 *cert = SSL_get1_peer_certificate(ssl);
    bool verified = cert && SSL_get_verify_result(ssl) == X509_V_OK;
    X509_free(cert);
    snprintf(c->tls, sizeof c->tls, "%s %s%s", SSL_get_version(ssl), SSL_get_cipher_name(ssl),
             verified ? " verified" : "");
}

static void stream_tls_ready(void *arg)
{
    struct queue_conn *c = arg;
    tls_text(c);
    if (c->phase == CONNECTING) { /* TLS from the first byte */
        stream_up(c);
        return;
    }
    c->phase = OPEN;
    smtp_client_tls_started(c->client);
    pump(c);
}

static void lost(struct queue_conn *c, int status, const char *why)
{
    bool silent = status == ERR_TIMEOUT || c->phase == CONNECTING;
    c->tls_failed = c->phase == HANDSHAKE;
    if (c->client) {
        c->silent = silent;
        smtp_client_closed(c->client, status, why);
    } else {
        struct smtp_outcome o = {.kind = SMTP_DEFERRED, .enhanced = "4.4.1"};
        snprintf(o.text, sizeof o.text, "%s", why);
        c->silent = true;
        client_failed(c, &o);
    }
    c->pumping = true; /* nothing can be sent any more */
    while (tell(c))
        ;
    conn_end(c, 0);
}

static void stream_closed(void *arg, int status, const char *why)
{
    lost(arg, status, status == 0 || !why[0] ? "the server closed the connection" : why);
}

static void timed_out(uv_timer_t *t)
{
    struct queue_conn *c = container_of(t, struct queue_conn, timer);
    const char *why = c->phase == CONNECTING  ? "no connection in time"
                      : c->phase == HANDSHAKE ? "no end of the TLS handshake in time"
                                              : "no answer in time";
    lost(c, ERR_TIMEOUT, why);
}

static const struct stream_events stream_events = {
    .read = stream_read, .drained = stream_drained, .tls_ready = stream_tls_ready, .closed = stream_closed};

/* ---- for the owner ---- */

static char *copy(const char *s)
{
    return s ? mem_strdup(s) : NULL;
}

struct queue_conn *queue_conn_new(const struct queue_conn_config *config)
{
    struct queue_conn *c = mem_zalloc(sizeof *c);
    c->config = *config;
    c->config.address = copy(config->address);
    c->config.source = copy(config->source);
    c->config.server_name = copy(config->server_name);
    c->config.helo = copy(config->helo);
    c->config.user = copy(config->user);
    c->config.password = copy(config->password);
    if (c->config.connect_ms == 0)
        c->config.connect_ms = QUEUE_CONNECT_MS;
    c->events = config->events;
    c->owner = config->owner;
    if (c->config.count)
        atomic_fetch_add(c->config.count, 1);
    uv_timer_init(config->loop, &c->timer);
    bool wrapped = c->config.tls == SMTP_TLS_WRAPPED;
    c->stream =
        stream_connect_from(config->loop, c->config.source, c->config.address, wrapped ? c->config.tls_verify : NULL,
                            c->config.server_name, &stream_events, c, wrapped ? NULL : stream_up);
    timer_set(c);
    return c;
}

void *queue_conn_owner(const struct queue_conn *c)
{
    return c->owner;
}

void queue_conn_owner_set(struct queue_conn *c, void *owner)
{
    c->owner = owner;
}

void queue_conn_send(struct queue_conn *c, struct smtp_client_mail *m)
{
    c->mails++;
    smtp_client_send(c->client, m);
    pump(c);
}

void queue_conn_commit(struct queue_conn *c)
{
    smtp_client_commit(c->client);
    pump(c);
}

void queue_conn_withhold(struct queue_conn *c, const char *why)
{
    smtp_client_withhold(c->client, why);
    pump(c);
}

void queue_conn_quit(struct queue_conn *c)
{
    c->orphan = true;
    if (c->phase == OPEN && smtp_client_idle(c->client)) {
        smtp_client_quit(c->client);
        pump(c);
    } else {
        conn_end(c, 0);
    }
}

void queue_conn_cut(struct queue_conn *c, int status, const char *why)
{
    lost(c, status, why);
}

unsigned queue_conn_mails(const struct queue_conn *c)
{
    return c->mails;
}

const char *queue_conn_tls(const struct queue_conn *c)
{
    return c->tls;
}

const char *queue_conn_address(const struct queue_conn *c)
{
    return c->config.address;
}
