#include "store/state.h"

/* CREATE, DELETE (RFC 9051 6.3.4, 6.3.5), SUBSCRIBE and UNSUBSCRIBE (6.3.7, 6.3.8). */

enum { USE_LAST = 6 }; /* protocol/backend.h enum special_use */

/* How many names of the way to name are not there yet, itself included. */
unsigned names_missing(struct store *s, uint64_t account, struct slice name)
{
    unsigned n = 0;
    struct name_record r;
    for (size_t i = 1; i <= name.n; i++)
        if (i == name.n || name.p[i] == '/') {
            batch_name_get(s, account, slice_first(name, i), &r);
            n += r.mailbox == 0;
        }
    return n;
}

bool names_room(const struct account *a, unsigned n)
{
    return a->r.names + n <= MAILBOX_NAMES_MAX && a->r.uidvalidity < UINT32_MAX - n;
}

void parents_make(struct store *s, struct account *a, struct slice name)
{
    struct name_record r;
    for (size_t i = 1; i < name.n; i++) {
        if (name.p[i] != '/')
            continue;
        batch_name_get(s, a->id, slice_first(name, i), &r);
        if (r.mailbox == 0)
            batch_mailbox_new(s, a, slice_first(name, i), 0, false);
    }
}

/* A name that only exists as a parent becomes a mailbox again: a new one, with a new UIDVALIDITY. */
static bool only_name(struct store *s, struct account *a, struct slice name, struct mailbox **m_r)
{
    struct name_record r;
    batch_name_get(s, a->id, name, &r);
    *m_r = r.mailbox ? batch_mailbox(s, r.mailbox) : NULL;
    return *m_r && !(*m_r)->r.selectable;
}

static int create_check(struct store *s, struct account *a, struct slice name, uint32_t use, const char **why_r)
{
    struct mailbox *m;
    *why_r = "unknown special use";
    if (use > USE_LAST)
        return ERR_INVALID;
    *why_r = "a mailbox of that name exists";
    if (!only_name(s, a, name, &m) && m)
        return ERR_EXISTS;
    *why_r = "too many mailboxes";
    return names_room(a, names_missing(s, a->id, name) + 1) ? 0 : ERR_TOOBIG;
}

void op_mailbox_create(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__MailboxCreate *cr = c->mailbox_create;
    struct account *a = batch_account(s, cr->account);
    struct slice name;
    const char *why;
    if (!a) {
        op_refuse(r, ERR_NOTFOUND, "no such account");
        return;
    }
    if (!mailbox_name_check(&s->command_arena, slice_str(cr->name), &name)) {
        op_refuse(r, ERR_INVALID, "not a mailbox name");
        return;
    }
    int rc = create_check(s, a, name, cr->use, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    struct mailbox *old;
    if (only_name(s, a, name, &old))
        batch_mailbox_del(s, a, old);
    parents_make(s, a, name);
    struct mailbox *m = batch_mailbox_new(s, a, name, (uint8_t)cr->use, false);
    r->id = m->id;
    r->uidvalidity = m->r.uidvalidity;
    r->modseq = s->modseq;
}

bool name_has_children(struct store *s, uint64_t account, struct slice name)
{
    struct key k;
    struct slice key, v;
    struct name_record r;
    struct slice prefix = key_name(&k, account, name);
    k.b[prefix.n++] = '/';
    for (bool has = batch_seek(s, TABLE_NAME, prefix, &key, &v); has && key_starts(key, prefix);
         has = batch_next(s, TABLE_NAME, &key, &v))
        if (record_name_read(v, &r) && r.mailbox)
            return true;
    return false;
}

/* Parents that only existed for a child that is gone now go as well. */
void parents_drop(struct store *s, struct account *a, struct slice name)
{
    struct mailbox *m;
    for (size_t n = name.n; n-- > 1;) {
        if (name.p[n] != '/')
            continue;
        struct slice parent = slice_first(name, n);
        if (!only_name(s, a, parent, &m) || name_has_children(s, a->id, parent))
            return;
        batch_mailbox_del(s, a, m);
    }
}

static void mailbox_delete(struct store *s, struct account *a, struct mailbox *m, struct slice name, Merlion__Result *r)
{
    bool children = name_has_children(s, a->id, name);
    if (children && !m->r.selectable) {
        op_refuse(r, ERR_CONFLICT, "the name has inferior names");
        return;
    }
    batch_mailbox_purge(s, m);
    r->modseq = s->modseq;
    if (children) {
        m->r.selectable = false;
        m->r.use = 0;
        mailbox_touch(s, m);
    } else {
        batch_mailbox_del(s, a, m);
        parents_drop(s, a, name);
    }
}

void op_mailbox_delete(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__MailboxDelete *d = c->mailbox_delete;
    struct account *a = batch_account(s, d->account);
    struct slice name;
    struct name_record n = {0};
    if (a && mailbox_name_check(&s->command_arena, slice_str(d->name), &name))
        batch_name_get(s, a->id, name, &n);
    struct mailbox *m = n.mailbox ? batch_mailbox(s, n.mailbox) : NULL;
    if (!m)
        op_refuse(r, ERR_NOTFOUND, "no such mailbox");
    else if (m->id == a->r.inbox)
        op_refuse(r, ERR_DENIED, "INBOX cannot be deleted");
    else
        mailbox_delete(s, a, m, name, r);
}

/* A name need not exist to be subscribed to (RFC 9051 6.3.7). */
void op_subscribe(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__Subscribe *sub = c->subscribe;
    struct account *a = batch_account(s, sub->account);
    struct slice name;
    struct name_record n;
    if (!a) {
        op_refuse(r, ERR_NOTFOUND, "no such account");
    } else if (!mailbox_name_check(&s->command_arena, slice_str(sub->name), &name)) {
        op_refuse(r, ERR_INVALID, "not a mailbox name");
    } else if (!batch_name_get(s, a->id, name, &n) && sub->on && !names_room(a, 1)) {
        op_refuse(r, ERR_TOOBIG, "too many mailboxes");
    } else {
        n.subscribed = sub->on;
        batch_name_set(s, a, name, n);
    }
}
