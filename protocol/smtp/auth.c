/* AUTH (RFC 4954): only on submission, only under TLS. */
#include "protocol/smtp/internal.h"

#include "node/base/log.h"

#include <stdio.h>

static void auth_refused(struct smtp *m, int code, const char *enhanced, const char *text)
{
    smtp_reply(m, code, enhanced, "%s", text);
    if (++m->auth_tries < m->limits->auth_tries_max)
        return;
    smtp_close_with(m, "4.7.0", "Too many failed logins, closing");
}

static void auth_succeeded(struct smtp *m)
{
    m->authenticated = true;
    m->account = m->auth.account;
    snprintf(m->session.user, sizeof(m->session.user), "%s", m->auth.address);
    log_event(LOG_INFO, "login", LOG_S("session", m->session.peer.id), LOG_S("user", m->session.user),
              LOG_S("client", m->session.peer.address));
    smtp_reply(m, 235, "2.7.0", "Authenticated");
}

static void auth_done(struct backend_op *op)
{
    struct smtp *m = op->owner;

    if (!session_op_end(&m->session))
        return;
    if (op->status == 0) {
        auth_succeeded(m);
    } else if (op->status == ERR_DENIED) {
        log_event(LOG_INFO, "login failed", LOG_S("session", m->session.peer.id),
                  LOG_S("client", m->session.peer.address));
        auth_refused(m, 535, "5.7.8", "Name or password is wrong");
    } else {
        smtp_reply(m, 454, "4.7.0", "Cannot check passwords now, try again later");
    }
    smtp_resume(m);
    m->session.host->wake(m->session.host);
}

static void password_check(struct smtp *m)
{
    struct backend *b = m->session.backend;
    int64_t delay = b->ops->auth_delay_ms(b, slice_str(m->session.peer.address));

    if (delay > 0) {
        sasl_close(&m->sasl);
        smtp_reply(m, 454, "4.7.0", "Too many failed logins, try again in %lld s", (long long)(delay + 999) / 1000);
        smtp_resume(m);
        return;
    }
    m->auth = (struct backend_auth){.op = {.done = auth_done, .owner = m},
                                    .user = m->sasl.user,
                                    .password = m->sasl.password,
                                    .client = slice_str(m->session.peer.address)};
    smtp_mode_set(m, SMTP_MODE_WAIT);
    session_op_begin(&m->session);
    b->ops->auth(b, &m->auth);
    m->auth.user = m->auth.password = (struct slice){NULL, 0};
    sasl_close(&m->sasl);
}

static void exchange_step(struct smtp *m, enum sasl_result result, struct buf *challenge)
{
    if (result == SASL_MORE) {
        struct slice c = buf_slice(challenge);
        smtp_reply(m, 334, NULL, "%.*s", (int)c.n, c.p ? (const char *)c.p : "");
        if (m->mode != SMTP_MODE_AUTH)
            smtp_mode_set(m, SMTP_MODE_AUTH);
        return;
    }
    if (result == SASL_READY) {
        password_check(m);
        return;
    }
    if (result == SASL_CANCELED)
        smtp_reply(m, 501, "5.7.0", "Authentication canceled");
    else if (result == SASL_UNKNOWN)
        smtp_reply(m, 504, "5.5.4", "Mechanisms are " SASL_MECHANISMS);
    else if (result == SASL_REFUSED)
        auth_refused(m, 535, "5.7.8", "Acting for another user is not offered");
    else
        auth_refused(m, 501, "5.5.2", "Malformed response");
    smtp_resume(m);
}

void smtp_auth_run(struct smtp *m, struct slice arg)
{
    struct slice mechanism = slice_first(arg, slice_find(arg, ' '));
    struct slice initial = slice_trim(slice_from(arg, mechanism.n));
    struct buf challenge = {0};

    if (!smtp_knows_auth(m))
        smtp_reply(m, 502, "5.5.1", "AUTH is not offered here");
    else if (m->authenticated)
        smtp_reply(m, 503, "5.5.1", "Authenticated already");
    else if (!m->session.peer.tls)
        smtp_reply(m, 538, "5.7.11", "Say STARTTLS first: no passwords in the clear");
    else if (m->tx.open)
        smtp_reply(m, 503, "5.5.1", "Not in a transaction");
    else if (mechanism.n == 0)
        smtp_reply(m, 501, "5.5.4", "Say AUTH and a mechanism: " SASL_MECHANISMS);
    else
        exchange_step(m, sasl_start(&m->sasl, mechanism, initial.n > 0, initial, &challenge), &challenge);
    buf_close(&challenge);
}

void smtp_auth_line(struct smtp *m, struct slice line)
{
    struct buf challenge = {0};

    exchange_step(m, sasl_respond(&m->sasl, line, &challenge), &challenge);
    buf_close(&challenge);
}
