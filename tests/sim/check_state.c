/* A replica against the model. The view stands at the model's frontier. */
#include "tests/sim/check_model.h"

#include "node/base/err.h"

enum { FLAG_SEEN = 1, FLAG_DELETED = 8 };

static uint64_t touched_since; /* MODSEQ: what is older was compared before */

struct walk {
    struct store_view *v;
    struct model_mailbox *m;
    struct store_mailbox have;
    unsigned at;
};

static _Noreturn void differ(const struct walk *w, const char *what, uint64_t have, uint64_t want)
{
    sim_fail(&sim_counts.diverged, "host %u at %llu: mailbox %llu (%s): %s is %llu, by the log it is %llu",
             sim_host_index(sim_host_now()), (unsigned long long)store_view_index(w->v), (unsigned long long)w->m->id,
             w->m->name, what, (unsigned long long)have, (unsigned long long)want);
}

static void same(const struct walk *w, const char *what, uint64_t have, uint64_t want)
{
    if (have != want)
        differ(w, what, have, want);
}

/* ---- one message ---- */

static uint32_t keywords_of(const struct store_mailbox *m, uint64_t bits)
{
    uint32_t out = 0;
    for (unsigned i = 0; i < m->keyword_n; i++)
        for (unsigned k = 0; k < MODEL_KEYWORDS; k++)
            if (bits >> i & 1 && slice_ieq(m->keyword[i], slice_str(model_keywords[k])))
                out |= 1u << k;
    return out;
}

static void message_same(const struct walk *w, const struct store_message *have, const struct model_message *want)
{
    if (!body_hash_eq(&have->hash, &want->hash))
        sim_fail(&sim_counts.uid_reuse, "host %u at %llu: UID %u of mailbox %llu is another message than by the log",
                 sim_host_index(sim_host_now()), (unsigned long long)store_view_index(w->v), have->uid,
                 (unsigned long long)w->m->id);
    same(w, "a message's flags", have->flags, want->flags);
    same(w, "a message's keywords", keywords_of(&w->have, have->keywords), want->keywords);
    same(w, "a message's MODSEQ", have->modseq, want->modseq);
    same(w, "a message's size", have->size, want->size);
    same(w, "a message's date", (uint64_t)have->internal_ms, (uint64_t)want->internal_ms);
    same(w, "a message's save date", (uint64_t)have->save_ms, (uint64_t)want->save_ms);
}

static bool message_walk(void *arg, const struct store_message *have)
{
    struct walk *w = arg;
    if (w->at < w->m->n && w->m->at[w->at].uid < have->uid)
        sim_fail(&sim_counts.lost, "host %u at %llu: UID %u of mailbox %llu is gone", sim_host_index(sim_host_now()),
                 (unsigned long long)store_view_index(w->v), w->m->at[w->at].uid, (unsigned long long)w->m->id);
    if (w->at == w->m->n || w->m->at[w->at].uid > have->uid)
        sim_fail(&sim_counts.duplicated, "host %u at %llu: UID %u of mailbox %llu should not be there",
                 sim_host_index(sim_host_now()), (unsigned long long)store_view_index(w->v), have->uid,
                 (unsigned long long)w->m->id);
    message_same(w, have, &w->m->at[w->at++]);
    return true;
}

/* ---- a mailbox ---- */

/* Of mailboxes that a command made beside what its answer names. */
static void uidvalidity_learn(struct model_mailbox *m, uint32_t uidvalidity)
{
    struct model_account *a = model_account(m->account);
    m->uidvalidity = uidvalidity;
    if (uidvalidity > a->uidvalidity)
        a->uidvalidity = uidvalidity;
}

