#include "store/queue_state.h"

/* Mail that comes in: Deliver (SMTP, LMTP) and Append (IMAP). */

enum { FLAGS_KNOWN = 0x1f };

bool over_quota(const struct account *a, uint64_t bytes)
{
    return a->r.quota && (a->r.used > a->r.quota || bytes > a->r.quota - a->r.used);
}

static struct store_message message_of(struct store *s, const Merlion__Body *body, int64_t internal_ms)
{
    struct store_message msg = {.internal_ms = internal_ms, .save_ms = s->st.time_ms, .size = body->size};
    memcpy(msg.hash.b, body->hash.data, BODY_HASH_SIZE);
    return msg;
}

static bool mailbox_full(const struct mailbox *m, size_t n)
{
    return m->r.exists + n > MAILBOX_MESSAGES_MAX || n >= UINT32_MAX - m->r.uidnext;
}

static void account_charge(struct account *a, uint64_t bytes, uint64_t n)
{
    a->r.used += bytes;
    a->r.messages += n;
    a->dirty = true;
}

/* 0, or why this account does not get it. Its quota is not asked: RCPT did (store_resolve), and by now the answer to
 * the client is one for all recipients, so a copy refused here would be lost. What is over is at most what was under
 * way, and what comes over an alias to others too. */
static int deliver_one(struct store *s, uint64_t id, struct store_message msg)
{
    struct account *a = batch_account(s, id);
    struct mailbox *m = a ? batch_mailbox(s, a->r.inbox) : NULL;
    if (!m)
        return ERR_NOTFOUND;
    if (mailbox_full(m, 1))
        return ERR_TOOBIG;
    batch_message_add(s, m, &msg);
    batch_runs_append(s, m->id, msg.uid, msg.uid);
    account_charge(a, msg.size, 1);
    return 0;
}

/* The place of an account that the list names twice: it gets one copy. */
static size_t first_mention(const uint64_t *accounts, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (accounts[i] == accounts[at])
            return i;
    return at;
}

int deliver_check(struct store *s, const Merlion__Deliver *d, bool metered, const char **why_r)
{
    int rc = body_check(s, d->body, why_r);
    if (rc)
        return rc;
    *why_r = "a delivery is to 1 to 1000 accounts";
    if (d->n_accounts > DELIVER_ACCOUNTS_MAX)
        return ERR_TOOBIG;
    if (d->n_accounts == 0 && !d->enqueue)
        return ERR_INVALID;
    /* Earlier builds do not know the field: the proposer asks for the active format first. */
    *why_r = "recipients elsewhere need a later format";
    if (d->enqueue && s->st.format < QUEUE_FORMAT)
        return ERR_VERSION;
    return d->enqueue ? enqueue_check(s, d, metered, why_r) : 0;
}

static uint64_t accounts_deliver(struct store *s, const Merlion__Deliver *d, int32_t *status)
{
    struct store_message msg = message_of(s, d->body, d->internal_ms);
    uint64_t delivered = 0;
    msg.email_id = s->st.next_email;
    for (size_t i = 0; i < d->n_accounts; i++) {
        size_t first = first_mention(d->accounts, i);
        if (first < i) {
            status[i] = status[first];
            continue;
        }
        status[i] = deliver_one(s, d->accounts[i], msg);
        delivered += status[i] == 0;
    }
    if (delivered)
        s->st.next_email++;
    return delivered;
}

uint64_t deliver_run(struct store *s, const Merlion__Deliver *d, int32_t *status, Merlion__Result *r)
{
    if (!status)
        status = arena_alloc(&s->command_arena, (d->n_accounts + 1) * sizeof *status);
    uint64_t references = accounts_deliver(s, d, status);
    uint64_t item = d->enqueue ? enqueue_run(s, d, r) : 0;
    references += item != 0;
    if (references)
        batch_content_add(s, d->body, references);
    return item;
}

