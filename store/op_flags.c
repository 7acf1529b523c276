#include "store/state.h"

/* STORE (RFC 9051 6.4.6) with UNCHANGEDSINCE (RFC 7162 3.1.3). */

enum { FLAGS_KNOWN = 0x1f };

struct change {
    Merlion__StoreFlags__Mode mode;
    uint32_t flags;
    uint64_t keywords;
};

static bool change_apply(const struct change *ch, const struct store_message *msg, uint32_t *flags_r,
                         uint64_t *keywords_r)
{
    *flags_r = ch->flags;
    *keywords_r = ch->keywords;
    if (ch->mode == MERLION__STORE_FLAGS__MODE__ADD) {
        *flags_r |= msg->flags;
        *keywords_r |= msg->keywords;
    } else if (ch->mode == MERLION__STORE_FLAGS__MODE__REMOVE) {
        *flags_r = msg->flags & ~ch->flags;
        *keywords_r = msg->keywords & ~ch->keywords;
    }
    return *flags_r != msg->flags || *keywords_r != msg->keywords;
}

static int flags_check(struct store *s, const Merlion__StoreFlags *f, struct mailbox **m_r, struct slice **names_r,
                       const char **why_r)
{
    *why_r = "no such mailbox";
    *m_r = batch_mailbox(s, f->mailbox);
    if (!*m_r || !(*m_r)->r.selectable)
        return ERR_NOTFOUND;
    *why_r = "unknown flag or mode";
    if (f->flags & ~(uint32_t)FLAGS_KNOWN || f->mode < MERLION__STORE_FLAGS__MODE__REPLACE ||
        f->mode > MERLION__STORE_FLAGS__MODE__REMOVE)
        return ERR_INVALID;
    *why_r = "a keyword that may not be";
    *names_r = arena_alloc(&s->command_arena, (f->n_keywords + 1) * sizeof **names_r);
    for (size_t i = 0; i < f->n_keywords; i++) {
        (*names_r)[i] = slice_str(f->keywords[i]);
        if (!keyword_check((*names_r)[i]))
            return ERR_INVALID;
    }
    return 0;
}

/* Those changed since the client's MODSEQ are not touched and told instead. Returns how many are left in list. */
static size_t keep_unchanged(const Merlion__StoreFlags *f, struct message_list *list, struct uid_set *modified)
{
    size_t n = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (f->has_unchanged_since && list->at[i].modseq > f->unchanged_since)
            uid_set_add(modified, list->at[i].uid, list->at[i].uid);
        else
            list->at[n++] = list->at[i];
    }
    return n;
}

static void flags_store(struct store *s, const Merlion__StoreFlags *f, struct mailbox *m, const struct slice *names,
                        const struct uid_set *uids, Merlion__Result *r)
{
    struct message_list list = {0};
    struct uid_set modified = {0};
    batch_messages(s, m, uids, false, &list);
    list.n = keep_unchanged(f, &list, &modified);
    struct change ch = {.mode = f->mode, .flags = f->flags};
    if (list.n)
        ch.keywords = batch_keywords(s, m, names, f->n_keywords, f->mode != MERLION__STORE_FLAGS__MODE__REMOVE);
    for (size_t i = 0; i < list.n && !s->failed; i++) {
        uint32_t flags;
        uint64_t keywords;
        if (change_apply(&ch, &list.at[i], &flags, &keywords))
            batch_message_flag(s, m, &list.at[i], flags, keywords);
    }
    r->modseq = m->r.highest_modseq;
    r->uidvalidity = m->r.uidvalidity;
    op_ranges(s, &modified, &r->n_modified, &r->modified);
    message_list_close(&list);
    uid_set_close(&modified);
}

void op_store_flags(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__StoreFlags *f = c->store_flags;
    struct mailbox *m;
    struct slice *names;
    const char *why;
    struct uid_set uids = {0};
    int rc = flags_check(s, f, &m, &names, &why);
    if (rc)
        op_refuse(r, rc, why);
    else if (op_uids((const Merlion__UidRange *const *)f->uids, f->n_uids, &uids))
        op_refuse(r, ERR_INVALID, "not a UID range");
    else
        flags_store(s, f, m, names, &uids, r);
    uid_set_close(&uids);
}
