/* The model: what the log means, written from the contract. One entry after the other, each once. */
#include "tests/sim/check_model.h"

#include "node/base/err.h"

const char *const model_keywords[MODEL_KEYWORDS] = {"$Sim0", "$Sim1", "$Sim2"};
struct model model = {.frontier = 0};

struct model_mailbox *model_mailbox(uint64_t id)
{
    for (unsigned i = 0; i < model.mailbox_n; i++)
        if (model.mailboxes[i].id == id)
            return model.mailboxes[i].gone ? NULL : &model.mailboxes[i];
    return NULL;
}

struct model_account *model_account(uint64_t id)
{
    for (unsigned i = 0; i < model.account_n; i++)
        if (model.accounts[i].id == id)
            return &model.accounts[i];
    return NULL;
}

struct model_mailbox *model_mailbox_add(uint64_t id, uint64_t account, const char *name, uint32_t uidvalidity)
{
    for (unsigned i = 0; i < model.mailbox_n; i++)
        if (model.mailboxes[i].id == id)
            sim_fail(&sim_counts.uid_reuse, "mailbox id %llu is given again", (unsigned long long)id);
    if (model.mailbox_n == model.mailbox_cap) {
        model.mailbox_cap = model.mailbox_cap ? 2 * model.mailbox_cap : 64;
        model.mailboxes = mem_realloc(model.mailboxes, model.mailbox_cap * sizeof *model.mailboxes);
    }
    struct model_mailbox *m = &model.mailboxes[model.mailbox_n++];
    *m = (struct model_mailbox){.id = id, .account = account, .uidnext = 1, .touched = true};
    snprintf(m->name, sizeof m->name, "%s", name);
    model_uidvalidity_given(m, uidvalidity);
    return m;
}

void model_uidvalidity_given(struct model_mailbox *m, uint32_t uidvalidity)
{
    struct model_account *a = model_account(m->account);
    if (uidvalidity && a && uidvalidity <= a->uidvalidity)
        sim_fail(&sim_counts.uid_reuse, "mailbox %llu has UIDVALIDITY %u, %u was given before in its account",
                 (unsigned long long)m->id, uidvalidity, a->uidvalidity);
    if (uidvalidity && a)
        a->uidvalidity = uidvalidity;
    m->uidvalidity = uidvalidity;
}

struct model_message *model_message(struct model_mailbox *m, uint32_t uid)
{
    unsigned low = 0, high = m->n;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (m->at[mid].uid < uid)
            low = mid + 1;
        else
            high = mid;
    }
    return low < m->n && m->at[low].uid == uid ? &m->at[low] : NULL;
}

/* ---- one command ---- */

struct run {
    const Merlion__Command *c;
    const Merlion__Result *r;
    uint64_t modseq;
};

static void expect(const struct run *run, int status, const char *what)
{
    if (run->r->status != status)
        sim_fail(&sim_counts.other, "%s at %llu answers %s, expected %s", what,
                 (unsigned long long)(run->modseq / ENTRY_COMMANDS_MAX), err_name(run->r->status), err_name(status));
}

static void touch(const struct run *run, struct model_mailbox *m)
{
    m->highest_modseq = run->modseq;
    m->touched = true;
}

static uint32_t message_add(const struct run *run, struct model_mailbox *m, struct model_message msg)
{
    struct model_account *a = model_account(m->account);
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 32;
        m->at = mem_realloc(m->at, m->cap * sizeof *m->at);
    }
    msg.uid = m->uidnext++;
    msg.modseq = run->modseq;
    msg.save_ms = model.time_ms;
    m->at[m->n++] = msg;
    a->used += msg.size;
    a->messages++;
    touch(run, m);
    return msg.uid;
}

static struct model_message message_of(const Merlion__Body *b, int64_t internal_ms)
{
    struct model_message msg = {.size = b->size, .internal_ms = internal_ms};
    if (b->hash.len == BODY_HASH_SIZE)
        memcpy(msg.hash.b, b->hash.data, BODY_HASH_SIZE);
    return msg;
}

static bool over_quota(const struct model_account *a, uint64_t bytes)
{
    return a->quota && a->used + bytes > a->quota;
}

