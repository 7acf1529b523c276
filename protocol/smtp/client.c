#include "protocol/smtp/client_internal.h"

#define BIT(phase) (1u << CLIENT_##phase)
static const unsigned moves[] = {
    [CLIENT_GREETING] = BIT(EHLO) | BIT(CLOSED),
    [CLIENT_EHLO] = BIT(HELO) | BIT(STARTTLS) | BIT(AUTH) | BIT(READY) | BIT(CLOSED),
    [CLIENT_HELO] = BIT(READY) | BIT(CLOSED),
    [CLIENT_STARTTLS] = BIT(TLS) | BIT(AUTH) | BIT(READY) | BIT(CLOSED),
    [CLIENT_TLS] = BIT(EHLO) | BIT(CLOSED),
    [CLIENT_AUTH] = BIT(READY) | BIT(CLOSED),
    [CLIENT_READY] = BIT(ENVELOPE) | BIT(QUIT) | BIT(CLOSED),
    [CLIENT_ENVELOPE] = BIT(READY) | BIT(CONTENT) | BIT(EMPTY) | BIT(CLOSED),
    [CLIENT_CONTENT] = BIT(CONFIRM) | BIT(CLOSED),
    [CLIENT_CONFIRM] = BIT(FINAL) | BIT(CLOSED),
    [CLIENT_FINAL] = BIT(READY) | BIT(CLOSED),
    [CLIENT_EMPTY] = BIT(READY) | BIT(CLOSED),
    [CLIENT_QUIT] = BIT(CLOSED),
    [CLIENT_CLOSED] = 0,
};

void client_phase_set(struct smtp_client *c, enum client_phase to)
{
    ENSURE(moves[c->phase] & 1u << to);
    c->phase = to;
}

/* ---- ends ---- */

void client_fail(struct smtp_client *c, const struct smtp_outcome *o, bool polite)
{
    struct smtp_outcome copy = *o;

    if (polite)
        buf_append_str(&c->out, "QUIT\r\n");
    client_phase_set(c, CLIENT_CLOSED);
    if (c->events.failed)
        c->events.failed(c->events.arg, &copy);
}

void client_fail_reply(struct smtp_client *c, const struct client_reply *r, const char *what)
{
    struct smtp_outcome o;

    if (r->code >= 400)
        client_outcome_reply(&o, r);
    else
        client_outcome_local(&o, SMTP_DEFERRED, "4.5.0", "%s was answered with %d %s", what, r->code, r->text);
    client_fail(c, &o, r->code != 421);
}

/* Whatever is under way ends with o. */
static void connection_end(struct smtp_client *c, struct smtp_outcome *o)
{
    switch (c->phase) {
    case CLIENT_CLOSED:
        break;
    case CLIENT_QUIT:
        client_phase_set(c, CLIENT_CLOSED);
        break;
    case CLIENT_ENVELOPE:
    case CLIENT_CONTENT:
    case CLIENT_CONFIRM:
    case CLIENT_EMPTY:
        client_mail_abort(c, o);
        break;
    case CLIENT_FINAL:
        o->unsure = true;
        client_mail_abort(c, o);
        break;
    default:
        client_fail(c, o, false);
        break;
    }
}

void smtp_client_closed(struct smtp_client *c, int status, const char *why)
{
    struct smtp_outcome o;
    const char *text = why && why[0] ? why : err_text(status);

    /* RFC 3463 3.5: 4.4.2 the connection was bad while it lasted, 4.4.1 nobody answered. */
    client_outcome_local(&o, SMTP_DEFERRED, c->phase == CLIENT_GREETING ? "4.4.1" : "4.4.2", "%s", text);
    connection_end(c, &o);
}

static void protocol_error(struct smtp_client *c)
{
    struct smtp_outcome o;

    client_outcome_local(&o, SMTP_DEFERRED, "4.5.0", "the server sent what is no SMTP reply");
    connection_end(c, &o);
}

/* ---- input ---- */

/* In READY nothing was asked: a server that speaks up ends the connection (421), or lost count. Whatever its code, that
 * says nothing of mail that was not offered yet. */
static void unasked(struct smtp_client *c, const struct client_reply *r)
{
    struct smtp_outcome o;

    client_outcome_reply(&o, r);
    if (o.kind != SMTP_DEFERRED)
        client_outcome_local(&o, SMTP_DEFERRED, "4.4.2", "the server ended the session: %d %s", r->code, r->text);
    client_fail(c, &o, false);
}

static void quit_answered(struct smtp_client *c, const struct client_reply *r)
{
    (void)r;
    client_phase_set(c, CLIENT_CLOSED);
}

