/* MAIL and RCPT: who sends, who receives (RFC 5321 4.1.1.2, 4.1.1.3). */
#include "protocol/smtp/internal.h"

#include <stdio.h>

/* After "FROM:" or "TO:", with a space there forgiven. 0 or ERR_INVALID. */
static int keyword_take(struct slice *arg, const char *keyword)
{
    struct slice k = slice_str(keyword);

    if (!slice_istarts(*arg, k))
        return ERR_INVALID;
    *arg = slice_trim(slice_from(*arg, k.n));
    return 0;
}

struct mail_params {
    bool utf8, binary;
    uint64_t size;
};

/* One parameter of MAIL. 0, ERR_INVALID (bad value), ERR_NOTFOUND (not known). */
static int mail_param_take(const struct smtp *m, const struct smtp_param *p, struct mail_params *r)
{
    if (slice_ieq(p->name, SLICE_LITERAL("SIZE"))) /* RFC 1870 */
        return p->value.p && p->value.n <= 20 ? slice_u64(p->value, UINT64_MAX, &r->size) : ERR_INVALID;
    if (slice_ieq(p->name, SLICE_LITERAL("BODY"))) { /* RFC 6152, 3030 */
        r->binary = slice_ieq(p->value, SLICE_LITERAL("BINARYMIME"));
        bool known =
            r->binary || slice_ieq(p->value, SLICE_LITERAL("7BIT")) || slice_ieq(p->value, SLICE_LITERAL("8BITMIME"));
        return known ? 0 : ERR_INVALID;
    }
    if (slice_ieq(p->name, SLICE_LITERAL("SMTPUTF8"))) { /* RFC 6531 */
        r->utf8 = true;
        return p->value.p ? ERR_INVALID : 0;
    }
    if (slice_ieq(p->name, SLICE_LITERAL("AUTH")) && smtp_knows_auth(m)) /* RFC 4954 5: taken, not believed */
        return p->value.p ? 0 : ERR_INVALID;
    return ERR_NOTFOUND;
}