static void head_same(struct walk *w)
{
    struct model_mailbox *m = w->m;
    struct store_mailbox *have = &w->have;
    uint64_t bytes = 0, unseen = 0, deleted = 0;
    if (store_mailbox_get(w->v, m->id, have) != 0)
        sim_fail(&sim_counts.lost, "host %u at %llu: mailbox %llu is gone", sim_host_index(sim_host_now()),
                 (unsigned long long)store_view_index(w->v), (unsigned long long)m->id);
    for (unsigned i = 0; i < m->n; i++) {
        bytes += m->at[i].size;
        unseen += !(m->at[i].flags & FLAG_SEEN);
        deleted += (m->at[i].flags & FLAG_DELETED) != 0;
    }
    if (!slice_eq(have->name, slice_str(m->name)))
        differ(w, "the name", 0, 1);
    if (m->uidvalidity == 0)
        uidvalidity_learn(w->m, have->uidvalidity);
    if (have->uidvalidity != m->uidvalidity || have->uidnext != m->uidnext)
        sim_fail(&sim_counts.uid_reuse,
                 "host %u at %llu: mailbox %llu has UIDVALIDITY %u, UIDNEXT %u, by the log they are %u, %u",
                 sim_host_index(sim_host_now()), (unsigned long long)store_view_index(w->v), (unsigned long long)m->id,
                 have->uidvalidity, have->uidnext, m->uidvalidity, m->uidnext);
    same(w, "HIGHESTMODSEQ", have->highest_modseq, m->highest_modseq);
    same(w, "the number of messages", have->exists, m->n);
    same(w, "the number of unseen messages", have->unseen, unseen);
    same(w, "the number of deleted messages", have->deleted, deleted);
    same(w, "the size", have->bytes, bytes);
}

static void account_same(struct store_view *v, const struct model_account *a)
{
    struct store_account have;
    if (store_account_get(v, a->id, &have) != 0)
        sim_fail(&sim_counts.lost, "account %llu is gone", (unsigned long long)a->id);
    if (have.used_bytes != a->used || have.messages != a->messages || have.quota_bytes != a->quota)
        sim_fail(&sim_counts.other,
                 "host %u at %llu: account %llu uses %llu bytes, %llu messages of %llu; by the log %llu, %llu of %llu",
                 sim_host_index(sim_host_now()), (unsigned long long)store_view_index(v), (unsigned long long)a->id,
                 (unsigned long long)have.used_bytes, (unsigned long long)have.messages,
                 (unsigned long long)have.quota_bytes, (unsigned long long)a->used, (unsigned long long)a->messages,
                 (unsigned long long)a->quota);
}

void check_touched(struct store_view *v)
{
    struct store_message msg;
    for (unsigned i = 0; i < model.mailbox_n; i++) {
        struct model_mailbox *m = &model.mailboxes[i];
        struct walk w = {.v = v, .m = m};
        if (!m->touched || m->gone)
            continue;
        m->touched = false;
        head_same(&w);
        account_same(v, model_account(m->account));
        for (unsigned k = 0; k < m->n; k++) {
            if (m->at[k].modseq < touched_since)
                continue;
            if (store_message_get(v, m->id, m->at[k].uid, &msg) != 0)
                sim_fail(&sim_counts.lost, "host %u at %llu: UID %u of mailbox %llu is not there",
                         sim_host_index(sim_host_now()), (unsigned long long)store_view_index(v), m->at[k].uid,
                         (unsigned long long)m->id);
            message_same(&w, &msg, &m->at[k]);
        }
    }
    touched_since = (model.frontier + 1) * ENTRY_COMMANDS_MAX;
}

/* ---- content: references counted ---- */

struct content {
    struct content *next;
    struct body_hash hash;
    uint64_t refs, size;
};
enum { CONTENT_SLOTS = 1024 };
struct contents {
    struct arena arena;
    struct content *slot[CONTENT_SLOTS];
    unsigned n;
};

static struct content *content_of(struct contents *c, const struct body_hash *hash)
{
    struct content **at = &c->slot[(hash->b[0] | (unsigned)hash->b[1] << 8) % CONTENT_SLOTS];
    for (struct content *x = *at; x; x = x->next)
        if (body_hash_eq(&x->hash, hash))
            return x;
    struct content *x = arena_alloc(&c->arena, sizeof *x);
    *x = (struct content){.next = *at, .hash = *hash};
    *at = x;
    c->n++;
    return x;
}

static bool content_same(void *arg, const struct store_content *have)
{
    struct contents *c = arg;
    const struct content *want = content_of(c, &have->hash);
    if (have->refs != want->refs || have->size != want->size)
        sim_fail(&sim_counts.other, "host %u: a body of %llu bytes has %llu references, by the log %llu",
                 sim_host_index(sim_host_now()), (unsigned long long)have->size, (unsigned long long)have->refs,
                 (unsigned long long)want->refs);
    c->n--;
    return true;
}

