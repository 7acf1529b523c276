/* From the greeting to READY: EHLO and what it offers, STARTTLS, AUTH. */
#include "protocol/smtp/client_internal.h"

#include "protocol/sasl/sasl.h"

static void fail_local(struct smtp_client *c, const char *enhanced, const char *text)
{
    struct smtp_outcome o;

    client_outcome_local(&o, SMTP_DEFERRED, enhanced, "%s", text);
    client_fail(c, &o, true);
}

/* ---- greeting and EHLO ---- */

/* The first word, as far as it looks like a name. */
static void server_name_take(struct smtp_client *c, const char *text)
{
    size_t n = strcspn(text, " ;");

    if (n >= sizeof(c->server))
        n = sizeof(c->server) - 1;
    for (size_t i = 0; i < n; i++)
        c->server[i] = (char)(text[i] >= '!' && text[i] <= '~' ? text[i] : '?');
    c->server[n] = '\0';
}

void client_ehlo_send(struct smtp_client *c)
{
    c->offers = (struct client_offers){0};
    buf_printf(&c->out, "EHLO %s\r\n", c->helo);
}

void client_greeting(struct smtp_client *c, const struct client_reply *r)
{
    if (r->code != 220) {
        client_fail_reply(c, r, "the connection");
        return;
    }
    server_name_take(c, r->text);
    client_phase_set(c, CLIENT_EHLO);
    client_ehlo_send(c);
}

/* "AUTH PLAIN LOGIN", and the older "AUTH=PLAIN". */
static void auth_take(struct client_offers *o, struct slice names)
{
    while ((names = slice_trim(names)).n > 0) {
        struct slice name = slice_first(names, slice_find(names, ' '));
        o->auth_plain |= slice_ieq(name, SLICE_LITERAL("PLAIN"));
        o->auth_login |= slice_ieq(name, SLICE_LITERAL("LOGIN"));
        names = slice_from(names, name.n);
    }
}

void client_ehlo_line(struct smtp_client *c, struct slice line)
{
    static const struct {
        const char *name;
        size_t at;
    } flags[] = {
        {"PIPELINING", offsetof(struct client_offers, pipelining)},
        {"8BITMIME", offsetof(struct client_offers, eight)},
        {"CHUNKING", offsetof(struct client_offers, chunking)},
        {"BINARYMIME", offsetof(struct client_offers, binary)},
        {"SMTPUTF8", offsetof(struct client_offers, utf8)},
        {"DSN", offsetof(struct client_offers, dsn)},
        {"STARTTLS", offsetof(struct client_offers, starttls)},
    };
    struct slice name = slice_first(line, slice_find(line, ' '));
    struct slice rest = slice_trim(slice_from(line, name.n));

    if (c->reader.lines == 1) /* the server's name and greeting */
        return;
    name = slice_trim(name);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (slice_ieq(name, slice_str(flags[i].name)))
            *(bool *)((char *)&c->offers + flags[i].at) = true;
    if (slice_ieq(name, SLICE_LITERAL("SIZE"))) {
        c->offers.size = true;
        if (slice_u64(rest, UINT64_MAX, &c->offers.size_max) != 0)
            c->offers.size_max = 0;
    } else if (slice_ieq(name, SLICE_LITERAL("AUTH"))) {
        auth_take(&c->offers, rest);
    } else if (slice_istarts(name, SLICE_LITERAL("AUTH="))) {
        auth_take(&c->offers, slice_from(line, 5));
    }
}

static void ready(struct smtp_client *c)
{
    client_phase_set(c, CLIENT_READY);
    if (c->events.ready)
        c->events.ready(c->events.arg);
}

static void plain_response(const struct smtp_client *c, struct buf *out)
{
    struct buf message = {0};

    buf_append_byte(&message, 0);
    buf_append_str(&message, c->user);
    buf_append_byte(&message, 0);
    buf_append_str(&message, c->password);
    base64_encode(buf_slice(&message), out);
    mem_wipe(message.base, message.cap);
    buf_close(&message);
}