static bool mail_params_take(struct smtp *m, struct slice in, struct mail_params *r)
{
    struct smtp_param params[SMTP_PARAMS_MAX];
    size_t n = 0;

    if (smtp_params_parse(in, params, SMTP_PARAMS_MAX, &n) != 0) {
        smtp_reply(m, 501, "5.5.4", "Malformed parameters");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        int rv = mail_param_take(m, &params[i], r);
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

static bool size_admitted(struct smtp *m, uint64_t size)
{
    if (size > m->limits->message_max) {
        smtp_reply(m, 552, "5.3.4", "Messages of at most %zu octets are taken", m->limits->message_max);
        return false;
    }
    int rv = m->session.backend->ops->admit(m->session.backend, size);
    if (rv == ERR_NOSPACE)
        smtp_reply(m, 452, "4.3.1", "Not enough storage, try again later");
    else if (rv != 0)
        smtp_reply(m, 451, "4.3.2", "Busy, try again later");
    return rv == 0;
}

static bool path_take(struct smtp *m, struct slice *arg, enum smtp_path_kind kind, struct smtp_path *path)
{
    size_t used = 0;
    enum smtp_path_status status = smtp_path_parse(*arg, kind, path, &used);
    const char *enhanced = kind == SMTP_PATH_RETURN ? "5.1.7" : "5.1.3";

    if (status == SMTP_PATH_TOO_LONG)
        smtp_reply(m, 501, enhanced, "Address too long");
    else if (status != SMTP_PATH_OK)
        smtp_reply(m, 501, enhanced, "Malformed address");
    *arg = slice_from(*arg, used);
    return status == SMTP_PATH_OK;
}

static void transaction_begin(struct smtp *m, const struct smtp_path *path, const struct mail_params *params)
{
    struct smtp_transaction *t = &m->tx;

    t->open = true;
    t->utf8 = params->utf8;
    t->binary = params->binary;
    t->sender = arena_str(&t->arena, slice_make(path->address, path->n));
    snprintf(t->id, sizeof(t->id), "%s.%llx", m->session.peer.id, (unsigned long long)++m->transactions);
}

void smtp_mail_run(struct smtp *m, struct slice arg)
{
    struct smtp_path path;
    struct mail_params params = {0};

    if (m->tx.open) {
        smtp_reply(m, 503, "5.5.1", "A transaction is open: say RSET to drop it");
        return;
    }
    if (keyword_take(&arg, "FROM:") != 0) {
        smtp_reply(m, 501, "5.5.4", "Say MAIL FROM:<address>");
        return;
    }
    if (!path_take(m, &arg, SMTP_PATH_RETURN, &path) || !mail_params_take(m, arg, &params))
        return;
    if (path.utf8 && !params.utf8)
        smtp_reply(m, 553, "5.6.7", "Address needs SMTPUTF8");
    else if (size_admitted(m, params.size)) {
        transaction_begin(m, &path, &params);
        smtp_reply(m, 250, "2.1.0", "Ok");
    }
}

static void recipient_add(struct smtp_transaction *t, const struct smtp_path *path, const struct recipient *r)
{
    if (t->recipient_n == t->recipient_cap) {
        t->recipient_cap = t->recipient_cap ? t->recipient_cap * 2 : 8;
        t->recipients = mem_realloc(t->recipients, t->recipient_cap * sizeof(*t->recipients));
    }
    if (t->account_n + r->n > t->account_cap) {
        t->account_cap = t->account_cap * 2 + r->n + 8;
        t->accounts = mem_realloc(t->accounts, t->account_cap * sizeof(*t->accounts));
    }
    t->recipients[t->recipient_n++] = (struct smtp_recipient){
        .address = arena_str(&t->arena, slice_make(path->address, path->n)), .first = t->account_n, .n = r->n};
    memcpy(t->accounts + t->account_n, r->accounts, r->n * sizeof(*t->accounts));
    t->account_n += r->n;
}

static void recipient_answer(struct smtp *m, const struct smtp_path *path, const struct recipient *r)
{
    switch (r->kind) {
    case RECIPIENT_LOCAL:
        if (m->tx.account_n + r->n > DELIVERY_ACCOUNTS_MAX) { /* few recipients, but of aliases with many targets */
            smtp_reply(m, 452, "4.5.3", "Too many recipients, send the rest separately");
            break;
        }
        recipient_add(&m->tx, path, r);
        smtp_reply(m, 250, "2.1.5", "Ok");
        break;
    case RECIPIENT_UNKNOWN:
        smtp_reply(m, 550, "5.1.1", "<%s> no such user here", path->address);
        break;
    case RECIPIENT_FOREIGN:
        smtp_reply(m, 550, "5.7.1", "<%s> relaying denied: not a domain of this server", path->address);
        break;
    case RECIPIENT_LOCKED:
        smtp_reply(m, 550, "5.2.1", "<%s> mailbox is locked", path->address);
        break;
    case RECIPIENT_OVERQUOTA:
        smtp_reply(m, 452, "4.2.2", "<%s> mailbox is full", path->address);
        break;
    case RECIPIENT_UNSURE:
        smtp_reply(m, 451, "4.3.0", "<%s> cannot be checked now, try again later", path->address);
        break;
    }
}

static void recipient_resolve(struct smtp *m, const struct smtp_path *path, struct recipient *r)
{
    *r = (struct recipient){.kind = RECIPIENT_UNSURE};
    m->session.backend->ops->recipient(m->session.backend, slice_make(path->address, path->n), r);
    ENSURE(r->n <= RECIPIENT_ACCOUNTS_MAX);
}

/* A refusal that waited for the cluster's latest state. */
struct recheck {
    struct backend_sync sync;
    struct smtp *session;
    struct smtp_path path;
};

static void recheck_done(struct backend_op *op)
{
    struct recheck *c = op->owner;
    struct smtp *m = c->session;
    struct recipient r;

    if (session_op_end(&m->session)) {
        recipient_resolve(m, &c->path, &r);
        if (op->status != 0)
            r.kind = RECIPIENT_UNSURE;
        recipient_answer(m, &c->path, &r);
        smtp_resume(m);
        m->session.host->wake(m->session.host);
    }
    mem_free(c);
}

/* This node may be a moment behind: a user made through another node is not refused (DESIGN section 1, promise 4). Only
 * refusals pay for the read barrier. */
static void recipient_decide(struct smtp *m, const struct smtp_path *path)
{
    struct recipient r;

    recipient_resolve(m, path, &r);
    if (r.kind == RECIPIENT_LOCAL) {
        recipient_answer(m, path, &r);
        return;
    }
    struct recheck *c = mem_zalloc(sizeof *c);
    *c = (struct recheck){.sync.op = {.done = recheck_done, .owner = c}, .session = m, .path = *path};
    smtp_mode_set(m, SMTP_MODE_WAIT);
    session_op_begin(&m->session);
    m->session.backend->ops->sync(m->session.backend, &c->sync);
}

void smtp_rcpt_run(struct smtp *m, struct slice arg)
{
    struct smtp_path path;
    struct smtp_param param;
    size_t n = 0;

    if (!m->tx.open || m->tx.chunked) {
        smtp_reply(m, 503, "5.5.1", m->tx.open ? "Not after BDAT" : "Say MAIL first");
        return;
    }
    if (keyword_take(&arg, "TO:") != 0) {
        smtp_reply(m, 501, "5.5.4", "Say RCPT TO:<address>");
        return;
    }
    if (!path_take(m, &arg, SMTP_PATH_FORWARD, &path))
        return;
    if (smtp_params_parse(arg, &param, 1, &n) != 0 || n > 0)
        smtp_reply(m, 555, "5.5.4", "RCPT takes no parameters here");
    else if (path.utf8 && !m->tx.utf8)
        smtp_reply(m, 553, "5.6.7", "Address needs SMTPUTF8");
    else if (m->tx.recipient_n >= m->limits->recipients_max)
        smtp_reply(m, 452, "4.5.3", "Too many recipients, send the rest separately");
    else
        recipient_decide(m, &path);
}
