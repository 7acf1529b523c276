#include "store/state.h"

/* Accounts. Removing one removes its mail in the same command: the work grows with the account, on the applier thread
 * alone. */

enum { PASSWORD_MAX = 1024 };

static const struct {
    const char *name;
    uint8_t use; /* protocol/backend.h enum special_use */
} first_mailboxes[] = {{"INBOX", 0}, {"Archive", 1}, {"Drafts", 2}, {"Junk", 4}, {"Sent", 5}, {"Trash", 6}};

static bool domain_known(struct store *s, struct slice domain)
{
    struct slice v;
    return batch_get(s, TABLE_DOMAIN, domain, &v);
}

static int user_add_check(struct store *s, const Merlion__UserAdd *u, struct slice *address_r, const char **why_r)
{
    struct key k;
    struct slice v;
    *why_r = "not a mail address";
    if (!address_check(&s->command_arena, slice_str(u->address), address_r))
        return ERR_INVALID;
    *why_r = "the password's hash is too long";
    if (strlen(u->password) > PASSWORD_MAX)
        return ERR_TOOBIG;
    *why_r = "no such domain";
    if (!domain_known(s, address_domain(*address_r)))
        return ERR_NOTFOUND;
    *why_r = "a user or alias of that address exists";
    return batch_get(s, TABLE_ADDRESS, key_address(&k, *address_r), &v) ? ERR_EXISTS : 0;
}

void op_user_add(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__UserAdd *u = c->user_add;
    struct slice address;
    const char *why;
    int rc = user_add_check(s, u, &address, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    struct account *a = batch_account_new(s, address);
    a->r.password = arena_copy(&s->batch_arena, slice_str(u->password));
    a->r.quota = u->quota_bytes;
    for (size_t i = 0; i < sizeof first_mailboxes / sizeof *first_mailboxes; i++) {
        struct mailbox *m = batch_mailbox_new(s, a, slice_str(first_mailboxes[i].name), first_mailboxes[i].use, true);
        if (i == 0)
            a->r.inbox = m->id;
    }
    r->id = a->id;
}

/* The account of an address as given, or NULL with the refusal made. */
static struct account *account_named(struct store *s, const char *given, Merlion__Result *r)
{
    struct slice address;
    struct account *a = NULL;
    if (!address_check(&s->command_arena, slice_str(given), &address))
        op_refuse(r, ERR_INVALID, "not a mail address");
    else if (!(a = batch_account_find(s, address)))
        op_refuse(r, ERR_NOTFOUND, "no such user");
    return a;
}

void op_user_set(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__UserSet *u = c->user_set;
    struct account *a = account_named(s, u->address, r);
    if (!a)
        return;
    /* Empty: unchanged. */
    bool sets_password = u->password[0];
    if (sets_password && strlen(u->password) > PASSWORD_MAX) {
        op_refuse(r, ERR_TOOBIG, "the password's hash is too long");
        return;
    }
    if (sets_password)
        a->r.password = arena_copy(&s->batch_arena, slice_str(u->password));
    if (u->has_locked)
        a->r.state = u->locked ? ACCOUNT_LOCKED : ACCOUNT_ACTIVE;
    if (u->has_quota)
        a->r.quota = u->quota_bytes;
    a->dirty = true;
    r->id = a->id;
}

/* The account's next name after those handled; false when none is left. */
static bool name_first(struct store *s, uint64_t account, struct slice *name_r)
{
    struct key k;
    struct slice key, v;
    if (!batch_seek(s, TABLE_NAME, key_u64(&k, account), &key, &v) || get_be64(key.p) != account)
        return false;
    *name_r = arena_copy(&s->command_arena, slice_from(key, 8));
    return true;
}

void op_user_remove(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    struct account *a = account_named(s, c->user_remove->address, r);
    struct slice name;
    if (!a)
        return;
    while (!s->failed && name_first(s, a->id, &name)) {
        struct name_record n;
        batch_name_get(s, a->id, name, &n);
        struct mailbox *m = n.mailbox ? batch_mailbox(s, n.mailbox) : NULL;
        if (m) {
            batch_mailbox_purge(s, m);
            batch_mailbox_del(s, a, m);
        }
        batch_name_set(s, a, name, (struct name_record){0});
    }
    struct key k;
    struct slice v;
    if (batch_get(s, TABLE_QUEUE_RATE, key_u64(&k, a->id), &v))
        batch_del(s, TABLE_QUEUE_RATE, key_u64(&k, a->id));
    r->id = a->id;
    batch_account_del(s, a);
}
