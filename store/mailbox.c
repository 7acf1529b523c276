#include "store/state.h"

static unsigned slot(uint64_t id)
{
    return (unsigned)(id % CACHE_SLOTS);
}

static void mailbox_keep(struct store *s, struct mailbox *m)
{
    struct mailbox_record *r = &m->r;
    r->name = arena_copy(&s->batch_arena, r->name);
    for (unsigned i = 0; i < r->keyword_n; i++)
        r->keyword[i] = arena_copy(&s->batch_arena, r->keyword[i]);
    m->next = s->mailbox_slot[slot(m->id)];
    s->mailbox_slot[slot(m->id)] = m;
    list_append(&s->mailboxes, &m->order);
}

struct mailbox *batch_mailbox(struct store *s, uint64_t id)
{
    for (struct mailbox *m = s->mailbox_slot[slot(id)]; m; m = m->next)
        if (m->id == id)
            return m->gone ? NULL : m;
    struct key k;
    struct slice v;
    if (!batch_get(s, TABLE_MAILBOX, key_u64(&k, id), &v))
        return NULL;
    struct mailbox *m = arena_alloc(&s->batch_arena, sizeof *m);
    m->id = id;
    if (!record_mailbox_read(v, &m->r)) {
        batch_fail(s, ERR_CORRUPT, "mailbox", 0);
        return NULL;
    }
    mailbox_keep(s, m);
    return m;
}

static void account_keep(struct store *s, struct account *a)
{
    a->r.address = arena_copy(&s->batch_arena, a->r.address);
    a->r.password = arena_copy(&s->batch_arena, a->r.password);
    a->next = s->account_slot[slot(a->id)];
    s->account_slot[slot(a->id)] = a;
    list_append(&s->accounts, &a->order);
}

struct account *batch_account(struct store *s, uint64_t id)
{
    for (struct account *a = s->account_slot[slot(id)]; a; a = a->next)
        if (a->id == id)
            return a->gone ? NULL : a;
    struct key k;
    struct slice v;
    if (!batch_get(s, TABLE_ACCOUNT, key_u64(&k, id), &v))
        return NULL;
    struct account *a = arena_alloc(&s->batch_arena, sizeof *a);
    a->id = id;
    if (!record_account_read(v, &a->r)) {
        batch_fail(s, ERR_CORRUPT, "account", 0);
        return NULL;
    }
    account_keep(s, a);
    return a;
}

struct account *batch_account_find(struct store *s, struct slice address)
{
    struct key k;
    struct slice v;
    struct address_record r;
    if (!batch_get(s, TABLE_ADDRESS, key_address(&k, address), &v))
        return NULL;
    if (!record_address_read(v, &r)) {
        batch_fail(s, ERR_CORRUPT, "address", 0);
        return NULL;
    }
    return r.kind == ADDRESS_USER ? batch_account(s, r.account) : NULL;
}

struct account *batch_account_new(struct store *s, struct slice address)
{
    struct key k;
    struct account *a = arena_alloc(&s->batch_arena, sizeof *a);
    a->id = s->st.next_account++;
    a->r.address = address;
    a->r.created_ms = s->st.time_ms;
    a->dirty = true;
    account_keep(s, a);
    s->st.accounts++;
    struct address_record r = {.kind = ADDRESS_USER, .account = a->id};
    struct buf *b = batch_value(s);
    record_address_write(b, &r);
    batch_insert(s, TABLE_ADDRESS, key_address(&k, address), buf_slice(b));
    return a;
}

/* A record made in this batch may not be in its table yet. */
static void record_drop(struct store *s, enum table t, uint64_t id)
{
    struct key k;
    struct slice v;
    if (batch_get(s, t, key_u64(&k, id), &v))
        batch_del(s, t, key_u64(&k, id));
}

void batch_account_del(struct store *s, struct account *a)
{
    struct key k;
    batch_del(s, TABLE_ADDRESS, key_address(&k, a->r.address));
    record_drop(s, TABLE_ACCOUNT, a->id);
    a->gone = true;
    a->dirty = false;
    s->st.accounts--;
}

void mailbox_touch(struct store *s, struct mailbox *m)
{
    m->dirty = m->changed = true;
    m->r.highest_modseq = s->modseq;
}

/* ---- names ---- */

