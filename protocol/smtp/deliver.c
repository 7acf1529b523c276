/* DATA and BDAT, the checks of a whole message, and its delivery. */
#include "protocol/smtp/internal.h"

#include "node/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- DATA ---- */

static bool admitted(struct smtp *m)
{
    int rv = m->session.backend->ops->admit(m->session.backend, 0);

    if (rv == ERR_NOSPACE)
        smtp_reply(m, 452, "4.3.1", "Not enough storage, try again later");
    else if (rv != 0)
        smtp_reply(m, 451, "4.3.2", "Busy, try again later");
    return rv == 0;
}

/* Replies and returns false when no message may begin now. */
static bool recipients_ready(struct smtp *m)
{
    if (!m->tx.open)
        smtp_reply(m, 503, "5.5.1", "Say MAIL first");
    else if (m->tx.recipient_n == 0) /* RFC 2033 4.2 wants 503 */
        smtp_reply(m, m->kind == SMTP_LMTP ? 503 : 554, "5.5.1", "No valid recipients");
    return m->tx.open && m->tx.recipient_n > 0;
}

void smtp_data_run(struct smtp *m, struct slice arg)
{
    if (arg.n > 0) {
        smtp_reply(m, 501, "5.5.4", "DATA takes no argument");
        return;
    }
    if (m->tx.params.binary || m->tx.chunked) {
        smtp_reply(m, 503, "5.5.1", "Use BDAT for this message");
        return;
    }
    if (!recipients_ready(m) || !admitted(m))
        return;
    smtp_content_begin(&m->content, m->limits->message_max, false);
    smtp_reply(m, 354, NULL, "End with <CRLF>.<CRLF>");
    smtp_mode_set(m, SMTP_MODE_DATA);
}

