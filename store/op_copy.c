#include "store/state.h"

/* COPY and MOVE (RFC 9051 6.4.7, 6.4.8) and EXPUNGE (6.4.3, 6.4.9). */

/* The target's bit for each keyword of the source that one of the messages has. */
static void keyword_map(struct store *s, const struct mailbox *from, struct mailbox *to,
                        const struct message_list *list, uint64_t map[STORE_KEYWORDS_MAX])
{
    uint64_t used = 0;
    for (size_t i = 0; i < list->n; i++)
        used |= list->at[i].keywords;
    for (unsigned i = 0; i < STORE_KEYWORDS_MAX; i++)
        map[i] = used >> i & 1 && i < from->r.keyword_n ? batch_keywords(s, to, &from->r.keyword[i], 1, true) : 0;
}

static uint64_t keywords_mapped(const uint64_t map[STORE_KEYWORDS_MAX], uint64_t bits)
{
    uint64_t out = 0;
    for (unsigned i = 0; i < STORE_KEYWORDS_MAX; i++)
        if (bits >> i & 1)
            out |= map[i];
    return out;
}

static uint64_t list_bytes(const struct message_list *list)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < list->n; i++)
        bytes += list->at[i].size;
    return bytes;
}

static int copy_check(const struct mailbox *from, const struct mailbox *to, const struct account *a, bool move,
                      const struct message_list *list, const char **why_r)
{
    *why_r = "over quota";
    if (!(move && from->r.account == to->r.account) && over_quota(a, list_bytes(list)))
        return ERR_QUOTA;
    *why_r = "the mailbox is full";
    if (to->r.exists + list->n > MAILBOX_MESSAGES_MAX || list->n >= UINT32_MAX - to->r.uidnext)
        return ERR_TOOBIG;
    return 0;
}

static void account_move(struct store *s, struct mailbox *m, uint64_t bytes, uint64_t n, bool add)
{
    struct account *a = batch_account(s, m->r.account);
    if (!a)
        return;
    a->r.used = add ? a->r.used + bytes : a->r.used - bytes;
    a->r.messages = add ? a->r.messages + n : a->r.messages - n;
    a->dirty = true;
}

/* Removes what list has from m as this command's expunges. keep_content: its references went elsewhere. */
static void expunge_list(struct store *s, struct mailbox *m, const struct message_list *list, bool keep_content,
                         struct uid_set *gone)
{
    for (size_t i = 0; i < list->n && !s->failed; i++) {
        batch_message_remove(s, m, &list->at[i], keep_content);
        uid_set_add(gone, list->at[i].uid, list->at[i].uid);
    }
    batch_expunged(s, m, gone);
    if (list->n)
        account_move(s, m, list_bytes(list), list->n, false);
}

void batch_messages_copy(struct store *s, struct mailbox *from, struct mailbox *to, const struct message_list *list,
                         bool move, struct uid_set *gone, struct uid_set *given)
{
    uint64_t map[STORE_KEYWORDS_MAX];
    if (list->n == 0)
        return;
    keyword_map(s, from, to, list, map);
    uint32_t first = to->r.uidnext;
    for (size_t i = 0; i < list->n && !s->failed; i++) {
        struct store_message msg = list->at[i];
        msg.keywords = keywords_mapped(map, msg.keywords);
        msg.save_ms = s->st.time_ms;
        batch_message_add(s, to, &msg);
        if (!move) {
            batch_content_ref(s, &msg.hash);
            uid_set_add(gone, list->at[i].uid, list->at[i].uid);
        }
    }
    uid_set_add(given, first, to->r.uidnext - 1);
    batch_runs_append(s, to->id, first, to->r.uidnext - 1);
    account_move(s, to, list_bytes(list), list->n, true);
    if (move)
        expunge_list(s, from, list, true, gone);
}

static void copy(struct store *s, const Merlion__Copy *cp, struct mailbox *from, struct mailbox *to,
                 const struct uid_set *uids, Merlion__Result *r)
{
    struct message_list list = {0};
    struct uid_set source = {0}, given = {0};
    const char *why;
    batch_messages(s, from, uids, false, &list);
    int rc = copy_check(from, to, batch_account(s, to->r.account), cp->move, &list, &why);
    if (rc) {
        op_refuse(r, rc, why);
    } else {
        batch_messages_copy(s, from, to, &list, cp->move, &source, &given);
        r->uidvalidity = to->r.uidvalidity;
        r->modseq = (cp->move ? from : to)->r.highest_modseq;
        op_ranges(s, &source, &r->n_uids, &r->uids);
        op_ranges(s, &given, &r->n_uids_to, &r->uids_to);
    }
    message_list_close(&list);
    uid_set_close(&source);
    uid_set_close(&given);
}

void op_copy(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__Copy *cp = c->copy;
    struct mailbox *from = batch_mailbox(s, cp->source), *to = batch_mailbox(s, cp->target);
    struct uid_set uids = {0};
    if (!from || !from->r.selectable)
        op_refuse(r, ERR_NOTFOUND, "no such mailbox");
    else if (!to || !to->r.selectable || !batch_account(s, to->r.account))
        op_refuse(r, ERR_NOTFOUND, "no such target mailbox");
    else if (op_uids((const Merlion__UidRange *const *)cp->uids, cp->n_uids, &uids))
        op_refuse(r, ERR_INVALID, "not a UID range");
    else
        copy(s, cp, from, to, &uids, r);
    uid_set_close(&uids);
}

void op_expunge(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__Expunge *x = c->expunge;
    struct mailbox *m = batch_mailbox(s, x->mailbox);
    struct uid_set uids = {0}, gone = {0};
    struct message_list list = {0};
    if (!m || !m->r.selectable) {
        op_refuse(r, ERR_NOTFOUND, "no such mailbox");
    } else if (op_uids((const Merlion__UidRange *const *)x->uids, x->n_uids, &uids)) {
        op_refuse(r, ERR_INVALID, "not a UID range");
    } else {
        if (x->all_deleted && uids.n == 0)
            uid_set_add(&uids, 1, UINT32_MAX);
        batch_messages(s, m, &uids, !x->even_undeleted || x->all_deleted, &list);
        expunge_list(s, m, &list, false, &gone);
        r->uidvalidity = m->r.uidvalidity;
        r->modseq = m->r.highest_modseq;
        op_ranges(s, &gone, &r->n_uids, &r->uids);
    }
    message_list_close(&list);
    uid_set_close(&uids);
    uid_set_close(&gone);
}
