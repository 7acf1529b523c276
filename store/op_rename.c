#include "store/state.h"

/* RENAME (RFC 9051 6.3.6). */

static struct slice renamed(struct store *s, struct slice name, size_t from_n, struct slice to)
{
    size_t n = to.n + name.n - from_n;
    uint8_t *p = arena_alloc(&s->command_arena, n);
    memcpy(p, to.p, to.n);
    memcpy(p + to.n, name.p + from_n, name.n - from_n);
    return slice_make(p, n);
}

struct renames {
    struct slice *from;
    size_t n, cap;
};

static void renames_add(struct store *s, struct renames *list, struct slice name)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 16;
        struct slice *bigger = arena_alloc(&s->command_arena, cap * sizeof *bigger);
        if (list->n)
            memcpy(bigger, list->from, list->n * sizeof *bigger);
        list->from = bigger;
        list->cap = cap;
    }
    list->from[list->n++] = arena_copy(&s->command_arena, name);
}

/* The name itself and all below it, subscribed names that do not exist too. */
static void renames_collect(struct store *s, uint64_t account, struct slice from, struct renames *list)
{
    struct key k;
    struct slice key, v;
    renames_add(s, list, from);
    struct slice prefix = key_name(&k, account, from);
    k.b[prefix.n++] = '/';
    for (bool has = batch_seek(s, TABLE_NAME, prefix, &key, &v); has && key_starts(key, prefix);
         has = batch_next(s, TABLE_NAME, &key, &v))
        renames_add(s, list, slice_from(key, 8));
}

static int renames_check(struct store *s, const struct renames *list, size_t from_n, struct slice to,
                         const char **why_r)
{
    struct slice canonical;
    *why_r = "an inferior name would be too long or too deep";
    for (size_t i = 0; i < list->n; i++)
        if (!mailbox_name_check(&s->command_arena, renamed(s, list->from[i], from_n, to), &canonical))
            return ERR_INVALID;
    return 0;
}

/* The subscription moves with the name; one that the new name has already stays. */
static void rename_one(struct store *s, struct account *a, struct slice from, struct slice to)
{
    struct name_record old, new;
    batch_name_get(s, a->id, from, &old);
    batch_name_get(s, a->id, to, &new);
    struct mailbox *m = old.mailbox ? batch_mailbox(s, old.mailbox) : NULL;
    new.subscribed |= old.subscribed;
    new.mailbox = old.mailbox;
    batch_name_set(s, a, from, (struct name_record){0});
    batch_name_set(s, a, to, new);
    if (m)
        batch_mailbox_name(s, m, to);
}

static void rename_tree(struct store *s, struct account *a, struct slice from, struct slice to, Merlion__Result *r)
{
    struct renames list = {0};
    const char *why;
    renames_collect(s, a->id, from, &list);
    int rc = renames_check(s, &list, from.n, to, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    parents_make(s, a, to);
    for (size_t i = 0; i < list.n && !s->failed; i++)
        rename_one(s, a, list.from[i], renamed(s, list.from[i], from.n, to));
    parents_drop(s, a, from);
}

/* All messages of INBOX go to a new mailbox; INBOX stays, empty, and so do its inferiors. */
static void rename_inbox(struct store *s, struct account *a, struct mailbox *inbox, struct slice to, Merlion__Result *r)
{
    struct message_list list = {0};
    struct uid_set all = {0}, gone = {0}, given = {0};
    uid_set_add(&all, 1, UINT32_MAX);
    parents_make(s, a, to);
    struct mailbox *m = batch_mailbox_new(s, a, to, 0, false);
    batch_messages(s, inbox, &all, false, &list);
    batch_messages_copy(s, inbox, m, &list, true, &gone, &given);
    r->id = m->id;
    message_list_close(&list);
    uid_set_close(&all);
    uid_set_close(&gone);
    uid_set_close(&given);
}

static bool is_below(struct slice name, struct slice top)
{
    return name.n > top.n && name.p[top.n] == '/' && slice_eq(slice_first(name, top.n), top);
}

static int rename_check(struct store *s, const Merlion__MailboxRename *mr, struct account *a, struct slice *from_r,
                        struct slice *to_r, struct mailbox **m_r, const char **why_r)
{
    struct name_record n;
    *why_r = "no such mailbox";
    if (!a || !mailbox_name_check(&s->command_arena, slice_str(mr->from), from_r) ||
        !batch_name_get(s, a->id, *from_r, &n) || !n.mailbox || !(*m_r = batch_mailbox(s, n.mailbox)))
        return ERR_NOTFOUND;
    *why_r = "not a mailbox name";
    if (!mailbox_name_check(&s->command_arena, slice_str(mr->to), to_r))
        return ERR_INVALID;
    *why_r = "a mailbox of that name exists";
    batch_name_get(s, a->id, *to_r, &n);
    if (n.mailbox)
        return ERR_EXISTS;
    *why_r = "a mailbox cannot go below itself";
    if (is_below(*to_r, *from_r) && (*m_r)->id != a->r.inbox)
        return ERR_INVALID;
    *why_r = "too many mailboxes";
    return names_room(a, names_missing(s, a->id, *to_r)) ? 0 : ERR_TOOBIG;
}

void op_mailbox_rename(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__MailboxRename *mr = c->mailbox_rename;
    struct account *a = batch_account(s, mr->account);
    struct mailbox *m = NULL;
    struct slice from, to;
    const char *why;
    int rc = rename_check(s, mr, a, &from, &to, &m, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    r->id = m->id;
    if (m->id == a->r.inbox)
        rename_inbox(s, a, m, to, r);
    else
        rename_tree(s, a, from, to, r);
    if (r->status == 0)
        r->modseq = s->modseq;
}