void smtp_message_refuse(struct smtp *m, int code, const char *enhanced, const char *format, ...)
{
    size_t n = m->kind == SMTP_LMTP ? m->tx.recipient_n : 1;
    char text[512 + SMTP_ADDRESS_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (size_t i = 0; i < n; i++)
        smtp_reply(m, code, enhanced, "%s", text);
    smtp_transaction_reset(m);
    smtp_resume(m);
}

static bool content_accepted(struct smtp *m)
{
    unsigned faults = m->content.faults;

    if (faults & SMTP_FAULT_BARE)
        smtp_message_refuse(m, 550, "5.6.0", "Message has a CR or LF that is not part of a CRLF");
    else if (faults & SMTP_FAULT_NUL)
        smtp_message_refuse(m, 550, "5.6.0", "Message has a NUL octet");
    else if (faults & SMTP_FAULT_TOOBIG)
        smtp_message_refuse(m, 552, "5.3.4", "Message is too big");
    return faults == 0;
}

size_t smtp_data_input(struct smtp *m, struct slice in)
{
    bool end;
    size_t used = smtp_content_data(&m->content, in, &end);

    if (end && content_accepted(m))
        smtp_deliver(m);
    return used;
}

/* ---- BDAT (RFC 3030) ---- */

/* chunk-size [ SP "LAST" ]. 0 or ERR_INVALID. */
static int bdat_parse(struct smtp *m, struct slice arg)
{
    struct slice size = slice_first(arg, slice_find(arg, ' '));
    struct slice last = slice_trim(slice_from(arg, size.n));

    m->chunk_last = slice_ieq(last, SLICE_LITERAL("LAST"));
    if (last.n > 0 && !m->chunk_last)
        return ERR_INVALID;
    return slice_u64(size, INT64_MAX, &m->chunk_left);
}

/* Replies and returns false when the chunk is refused; its octets are to be dropped then. */
static bool chunk_allowed(struct smtp *m)
{
    if (!recipients_ready(m))
        return false;
    if (!m->tx.chunked) {
        if (!admitted(m))
            return false;
        smtp_content_begin(&m->content, m->limits->message_max, m->tx.params.binary);
        m->tx.chunked = true;
    }
    return true;
}

static void chunk_end(struct smtp *m)
{
    if (m->chunk_refused) { /* replied when it began: the octets had to be taken off first */
        smtp_resume(m);
        return;
    }
    if (m->chunk_last)
        smtp_content_chunk_end(&m->content);
    if (!m->chunk_last) {
        if (m->content.faults & SMTP_FAULT_TOOBIG) { /* no use in sending on */
            smtp_reply(m, 552, "5.3.4", "Message is too big");
            smtp_transaction_reset(m);
        } else {
            smtp_reply(m, 250, "2.0.0", "Ok");
        }
        smtp_resume(m);
    } else if (content_accepted(m)) {
        smtp_deliver(m);
    }
}

void smtp_bdat_run(struct smtp *m, struct slice arg)
{
    /* Without a size nobody knows where the next command begins: guessing is how commands get smuggled. */
    if (bdat_parse(m, arg) != 0) {
        smtp_reply(m, 501, "5.5.4", "Say BDAT size [LAST]");
        smtp_mode_set(m, SMTP_MODE_CLOSING);
        return;
    }
    m->chunk_refused = !chunk_allowed(m);
    if (m->chunk_refused)
        smtp_transaction_reset(m);
    smtp_mode_set(m, SMTP_MODE_CHUNK);
    if (m->chunk_left == 0)
        chunk_end(m);
}

size_t smtp_chunk_input(struct smtp *m, struct slice in)
{
    if (in.n > m->chunk_left)
        in.n = (size_t)m->chunk_left;
    m->chunk_left -= in.n;
    if (!m->chunk_refused)
        smtp_content_chunk(&m->content, in);
    if (m->chunk_left == 0)
        chunk_end(m);
    return in.n;
}

/* ---- delivery ---- */

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Every account once, however many recipients lead to it. */
static void targets_make(struct smtp *m)
{
    size_t n = 0;

    m->targets = mem_alloc((m->tx.account_n + 1) * sizeof(*m->targets));
    if (m->tx.account_n > 0)
        memcpy(m->targets, m->tx.accounts, m->tx.account_n * sizeof(*m->targets));
    qsort(m->targets, m->tx.account_n, sizeof(*m->targets), compare_ids);
    for (size_t i = 0; i < m->tx.account_n; i++)
        if (n == 0 || m->targets[n - 1] != m->targets[i])
            m->targets[n++] = m->targets[i];
    m->target_n = n;
    m->target_status = mem_zalloc((n + 1) * sizeof(*m->target_status));
}

void smtp_deliver_free(struct smtp *m)
{
    bytes_unref(&m->message.body);
    mem_free(m->targets);
    mem_free(m->target_status);
    m->targets = NULL;
    m->target_status = NULL;
    m->target_n = 0;
}

static void header_add(struct smtp *m, struct buf *out)
{
    int64_t now = smtp_now_ms(m);
    struct smtp_with with = {m->kind == SMTP_LMTP, m->extended, m->tx.params.utf8, m->session.peer.tls,
                             m->authenticated};
    char name[16];

    smtp_with_name(&with, name);
    struct smtp_trace trace = {.peer = &m->session.peer,
                               .helo = m->helo,
                               .with = name,
                               .id = m->tx.id,
                               .for_only = m->tx.recipient_n == 1 ? m->tx.recipients[0].address : NULL,
                               .now_ms = now};
    smtp_return_path_write(m->tx.sender, out);
    m->skip = (unsigned)buf_len(out);
    smtp_received_write(&trace, out);
    if (m->kind != SMTP_SUBMISSION) /* RFC 6409 8: only a submission server completes a message */
        return;
    if (!m->facts.date)
        smtp_date_field_write(now, out);
    if (!m->facts.message_id)
        smtp_message_id_write(now, m->session.peer.local_name, out);
}

static bool has_eight(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return true;
    return false;
}

/* Our header and the message in one piece; the copy that was gathered is freed. */
static void body_make(struct smtp *m)
{
    struct buf header = {0};
    struct slice content = buf_slice(&m->content.body);

    header_add(m, &header);
    m->eight = m->content.eight || has_eight(slice_from(buf_slice(&header), m->skip));
    m->message.body = bytes_new(buf_len(&header) + content.n);
    memcpy(m->message.body->p, buf_slice(&header).p, buf_len(&header));
    if (content.n > 0)
        memcpy(m->message.body->p + buf_len(&header), content.p, content.n);
    buf_close(&header);
    buf_clear(&m->content.body);
}

struct verdict {
    int code;
    const char *enhanced, *text;
};

static struct verdict verdict_of(int status)
{
    switch (status) {
    case ERR_NOSPACE:
        return (struct verdict){452, "4.3.1", "Not enough storage, try again later"};
    case ERR_QUOTA:
        return (struct verdict){452, "4.2.2", "Mailbox is full"};
    case ERR_TOOBIG:
        return (struct verdict){552, "5.3.4", "Message is too big"};
    case ERR_NOTFOUND:
        return (struct verdict){450, "4.2.0", "Mailbox went away, try again"};
    case ERR_BUSY: /* only when it goes elsewhere */
        return (struct verdict){450, "4.7.1", "Too many recipients in an hour, try again later"};
    case ERR_VERSION:
        return (struct verdict){451, "4.3.2", "Mail to other servers waits for an upgrade to end, try again later"};
    default:
        return (struct verdict){451, "4.3.0", "Cannot store mail now, try again later"};
    }
}

static int status_of_account(const struct smtp *m, uint64_t account)
{
    const uint64_t *at = bsearch(&account, m->targets, m->target_n, sizeof(account), compare_ids);

    ENSURE(at);
    return m->target_status[at - m->targets];
}

/* 0 when any of the accounts got it: a retry would bring the others no nearer and this one a second copy. */
static int status_of_accounts(const struct smtp *m, const uint64_t *accounts, size_t n)
{
    int status = n == 0 ? ERR_NOTFOUND : 0;

    for (size_t i = 0; i < n; i++) {
        status = status_of_account(m, accounts[i]);
        if (status == 0)
            return 0;
    }
    return status;
}

static void failures_log(const struct smtp *m)
{
    for (size_t i = 0; i < m->target_n; i++)
        if (m->target_status[i] != 0)
            log_event(LOG_WARN, "not delivered to one account", LOG_S("session", m->session.peer.id),
                      LOG_S("id", m->tx.id), LOG_U("account", m->targets[i]), LOG_E("error", m->target_status[i]));
}

static void outcome_reply(struct smtp *m, int status, const char *address)
{
    struct verdict v = verdict_of(status);

    if (status == 0 && address)
        smtp_reply(m, 250, "2.1.5", "<%s> delivered, id %s", address, m->tx.id);
    else if (status == 0)
        smtp_reply(m, 250, "2.0.0", "Ok: queued as %s", m->tx.id);
    else if (address)
        smtp_reply(m, v.code, v.enhanced, "<%s> %s", address, v.text);
    else
        smtp_reply(m, v.code, v.enhanced, "%s", v.text);
}

static void outcomes_reply(struct smtp *m, int status)
{
    const struct smtp_transaction *t = &m->tx;

    if (m->kind != SMTP_LMTP) {
        bool queued = t->foreign_n > 0; /* and a retry would queue it twice */
        outcome_reply(m, status || queued ? status : status_of_accounts(m, t->accounts, t->account_n), NULL);
        return;
    }
    for (size_t i = 0; i < t->recipient_n; i++) {
        const struct smtp_recipient *r = &t->recipients[i];
        bool decided = status != 0 || r->foreign;
        outcome_reply(m, decided ? status : status_of_accounts(m, t->accounts + r->first, r->n), r->address);
    }
}

static void deliver_done(struct backend_op *op)
{
    struct smtp *m = op->owner;

    if (!session_op_end(&m->session))
        return;
    if (op->status == 0)
        failures_log(m);
    log_event(op->status == 0 ? LOG_INFO : LOG_WARN, "message in", LOG_S("session", m->session.peer.id),
              LOG_S("id", m->tx.id), LOG_S("from", m->tx.sender), LOG_S("to", m->tx.recipients[0].address),
              LOG_U("recipients", m->tx.recipient_n), LOG_U("foreign", m->tx.foreign_n),
              LOG_U("size", m->message.body->n), LOG_E("status", op->status));
    if (op->status ==
        ERR_TIMEOUT) /* it may be stored or not: as if the connection were lost (RFC 5321 3.8, RFC 1047) */
        smtp_close_with(m, "4.4.0", "Not known whether the message is stored, closing");
    else
        outcomes_reply(m, op->status);
    smtp_deliver_free(m);
    smtp_transaction_reset(m);
    smtp_resume(m);
    m->session.host->wake(m->session.host);
}

static void deliver_start(struct smtp *m)
{
    const struct smtp_transaction *t = &m->tx;

    targets_make(m);
    body_make(m);
    m->message.internal_ms = smtp_now_ms(m);
    m->write = (struct write){.op = {.done = deliver_done, .owner = m},
                              .kind = WRITE_DELIVER,
                              .messages = &m->message,
                              .message_n = 1,
                              .accounts = m->targets,
                              .account_n = (unsigned)m->target_n,
                              .account_status = m->target_status,
                              .sender = slice_str(t->sender),
                              .foreign = t->foreign,
                              .foreign_n = (unsigned)t->foreign_n,
                              .submitter = smtp_submits(m) ? m->account : 0,
                              .skip = m->skip,
                              .utf8 = t->params.utf8,
                              .eight = m->eight,
                              .binary = t->params.binary,
                              .ret_full = t->params.ret_full,
                              .ret_headers = t->params.ret_headers,
                              .envid = t->params.envid,
                              .session = slice_str(t->id)};
    if (m->mode != SMTP_MODE_WAIT)
        smtp_mode_set(m, SMTP_MODE_WAIT);
    session_op_begin(&m->session);
    m->session.backend->ops->write(m->session.backend, &m->write);
}

/* ---- who wrote it ---- */

static void author_rechecked(struct backend_op *op);

/* status: how the recheck ended, when it was one. */
static void author_decide(struct smtp *m, bool rechecked, int status)
{
    char address[SMTP_ADDRESS_MAX + 1];

    switch (smtp_author_check(m, buf_slice(&m->content.body), address)) {
    case SMTP_AUTHOR_OK:
        deliver_start(m);
        break;
    case SMTP_AUTHOR_NONE:
        smtp_message_refuse(m, 550, "5.6.0", "Message has no address in From");
        break;
    case SMTP_AUTHOR_MANY:
        smtp_message_refuse(m, 550, "5.6.0", "Message has too many addresses in From and Sender");
        break;
    case SMTP_AUTHOR_FOREIGN:
        if (!rechecked) /* this node may be a moment behind, as with recipients */
            smtp_sync(m, author_rechecked);
        else if (status != 0)
            smtp_message_refuse(m, 451, "4.3.0", "<%s> cannot be checked now, try again later", address);
        else
            smtp_message_refuse(m, 550, "5.7.1", "<%s> in the header is not an address of %s", address,
                                m->session.user);
        break;
    }
}

static void author_rechecked(struct backend_op *op)
{
    struct smtp *m = op->owner;

    if (!session_op_end(&m->session))
        return;
    author_decide(m, true, op->status);
    m->session.host->wake(m->session.host);
}

void smtp_deliver(struct smtp *m)
{
    smtp_header_look(buf_slice(&m->content.body), &m->facts);
    if (m->facts.received > m->limits->received_max) /* RFC 5321 6.3 */
        smtp_message_refuse(m, 554, "5.4.6", "Too many hops: this is a mail loop");
    else if (smtp_submits(m))
        author_decide(m, false, 0);
    else
        deliver_start(m);
}
