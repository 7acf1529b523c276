/* Parameters of MAIL and RCPT: strict, each once, those that we announced and no others. */
#include "protocol/smtp/internal.h"

static bool body_take(struct slice value, struct smtp_mail_params *r)
{
    r->binary = slice_ieq(value, SLICE_LITERAL("BINARYMIME"));
    return r->binary || slice_ieq(value, SLICE_LITERAL("7BIT")) || slice_ieq(value, SLICE_LITERAL("8BITMIME"));
}

static bool ret_take(struct slice value, struct smtp_mail_params *r)
{
    r->ret_full = slice_ieq(value, SLICE_LITERAL("FULL"));
    r->ret_headers = slice_ieq(value, SLICE_LITERAL("HDRS"));
    return r->ret_full || r->ret_headers;
}

static bool envid_take(struct smtp *m, struct slice value, struct smtp_mail_params *r)
{
    struct buf plain = {0};
    bool ok = smtp_envid_parse(value, &plain) == 0;

    if (ok)
        r->envid = arena_copy(&m->tx.arena, buf_slice(&plain));
    buf_close(&plain);
    return ok;
}

/* 0, ERR_INVALID (bad value), ERR_NOTFOUND (not known). */
static int mail_param_take(struct smtp *m, const struct smtp_param *p)
{
    struct smtp_mail_params *r = &m->tx.params;
    bool ok;

    if (slice_ieq(p->name, SLICE_LITERAL("SIZE"))) /* RFC 1870 */
        ok = p->value.p && p->value.n <= 20 && slice_u64(p->value, UINT64_MAX, &r->size) == 0;
    else if (slice_ieq(p->name, SLICE_LITERAL("BODY"))) /* RFC 6152, 3030 */
        ok = body_take(p->value, r);
    else if (slice_ieq(p->name, SLICE_LITERAL("SMTPUTF8"))) /* RFC 6531 */
        ok = r->utf8 = !p->value.p;
    else if (slice_ieq(p->name, SLICE_LITERAL("RET"))) /* RFC 3461 4.3 */
        ok = ret_take(p->value, r);
    else if (slice_ieq(p->name, SLICE_LITERAL("ENVID"))) /* RFC 3461 4.4 */
        ok = envid_take(m, p->value, r);
    else if (slice_ieq(p->name, SLICE_LITERAL("AUTH")) && smtp_knows_auth(m)) /* RFC 4954 5: taken, not believed */
        ok = p->value.p;
    else
        return ERR_NOTFOUND;
    return ok ? 0 : ERR_INVALID;
}

static int rcpt_param_take(struct smtp *m, const struct smtp_param *p, struct smtp_rcpt_params *r)
{
    struct buf plain = {0};
    int rv;

    if (slice_ieq(p->name, SLICE_LITERAL("NOTIFY"))) /* RFC 3461 4.1 */
        return smtp_notify_parse(p->value, &r->notify);
    if (!slice_ieq(p->name, SLICE_LITERAL("ORCPT"))) /* RFC 3461 4.2 */
        return ERR_NOTFOUND;
    rv = smtp_orcpt_parse(p->value, m->tx.params.utf8, &plain);
    if (rv == 0 && buf_len(&plain) <= sizeof(r->orcpt)) { /* the plain form is never longer */
        r->orcpt_n = buf_len(&plain);
        memcpy(r->orcpt, buf_slice(&plain).p, r->orcpt_n);
    }
    buf_close(&plain);
    return rv;
}

static bool params_take(struct smtp *m, struct slice in, struct smtp_rcpt_params *rcpt)
{
    struct smtp_param params[SMTP_PARAMS_MAX];
    size_t n = 0;

    if (smtp_params_parse(in, params, SMTP_PARAMS_MAX, &n) != 0) { /* duplicates, too */
        smtp_reply(m, 501, "5.5.4", "Malformed parameters");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        int rv = rcpt ? rcpt_param_take(m, &params[i], rcpt) : mail_param_take(m, &params[i]);
        int name_n = params[i].name.n > 40 ? 40 : (int)params[i].name.n;
        if (rv == ERR_NOTFOUND)
            smtp_reply(m, 555, "5.5.4", "Parameter %.*s is not known", name_n, (const char *)params[i].name.p);
        else if (rv != 0)
            smtp_reply(m, 501, "5.5.4", "Bad value of %.*s", name_n, (const char *)params[i].name.p);
        if (rv != 0)
            return false;
    }
    return true;
}

bool smtp_mail_params_take(struct smtp *m, struct slice in)
{
    return params_take(m, in, NULL);
}

bool smtp_rcpt_params_take(struct smtp *m, struct slice in, struct smtp_rcpt_params *r)
{
    r->notify = 0;
    r->orcpt_n = 0;
    return params_take(m, in, r);
}