void op_deliver(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__Deliver *d = c->deliver;
    const char *why;
    int rc = deliver_check(s, d, true, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    r->account_status = arena_alloc(&s->command_arena, (d->n_accounts + 1) * sizeof *r->account_status);
    r->n_account_status = d->n_accounts;
    r->id = deliver_run(s, d, r->account_status, r);
    r->modseq = s->modseq;
}

/* ---- append ---- */

static int append_message_check(struct store *s, const Merlion__AppendMessage *am, const char **why_r)
{
    int rc = body_check(s, am->body, why_r);
    if (rc)
        return rc;
    *why_r = "unknown flag";
    if (am->flags & ~(uint32_t)FLAGS_KNOWN)
        return ERR_INVALID;
    *why_r = "a keyword that may not be";
    for (size_t i = 0; i < am->n_keywords; i++)
        if (!keyword_check(slice_str(am->keywords[i])))
            return ERR_INVALID;
    return 0;
}

/* Two messages of one command with the same hash and different sizes: neither is known yet. */
static bool sizes_agree(const Merlion__Append *ap)
{
    for (size_t i = 0; i < ap->n_messages; i++)
        for (size_t j = 0; j < i; j++)
            if (memcmp(ap->messages[i]->body->hash.data, ap->messages[j]->body->hash.data, BODY_HASH_SIZE) == 0 &&
                ap->messages[i]->body->size != ap->messages[j]->body->size)
                return false;
    return true;
}

enum { APPEND_MESSAGES_MAX = 1000 };

static int append_check(struct store *s, const Merlion__Append *ap, struct mailbox **m_r, struct account **a_r,
                        uint64_t *bytes_r, const char **why_r)
{
    *why_r = "no such mailbox";
    *m_r = batch_mailbox(s, ap->mailbox);
    *a_r = *m_r ? batch_account(s, (*m_r)->r.account) : NULL;
    if (!*a_r || !(*m_r)->r.selectable)
        return ERR_NOTFOUND;
    *why_r = "1 to 1000 messages at once";
    if (ap->n_messages == 0 || ap->n_messages > APPEND_MESSAGES_MAX)
        return ap->n_messages ? ERR_TOOBIG : ERR_INVALID;
    *bytes_r = 0;
    for (size_t i = 0; i < ap->n_messages; i++) {
        int rc = append_message_check(s, ap->messages[i], why_r);
        if (rc)
            return rc;
        *bytes_r += ap->messages[i]->body->size;
    }
    *why_r = "the same message with two sizes";
    if (!sizes_agree(ap))
        return ERR_INVALID;
    *why_r = "the mailbox is full";
    if (mailbox_full(*m_r, ap->n_messages))
        return ERR_TOOBIG;
    *why_r = "over quota";
    return over_quota(*a_r, *bytes_r) ? ERR_QUOTA : 0;
}

static uint64_t append_keywords(struct store *s, struct mailbox *m, const Merlion__AppendMessage *am)
{
    struct slice *names = arena_alloc(&s->command_arena, (am->n_keywords + 1) * sizeof *names);
    for (size_t i = 0; i < am->n_keywords; i++)
        names[i] = slice_str(am->keywords[i]);
    return batch_keywords(s, m, names, am->n_keywords, true);
}

void op_append(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__Append *ap = c->append;
    struct mailbox *m;
    struct account *a;
    uint64_t bytes;
    const char *why;
    int rc = append_check(s, ap, &m, &a, &bytes, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    uint32_t first = m->r.uidnext;
    for (size_t i = 0; i < ap->n_messages; i++) {
        const Merlion__AppendMessage *am = ap->messages[i];
        struct store_message msg = message_of(s, am->body, am->internal_ms);
        msg.flags = am->flags;
        msg.keywords = append_keywords(s, m, am);
        msg.email_id = s->st.next_email++;
        batch_message_add(s, m, &msg);
        batch_content_add(s, am->body, 1);
    }
    struct uid_range given = {first, m->r.uidnext - 1};
    struct uid_set set = {.ranges = &given, .n = 1, .cap = 1};
    batch_runs_append(s, m->id, given.first, given.last);
    account_charge(a, bytes, ap->n_messages);
    r->uidvalidity = m->r.uidvalidity;
    r->modseq = s->modseq;
    op_ranges(s, &set, &r->n_uids, &r->uids);
}