static void content_add(void *arg, const struct body_hash *hash, uint64_t size)
{
    struct content *x = content_of(arg, hash);
    x->refs++;
    x->size = size;
}

static void contents_same(struct store_view *v)
{
    struct contents *c = mem_zalloc(sizeof *c);
    for (unsigned i = 0; i < model.mailbox_n; i++) {
        for (unsigned k = 0; !model.mailboxes[i].gone && k < model.mailboxes[i].n; k++) {
            const struct model_message *msg = &model.mailboxes[i].at[k];
            content_add(c, &msg->hash, msg->size);
        }
    }
    model_queue_bodies(content_add, c);
    store_content_each(v, NULL, content_same, c);
    if (c->n != 0)
        sim_fail(&sim_counts.lost, "host %u: %u bodies have no content record", sim_host_index(sim_host_now()), c->n);
    arena_close(&c->arena);
    mem_free(c);
}

/* ---- all ---- */

static bool mailbox_known(void *arg, const struct store_mailbox *m)
{
    unsigned *n = arg;
    if (m->id == 0) /* a name that is subscribed, and no more */
        return true;
    if (!model_mailbox(m->id))
        sim_fail(&sim_counts.other, "host %u: mailbox %llu should not be there", sim_host_index(sim_host_now()),
                 (unsigned long long)m->id);
    ++*n;
    return true;
}

static void mailbox_whole(struct store_view *v, struct model_mailbox *m)
{
    struct walk w = {.v = v, .m = m};
    struct uid_set uids = {0};
    head_same(&w);
    store_message_each(v, m->id, 1, UINT32_MAX, message_walk, &w);
    if (w.at < m->n)
        sim_fail(&sim_counts.lost, "host %u at %llu: UID %u of mailbox %llu is gone", sim_host_index(sim_host_now()),
                 (unsigned long long)store_view_index(v), m->at[w.at].uid, (unsigned long long)m->id);
    store_uids(v, m->id, &uids);
    same(&w, "the number of UIDs in runs", uid_set_count(&uids), m->n);
    for (unsigned i = 0; i < m->n; i++)
        same(&w, "a UID in the runs", uid_set_has(&uids, m->at[i].uid), true);
    uid_set_close(&uids);
}

void check_whole(struct store_view *v)
{
    unsigned have = 0, want = 0;
    for (unsigned i = 0; i < model.mailbox_n; i++) {
        if (model.mailboxes[i].gone)
            continue;
        want++;
        mailbox_whole(v, &model.mailboxes[i]);
        model.mailboxes[i].touched = false;
    }
    for (unsigned i = 0; i < model.account_n; i++) {
        account_same(v, &model.accounts[i]);
        store_mailbox_each(v, model.accounts[i].id, mailbox_known, &have);
    }
    if (have != want)
        sim_fail(&sim_counts.lost, "host %u: %u mailboxes have a name, by the log %u", sim_host_index(sim_host_now()),
                 have, want);
    contents_same(v);
    check_queue_same(v);
    touched_since = (model.frontier + 1) * ENTRY_COMMANDS_MAX;
}

/* ---- new accounts ---- */

static bool mailbox_learn(void *arg, const struct store_mailbox *m)
{
    struct model_account *a = arg;
    char name[MODEL_NAME_MAX];
    if (m->id == 0)
        return true;
    snprintf(name, sizeof name, "%.*s", (int)m->name.n, (const char *)m->name.p);
    a->known = true;
    struct model_mailbox *new = model_mailbox_add(m->id, a->id, name, 0);
    new->highest_modseq = m->highest_modseq;
    uidvalidity_learn(new, m->uidvalidity);
    if (strcmp(name, "INBOX") == 0)
        a->inbox = m->id;
    if (m->uidnext != 1 || m->exists != 0)
        sim_fail(&sim_counts.other, "a new account's mailbox is not empty");
    return true;
}

void check_learn(struct store_view *v)
{
    for (unsigned i = 0; i < model.account_n; i++)
        if (!model.accounts[i].known)
            store_mailbox_each(v, model.accounts[i].id, mailbox_learn, &model.accounts[i]);
}
