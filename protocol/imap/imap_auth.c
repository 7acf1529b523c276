/* LOGIN, AUTHENTICATE (RFC 9051 6.2, RFC 4959 SASL-IR) and STARTTLS. */
#include "protocol/imap/imap.h"

#include "node/base/log.h"
#include "protocol/sasl/sasl.h"

struct auth_run {
    struct sasl sasl;
    struct slice user, password; /* LOGIN */
    struct slice mechanism, initial;
    bool has_initial;
    struct backend_auth auth;
};

static bool plaintext_refused(struct imap *im)
{
    if (im->s.peer.tls || !im->s.peer.tls_available)
        return false;
    imap_finish(im, "NO [PRIVACYREQUIRED] Use STARTTLS first");
    return true;
}

static void auth_cleanup(struct imap *im)
{
    struct auth_run *r = im->data;
    if (r->password.p != NULL) /* ours: in the command's text or the arena */
        mem_wipe((void *)(uintptr_t)r->password.p, r->password.n);
    sasl_close(&r->sasl);
}

static struct auth_run *auth_new(struct imap *im)
{
    struct auth_run *r = arena_alloc(&im->arena, sizeof *r);
    im->data = r;
    im->cleanup = auth_cleanup;
    return r;
}

static void auth_refused(struct imap *im)
{
    im->auth_failed_n++;
    log_event(LOG_INFO, "login failed", LOG_S("session", im->s.peer.id), LOG_S("client", im->s.peer.address));
    imap_finish(im, "NO [AUTHENTICATIONFAILED] Wrong user name or password");
    if (im->auth_failed_n >= im->limits->auth_tries_max)
        imap_bye(im, "Too many failed logins");
}

static void auth_done(struct backend_op *op)
{
    struct imap *im = op->owner;
    struct auth_run *r = container_of(op, struct auth_run, auth.op);
    if (!session_op_end(&im->s))
        return;
    if (op->status == ERR_DENIED) {
        auth_refused(im);
        return;
    }
    if (op->status != 0) {
        imap_finish(im, "NO [UNAVAILABLE] Temporarily unavailable, try again later");
        return;
    }
    im->account = r->auth.account;
    im->state = IMAP_AUTHENTICATED;
    memcpy(im->s.user, r->auth.address, sizeof im->s.user);
    log_event(LOG_INFO, "login", LOG_S("session", im->s.peer.id), LOG_S("client", im->s.peer.address),
              LOG_S("user", im->s.user));
    struct buf text = {0};
    imap_capability_write(im, &text);
    imap_finish(im, "OK [%.*s] Logged in", (int)buf_len(&text), (const char *)buf_slice(&text).p);
    buf_close(&text);
}

static void auth_start(struct imap *im, struct slice user, struct slice password)
{
    struct auth_run *r = im->data;
    int64_t wait = im->s.backend->ops->auth_delay_ms(im->s.backend, slice_str(im->s.peer.address));
    if (wait > 0) {
        imap_finish(im, "NO [LIMIT] Too many failed logins, try again in %lld s", (long long)((wait + 999) / 1000));
        return;
    }
    if (user.n == 0 || user.n > SASL_USER_MAX || password.n > SASL_PASSWORD_MAX) {
        auth_refused(im);
        return;
    }
    r->auth.op.done = auth_done;
    r->auth.op.owner = im;
    r->auth.user = user;
    r->auth.password = password;
    r->auth.client = slice_str(im->s.peer.address);
    im->s.blocked = true;
    session_op_begin(&im->s);
    im->s.backend->ops->auth(im->s.backend, &r->auth);
}

bool imap_login_parse(struct imap *im, struct imap_args *a)
{
    struct auth_run *r = auth_new(im);
    imap_args_space(a);
    r->user = imap_args_astring(a);
    imap_args_space(a);
    r->password = imap_args_astring(a);
    return a->error == NULL;
}

void imap_login_run(struct imap *im)
{
    struct auth_run *r = im->data;
    if (!plaintext_refused(im))
        auth_start(im, r->user, r->password);
}

bool imap_authenticate_parse(struct imap *im, struct imap_args *a)
{
    struct auth_run *r = auth_new(im);
    imap_args_space(a);
    r->mechanism = imap_args_atom(a);
    if (a->error == NULL && imap_args_try(a, ' ')) {
        r->has_initial = true;
        r->initial = slice_from(a->in, a->at);
        a->at = a->in.n;
    }
    return a->error == NULL;
}

static void sasl_line(struct imap *im, struct slice line);

static void sasl_step(struct imap *im, enum sasl_result result, struct buf *challenge)
{
    struct auth_run *r = im->data;
    switch (result) {
    case SASL_MORE:
        buf_append_str(&im->s.out, "+ ");
        buf_append_slice(&im->s.out, buf_slice(challenge));
        buf_append_str(&im->s.out, "\r\n");
        if (im->line == NULL)
            imap_input_reset(&im->in);
        im->line = sasl_line;
        im->in.raw = true;
        im->s.blocked = false;
        break;
    case SASL_READY:
        auth_start(im, r->sasl.user, r->sasl.password);
        break;
    case SASL_CANCELED:
        imap_finish_bad(im, "Canceled");
        break;
    case SASL_MALFORMED:
        imap_finish_bad(im, "Malformed response");
        break;
    case SASL_REFUSED:
        imap_finish(im, "NO [AUTHORIZATIONFAILED] Acting for another user is not offered");
        break;
    case SASL_UNKNOWN:
        imap_finish(im, "NO [CANNOT] No such mechanism");
        break;
    }
}

static void sasl_line(struct imap *im, struct slice line)
{
    struct auth_run *r = im->data;
    struct buf challenge = {0};
    enum sasl_result result = sasl_respond(&r->sasl, line, &challenge);
    sasl_step(im, result, &challenge);
    buf_close(&challenge);
}

void imap_authenticate_run(struct imap *im)
{
    struct auth_run *r = im->data;
    if (plaintext_refused(im))
        return;
    struct buf challenge = {0};
    enum sasl_result result = sasl_start(&r->sasl, r->mechanism, r->has_initial, r->initial, &challenge);
    sasl_step(im, result, &challenge);
    buf_close(&challenge);
}

void imap_starttls_run(struct imap *im)
{
    if (im->s.peer.tls || !im->s.peer.tls_available) {
        imap_finish_bad(im, im->s.peer.tls ? "TLS is on already" : "TLS is not available");
        return;
    }
    imap_finish(im, "OK Begin TLS negotiation now");
    im->s.starttls = true;
}
