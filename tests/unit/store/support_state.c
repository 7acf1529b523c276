#include "support_state.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void on_result(void *arg, struct request_id id, struct slice result)
{
    struct fx *f = arg;
    (void)id;
    f->results++;
    if (f->result)
        merlion__result__free_unpacked(f->result, NULL);
    f->result = merlion__result__unpack(NULL, result.n, result.p);
    assert_non_null(f->result);
}

static void on_mailbox(void *arg, uint64_t mailbox, uint64_t account)
{
    struct fx *f = arg;
    (void)account;
    f->changed++;
    f->changed_mailbox = mailbox;
}

static void on_referenced(void *arg, const struct body_hash *hash, uint64_t size, struct slice record)
{
    (void)hash;
    (void)size;
    (void)record;
    ((struct fx *)arg)->referenced++;
}

static void on_freed(void *arg, const struct body_hash *hash)
{
    struct fx *f = arg;
    f->freed++;
    f->freed_hash = *hash;
}

static void on_cluster(void *arg)
{
    ((struct fx *)arg)->cluster++;
}

static void on_queue(void *arg, bool retry)
{
    ((struct fx *)arg)->queue++;
    ((struct fx *)arg)->retries += retry;
}

void fx_listen(struct fx *f)
{
    struct store_events e = {f, on_result, on_mailbox, on_referenced, on_freed, on_cluster, on_queue};
    store_set_events(f->s, &e);
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void fx_remove(const char *dir)
{
    nftw(dir, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static void store_start(struct fx *f)
{
    struct store_options o = {.map_size = (size_t)1 << 30, .no_sync = true};
    struct err_detail e;
    assert_int_equal(store_open(f->dir, &o, &f->s, &e), 0);
    fx_listen(f);
}

void fx_open(struct fx *f)
{
    *f = (struct fx){.node = 1, .boot = 1000, .time_ms = 1700000000000};
    snprintf(f->dir, sizeof f->dir, "/tmp/merlion-state-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    store_start(f);
}

void fx_reopen(struct fx *f)
{
    store_close(&f->s);
    store_start(f);
}

void fx_close(struct fx *f)
{
    fx_scrub(f);
    store_close(&f->s);
    if (f->result)
        merlion__result__free_unpacked(f->result, NULL);
    fx_remove(f->dir);
}

void fx_scrub(struct fx *f)
{
    struct sum128 digest;
    struct store_position p;
    struct err_detail e = {""};
    assert_int_equal(store_scrub(f->s, &digest), 0);
    if (store_check(f->s, NULL, &e))
        fail_msg("%s", e.text);
    store_position(f->s, &p);
    assert_true(digest.lo == p.digest.lo && digest.hi == p.digest.hi);
}

struct sum128 fx_digest(struct fx *f)
{
    struct store_position p;
    store_position(f->s, &p);
    return p.digest;
}

void fx_entry(struct fx *f, Merlion__Command *c, struct buf *entry)
{
    Merlion__RequestId id = MERLION__REQUEST_ID__INIT;
    id.node = f->node;
    id.boot = f->boot;
    id.seq = ++f->seq;
    c->id = &id;
    c->time_ms = f->time_ms;
    size_t n = merlion__command__get_packed_size(c);
    uint8_t *packed = mem_alloc(n + 1);
    merlion__command__pack(c, packed);
    if (f->log)
        buf_put_bytes(f->log, slice_make(packed, n));
    entry_begin(entry);
    entry_add(entry, slice_make(packed, n));
    entry_end(entry);
    mem_free(packed);
    c->id = NULL;
}

int fx_run(struct fx *f, Merlion__Command *c)
{
    struct buf entry = {0};
    fx_entry(f, c, &entry);
    assert_int_equal(store_batch_begin(f->s), 0);
    assert_int_equal(store_apply(f->s, ++f->index, 1, buf_slice(&entry)), 0);
    assert_int_equal(store_batch_commit(f->s), 0);
    buf_close(&entry);
    assert_non_null(f->result);
    return f->result->status;
}

/* ---- commands ---- */

#define COMMAND(c, kind, KIND, m)                                                                                      \
    Merlion__Command c = MERLION__COMMAND__INIT;                                                                       \
    (c).op_case = MERLION__COMMAND__OP_##KIND;                                                                         \
    (c).kind = &(m)

static char *text(const char *s)
{
    return (char *)(uintptr_t)(s ? s : "");
}

void fx_body(struct fx_body *b, unsigned n)
{
    char message[32];
    snprintf(message, sizeof message, "message %u", n);
    struct body_hash hash = body_hash_of(slice_str(message));
    merlion__body__init(&b->body);
    memcpy(b->hash, hash.b, sizeof b->hash);
    snprintf(b->summary, sizeof b->summary, "summary %u", n);
    b->body.hash = (ProtobufCBinaryData){sizeof b->hash, b->hash};
    b->body.summary = (ProtobufCBinaryData){strlen(b->summary), (uint8_t *)b->summary};
    b->body.size = 100 + n % 50;
}

int fx_domain(struct fx *f, const char *name, const char *catch_all)
{
    Merlion__DomainAdd m = MERLION__DOMAIN_ADD__INIT;
    m.name = text(name);
    m.catch_all = text(catch_all);
    COMMAND(c, domain_add, DOMAIN_ADD, m);
    return fx_run(f, &c);
}

uint64_t fx_user(struct fx *f, const char *address, uint64_t quota)
{
    Merlion__UserAdd m = MERLION__USER_ADD__INIT;
    m.address = text(address);
    m.password = text("{hash}");
    m.quota_bytes = quota;
    COMMAND(c, user_add, USER_ADD, m);
    return fx_run(f, &c) ? 0 : f->result->id;
}

int fx_alias(struct fx *f, const char *address, const char *target1, const char *target2)
{
    Merlion__AliasAdd m = MERLION__ALIAS_ADD__INIT;
    char *targets[] = {text(target1), text(target2)};
    m.address = text(address);
    m.targets = targets;
    m.n_targets = target1 ? target2 ? 2 : 1 : 0;
    COMMAND(c, alias_add, ALIAS_ADD, m);
    return fx_run(f, &c);
}

int fx_setting(struct fx *f, const char *name, const char *value, bool only_if_absent)
{
    Merlion__Settings m = MERLION__SETTINGS__INIT;
    Merlion__Setting one = MERLION__SETTING__INIT, *list[] = {&one};
    one.name = text(name);
    one.value = (ProtobufCBinaryData){strlen(value), (uint8_t *)text(value)};
    m.set = list;
    m.n_set = 1;
    m.only_if_absent = only_if_absent;
    COMMAND(c, settings, SETTINGS, m);
    return fx_run(f, &c);
}

int fx_deliver(struct fx *f, unsigned body, const uint64_t *accounts, size_t n)
{
    Merlion__Deliver m = MERLION__DELIVER__INIT;
    struct fx_body b;
    fx_body(&b, body);
    m.body = &b.body;
    m.accounts = (uint64_t *)(uintptr_t)accounts;
    m.n_accounts = n;
    m.internal_ms = f->time_ms;
    COMMAND(c, deliver, DELIVER, m);
    return fx_run(f, &c);
}

int fx_append(struct fx *f, uint64_t mailbox, unsigned body, unsigned count, uint32_t flags, const char *keyword)
{
    Merlion__Append m = MERLION__APPEND__INIT;
    struct fx_body *bodies = mem_zalloc(count * sizeof *bodies);
    Merlion__AppendMessage *at = mem_zalloc(count * sizeof *at), **list = mem_zalloc(count * sizeof(void *));
    char *keywords[] = {text(keyword)};
    for (unsigned i = 0; i < count; i++) {
        fx_body(&bodies[i], body + i);
        merlion__append_message__init(&at[i]);
        at[i].body = &bodies[i].body;
        at[i].flags = flags;
        at[i].keywords = keywords;
        at[i].n_keywords = keyword != NULL;
        at[i].internal_ms = 1600000000000 + body;
        list[i] = &at[i];
    }
    m.mailbox = mailbox;
    m.messages = list;
    m.n_messages = count;
    COMMAND(c, append, APPEND, m);
    int rc = fx_run(f, &c);
    mem_free(bodies);
    mem_free(at);
    mem_free(list);
    return rc;
}

enum { RANGES_MAX = 64 };
struct ranges {
    Merlion__UidRange at[RANGES_MAX], *list[RANGES_MAX];
    size_t n;
};

static void ranges_parse(struct ranges *r, const char *uids)
{
    r->n = 0;
    for (const char *p = uids; p && *p;) {
        char *end;
        assert_true(r->n < RANGES_MAX);
        Merlion__UidRange *one = &r->at[r->n];
        merlion__uid_range__init(one);
        one->first = one->last = (uint32_t)strtoul(p, &end, 10);
        if (*end == ':')
            one->last = (uint32_t)strtoul(end + 1, &end, 10);
        r->list[r->n++] = one;
        p = *end == ',' ? end + 1 : end;
    }
}

int fx_flags(struct fx *f, uint64_t mailbox, const char *uids, int mode, uint32_t flags, const char *keyword,
             uint64_t since)
{
    Merlion__StoreFlags m = MERLION__STORE_FLAGS__INIT;
    struct ranges r;
    char *keywords[] = {text(keyword)};
    ranges_parse(&r, uids);
    m.mailbox = mailbox;
    m.uids = r.list;
    m.n_uids = r.n;
    m.mode = (Merlion__StoreFlags__Mode)mode;
    m.flags = flags;
    m.keywords = keywords;
    m.n_keywords = keyword != NULL;
    m.has_unchanged_since = since != UINT64_MAX;
    m.unchanged_since = m.has_unchanged_since ? since : 0;
    COMMAND(c, store_flags, STORE_FLAGS, m);
    return fx_run(f, &c);
}

int fx_copy(struct fx *f, uint64_t from, const char *uids, uint64_t to, bool move)
{
    Merlion__Copy m = MERLION__COPY__INIT;
    struct ranges r;
    ranges_parse(&r, uids);
    m.source = from;
    m.target = to;
    m.move = move;
    m.uids = r.list;
    m.n_uids = r.n;
    COMMAND(c, copy, COPY, m);
    return fx_run(f, &c);
}

int fx_expunge(struct fx *f, uint64_t mailbox, const char *uids, bool even_undeleted)
{
    Merlion__Expunge m = MERLION__EXPUNGE__INIT;
    struct ranges r;
    ranges_parse(&r, uids);
    m.mailbox = mailbox;
    m.uids = r.list;
    m.n_uids = r.n;
    m.all_deleted = uids == NULL;
    m.even_undeleted = even_undeleted;
    COMMAND(c, expunge, EXPUNGE, m);
    return fx_run(f, &c);
}

int fx_create(struct fx *f, uint64_t account, const char *name)
{
    Merlion__MailboxCreate m = MERLION__MAILBOX_CREATE__INIT;
    m.account = account;
    m.name = text(name);
    COMMAND(c, mailbox_create, MAILBOX_CREATE, m);
    return fx_run(f, &c);
}

int fx_delete(struct fx *f, uint64_t account, const char *name)
{
    Merlion__MailboxDelete m = MERLION__MAILBOX_DELETE__INIT;
    m.account = account;
    m.name = text(name);
    COMMAND(c, mailbox_delete, MAILBOX_DELETE, m);
    return fx_run(f, &c);
}

int fx_rename(struct fx *f, uint64_t account, const char *from, const char *to)
{
    Merlion__MailboxRename m = MERLION__MAILBOX_RENAME__INIT;
    m.account = account;
    m.from = text(from);
    m.to = text(to);
    COMMAND(c, mailbox_rename, MAILBOX_RENAME, m);
    return fx_run(f, &c);
}

int fx_subscribe(struct fx *f, uint64_t account, const char *name, bool on)
{
    Merlion__Subscribe m = MERLION__SUBSCRIBE__INIT;
    m.account = account;
    m.name = text(name);
    m.on = on;
    COMMAND(c, subscribe, SUBSCRIBE, m);
    return fx_run(f, &c);
}

/* ---- reading ---- */

static void text_range(struct fx *f, uint32_t first, uint32_t last)
{
    size_t n = strlen(f->text);
    if (last > first)
        snprintf(f->text + n, sizeof f->text - n, "%s%u:%u", n ? "," : "", first, last);
    else
        snprintf(f->text + n, sizeof f->text - n, "%s%u", n ? "," : "", first);
}

const char *fx_text(struct fx *f, Merlion__UidRange **ranges, size_t n)
{
    f->text[0] = 0;
    for (size_t i = 0; i < n; i++)
        text_range(f, ranges[i]->first, ranges[i]->last);
    return f->text;
}

static struct store_view *view(struct fx *f)
{
    struct store_view *v;
    assert_int_equal(store_view_open(f->s, &v), 0);
    return v;
}

const char *fx_uids(struct fx *f, uint64_t mailbox)
{
    struct store_view *v = view(f);
    struct uid_set set = {0};
    store_uids(v, mailbox, &set);
    f->text[0] = 0;
    for (size_t i = 0; i < set.n; i++)
        text_range(f, set.ranges[i].first, set.ranges[i].last);
    uid_set_close(&set);
    store_view_close(&v);
    return f->text;
}

static bool add_name(void *arg, const struct store_mailbox *m)
{
    struct fx *f = arg;
    size_t n = strlen(f->text);
    const char *open = m->selectable ? "" : "(", *close = m->selectable ? "" : ")";
    snprintf(f->text + n, sizeof f->text - n, "%s%s%.*s%s%s%s", n ? " " : "", open, (int)m->name.n,
             (const char *)m->name.p, close, m->has_children ? "/" : "", m->subscribed ? "*" : "");
    return true;
}

const char *fx_mailboxes(struct fx *f, uint64_t account)
{
    struct store_view *v = view(f);
    f->text[0] = 0;
    store_mailbox_each(v, account, add_name, f);
    store_view_close(&v);
    return f->text;
}

uint64_t fx_mailbox(struct fx *f, uint64_t account, const char *name)
{
    struct store_view *v = view(f);
    struct store_mailbox m;
    uint64_t id = store_mailbox_find(v, account, slice_str(name), &m) ? 0 : m.id;
    store_view_close(&v);
    return id;
}

struct store_mailbox fx_info(struct fx *f, uint64_t mailbox)
{
    struct store_view *v = view(f);
    struct store_mailbox m;
    assert_int_equal(store_mailbox_get(v, mailbox, &m), 0);
    store_view_close(&v);
    return m;
}

struct store_message fx_message(struct fx *f, uint64_t mailbox, uint32_t uid)
{
    struct store_view *v = view(f);
    struct store_message m;
    assert_int_equal(store_message_get(v, mailbox, uid, &m), 0);
    store_view_close(&v);
    return m;
}

uint64_t fx_used(struct fx *f, uint64_t account)
{
    struct store_view *v = view(f);
    struct store_account a;
    assert_int_equal(store_account_get(v, account, &a), 0);
    store_view_close(&v);
    return a.used_bytes;
}
