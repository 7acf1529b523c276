#include "protocol/smtp/internal.h"

#include "node/base/log.h"

#include <stdarg.h>
#include <stdio.h>

#define BIT(mode) (1u << SMTP_MODE_##mode)
static const unsigned moves[] = {
    [SMTP_MODE_COMMAND] = BIT(DATA) | BIT(CHUNK) | BIT(AUTH) | BIT(WAIT) | BIT(CLOSING),
    [SMTP_MODE_DATA] = BIT(COMMAND) | BIT(WAIT) | BIT(CLOSING),
    [SMTP_MODE_CHUNK] = BIT(COMMAND) | BIT(WAIT) | BIT(CLOSING),
    [SMTP_MODE_AUTH] = BIT(COMMAND) | BIT(WAIT) | BIT(CLOSING),
    [SMTP_MODE_WAIT] = BIT(COMMAND) | BIT(CLOSING),
    [SMTP_MODE_CLOSING] = BIT(CLOSING),
};

void smtp_mode_set(struct smtp *m, enum smtp_mode to)
{
    ENSURE(moves[m->mode] & 1u << to);
    m->mode = to;
    m->session.blocked = to == SMTP_MODE_WAIT;
    m->session.closing = to == SMTP_MODE_CLOSING;
}

void smtp_reply(struct smtp *m, int code, const char *enhanced, const char *format, ...)
{
    char text[512 + SMTP_ADDRESS_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    buf_printf(&m->session.out, "%d %s%s%s\r\n", code, enhanced ? enhanced : "", enhanced ? " " : "", text);
}

void smtp_close_with(struct smtp *m, const char *enhanced, const char *text)
{
    smtp_reply(m, 421, enhanced, "%s %s", m->session.peer.local_name, text);
    smtp_mode_set(m, SMTP_MODE_CLOSING);
}

void smtp_count_bad(struct smtp *m)
{
    if (++m->bad_commands <= m->limits->bad_commands_max || m->mode == SMTP_MODE_CLOSING)
        return;
    log_event(LOG_INFO, "too many bad commands", LOG_S("session", m->session.peer.id),
              LOG_S("client", m->session.peer.address));
    smtp_close_with(m, "4.7.0", "Too many bad commands, closing");
}

void smtp_resume(struct smtp *m)
{
    if (m->mode != SMTP_MODE_CLOSING && m->mode != SMTP_MODE_COMMAND)
        smtp_mode_set(m, SMTP_MODE_COMMAND);
    if (m->shutdown && m->mode == SMTP_MODE_COMMAND && !m->tx.open && m->transactions > 0)
        smtp_close_with(m, "4.3.2", "Shutting down, try again");
}

int64_t smtp_now_ms(struct smtp *m)
{
    return m->session.host->now_ms(m->session.host);
}

bool smtp_knows_auth(const struct smtp *m)
{
    return m->kind == SMTP_SUBMISSION;
}

bool smtp_offers_auth(const struct smtp *m)
{
    return smtp_knows_auth(m) && m->session.peer.tls && !m->authenticated;
}

void smtp_transaction_reset(struct smtp *m)
{
    struct smtp_transaction *t = &m->tx;

    mem_free(t->recipients);
    mem_free(t->accounts);
    mem_free(t->foreign);
    arena_close(&t->arena);
    *t = (struct smtp_transaction){0};
    buf_clear(&m->content.body);
}

void smtp_greeting_forget(struct smtp *m)
{
    smtp_transaction_reset(m);
    m->helo[0] = '\0';
    m->extended = false;
}

/* ---- input ---- */

static void line_run(struct smtp *m, struct slice line)
{
    if (m->mode == SMTP_MODE_AUTH)
        smtp_auth_line(m, line);
    else
        smtp_command_run(m, line);
    if (m->mode == SMTP_MODE_COMMAND && !m->session.starttls)
        smtp_resume(m);
}

static void line_too_long(struct smtp *m)
{
    smtp_reply(m, 500, "5.5.2", "Line too long");
    if (m->mode == SMTP_MODE_AUTH) {
        sasl_close(&m->sasl);
        smtp_mode_set(m, SMTP_MODE_COMMAND);
    }
    smtp_count_bad(m);
}

static size_t line_input(struct smtp *m, struct slice in)
{
    struct slice line;
    size_t used;

    switch (line_read(&m->line, in, &line, &used)) {
    case LINE_MORE:
        break;
    case LINE_TOO_LONG:
        line_too_long(m);
        break;
    case LINE_READY:
        line_run(m, line);
        break;
    }
    return used;
}

static size_t smtp_input(struct session *s, struct slice in)
{
    struct smtp *m = smtp_of(s);
    size_t used = 0;

    while (used < in.n && buf_len(&s->out) < SESSION_OUT_HIGH) {
        /* What was sent in plaintext after STARTTLS may be an attacker's: it is never looked at (RFC 3207 6). */
        if (s->starttls || m->mode == SMTP_MODE_CLOSING)
            return in.n;
        if (m->mode == SMTP_MODE_WAIT)
            break;
        struct slice rest = slice_from(in, used);
        if (m->mode == SMTP_MODE_DATA)
            used += smtp_data_input(m, rest);
        else if (m->mode == SMTP_MODE_CHUNK)
            used += smtp_chunk_input(m, rest);
        else
            used += line_input(m, rest);
    }
    return used;
}

/* ---- life ---- */

static void smtp_drained(struct session *s)
{
    (void)s; /* replies are short: nothing waits for room */
}

static void smtp_tls_started(struct session *s)
{
    struct smtp *m = smtp_of(s);

    s->starttls = false;
    line_close(&m->line);
    smtp_greeting_forget(m);
}

static void smtp_timed_out(struct session *s)
{
    struct smtp *m = smtp_of(s);

    if (m->mode != SMTP_MODE_WAIT && m->mode != SMTP_MODE_CLOSING)
        smtp_close_with(m, "4.4.2", "Timeout, closing");
}

static void smtp_shutdown(struct session *s)
{
    struct smtp *m = smtp_of(s);

    m->shutdown = true;
    if (m->mode == SMTP_MODE_COMMAND && !s->starttls)
        smtp_resume(m);
}

static int64_t smtp_idle_timeout_ms(struct session *s)
{
    (void)s;
    return SMTP_IDLE_MS;
}

static void smtp_close(struct session *s)
{
    s->closed = true;
}

static void smtp_free(struct session *s)
{
    struct smtp *m = smtp_of(s);

    ENSURE(s->closed && s->pending == 0);
    smtp_deliver_free(m);
    smtp_transaction_reset(m);
    smtp_content_close(&m->content);
    sasl_close(&m->sasl);
    line_close(&m->line);
    buf_close(&s->out);
    mem_free(m);
}

#define SMTP_OPS(name)                                                                                                 \
    {                                                                                                                  \
        .protocol = name, .input = smtp_input, .drained = smtp_drained, .tls_started = smtp_tls_started,               \
        .timed_out = smtp_timed_out, .shutdown = smtp_shutdown, .idle_timeout_ms = smtp_idle_timeout_ms,               \
        .close = smtp_close, .free = smtp_free                                                                         \
    }
static const struct session_ops ops[] = {
    [SMTP_RELAY] = SMTP_OPS("smtp"),
    [SMTP_SUBMISSION] = SMTP_OPS("submission"),
    [SMTP_LMTP] = SMTP_OPS("lmtp"),
};

struct session *smtp_session_new(struct session_host *h, struct backend *b, const struct session_peer *peer,
                                 const struct session_limits *limits, enum smtp_kind kind)
{
    struct smtp *m = mem_zalloc(sizeof(*m));

    m->session.ops = &ops[kind];
    m->session.host = h;
    m->session.backend = b;
    m->session.peer = *peer;
    m->limits = limits;
    m->kind = kind;
    m->line.max = kind == SMTP_SUBMISSION ? SMTP_AUTH_LINE_MAX : SMTP_LINE_MAX;
    if (m->line.max > limits->line_max)
        m->line.max = limits->line_max;
    smtp_reply(m, 220, NULL, "%s %s Merlion ready", peer->local_name, kind == SMTP_LMTP ? "LMTP" : "ESMTP");
    return &m->session;
}
