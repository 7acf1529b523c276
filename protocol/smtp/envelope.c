/* MAIL and RCPT: who sends, who receives (RFC 5321 4.1.1.2, 4.1.1.3). */
#include "protocol/smtp/internal.h"

#include "node/base/log.h"

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

static void mail_accept(struct smtp *m)
{
    struct smtp_transaction *t = &m->tx;

    t->open = true;
    snprintf(t->id, sizeof(t->id), "%s.%llx", m->session.peer.id, (unsigned long long)++m->transactions);
    smtp_reply(m, 250, "2.1.0", "Ok");
}

static void sender_rechecked(struct backend_op *op)
{
    struct smtp *m = op->owner;

    if (!session_op_end(&m->session))
        return;
    if (smtp_sender_allowed(m, slice_str(m->tx.sender))) {
        mail_accept(m);
    } else {
        if (op->status != 0)
            smtp_reply(m, 451, "4.3.0", "<%s> cannot be checked now, try again later", m->tx.sender);
        else
            smtp_reply(m, 553, "5.7.1", "<%s> is not an address of %s", m->tx.sender, m->session.user);
        smtp_transaction_reset(m);
    }
    smtp_resume(m);
    m->session.host->wake(m->session.host);
}

/* The transaction as MAIL wants it, not open yet. Replies and returns false when it may not be. */
static bool mail_take(struct smtp *m, struct slice arg)
{
    struct smtp_path path;

    if (!path_take(m, &arg, SMTP_PATH_RETURN, &path) || !smtp_mail_params_take(m, arg))
        return false;
    if (path.utf8 && !m->tx.params.utf8) {
        smtp_reply(m, 553, "5.6.7", "Address needs SMTPUTF8");
        return false;
    }
    m->tx.sender = arena_str(&m->tx.arena, slice_make(path.address, path.n));
    return size_admitted(m, m->tx.params.size);
}

void smtp_mail_run(struct smtp *m, struct slice arg)
{
    if (m->tx.open)
        smtp_reply(m, 503, "5.5.1", "A transaction is open: say RSET to drop it");
    else if (keyword_take(&arg, "FROM:") != 0)
        smtp_reply(m, 501, "5.5.4", "Say MAIL FROM:<address>");
    else if (!mail_take(m, arg))
        smtp_transaction_reset(m);
    else if (smtp_sender_allowed(m, slice_str(m->tx.sender)))
        mail_accept(m);
    else /* this node may be a moment behind, as with recipients */
        smtp_sync(m, sender_rechecked);
}

/* ---- recipients ---- */

/* The domain's case says nothing, the local part's may (RFC 5321 2.4). */
static bool address_same(struct slice a, struct slice b)
{
    size_t at = a.n;

    while (at > 0 && a.p[at - 1] != '@')
        at--;
    return a.n == b.n && slice_eq(slice_first(a, at), slice_first(b, at)) &&
           slice_ieq(slice_from(a, at), slice_from(b, at));
}

/* One address twice is one recipient: the first one's parameters hold. */
static void foreign_add(struct smtp_transaction *t, struct slice address, struct slice orcpt, uint32_t notify)
{
    for (size_t i = 0; i < t->foreign_n; i++)
        if (address_same(t->foreign[i].address, address))
            return;
    if (t->foreign_n == t->foreign_cap) {
        t->foreign_cap = t->foreign_cap ? t->foreign_cap * 2 : 8;
        t->foreign = mem_realloc(t->foreign, t->foreign_cap * sizeof(*t->foreign));
    }
    t->foreign[t->foreign_n++] =
        (struct foreign_recipient){.address = arena_copy(&t->arena, address), .orcpt = orcpt, .notify = notify};
}

static void accounts_add(struct smtp_transaction *t, const uint64_t *accounts, size_t n)
{
    if (t->account_n + n > t->account_cap) {
        t->account_cap = t->account_cap * 2 + n + 8;
        t->accounts = mem_realloc(t->accounts, t->account_cap * sizeof(*t->accounts));
    }
    if (n > 0)
        memcpy(t->accounts + t->account_n, accounts, n * sizeof(*t->accounts));
    t->account_n += n;
}

/* A recipient as RCPT named it, and what is known of it. */
struct candidate {
    struct smtp_path path;
    struct smtp_rcpt_params params;
};

static void recipient_add(struct smtp_transaction *t, const struct candidate *c, const struct recipient *r)
{
    struct slice address = slice_make(c->path.address, c->path.n), rest = slice_make(r->foreign, r->foreign_bytes);

    if (t->recipient_n == t->recipient_cap) {
        t->recipient_cap = t->recipient_cap ? t->recipient_cap * 2 : 8;
        t->recipients = mem_realloc(t->recipients, t->recipient_cap * sizeof(*t->recipients));
    }
    t->recipients[t->recipient_n++] =
        (struct smtp_recipient){.address = arena_str(&t->arena, address),
                                .first = t->account_n,
                                .n = r->n,
                                .foreign = r->kind == RECIPIENT_FOREIGN || r->foreign_n > 0};
    accounts_add(t, r->accounts, r->n);
    struct slice orcpt = arena_copy(&t->arena, slice_make(c->params.orcpt, c->params.orcpt_n));
    if (r->kind == RECIPIENT_FOREIGN)
        foreign_add(t, address, orcpt, c->params.notify);
    for (unsigned i = 0; i < r->foreign_n && rest.n > 0; i++) {
        struct slice target = slice_first(rest, slice_find(rest, 0));
        foreign_add(t, target, orcpt, c->params.notify);
        rest = slice_from(rest, target.n + 1);
    }
}

