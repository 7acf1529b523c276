/* USER and PASS, AUTH (RFC 5034), and taking the maildrop. */
#include "protocol/pop3/internal.h"

#include "node/base/log.h"

#include <stdio.h>

/* ---- the maildrop ---- */

static bool message_add(void *arg, const struct message_info *info)
{
    struct pop3 *p = arg;

    if (p->message_n == p->message_cap) {
        p->message_cap = p->message_cap ? p->message_cap * 2 : 64;
        p->messages = mem_realloc(p->messages, p->message_cap * sizeof(*p->messages));
    }
    p->messages[p->message_n++] = (struct pop3_message){.uid = info->uid, .size = info->size};
    return true;
}

static int maildrop_take(struct pop3 *p)
{
    struct backend_view *v = p->session.backend->ops->view_open(p->session.backend);
    struct mailbox_info *info = mem_alloc(sizeof(*info));
    int rv = v->ops->mailbox_find(v, p->account, SLICE_LITERAL("INBOX"), info);

    if (rv == 0) {
        p->mailbox = info->id;
        p->uidvalidity = info->uidvalidity;
        v->ops->message_each(v, p->mailbox, 1, UINT32_MAX, message_add, p);
    }
    mem_free(info);
    v->ops->close(v);
    return rv;
}

static void sync_done(struct backend_op *op)
{
    struct pop3 *p = op->owner;
    uint64_t octets = 0;

    if (!session_op_end(&p->session))
        return;
    if (op->status != 0 || maildrop_take(p) != 0) {
        pop3_err(p, "[SYS/TEMP] ", "Mailbox cannot be opened now, try again later");
        p->session.user[0] = '\0';
        pop3_resume(p, POP3_AUTHORIZATION);
    } else {
        for (size_t i = 0; i < p->message_n; i++)
            octets += p->messages[i].size;
        pop3_ok(p, "%zu messages, %llu octets", p->message_n, (unsigned long long)octets);
        pop3_resume(p, POP3_TRANSACTION);
    }
    p->session.host->wake(p->session.host);
}

/* ---- the password ---- */

static void auth_refused(struct pop3 *p, const char *code, const char *text)
{
    pop3_err(p, code, text);
    if (++p->auth_tries >= p->limits->auth_tries_max)
        pop3_move(p, POP3_CLOSING);
}

static void logged_in(struct pop3 *p)
{
    p->account = p->auth.account;
    snprintf(p->session.user, sizeof(p->session.user), "%s", p->auth.address);
    log_event(LOG_INFO, "login", LOG_S("session", p->session.peer.id), LOG_S("user", p->session.user),
              LOG_S("client", p->session.peer.address));
    p->sync = (struct backend_sync){.op = {.done = sync_done, .owner = p}};
    session_op_begin(&p->session);
    p->session.backend->ops->sync(p->session.backend, &p->sync);
}

static void auth_done(struct backend_op *op)
{
    struct pop3 *p = op->owner;

    if (!session_op_end(&p->session))
        return;
    if (op->status == 0) {
        logged_in(p);
        return;
    }
    if (op->status == ERR_DENIED) {
        log_event(LOG_INFO, "login failed", LOG_S("session", p->session.peer.id),
                  LOG_S("client", p->session.peer.address));
        auth_refused(p, "[AUTH] ", "Name or password is wrong");
    } else {
        pop3_err(p, "[SYS/TEMP] ", "Cannot check passwords now, try again later");
    }
    pop3_resume(p, POP3_AUTHORIZATION);
    p->session.host->wake(p->session.host);
}

static void password_check(struct pop3 *p, struct slice user, struct slice password)
{
    struct backend *b = p->session.backend;
    int64_t delay = b->ops->auth_delay_ms(b, slice_str(p->session.peer.address));
    char text[80];

    if (delay > 0) {
        snprintf(text, sizeof(text), "Too many failed logins, try again in %lld s", (long long)(delay + 999) / 1000);
        pop3_err(p, "[SYS/TEMP] ", text);
        pop3_resume(p, POP3_AUTHORIZATION);
        return;
    }
    p->auth = (struct backend_auth){.op = {.done = auth_done, .owner = p},
                                    .user = user,
                                    .password = password,
                                    .client = slice_str(p->session.peer.address)};
    pop3_move(p, POP3_LOGIN);
    session_op_begin(&p->session);
    b->ops->auth(b, &p->auth);
    p->auth.user = p->auth.password = (struct slice){NULL, 0};
}

static bool clear_refused(struct pop3 *p)
{
    if (!pop3_password_allowed(p))
        pop3_err(p, "[SYS/PERM] ", "Say STLS first: no passwords in the clear");
    return !pop3_password_allowed(p);
}

void pop3_user_run(struct pop3 *p, struct slice arg)
{
    struct slice name = slice_trim(arg);

    if (clear_refused(p))
        return;
    p->name[0] = '\0';
    if (name.n == 0 || name.n > SASL_USER_MAX) {
        pop3_err(p, "", "Say USER and your address");
        return;
    }
    memcpy(p->name, name.p, name.n);
    p->name[name.n] = '\0';
    pop3_ok(p, "Say PASS"); /* for every name: who exists is not told */
}

void pop3_pass_run(struct pop3 *p, struct slice arg)
{
    if (clear_refused(p))
        return;
    if (p->name[0] == '\0') {
        pop3_err(p, "", "Say USER first");
        return;
    }
    if (arg.n == 0 || arg.n > SASL_PASSWORD_MAX) {
        auth_refused(p, "[AUTH] ", "Name or password is wrong");
        return;
    }
    password_check(p, slice_str(p->name), arg);
    p->name[0] = '\0';
}

/* ---- AUTH ---- */

static void exchange_step(struct pop3 *p, enum sasl_result result, struct buf *challenge)
{
    if (result == SASL_MORE) {
        struct slice c = buf_slice(challenge);
        buf_append_str(&p->session.out, "+ ");
        buf_append_slice(&p->session.out, c);
        buf_append_str(&p->session.out, "\r\n");
        pop3_move(p, POP3_AUTH);
        return;
    }
    if (result == SASL_READY) {
        password_check(p, p->sasl.user, p->sasl.password);
        sasl_close(&p->sasl);
        return;
    }
    if (result == SASL_CANCELED)
        pop3_err(p, "", "Authentication canceled");
    else if (result == SASL_UNKNOWN)
        pop3_err(p, "", "Mechanisms are " SASL_MECHANISMS);
    else if (result == SASL_REFUSED)
        auth_refused(p, "[AUTH] ", "Acting for another user is not offered");
    else
        auth_refused(p, "", "Malformed response");
    pop3_resume(p, POP3_AUTHORIZATION);
}

void pop3_auth_run(struct pop3 *p, struct slice arg)
{
    struct slice mechanism = slice_first(arg, slice_find(arg, ' '));
    struct slice initial = slice_trim(slice_from(arg, mechanism.n));
    struct buf challenge = {0};

    if (mechanism.n == 0) /* older than CAPA, and still asked */
        buf_append_str(&p->session.out, pop3_password_allowed(p) ? "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n" : "+OK\r\n.\r\n");
    else if (!clear_refused(p))
        exchange_step(p, sasl_start(&p->sasl, mechanism, initial.n > 0, initial, &challenge), &challenge);
    buf_close(&challenge);
}

void pop3_auth_line(struct pop3 *p, struct slice line)
{
    struct buf challenge = {0};

    exchange_step(p, sasl_respond(&p->sasl, line, &challenge), &challenge);
    buf_close(&challenge);
}
