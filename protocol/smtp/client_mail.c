/* One mail: envelope, replies in the order of the commands, outcomes. */
#include "protocol/smtp/client_internal.h"

/* ---- end of a mail ---- */

void client_mail_free(struct smtp_client *c)
{
    bytes_unref(&c->mail.body);
    mem_free(c->mail.rcpts);
    mem_free(c->mail.accepted);
    c->mail = (struct client_mail){0};
}

static void finish(struct smtp_client *c, bool again)
{
    client_mail_free(c);
    client_phase_set(c, again ? CLIENT_READY : CLIENT_CLOSED);
    if (c->events.done)
        c->events.done(c->events.arg, again);
}

static struct smtp_client_recipient *rcpt(struct smtp_client *c, size_t at)
{
    return &c->mail.mail->recipients[c->mail.rcpts[at]];
}

/* A recipient is open until it was refused, or the whole mail was. */
static void open_settle(struct smtp_client *c, const struct smtp_outcome *o)
{
    for (size_t i = 0; i < c->mail.n; i++) {
        size_t first = (size_t)c->mail.rset + 1;
        bool asked = c->mail.answered > first + i;
        if (!c->mail.mail_refused && (!asked || c->mail.accepted[i]))
            rcpt(c, i)->outcome = *o;
    }
}

static void relayed_mark(struct smtp_client *c)
{
    for (size_t i = 0; i < c->mail.n; i++)
        rcpt(c, i)->relayed = c->mail.accepted[i] && rcpt(c, i)->outcome.kind == SMTP_DELIVERED && !c->offers.dsn &&
                              (rcpt(c, i)->notify & 2);
}

void client_mail_abort(struct smtp_client *c, const struct smtp_outcome *o)
{
    open_settle(c, o);
    finish(c, false);
}

/* ---- commands ---- */

static size_t command_n(const struct client_mail *t)
{
    return (size_t)t->rset + 1 + t->n + (t->chunked ? 0 : 1);
}

static void command_send(struct smtp_client *c)
{
    struct client_mail *t = &c->mail;
    size_t k = t->sent++;

    if (t->rset && k-- == 0)
        buf_append_str(&c->out, "RSET\r\n");
    else if (k == 0)
        client_mail_command(c);
    else if (k <= t->n)
        client_rcpt_command(c, k - 1);
    else
        buf_append_str(&c->out, "DATA\r\n");
}

/* The next command, or all of them (RFC 2920). */
static void commands_send(struct smtp_client *c)
{
    struct client_mail *t = &c->mail;

    while (t->sent < command_n(t) && (c->offers.pipelining || t->sent == t->answered))
        command_send(c);
}

void smtp_client_send(struct smtp_client *c, struct smtp_client_mail *m)
{
    struct client_mail *t = &c->mail;

    ENSURE(c->phase == CLIENT_READY);
    *t = (struct client_mail){.mail = m, .body = bytes_ref(m->body), .rset = c->in_transaction};
    t->content = slice_from(bytes_slice(m->body), m->skip);
    t->rcpts = mem_alloc((m->n + 1) * sizeof(*t->rcpts));
    t->accepted = mem_zalloc((m->n + 1) * sizeof(*t->accepted));
    for (size_t i = 0; i < m->n; i++) {
        m->recipients[i].relayed = false;
        client_outcome_local(&m->recipients[i].outcome, SMTP_DEFERRED, "4.4.0", "not tried");
    }
    client_phase_set(c, CLIENT_ENVELOPE);
    if (client_envelope_prepare(c))
        commands_send(c);
    else
        finish(c, true);
}

/* ---- replies ---- */

/* Neither yes nor no: nobody knows what this server thinks it does. */
static void nonsense(struct smtp_client *c, const struct client_reply *r, const char *to)
{
    struct smtp_outcome o;

    client_outcome_local(&o, SMTP_DEFERRED, "4.5.0", "%s was answered with %d %s", to, r->code, r->text);
    client_mail_abort(c, &o);
}

static void mail_answered(struct smtp_client *c, const struct client_reply *r)
{
    struct smtp_outcome o;

    if (r->code / 100 == 2) {
        c->mail.mail_ok = c->in_transaction = true;
        return;
    }
    client_outcome_reply(&o, r);
    open_settle(c, &o);
    c->mail.mail_refused = true;
}