static uint32_t keyword_bits(char **names, size_t n)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < n; i++)
        for (unsigned k = 0; k < MODEL_KEYWORDS; k++)
            if (strcmp(names[i], model_keywords[k]) == 0)
                bits |= 1u << k;
    return bits;
}

static bool in_ranges(Merlion__UidRange **ranges, size_t n, uint32_t uid)
{
    for (size_t i = 0; i < n; i++)
        if (ranges[i]->first <= uid && uid <= ranges[i]->last)
            return true;
    return false;
}

static void expect_uids(const struct run *run, Merlion__UidRange **ranges, size_t n, uint32_t uid, bool in,
                        const char *what)
{
    if (in_ranges(ranges, n, uid) != in)
        sim_fail(&sim_counts.other, "%s at %llu: UID %u is%s in the answer", what,
                 (unsigned long long)(run->modseq / ENTRY_COMMANDS_MAX), uid, in ? " not" : "");
}

static bool named_before(const Merlion__Deliver *d, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (d->accounts[i] == d->accounts[at])
            return true;
    return false;
}

static void accounts_deliver(const struct run *run, const Merlion__Deliver *d)
{
    for (size_t i = 0; i < d->n_accounts; i++) {
        struct model_account *a = model_account(d->accounts[i]);
        if (a && !named_before(d, i))
            message_add(run, model_mailbox(a->inbox), message_of(d->body, d->internal_ms));
    }
}

void model_deliver_accounts(const Merlion__Deliver *d, uint64_t modseq)
{
    struct run run = {.modseq = modseq};
    accounts_deliver(&run, d);
}

static void deliver(const struct run *run)
{
    enum { QUEUE_FORMAT = 2 };
    const Merlion__Deliver *d = run->c->deliver;
    int status = d->enqueue && check_format() < QUEUE_FORMAT ? ERR_VERSION : 0;
    expect(run, status, "deliver");
    if (status)
        return;
    for (size_t i = 0; i < d->n_accounts; i++) {
        int want = model_account(d->accounts[i]) ? 0 : ERR_NOTFOUND;
        if (i >= run->r->n_account_status || run->r->account_status[i] != want)
            sim_fail(&sim_counts.other, "deliver: account %llu is answered wrongly",
                     (unsigned long long)d->accounts[i]);
    }
    accounts_deliver(run, d);
    if (d->enqueue)
        model_enqueue(d, run->r);
}

static void append(const struct run *run)
{
    const Merlion__Append *ap = run->c->append;
    struct model_mailbox *m = model_mailbox(ap->mailbox);
    uint64_t bytes = 0;
    for (size_t i = 0; i < ap->n_messages; i++)
        bytes += ap->messages[i]->body->size;
    int status = !m ? ERR_NOTFOUND : over_quota(model_account(m->account), bytes) ? ERR_QUOTA : 0;
    expect(run, status, "append");
    for (size_t i = 0; status == 0 && i < ap->n_messages; i++) {
        struct model_message msg = message_of(ap->messages[i]->body, ap->messages[i]->internal_ms);
        msg.flags = ap->messages[i]->flags;
        msg.keywords = keyword_bits(ap->messages[i]->keywords, ap->messages[i]->n_keywords);
        uint32_t uid = message_add(run, m, msg);
        expect_uids(run, run->r->uids, run->r->n_uids, uid, true, "append");
    }
}

static void flag_one(const struct run *run, struct model_mailbox *m, struct model_message *msg)
{
    const Merlion__StoreFlags *f = run->c->store_flags;
    bool modified = f->has_unchanged_since && msg->modseq > f->unchanged_since;
    expect_uids(run, run->r->modified, run->r->n_modified, msg->uid, modified, "store");
    uint32_t flags = f->flags, keywords = keyword_bits(f->keywords, f->n_keywords);
    if (f->mode == MERLION__STORE_FLAGS__MODE__ADD) {
        flags |= msg->flags;
        keywords |= msg->keywords;
    } else if (f->mode == MERLION__STORE_FLAGS__MODE__REMOVE) {
        flags = msg->flags & ~flags;
        keywords = msg->keywords & ~keywords;
    }
    if (modified || (flags == msg->flags && keywords == msg->keywords))
        return;
    msg->flags = flags;
    msg->keywords = keywords;
    msg->modseq = run->modseq;
    touch(run, m);
}