bool batch_name_get(struct store *s, uint64_t account, struct slice name, struct name_record *r)
{
    struct key k;
    struct slice v;
    *r = (struct name_record){0};
    if (!batch_get(s, TABLE_NAME, key_name(&k, account, name), &v))
        return false;
    if (!record_name_read(v, r))
        batch_fail(s, ERR_CORRUPT, "name", 0);
    return true;
}

void batch_name_set(struct store *s, struct account *a, struct slice name, struct name_record r)
{
    struct key k;
    struct name_record old;
    bool had = batch_name_get(s, a->id, name, &old), keep = r.mailbox || r.subscribed;
    if (keep != had) {
        a->r.names = keep ? a->r.names + 1 : a->r.names - 1;
        a->dirty = true;
    }
    if (keep) {
        struct buf *b = batch_value(s);
        record_name_write(b, &r);
        batch_put(s, TABLE_NAME, key_name(&k, a->id, name), buf_slice(b));
    } else if (had) {
        batch_del(s, TABLE_NAME, key_name(&k, a->id, name));
    }
}

/* Never twice the same within an account, so a name that is used again cannot be taken for its predecessor (RFC
 * 9051 2.3.1.1). Clocks that are far off leave room to count on. */
static uint32_t uidvalidity_next(struct store *s, struct account *a)
{
    int64_t now = s->st.time_ms / 1000;
    uint32_t floor = now < 1 ? 1 : now > 0xf0000000 ? 0xf0000000 : (uint32_t)now;
    ENSURE(a->r.uidvalidity < UINT32_MAX);
    a->r.uidvalidity = a->r.uidvalidity + 1 > floor ? a->r.uidvalidity + 1 : floor;
    a->dirty = true;
    return a->r.uidvalidity;
}

struct mailbox *batch_mailbox_new(struct store *s, struct account *a, struct slice name, uint8_t use, bool subscribe)
{
    struct name_record r;
    batch_name_get(s, a->id, name, &r);
    struct mailbox *m = arena_alloc(&s->batch_arena, sizeof *m);
    m->id = s->st.next_mailbox++;
    m->r = (struct mailbox_record){.account = a->id, .uidnext = 1, .use = use, .selectable = true, .name = name};
    m->r.uidvalidity = uidvalidity_next(s, a);
    mailbox_keep(s, m);
    mailbox_touch(s, m);
    s->st.mailboxes++;
    r.mailbox = m->id;
    r.subscribed |= subscribe;
    batch_name_set(s, a, name, r);
    return m;
}

void batch_mailbox_del(struct store *s, struct account *a, struct mailbox *m)
{
    struct name_record r;
    batch_name_get(s, a->id, m->r.name, &r);
    r.mailbox = 0;
    batch_name_set(s, a, m->r.name, r);
    record_drop(s, TABLE_MAILBOX, m->id);
    m->gone = m->changed = true;
    m->dirty = false;
    s->st.mailboxes--;
}

void batch_mailbox_name(struct store *s, struct mailbox *m, struct slice name)
{
    m->r.name = arena_copy(&s->batch_arena, name);
    m->dirty = m->changed = true;
}

/* ---- write back ---- */

void batch_caches_flush(struct store *s)
{
    struct key k;
    LIST_EACH(it, next, &s->mailboxes)
    {
        struct mailbox *m = container_of(it, struct mailbox, order);
        if (!m->dirty)
            continue;
        struct buf *b = batch_value(s);
        record_mailbox_write(b, &m->r);
        batch_put(s, TABLE_MAILBOX, key_u64(&k, m->id), buf_slice(b));
        m->dirty = false;
    }
    LIST_EACH(it, next, &s->accounts)
    {
        struct account *a = container_of(it, struct account, order);
        if (!a->dirty)
            continue;
        struct buf *b = batch_value(s);
        record_account_write(b, &a->r);
        batch_put(s, TABLE_ACCOUNT, key_u64(&k, a->id), buf_slice(b));
        a->dirty = false;
    }
}

void batch_caches_clear(struct store *s)
{
    memset(s->mailbox_slot, 0, sizeof s->mailbox_slot);
    memset(s->account_slot, 0, sizeof s->account_slot);
    list_init(&s->mailboxes);
    list_init(&s->accounts);
}