/* RFC 5321 4.5.3.1.10: 552 to RCPT may mean too many recipients: the rest of them is to be sent later. */
static bool means_too_many(const struct client_reply *r)
{
    return r->code == 552 && (r->enhanced[0] == '\0' || strcmp(r->enhanced, "5.5.3") == 0);
}

static void rcpt_answered(struct smtp_client *c, const struct client_reply *r, size_t at)
{
    struct smtp_outcome *o = &rcpt(c, at)->outcome;

    if (c->mail.mail_refused)
        return;
    if (r->code / 100 == 2) {
        c->mail.accepted[at] = true;
        c->mail.accepted_n++;
        return;
    }
    client_outcome_reply(o, r);
    if (means_too_many(r)) {
        o->kind = SMTP_DEFERRED;
        memcpy(o->enhanced, "4.5.3", sizeof("4.5.3"));
    }
}

static void data_answered(struct smtp_client *c, const struct client_reply *r)
{
    struct smtp_outcome o;

    if (r->code == 354 && c->mail.accepted_n > 0) {
        client_phase_set(c, CLIENT_CONTENT);
        client_content_begin(c);
        return;
    }
    if (r->code == 354) { /* RFC 2920 3.1: it wants a message, though for nobody */
        buf_append_str(&c->out, ".\r\n");
        client_phase_set(c, CLIENT_EMPTY);
        return;
    }
    client_outcome_reply(&o, r);
    open_settle(c, &o);
    finish(c, true);
}

/* All that was asked before the content is answered. */
static void envelope_end(struct smtp_client *c)
{
    struct client_mail *t = &c->mail;

    if (t->accepted_n == 0) {
        finish(c, true);
    } else if (t->chunked) {
        client_phase_set(c, CLIENT_CONTENT);
        client_content_begin(c);
    } else {
        commands_send(c);
    }
}

void client_envelope(struct smtp_client *c, const struct client_reply *r)
{
    struct client_mail *t = &c->mail;
    struct smtp_outcome o;
    size_t first = (size_t)t->rset + 1, k = t->answered;

    if (k == t->sent || r->code == 421) {
        client_outcome_reply(&o, r);
        o.kind = SMTP_DEFERRED;
        client_mail_abort(c, &o);
        return;
    }
    if (k < first + t->n ? r->code / 100 == 3 : r->code / 100 < 3 || (r->code / 100 == 3 && r->code != 354)) {
        nonsense(c, r, k < first ? "MAIL" : k < first + t->n ? "RCPT" : "DATA");
        return;
    }
    t->answered++;
    if (k + 1 < first) {
        if (r->code / 100 != 2) {
            nonsense(c, r, "RSET");
            return;
        }
        c->in_transaction = false;
    } else if (k < first) {
        mail_answered(c, r);
    } else if (k < first + t->n) {
        rcpt_answered(c, r, k - first);
    } else {
        data_answered(c, r);
        return;
    }
    bool all = t->answered == first + t->n;
    if (t->sent > t->answered)
        return;
    if (t->mail_refused || all)
        envelope_end(c);
    else
        commands_send(c);
}

void client_empty(struct smtp_client *c, const struct client_reply *r)
{
    c->in_transaction = false;
    finish(c, r->code != 421);
}

void client_final(struct smtp_client *c, const struct client_reply *r)
{
    struct smtp_outcome o;
    bool early = c->phase != CLIENT_FINAL; /* it did not wait for the end: what follows cannot be told apart */

    client_outcome_reply(&o, r);
    if (r->code / 100 == 3 || (early && o.kind == SMTP_DELIVERED)) {
        client_outcome_local(&o, SMTP_DEFERRED, "4.5.0", "the message was answered with %d %s", r->code, r->text);
        o.unsure = !early;
        client_mail_abort(c, &o);
        return;
    }
    c->in_transaction = false;
    open_settle(c, &o);
    relayed_mark(c);
    finish(c, !early && r->code != 421);
}

/* ---- confirmation ---- */

void smtp_client_commit(struct smtp_client *c)
{
    if (c->phase != CLIENT_CONFIRM)
        return;
    client_phase_set(c, CLIENT_FINAL);
    client_content_last(c);
}

void smtp_client_withhold(struct smtp_client *c, const char *why)
{
    struct smtp_outcome o;

    if (c->phase != CLIENT_CONFIRM)
        return;
    buf_clear(&c->out); /* a chunk that is not complete is no message */
    client_outcome_local(&o, SMTP_DEFERRED, "4.3.0", "%s", why);
    client_mail_abort(c, &o);
}