/* Few recipients, but of aliases with many targets, may still be more than one write takes. */
static bool recipient_fits(const struct smtp_transaction *t, const struct recipient *r)
{
    size_t foreign = r->foreign_n + (r->kind == RECIPIENT_FOREIGN);

    return t->account_n + r->n <= DELIVERY_ACCOUNTS_MAX && t->foreign_n + foreign <= DELIVERY_FOREIGN_MAX;
}

static void recipient_accept(struct smtp *m, const struct candidate *c, const struct recipient *r)
{
    if (recipient_fits(&m->tx, r)) {
        recipient_add(&m->tx, c, r);
        smtp_reply(m, 250, "2.1.5", "Ok");
    } else {
        smtp_reply(m, 452, "4.5.3", "Too many recipients, send the rest separately");
    }
}

/* Who tries many names is looking for the ones that exist. LMTP's clients are our own, and only pass on. */
static void count_refused(struct smtp *m)
{
    if (m->kind == SMTP_LMTP || ++m->refused <= SMTP_REFUSED_MAX)
        return;
    log_event(LOG_INFO, "too many refused recipients", LOG_S("session", m->session.peer.id),
              LOG_S("client", m->session.peer.address));
    smtp_close_with(m, "4.7.0", "Too many refused recipients, closing");
}

static bool recipient_acceptable(const struct smtp *m, const struct recipient *r)
{
    return r->kind == RECIPIENT_LOCAL || (r->kind == RECIPIENT_FOREIGN && smtp_submits(m));
}

static void recipient_refuse(struct smtp *m, const char *address, enum recipient_kind kind)
{
    switch (kind) {
    case RECIPIENT_UNKNOWN:
        smtp_reply(m, 550, "5.1.1", "<%s> no such user here", address);
        count_refused(m);
        break;
    case RECIPIENT_FOREIGN:
        smtp_reply(m, 550, "5.7.1", "<%s> relaying denied: not a domain of this server", address);
        count_refused(m);
        break;
    case RECIPIENT_LOCKED:
        smtp_reply(m, 550, "5.2.1", "<%s> mailbox is locked", address);
        count_refused(m);
        break;
    case RECIPIENT_OVERQUOTA:
        smtp_reply(m, 452, "4.2.2", "<%s> mailbox is full", address);
        break;
    case RECIPIENT_LOCAL:
    case RECIPIENT_UNSURE:
        smtp_reply(m, 451, "4.3.0", "<%s> cannot be checked now, try again later", address);
        break;
    }
}

static void recipient_answer(struct smtp *m, const struct candidate *c, const struct recipient *r)
{
    if (recipient_acceptable(m, r))
        recipient_accept(m, c, r);
    else
        recipient_refuse(m, c->path.address, r->kind);
}

static void recipient_resolve(struct smtp *m, const struct smtp_path *path, struct recipient *r)
{
    r->kind = RECIPIENT_UNSURE;
    r->n = r->foreign_n = 0;
    r->foreign_bytes = 0;
    m->session.backend->ops->recipient(m->session.backend, slice_make(path->address, path->n), r);
    ENSURE(r->n <= RECIPIENT_ACCOUNTS_MAX && r->foreign_bytes <= sizeof(r->foreign));
}

/* A refusal that waited for the cluster's latest state. */
struct recheck {
    struct backend_sync sync;
    struct smtp *session;
    struct candidate candidate;
};

static void recheck_done(struct backend_op *op)
{
    struct recheck *c = op->owner;
    struct smtp *m = c->session;
    struct recipient r;

    if (session_op_end(&m->session)) {
        recipient_resolve(m, &c->candidate.path, &r);
        if (op->status != 0)
            r.kind = RECIPIENT_UNSURE;
        recipient_answer(m, &c->candidate, &r);
        smtp_resume(m);
        m->session.host->wake(m->session.host);
    }
    mem_free(c);
}

/* This node may be a moment behind: a user made through another node is not refused (DESIGN section 1, promise 4). Only
 * refusals pay for the read barrier. */
static void recipient_decide(struct smtp *m, const struct candidate *candidate)
{
    struct recipient r;

    recipient_resolve(m, &candidate->path, &r);
    if (recipient_acceptable(m, &r)) {
        recipient_answer(m, candidate, &r);
        return;
    }
    struct recheck *c = mem_zalloc(sizeof *c);
    *c = (struct recheck){.sync.op = {.done = recheck_done, .owner = c}, .session = m, .candidate = *candidate};
    smtp_mode_set(m, SMTP_MODE_WAIT);
    session_op_begin(&m->session);
    m->session.backend->ops->sync(m->session.backend, &c->sync);
}

void smtp_rcpt_run(struct smtp *m, struct slice arg)
{
    struct candidate c;

    if (!m->tx.open || m->tx.chunked) {
        smtp_reply(m, 503, "5.5.1", m->tx.open ? "Not after BDAT" : "Say MAIL first");
        return;
    }
    if (keyword_take(&arg, "TO:") != 0) {
        smtp_reply(m, 501, "5.5.4", "Say RCPT TO:<address>");
        return;
    }
    if (!path_take(m, &arg, SMTP_PATH_FORWARD, &c.path) || !smtp_rcpt_params_take(m, arg, &c.params))
        return;
    if (c.path.utf8 && !m->tx.params.utf8)
        smtp_reply(m, 553, "5.6.7", "Address needs SMTPUTF8");
    else if (m->tx.recipient_n >= m->limits->recipients_max)
        smtp_reply(m, 452, "4.5.3", "Too many recipients, send the rest separately");
    else
        recipient_decide(m, &c);
}