/* TLS is decided: log in if we are to. */
static void hello_done(struct smtp_client *c)
{
    if (!c->user) {
        ready(c);
    } else if (!c->tls) {
        fail_local(c, "4.7.11", "a password is set for this server, and it is not sent without TLS");
    } else if (!c->offers.auth_plain && !c->offers.auth_login) {
        fail_local(c, "4.7.0", "the server offers neither AUTH PLAIN nor AUTH LOGIN");
    } else {
        c->auth_step = c->offers.auth_plain ? CLIENT_AUTH_PLAIN : CLIENT_AUTH_LOGIN_USER;
        buf_append_str(&c->out, c->offers.auth_plain ? "AUTH PLAIN " : "AUTH LOGIN");
        if (c->offers.auth_plain)
            plain_response(c, &c->out);
        buf_append_str(&c->out, "\r\n");
        client_phase_set(c, CLIENT_AUTH);
    }
}

static bool tls_is_a_must(const struct smtp_client *c)
{
    return c->policy == SMTP_TLS_REQUIRE || c->policy == SMTP_TLS_VERIFY;
}

void client_ehlo(struct smtp_client *c, const struct client_reply *r)
{
    /* RFC 5321 3.2: a server that knows no EHLO is asked again in its own tongue. It has no extensions then. */
    if (r->code / 100 == 5 && !c->tls && (tls_is_a_must(c) || c->user)) {
        fail_local(c, "4.7.10", "TLS is required, and the server refuses EHLO");
    } else if (r->code / 100 == 5 && !c->tls) {
        buf_printf(&c->out, "HELO %s\r\n", c->helo);
        c->offers = (struct client_offers){0};
        client_phase_set(c, CLIENT_HELO);
    } else if (r->code != 250) {
        client_fail_reply(c, r, "EHLO");
    } else if (!c->tls && c->policy != SMTP_TLS_NONE && c->offers.starttls) {
        buf_append_str(&c->out, "STARTTLS\r\n");
        client_phase_set(c, CLIENT_STARTTLS);
    } else if (!c->tls && tls_is_a_must(c)) {
        fail_local(c, "4.7.10", "TLS is required, and the server does not offer STARTTLS");
    } else {
        hello_done(c);
    }
}

void client_helo(struct smtp_client *c, const struct client_reply *r)
{
    if (r->code / 100 == 2)
        ready(c);
    else
        client_fail_reply(c, r, "HELO");
}

/* ---- STARTTLS (RFC 3207) ---- */

void client_starttls(struct smtp_client *c, const struct client_reply *r)
{
    struct smtp_outcome o;

    if (r->code == 220) {
        client_phase_set(c, CLIENT_TLS);
    } else if (r->code == 421) {
        client_fail_reply(c, r, "STARTTLS");
    } else if (tls_is_a_must(c)) {
        client_outcome_local(&o, SMTP_DEFERRED, "4.7.10", "TLS is required, and STARTTLS was answered with %d %s",
                             r->code, r->text);
        client_fail(c, &o, true);
    } else {
        hello_done(c);
    }
}

/* ---- AUTH (RFC 4954) ---- */

static void base64_line(struct smtp_client *c, const char *text)
{
    base64_encode(slice_str(text), &c->out);
    buf_append_str(&c->out, "\r\n");
}

static void auth_go_on(struct smtp_client *c)
{
    switch (c->auth_step) {
    case CLIENT_AUTH_PLAIN: /* it did not take the initial response */
        plain_response(c, &c->out);
        buf_append_str(&c->out, "\r\n");
        c->auth_step = CLIENT_AUTH_LAST;
        break;
    case CLIENT_AUTH_LOGIN_USER:
        base64_line(c, c->user);
        c->auth_step = CLIENT_AUTH_LOGIN_PASSWORD;
        break;
    case CLIENT_AUTH_LOGIN_PASSWORD:
        base64_line(c, c->password);
        c->auth_step = CLIENT_AUTH_LAST;
        break;
    case CLIENT_AUTH_LAST:
        fail_local(c, "4.7.0", "the server asks on and on during AUTH");
        break;
    }
}

/* A wrong password here is our operator's to mend: mail waits for that and is not sent back. */
void client_auth(struct smtp_client *c, const struct client_reply *r)
{
    struct smtp_outcome o;

    if (r->code == 235) {
        ready(c);
    } else if (r->code == 334) {
        auth_go_on(c);
    } else {
        client_outcome_local(&o, SMTP_DEFERRED, "4.7.8", "AUTH was answered with %d %s", r->code, r->text);
        o.code = r->code;
        client_fail(c, &o, r->code != 421);
    }
}
