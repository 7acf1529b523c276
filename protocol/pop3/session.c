#include "protocol/pop3/internal.h"

#include "node/base/log.h"

#include <stdarg.h>
#include <stdio.h>

#define BIT(state) (1u << POP3_##state)
static const unsigned moves[] = {
    [POP3_AUTHORIZATION] = BIT(AUTH) | BIT(LOGIN) | BIT(CLOSING),
    [POP3_AUTH] = BIT(AUTH) | BIT(AUTHORIZATION) | BIT(LOGIN) | BIT(CLOSING),
    [POP3_LOGIN] = BIT(AUTHORIZATION) | BIT(TRANSACTION) | BIT(CLOSING),
    [POP3_TRANSACTION] = BIT(FETCH) | BIT(SENDING) | BIT(UPDATE) | BIT(CLOSING),
    [POP3_FETCH] = BIT(TRANSACTION) | BIT(SENDING) | BIT(CLOSING),
    [POP3_SENDING] = BIT(TRANSACTION) | BIT(CLOSING),
    [POP3_UPDATE] = BIT(CLOSING),
    [POP3_CLOSING] = BIT(CLOSING),
};

void pop3_move(struct pop3 *p, enum pop3_state to)
{
    ENSURE(moves[p->state] & 1u << to);
    p->state = to;
    p->session.blocked = to == POP3_LOGIN || to == POP3_FETCH || to == POP3_SENDING || to == POP3_UPDATE;
    p->session.closing = to == POP3_CLOSING;
}

void pop3_ok(struct pop3 *p, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    buf_printf(&p->session.out, "+OK %s\r\n", text);
}

void pop3_err(struct pop3 *p, const char *code, const char *text)
{
    buf_printf(&p->session.out, "-ERR %s%s\r\n", code, text);
}

static void close_with(struct pop3 *p, const char *code, const char *text)
{
    pop3_err(p, code, text);
    pop3_move(p, POP3_CLOSING);
}

void pop3_count_bad(struct pop3 *p)
{
    if (++p->bad_commands <= p->limits->bad_commands_max || p->state == POP3_CLOSING)
        return;
    log_event(LOG_INFO, "too many bad commands", LOG_S("session", p->session.peer.id),
              LOG_S("client", p->session.peer.address));
    close_with(p, "", "Too many bad commands, closing");
}

void pop3_resume(struct pop3 *p, enum pop3_state to)
{
    if (p->state != to && p->state != POP3_CLOSING)
        pop3_move(p, to);
}

bool pop3_password_allowed(const struct pop3 *p)
{
    return p->session.peer.tls || !p->session.peer.tls_available;
}

/* ---- input ---- */

static void line_too_long(struct pop3 *p)
{
    pop3_err(p, "", "Line too long");
    if (p->state == POP3_AUTH) {
        sasl_close(&p->sasl);
        pop3_move(p, POP3_AUTHORIZATION);
    }
    pop3_count_bad(p);
}

static size_t line_input(struct pop3 *p, struct slice in)
{
    struct slice line;
    size_t used;
    enum line_status status = line_read(&p->line, in, &line, &used);

    if (status == LINE_TOO_LONG)
        line_too_long(p);
    else if (status == LINE_READY && p->state == POP3_AUTH)
        pop3_auth_line(p, line);
    else if (status == LINE_READY)
        pop3_command_run(p, line);
    return used;
}

static size_t pop3_input(struct session *s, struct slice in)
{
    struct pop3 *p = pop3_of(s);
    size_t used = 0;

    while (used < in.n && !s->blocked && buf_len(&s->out) < SESSION_OUT_HIGH) {
        /* Plaintext after STLS may be an attacker's: never looked at. */
        if (s->starttls || s->closing)
            return in.n;
        used += line_input(p, slice_from(in, used));
    }
    return used;
}

/* ---- life ---- */

static void pop3_drained(struct session *s)
{
    struct pop3 *p = pop3_of(s);

    if (p->state != POP3_SENDING)
        return;
    pop3_send_more(p);
    s->host->wake(s->host);
}

static void pop3_tls_started(struct session *s)
{
    struct pop3 *p = pop3_of(s);

    s->starttls = false;
    line_close(&p->line);
    p->name[0] = '\0';
}

/* RFC 1939 3: closes without a word and without deleting. */
static void pop3_timed_out(struct session *s)
{
    struct pop3 *p = pop3_of(s);

    if (p->state != POP3_LOGIN && p->state != POP3_FETCH && p->state != POP3_UPDATE)
        pop3_move(p, POP3_CLOSING);
}

/* RFC 1939 has no reply that nobody asked for: a client would take it for that of its next command. It ends its session
 * itself, soon as a rule, and else the host does. */
static void pop3_shutdown(struct session *s)
{
    (void)s;
}

static int64_t pop3_idle_timeout_ms(struct session *s)
{
    (void)s;
    return POP3_IDLE_MS;
}

static void pop3_close(struct session *s)
{
    s->closed = true;
}

static void pop3_free(struct session *s)
{
    struct pop3 *p = pop3_of(s);

    ENSURE(s->closed && s->pending == 0);
    bytes_unref(&p->body);
    bytes_unref(&p->fetch.body);
    uid_set_close(&p->doomed);
    uid_set_close(&p->write.uids_r);
    mem_free(p->messages);
    sasl_close(&p->sasl);
    line_close(&p->line);
    buf_close(&s->out);
    mem_free(p);
}

static const struct session_ops ops = {
    .protocol = "pop3",
    .input = pop3_input,
    .drained = pop3_drained,
    .tls_started = pop3_tls_started,
    .timed_out = pop3_timed_out,
    .shutdown = pop3_shutdown,
    .idle_timeout_ms = pop3_idle_timeout_ms,
    .close = pop3_close,
    .free = pop3_free,
};

struct session *pop3_session_new(struct session_host *h, struct backend *b, const struct session_peer *peer,
                                 const struct session_limits *limits)
{
    struct pop3 *p = mem_zalloc(sizeof(*p));

    p->session.ops = &ops;
    p->session.host = h;
    p->session.backend = b;
    p->session.peer = *peer;
    p->limits = limits;
    p->line.max = limits->line_max < POP3_AUTH_LINE_MAX ? limits->line_max : POP3_AUTH_LINE_MAX;
    pop3_ok(p, "Merlion POP3 ready");
    return &p->session;
}