static void store_flags(const struct run *run)
{
    const Merlion__StoreFlags *f = run->c->store_flags;
    struct model_mailbox *m = model_mailbox(f->mailbox);
    expect(run, m ? 0 : ERR_NOTFOUND, "store");
    for (unsigned i = 0; m && i < m->n; i++)
        if (in_ranges(f->uids, f->n_uids, m->at[i].uid))
            flag_one(run, m, &m->at[i]);
}

/* Takes those out that the function says. */
static void remove_if(const struct run *run, struct model_mailbox *m,
                      bool (*gone)(const struct run *run, const struct model_message *msg))
{
    struct model_account *a = model_account(m->account);
    unsigned kept = 0;
    for (unsigned i = 0; i < m->n; i++) {
        if (!gone(run, &m->at[i])) {
            m->at[kept++] = m->at[i];
            continue;
        }
        expect_uids(run, run->r->uids, run->r->n_uids, m->at[i].uid, true, "remove");
        a->used -= m->at[i].size;
        a->messages--;
        touch(run, m);
    }
    m->n = kept;
}

static bool copied(const struct run *run, const struct model_message *msg)
{
    return in_ranges(run->c->copy->uids, run->c->copy->n_uids, msg->uid);
}

static void copy(const struct run *run)
{
    const Merlion__Copy *cp = run->c->copy;
    struct model_mailbox *from = model_mailbox(cp->source), *to = model_mailbox(cp->target);
    expect(run, from && to ? run->r->status == ERR_QUOTA ? ERR_QUOTA : 0 : ERR_NOTFOUND, "copy");
    if (!from || !to)
        return;
    uint64_t bytes = 0;
    unsigned n = from->n;
    for (unsigned i = 0; i < n; i++)
        bytes += copied(run, &from->at[i]) ? from->at[i].size : 0;
    bool over = !(cp->move && from->account == to->account) && over_quota(model_account(to->account), bytes);
    expect(run, over ? ERR_QUOTA : 0, "copy");
    uint32_t last = to->uidnext;
    for (unsigned i = 0; !over && i < n; i++) {
        if (!copied(run, &from->at[i]) || (from == to && from->at[i].uid >= last))
            continue;
        uint32_t uid = message_add(run, to, from->at[i]);
        expect_uids(run, run->r->uids_to, run->r->n_uids_to, uid, true, "copy");
    }
    if (cp->move && !over && from != to)
        remove_if(run, from, copied);
}

static bool expunged(const struct run *run, const struct model_message *msg)
{
    enum { DELETED = 8 };
    const Merlion__Expunge *x = run->c->expunge;
    bool named = in_ranges(x->uids, x->n_uids, msg->uid) || (x->all_deleted && x->n_uids == 0);
    return named && (msg->flags & DELETED || (x->even_undeleted && !x->all_deleted));
}

static void expunge(const struct run *run)
{
    struct model_mailbox *m = model_mailbox(run->c->expunge->mailbox);
    expect(run, m ? 0 : ERR_NOTFOUND, "expunge");
    if (m)
        remove_if(run, m, expunged);
}

/* ---- mailboxes, accounts ---- */

static struct model_mailbox *mailbox_named(uint64_t account, const char *name)
{
    for (unsigned i = 0; i < model.mailbox_n; i++) {
        struct model_mailbox *m = &model.mailboxes[i];
        if (m->account == account && !m->gone && strcmp(m->name, name) == 0)
            return m;
    }
    return NULL;
}

static void mailbox_create(const struct run *run)
{
    const Merlion__MailboxCreate *c = run->c->mailbox_create;
    bool there = mailbox_named(c->account, c->name) != NULL;
    expect(run, there ? ERR_EXISTS : 0, "create");
    if (!there)
        touch(run, model_mailbox_add(run->r->id, c->account, c->name, run->r->uidvalidity));
}

static void mailbox_delete(const struct run *run)
{
    const Merlion__MailboxDelete *d = run->c->mailbox_delete;
    struct model_mailbox *m = mailbox_named(d->account, d->name);
    expect(run, m ? 0 : ERR_NOTFOUND, "delete");
    if (!m)
        return;
    struct model_account *a = model_account(m->account);
    for (unsigned i = 0; i < m->n; i++) {
        a->used -= m->at[i].size;
        a->messages--;
    }
    m->n = 0;
    m->gone = true;
}

