/* What can be asked of the maildrop without its bodies, marking, and the deletion at QUIT (RFC 1939 5, 6). */
#include "protocol/pop3/internal.h"

#include "node/base/log.h"

struct pop3_message *pop3_message_take(struct pop3 *p, struct slice number)
{
    uint64_t n = 0;

    if (slice_u64(slice_trim(number), UINT32_MAX, &n) != 0)
        pop3_err(p, "", "Give a message number");
    else if (n == 0 || n > p->message_n)
        pop3_err(p, "", "No such message");
    else if (p->messages[n - 1].deleted)
        pop3_err(p, "", "Message is marked as deleted");
    else
        return &p->messages[n - 1];
    return NULL;
}

static void totals(const struct pop3 *p, size_t *n_r, uint64_t *octets_r)
{
    *n_r = 0;
    *octets_r = 0;
    for (size_t i = 0; i < p->message_n; i++) {
        if (p->messages[i].deleted)
            continue;
        ++*n_r;
        *octets_r += p->messages[i].size;
    }
}

void pop3_stat_run(struct pop3 *p, struct slice arg)
{
    size_t n;
    uint64_t octets;

    (void)arg;
    totals(p, &n, &octets);
    pop3_ok(p, "%zu %llu", n, (unsigned long long)octets);
}

void pop3_list_run(struct pop3 *p, struct slice arg)
{
    size_t n;
    uint64_t octets;

    if (slice_trim(arg).n > 0) {
        const struct pop3_message *m = pop3_message_take(p, arg);
        if (m)
            pop3_ok(p, "%zu %llu", (size_t)(m - p->messages) + 1, (unsigned long long)m->size);
        return;
    }
    totals(p, &n, &octets);
    pop3_ok(p, "%zu messages, %llu octets", n, (unsigned long long)octets);
    pop3_send_begin(p, POP3_SEND_LIST, p->message_n);
}

void pop3_uidl_run(struct pop3 *p, struct slice arg)
{
    if (slice_trim(arg).n > 0) {
        const struct pop3_message *m = pop3_message_take(p, arg);
        if (m)
            pop3_ok(p, "%zu %u.%u", (size_t)(m - p->messages) + 1, p->uidvalidity, m->uid);
        return;
    }
    pop3_ok(p, "Unique ids");
    pop3_send_begin(p, POP3_SEND_UIDL, p->message_n);
}

void pop3_dele_run(struct pop3 *p, struct slice arg)
{
    struct pop3_message *m = pop3_message_take(p, arg);

    if (!m)
        return;
    m->deleted = true;
    pop3_ok(p, "Marked");
}

void pop3_rset_run(struct pop3 *p, struct slice arg)
{
    (void)arg;
    for (size_t i = 0; i < p->message_n; i++)
        p->messages[i].deleted = false;
    pop3_ok(p, "Nothing is marked");
}

/* ---- QUIT ---- */

static void update_done(struct backend_op *op)
{
    struct pop3 *p = op->owner;

    if (!session_op_end(&p->session))
        return;
    if (op->status == 0) {
        pop3_ok(p, "%llu messages deleted", (unsigned long long)uid_set_count(&p->write.uids_r));
    } else {
        log_event(LOG_WARN, "deletions failed", LOG_S("session", p->session.peer.id), LOG_S("user", p->session.user),
                  LOG_E("error", op->status));
        if (op->status != ERR_TIMEOUT) /* then they may be deleted: neither reply would be true */
            pop3_err(p, "[SYS/TEMP] ", "Messages are not deleted, try again later");
    }
    pop3_move(p, POP3_CLOSING);
    p->session.host->wake(p->session.host);
}

static void update_begin(struct pop3 *p)
{
    p->write = (struct write){.op = {.done = update_done, .owner = p},
                              .kind = WRITE_EXPUNGE,
                              .account = p->account,
                              .mailbox = p->mailbox,
                              .uids = &p->doomed,
                              .even_undeleted = true};
    pop3_move(p, POP3_UPDATE);
    session_op_begin(&p->session);
    p->session.backend->ops->write(p->session.backend, &p->write);
}

void pop3_quit_run(struct pop3 *p, struct slice arg)
{
    (void)arg;
    for (size_t i = 0; i < p->message_n; i++)
        if (p->messages[i].deleted)
            uid_set_add(&p->doomed, p->messages[i].uid, p->messages[i].uid);
    if (p->doomed.n > 0) {
        update_begin(p);
        return;
    }
    pop3_ok(p, "Bye");
    pop3_move(p, POP3_CLOSING);
}