static void (*const handlers[])(struct smtp_client *c, const struct client_reply *r) = {
    [CLIENT_GREETING] = client_greeting,
    [CLIENT_EHLO] = client_ehlo,
    [CLIENT_HELO] = client_helo,
    [CLIENT_STARTTLS] = client_starttls,
    [CLIENT_TLS] = unasked,
    [CLIENT_AUTH] = client_auth,
    [CLIENT_READY] = unasked,
    [CLIENT_ENVELOPE] = client_envelope,
    [CLIENT_CONTENT] = client_final,
    [CLIENT_CONFIRM] = client_final,
    [CLIENT_FINAL] = client_final,
    [CLIENT_EMPTY] = client_empty,
    [CLIENT_QUIT] = quit_answered,
    [CLIENT_CLOSED] = quit_answered,
};

void smtp_client_input(struct smtp_client *c, struct slice in)
{
    struct slice line;
    size_t used;

    /* What comes in plaintext behind STARTTLS's 220 may be an attacker's: it is never looked at (RFC 3207 6). */
    while (in.n > 0 && c->phase != CLIENT_TLS && c->phase != CLIENT_CLOSED) {
        enum client_read status = client_reply_read(&c->reader, in, &used, &line);
        in = slice_from(in, used);
        if (status == CLIENT_READ_BAD)
            protocol_error(c);
        if ((status == CLIENT_READ_LINE || status == CLIENT_READ_END) && c->phase == CLIENT_EHLO)
            client_ehlo_line(c, line);
        if (status == CLIENT_READ_END) {
            struct client_reply reply = c->reader.reply;
            handlers[c->phase](c, &reply);
        }
    }
}

/* ---- seen from the host ---- */

struct buf *smtp_client_out(struct smtp_client *c)
{
    return &c->out;
}

void smtp_client_drained(struct smtp_client *c)
{
    if (c->phase == CLIENT_CONTENT)
        client_content_push(c);
}

bool smtp_client_wants_tls(const struct smtp_client *c)
{
    return c->phase == CLIENT_TLS;
}

void smtp_client_tls_started(struct smtp_client *c)
{
    if (c->phase != CLIENT_TLS)
        return;
    c->tls = true;
    c->reader = (struct client_reader){0};
    client_phase_set(c, CLIENT_EHLO);
    client_ehlo_send(c);
}

bool smtp_client_closing(const struct smtp_client *c)
{
    return c->phase == CLIENT_CLOSED;
}

unsigned smtp_client_timeout_s(const struct smtp_client *c)
{
    switch (c->phase) {
    case CLIENT_CONTENT:
    case CLIENT_CONFIRM:
        return 180;
    case CLIENT_FINAL:
    case CLIENT_EMPTY:
        return 600;
    case CLIENT_QUIT:
    case CLIENT_CLOSED:
        return 10; /* nothing depends on the answer */
    case CLIENT_ENVELOPE:
        return !c->mail.chunked && c->mail.answered + 1 == c->mail.sent && c->mail.sent == c->mail.n + 2 + c->mail.rset
                   ? 120
                   : 300;
    default:
        return 300;
    }
}

bool smtp_client_idle(const struct smtp_client *c)
{
    return c->phase == CLIENT_READY;
}

void smtp_client_quit(struct smtp_client *c)
{
    if (c->phase != CLIENT_READY)
        return;
    buf_append_str(&c->out, "QUIT\r\n");
    client_phase_set(c, CLIENT_QUIT);
}

const char *smtp_client_server_name(const struct smtp_client *c)
{
    return c->server;
}

bool smtp_client_tls(const struct smtp_client *c)
{
    return c->tls;
}

struct smtp_client *smtp_client_new(const struct smtp_client_config *config, const struct smtp_client_events *ev)
{
    struct smtp_client *c = mem_zalloc(sizeof(*c));

    c->events = *ev;
    c->policy = config->tls;
    c->tls = config->tls == SMTP_TLS_WRAPPED;
    c->helo = mem_strdup(config->helo);
    c->user = config->user ? mem_strdup(config->user) : NULL;
    c->password = mem_strdup(config->password ? config->password : "");
    return c;
}

void smtp_client_free(struct smtp_client **p)
{
    struct smtp_client *c = *p;

    if (!c)
        return;
    *p = NULL;
    client_mail_free(c);
    mem_wipe(c->password, strlen(c->password));
    mem_free(c->password);
    mem_free(c->user);
    mem_free(c->helo);
    buf_close(&c->out);
    mem_free(c);
}