/* INBOX stays, and its messages go to a new mailbox of that name (RFC 9051 6.3.6). */
static void rename_inbox(const struct run *run, uint64_t from, const char *to)
{
    uint64_t account = model_mailbox(from)->account;
    touch(run, model_mailbox_add(run->r->id, account, to, 0));
    struct model_mailbox *m = model_mailbox(from), *target = model_mailbox(run->r->id); /* the table may have moved */
    for (unsigned i = 0; i < m->n; i++)
        message_add(run, target, m->at[i]);
    struct model_account *a = model_account(account);
    for (unsigned i = 0; i < m->n; i++) {
        a->used -= m->at[i].size;
        a->messages--;
        touch(run, m);
    }
    m->n = 0;
}

static void mailbox_rename(const struct run *run)
{
    const Merlion__MailboxRename *r = run->c->mailbox_rename;
    struct model_mailbox *m = mailbox_named(r->account, r->from);
    int status = !m ? ERR_NOTFOUND : mailbox_named(r->account, r->to) ? ERR_EXISTS : 0;
    expect(run, status, "rename");
    if (status)
        return;
    if (m->id == model_account(m->account)->inbox) {
        rename_inbox(run, m->id, r->to);
    } else {
        snprintf(m->name, sizeof m->name, "%s", r->to);
        m->touched = true;
    }
}

static void user_add(const struct run *run)
{
    if (run->r->status)
        return;
    if (model.account_n == model.account_cap) {
        model.account_cap = model.account_cap ? 2 * model.account_cap : 8;
        model.accounts = mem_realloc(model.accounts, model.account_cap * sizeof *model.accounts);
    }
    struct model_account *a = &model.accounts[model.account_n++];
    *a = (struct model_account){.id = run->r->id, .quota = run->c->user_add->quota_bytes};
    snprintf(a->address, sizeof a->address, "%s", run->c->user_add->address);
}

static void user_set(const struct run *run)
{
    const Merlion__UserSet *u = run->c->user_set;
    for (unsigned i = 0; i < model.account_n; i++) {
        if (strcmp(model.accounts[i].address, u->address) != 0)
            continue;
        expect(run, 0, "user set");
        if (u->has_quota)
            model.accounts[i].quota = u->quota_bytes;
    }
}

#define ELSEWHERE(name)                                                                                                \
    static void name(const struct run *run)                                                                            \
    {                                                                                                                  \
        model_##name(run->c, run->r, run->modseq);                                                                     \
    }
ELSEWHERE(member_set)
ELSEWHERE(member_remove)
ELSEWHERE(format_raise)
ELSEWHERE(queue_lease)
ELSEWHERE(queue_outcome)
ELSEWHERE(queue_void)

typedef void model_fn(const struct run *run);
static model_fn *const runs[] = {
    [MERLION__COMMAND__OP_DELIVER] = deliver,
    [MERLION__COMMAND__OP_APPEND] = append,
    [MERLION__COMMAND__OP_STORE_FLAGS] = store_flags,
    [MERLION__COMMAND__OP_COPY] = copy,
    [MERLION__COMMAND__OP_EXPUNGE] = expunge,
    [MERLION__COMMAND__OP_MAILBOX_CREATE] = mailbox_create,
    [MERLION__COMMAND__OP_MAILBOX_DELETE] = mailbox_delete,
    [MERLION__COMMAND__OP_MAILBOX_RENAME] = mailbox_rename,
    [MERLION__COMMAND__OP_USER_ADD] = user_add,
    [MERLION__COMMAND__OP_USER_SET] = user_set,
    [MERLION__COMMAND__OP_MEMBER_SET] = member_set,
    [MERLION__COMMAND__OP_MEMBER_REMOVE] = member_remove,
    [MERLION__COMMAND__OP_FORMAT_RAISE] = format_raise,
    [MERLION__COMMAND__OP_QUEUE_LEASE] = queue_lease,
    [MERLION__COMMAND__OP_QUEUE_OUTCOME] = queue_outcome,
    [MERLION__COMMAND__OP_QUEUE_VOID] = queue_void,
};

void model_run(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq)
{
    struct run run = {c, r, modseq};
    size_t op = (size_t)c->op_case;
    if (op < sizeof runs / sizeof *runs && runs[op])
        runs[op](&run);
}
