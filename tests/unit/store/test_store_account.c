#include "support_state.h"

static void start(struct fx *f)
{
    fx_open(f);
    assert_int_equal(fx_domain(f, "x.org", NULL), 0);
}

static struct store_view *view(struct fx *f)
{
    struct store_view *v;
    assert_int_equal(store_view_open(f->s, &v), 0);
    return v;
}

static int user_remove(struct fx *f, const char *address)
{
    Merlion__UserRemove m = MERLION__USER_REMOVE__INIT;
    m.address = (char *)(uintptr_t)address;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_USER_REMOVE;
    c.user_remove = &m;
    return fx_run(f, &c);
}

static int user_set(struct fx *f, const char *address, const char *password, int locked, int64_t quota)
{
    Merlion__UserSet m = MERLION__USER_SET__INIT;
    m.address = (char *)(uintptr_t)address;
    m.password = (char *)(uintptr_t)password;
    m.has_locked = locked >= 0;
    m.locked = locked > 0;
    m.has_quota = quota >= 0;
    m.quota_bytes = quota > 0 ? (uint64_t)quota : 0;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_USER_SET;
    c.user_set = &m;
    return fx_run(f, &c);
}

static int domain_remove(struct fx *f, const char *name)
{
    Merlion__DomainRemove m = MERLION__DOMAIN_REMOVE__INIT;
    m.name = (char *)(uintptr_t)name;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_DOMAIN_REMOVE;
    c.domain_remove = &m;
    return fx_run(f, &c);
}

static int alias_remove(struct fx *f, const char *address)
{
    Merlion__AliasRemove m = MERLION__ALIAS_REMOVE__INIT;
    m.address = (char *)(uintptr_t)address;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_ALIAS_REMOVE;
    c.alias_remove = &m;
    return fx_run(f, &c);
}

static void test_users(void **state)
{
    struct fx f;
    struct store_account a;
    (void)state;
    start(&f);
    uint64_t id = fx_user(&f, "Anna@X.org", 1000);
    assert_true(id);
    assert_int_equal(fx_user(&f, "anna@x.ORG", 0), 0);
    assert_int_equal(f.result->status, ERR_EXISTS);
    assert_int_equal(fx_user(&f, "b@other.org", 0), 0);
    assert_int_equal(f.result->status, ERR_NOTFOUND);
    struct store_view *v = view(&f);
    assert_int_equal(store_account_find(v, slice_str("anna@x.org"), &a), 0);
    assert_true(a.id == id && a.quota_bytes == 1000 && a.created_ms == f.time_ms && a.state == ACCOUNT_ACTIVE);
    assert_true(slice_eq(a.address, slice_str("anna@x.org")) && slice_eq(a.password, slice_str("{hash}")));
    assert_int_equal(store_account_find(v, slice_str("anna"), &a), ERR_NOTFOUND);
    store_view_close(&v);
    assert_int_equal(user_set(&f, "ANNA@x.org", "{new}", 1, -1), 0);
    v = view(&f);
    assert_int_equal(store_account_get(v, id, &a), 0);
    assert_true(a.state == ACCOUNT_LOCKED && a.quota_bytes == 1000 && slice_eq(a.password, slice_str("{new}")));
    store_view_close(&v);
    assert_int_equal(user_set(&f, "anna@x.org", "", 0, 0), 0);
    v = view(&f);
    assert_int_equal(store_account_get(v, id, &a), 0);
    assert_true(a.state == ACCOUNT_ACTIVE && a.quota_bytes == 0 && slice_eq(a.password, slice_str("{new}")));
    store_view_close(&v);
    assert_int_equal(user_set(&f, "none@x.org", "p", -1, -1), ERR_NOTFOUND);
    assert_int_equal(user_set(&f, "none", "p", -1, -1), ERR_INVALID);
    fx_close(&f);
}

static void test_addresses(void **state)
{
    static const char *const bad[] = {"",
                                      "a",
                                      "@x.org",
                                      "a@",
                                      "a b@x.org",
                                      "a..b@x.org",
                                      ".a@x.org",
                                      "a.@x.org",
                                      "a@b@x.org",
                                      "a\"@x.org",
                                      "a\x01@x.org",
                                      "\xff@x.org",
                                      "a@-x.org",
                                      "a@x..org",
                                      "a@x.org.",
                                      "0123456789012345678901234567890123456789012345678901234567890123x@x.org"};
    static const char *const good[] = {"a+b@x.org", "\xc3\xbc@x.org", "o'neil@x.org", "a.b@x.org",
                                       "0123456789012345678901234567890123456789012345678901234567890123@x.org"};
    struct fx f;
    (void)state;
    start(&f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(fx_user(&f, bad[i], 0), 0);
        assert_int_equal(f.result->status, ERR_INVALID);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(fx_user(&f, good[i], 0));
    fx_close(&f);
}

static void test_user_remove(void **state)
{
    struct fx f;
    struct store_stats before, after;
    (void)state;
    start(&f);
    uint64_t keep = fx_user(&f, "keep@x.org", 0);
    store_stats(f.s, &before);
    uint64_t a = fx_user(&f, "a@x.org", 0);
    uint64_t both[] = {a, keep};
    fx_deliver(&f, 1, both, 2);
    fx_append(&f, fx_mailbox(&f, a, "Sent"), 2, 5, 0, "kw");
    fx_create(&f, a, "p/q");
    fx_delete(&f, a, "p");
    fx_subscribe(&f, a, "ghost", true);
    fx_expunge(&f, fx_mailbox(&f, a, "Sent"), "2", true);
    assert_int_equal(user_remove(&f, "a@x.org"), 0);
    assert_int_equal(f.freed, 5); /* one is held by the other account */
    store_stats(f.s, &after);
    assert_true(after.accounts == before.accounts && after.mailboxes == before.mailboxes);
    assert_true(after.messages == 1 && after.bodies == 1);
    assert_string_equal(fx_mailboxes(&f, a), "");
    assert_int_equal(user_remove(&f, "a@x.org"), ERR_NOTFOUND);
    assert_int_equal(fx_deliver(&f, 1, &a, 1), 0);
    assert_int_equal(f.result->account_status[0], ERR_NOTFOUND);
    uint64_t again = fx_user(&f, "a@x.org", 0);
    assert_true(again > a);
    fx_close(&f);
}

/* Made, used and removed within one batch: its records were never written. */
static void test_user_in_batch(void **state)
{
    struct fx f;
    struct buf entry = {0};
    (void)state;
    start(&f);
    char address[] = "t@x.org", password[] = "p";
    Merlion__UserAdd add = MERLION__USER_ADD__INIT;
    Merlion__UserRemove del = MERLION__USER_REMOVE__INIT;
    add.address = del.address = address;
    add.password = password;
    Merlion__Command c = MERLION__COMMAND__INIT;
    store_batch_begin(f.s);
    for (int i = 0; i < 2; i++) {
        c.op_case = MERLION__COMMAND__OP_USER_ADD;
        c.user_add = &add;
        fx_entry(&f, &c, &entry);
        assert_int_equal(store_apply(f.s, ++f.index, 1, buf_slice(&entry)), 0);
        assert_int_equal(f.result->status, 0);
        c.op_case = MERLION__COMMAND__OP_USER_REMOVE;
        c.user_remove = &del;
        fx_entry(&f, &c, &entry);
        assert_int_equal(store_apply(f.s, ++f.index, 1, buf_slice(&entry)), 0);
        assert_int_equal(f.result->status, 0);
    }
    assert_int_equal(store_batch_commit(f.s), 0);
    buf_close(&entry);
    fx_close(&f);
}

static bool count(void *arg, const struct store_account *a)
{
    (void)a;
    ++*(int *)arg;
    return true;
}

static bool count_domain(void *arg, const struct store_domain *d)
{
    (void)d;
    ++*(int *)arg;
    return true;
}

static void test_domains(void **state)
{
    struct fx f;
    int n = 0;
    (void)state;
    start(&f);
    unsigned cluster = f.cluster;
    assert_int_equal(fx_domain(&f, "X.ORG", NULL), ERR_EXISTS);
    assert_int_equal(f.cluster, cluster);
    assert_int_equal(fx_domain(&f, "x.org", "all@x.org"), 0); /* changes the catch-all */
    assert_int_equal(f.cluster, cluster + 1);
    assert_int_equal(fx_domain(&f, "y.org", "all@z.org"), ERR_DENIED);
    assert_int_equal(fx_domain(&f, "y.org", "all"), ERR_INVALID);
    assert_int_equal(fx_domain(&f, "y_org", NULL), ERR_INVALID);
    assert_int_equal(fx_domain(&f, "x.or", NULL), 0);
    fx_user(&f, "a@x.org", 0);
    assert_int_equal(domain_remove(&f, "x.org"), ERR_CONFLICT);
    assert_int_equal(domain_remove(&f, "x.or"), 0); /* a prefix of another's name */
    assert_int_equal(domain_remove(&f, "x.or"), ERR_NOTFOUND);
    assert_int_equal(domain_remove(&f, "-"), ERR_INVALID);
    fx_user(&f, "b@x.org", 0);
    assert_int_equal(fx_domain(&f, "a.org", NULL), 0);
    fx_user(&f, "c@a.org", 0);
    struct store_view *v = view(&f);
    store_account_each(v, slice_str("x.org"), count, &n);
    assert_int_equal(n, 2);
    store_account_each(v, slice_str(""), count, &n);
    assert_int_equal(n, 5);
    n = 0;
    store_domain_each(v, count_domain, &n);
    assert_int_equal(n, 2);
    assert_true(store_domain_is_ours(v, slice_str("A.org")) && !store_domain_is_ours(v, slice_str("b.org")));
    store_view_close(&v);
    fx_close(&f);
}

static enum resolve resolve(struct fx *f, const char *address, uint64_t *first, unsigned *n)
{
    uint64_t accounts[4] = {0};
    struct store_view *v = view(f);
    enum resolve r = store_resolve(v, slice_str(address), accounts, 4, n, NULL);
    store_view_close(&v);
    *first = accounts[0];
    return r;
}

static void test_resolve(void **state)
{
    struct fx f;
    uint64_t first;
    unsigned n;
    (void)state;
    start(&f);
    uint64_t a = fx_user(&f, "a@x.org", 0), b = fx_user(&f, "b@x.org", 150), plus = fx_user(&f, "a+x@x.org", 0);
    fx_domain(&f, "y.org", "b@x.org");
    assert_true(resolve(&f, "A@X.org", &first, &n) == RESOLVE_LOCAL && first == a && n == 1);
    assert_true(resolve(&f, "a+y@x.org", &first, &n) == RESOLVE_LOCAL && first == a);
    assert_true(resolve(&f, "a+x@x.org", &first, &n) == RESOLVE_LOCAL && first == plus);
    assert_true(resolve(&f, "nobody@x.org", &first, &n) == RESOLVE_UNKNOWN && n == 0);
    assert_true(resolve(&f, "+@x.org", &first, &n) == RESOLVE_UNKNOWN);
    assert_true(resolve(&f, "a b@x.org", &first, &n) == RESOLVE_UNKNOWN);
    assert_true(resolve(&f, "a", &first, &n) == RESOLVE_UNKNOWN);
    assert_true(resolve(&f, "a@z.org", &first, &n) == RESOLVE_FOREIGN);
    assert_true(resolve(&f, "any.one@y.org", &first, &n) == RESOLVE_LOCAL && first == b);
    assert_true(resolve(&f, "Postmaster@x.org", &first, &n) == RESOLVE_LOCAL && first == a); /* first in order */
    assert_true(resolve(&f, "postmaster", &first, &n) == RESOLVE_LOCAL && n == 1);
    fx_setting(&f, "postmaster", "b@x.org", false);
    assert_true(resolve(&f, "postmaster", &first, &n) == RESOLVE_LOCAL && first == b);
    assert_true(resolve(&f, "postmaster@y.org", &first, &n) == RESOLVE_LOCAL && first == b);
    user_set(&f, "a@x.org", "", 1, -1);
    assert_int_equal(resolve(&f, "a@x.org", &first, &n), RESOLVE_LOCKED);
    fx_deliver(&f, 60, &b, 1);
    fx_setting(&f, "x", "y", false);
    user_set(&f, "b@x.org", "", -1, 100);
    assert_int_equal(resolve(&f, "b@x.org", &first, &n), RESOLVE_OVERQUOTA);
    fx_close(&f);
}

/* RFC 5321 4.5.1: whatever state the accounts are in, somebody gets it. */
static void test_postmaster(void **state)
{
    struct fx f;
    uint64_t first;
    unsigned n;
    (void)state;
    start(&f);
    uint64_t a = fx_user(&f, "a@x.org", 0), b = fx_user(&f, "b@x.org", 100);
    fx_domain(&f, "y.org", "");
    uint64_t c = fx_user(&f, "c@y.org", 0);
    assert_true(resolve(&f, "postmaster+report@x.org", &first, &n) == RESOLVE_LOCAL && first == a);
    user_set(&f, "a@x.org", "", 1, -1); /* locked */
    assert_true(resolve(&f, "postmaster@x.org", &first, &n) == RESOLVE_LOCAL && first == b && n == 1);
    fx_deliver(&f, 60, &b, 1); /* over quota now: taken all the same */
    assert_true(resolve(&f, "postmaster@x.org", &first, &n) == RESOLVE_LOCAL && first == b && n == 1);
    user_set(&f, "b@x.org", "", 1, -1);
    assert_true(resolve(&f, "postmaster@x.org", &first, &n) == RESOLVE_LOCAL && first == c); /* another domain's */
    user_set(&f, "c@y.org", "", 1, -1);
    assert_true(resolve(&f, "postmaster@x.org", &first, &n) == RESOLVE_LOCAL && first == a && n == 1);
    /* Who is named for it is locked: the next one. */
    user_set(&f, "c@y.org", "", 0, -1);
    fx_setting(&f, "postmaster", "a@x.org", false);
    assert_true(resolve(&f, "postmaster@y.org", &first, &n) == RESOLVE_LOCAL && first == c);
    uint64_t own = fx_user(&f, "postmaster@x.org", 0);
    assert_true(resolve(&f, "postmaster+report@x.org", &first, &n) == RESOLVE_LOCAL && first == own);
    user_set(&f, "postmaster@x.org", "", 1, -1);
    assert_true(resolve(&f, "postmaster@x.org", &first, &n) == RESOLVE_LOCAL && first == c);
    assert_int_equal(resolve(&f, "a@x.org", &first, &n), RESOLVE_LOCKED);
    fx_close(&f);
}

static void test_alias(void **state)
{
    struct fx f;
    uint64_t first;
    unsigned n;
    char name[32], next[32];
    (void)state;
    start(&f);
    uint64_t a = fx_user(&f, "a@x.org", 0);
    fx_user(&f, "b@x.org", 0);
    assert_int_equal(fx_alias(&f, "team@x.org", "a@x.org", "b@x.org"), 0);
    assert_true(resolve(&f, "team@x.org", &first, &n) == RESOLVE_LOCAL && n == 2);
    assert_true(resolve(&f, "team+detail@x.org", &first, &n) == RESOLVE_LOCAL && n == 2);
    assert_int_equal(fx_alias(&f, "all@x.org", "team@x.org", "a@x.org"), 0);
    assert_true(resolve(&f, "all@x.org", &first, &n) == RESOLVE_LOCAL && n == 2); /* nobody twice */
    assert_int_equal(fx_alias(&f, "team@x.org", "a@x.org", NULL), 0);             /* replaces */
    assert_true(resolve(&f, "all@x.org", &first, &n) == RESOLVE_LOCAL && n == 1 && first == a);
    assert_int_equal(fx_alias(&f, "team@x.org", "b@other.org", NULL), ERR_DENIED);
    assert_int_equal(fx_alias(&f, "team@x.org", "team@X.org", NULL), ERR_INVALID);
    assert_int_equal(fx_alias(&f, "team@x.org", "no", NULL), ERR_INVALID);
    assert_int_equal(fx_alias(&f, "team@x.org", NULL, NULL), ERR_INVALID);
    assert_int_equal(fx_alias(&f, "a@x.org", "b@x.org", NULL), ERR_EXISTS); /* no shadow either way */
    assert_int_equal(fx_user(&f, "team@x.org", 0), 0);
    assert_int_equal(f.result->status, ERR_EXISTS);
    assert_int_equal(fx_alias(&f, "t@other.org", "a@x.org", NULL), ERR_NOTFOUND);
    /* A loop, and one that branches at each turn. */
    fx_alias(&f, "l1@x.org", "l2@x.org", "l2@x.org");
    fx_alias(&f, "l2@x.org", "l1@x.org", "l1@x.org");
    assert_int_equal(resolve(&f, "l1@x.org", &first, &n), RESOLVE_UNKNOWN);
    for (int i = 0; i < 11; i++) {
        snprintf(name, sizeof name, "n%d@x.org", i);
        snprintf(next, sizeof next, i == 10 ? "a@x.org" : "n%d@x.org", i + 1);
        assert_int_equal(fx_alias(&f, name, next, NULL), 0);
    }
    assert_int_equal(resolve(&f, "n1@x.org", &first, &n), RESOLVE_LOCAL);
    assert_int_equal(resolve(&f, "n0@x.org", &first, &n), RESOLVE_UNKNOWN); /* nested 11 deep */
    /* More accounts than the caller takes: nobody is left out silently. */
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "m%d@x.org", i);
        fx_user(&f, name, 0);
    }
    fx_alias(&f, "big2@x.org", "m2@x.org", "m3@x.org");
    fx_alias(&f, "big1@x.org", "m1@x.org", "big2@x.org");
    fx_alias(&f, "big@x.org", "all@x.org", "big1@x.org");
    assert_true(resolve(&f, "big@x.org", &first, &n) == RESOLVE_LOCAL && n == 4);
    fx_alias(&f, "big2@x.org", "m2@x.org", "big3@x.org");
    fx_alias(&f, "big3@x.org", "m3@x.org", "m4@x.org");
    assert_int_equal(resolve(&f, "big@x.org", &first, &n), RESOLVE_OVERQUOTA);
    assert_int_equal(alias_remove(&f, "all@x.org"), 0);
    assert_int_equal(alias_remove(&f, "all@x.org"), ERR_NOTFOUND);
    assert_int_equal(alias_remove(&f, "a@x.org"), ERR_NOTFOUND);
    fx_close(&f);
}

static bool note_alias(void *arg, struct slice address, struct slice targets)
{
    char *text = arg;
    snprintf(text + strlen(text), 200 - strlen(text), "%.*s=", (int)address.n, (const char *)address.p);
    for (size_t i = 0; i < targets.n; i++)
        snprintf(text + strlen(text), 200 - strlen(text), "%c", targets.p[i] ? targets.p[i] : ',');
    return true;
}

static void test_alias_each(void **state)
{
    struct fx f;
    char text[200] = "";
    (void)state;
    start(&f);
    fx_user(&f, "a@x.org", 0);
    fx_alias(&f, "T@x.org", "A@x.org", "b@x.org");
    struct store_view *v = view(&f);
    store_alias_each(v, note_alias, text);
    store_view_close(&v);
    assert_string_equal(text, "t@x.org=a@x.org,b@x.org");
    fx_close(&f);
}

static bool note_setting(void *arg, struct slice name, struct slice value)
{
    (void)value;
    char *text = arg;
    snprintf(text + strlen(text), 200 - strlen(text), "%.*s ", (int)name.n, (const char *)name.p);
    return true;
}

static void test_settings(void **state)
{
    struct fx f;
    struct slice value;
    char text[200] = "";
    (void)state;
    start(&f);
    assert_int_equal(fx_setting(&f, "b", "1", true), 0);
    assert_int_equal(fx_setting(&f, "b", "2", true), ERR_EXISTS);
    assert_int_equal(fx_setting(&f, "a", "3", false), 0);
    assert_int_equal(fx_setting(&f, "b", "4", false), 0);
    assert_int_equal(fx_setting(&f, "no space", "4", false), ERR_INVALID);
    assert_int_equal(fx_setting(&f, "", "4", false), ERR_INVALID);
    struct store_view *v = view(&f);
    assert_int_equal(store_setting_get(v, slice_str("b"), &value), 0);
    assert_true(slice_eq(value, slice_str("4")));
    store_setting_each(v, note_setting, text);
    store_view_close(&v);
    assert_string_equal(text, "a b ");
    assert_int_equal(fx_setting(&f, "a", "", false), 0);
    assert_int_equal(fx_setting(&f, "never", "", false), 0);
    v = view(&f);
    assert_int_equal(store_setting_get(v, slice_str("a"), &value), ERR_NOTFOUND);
    store_view_close(&v);
    fx_close(&f);
}

static int member(struct fx *f, uint64_t id, const char *name, uint32_t format, int64_t invited, uint64_t instance)
{
    Merlion__MemberSet m = MERLION__MEMBER_SET__INIT;
    m.id = id;
    m.name = (char *)(uintptr_t)name;
    m.format_max = format;
    m.invited_until_ms = invited;
    m.instance = instance;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_MEMBER_SET;
    c.member_set = &m;
    return fx_run(f, &c);
}

static int member_remove(struct fx *f, uint64_t id)
{
    Merlion__MemberRemove m = MERLION__MEMBER_REMOVE__INIT;
    m.id = id;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_MEMBER_REMOVE;
    c.member_remove = &m;
    return fx_run(f, &c);
}

static int format_raise(struct fx *f, uint32_t format)
{
    Merlion__FormatRaise m = MERLION__FORMAT_RAISE__INIT;
    m.format = format;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_FORMAT_RAISE;
    c.format_raise = &m;
    return fx_run(f, &c);
}

static bool count_member(void *arg, const struct store_member *m)
{
    (void)m;
    ++*(int *)arg;
    return true;
}

static void test_members(void **state)
{
    struct fx f;
    struct store_member m;
    int n = 0;
    (void)state;
    start(&f);
    assert_int_equal(member(&f, 0, "n", 1, 0, 0), ERR_INVALID);
    assert_int_equal(member(&f, 1, "n1", 1, f.time_ms + 1000, 0), 0);
    assert_int_equal(member(&f, 1, "", 0, 0, 77), 0); /* joins: what is not said stays */
    struct store_view *v = view(&f);
    assert_int_equal(store_member_get(v, 1, &m), 0);
    assert_true(slice_eq(m.name, slice_str("n1")) && m.format_max == 1 && m.instance == 77 && m.invited_until_ms == 0);
    assert_int_equal(store_member_get(v, 2, &m), ERR_NOTFOUND);
    store_member_each(v, count_member, &n);
    assert_int_equal(n, 1);
    store_view_close(&v);
    assert_int_equal(member(&f, 1, "", 0, 0, 78), ERR_CONFLICT); /* a token used twice */
    assert_int_equal(member(&f, 2, "n2", 0, f.time_ms + 1000, 0), 0);
    f.time_ms += 1001;
    assert_int_equal(member(&f, 2, "n2", 1, 0, 5), ERR_DENIED); /* expired */
    assert_int_equal(format_raise(&f, 1), 0);
    assert_int_equal(format_raise(&f, 0), ERR_INVALID);
    assert_int_equal(format_raise(&f, 2), ERR_CONFLICT); /* member 1 supports 1 */
    unsigned cluster = f.cluster;
    assert_int_equal(member_remove(&f, 2), 0);
    assert_int_equal(f.cluster, cluster + 1);
    assert_int_equal(member_remove(&f, 2), ERR_NOTFOUND);
    fx_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_users),         cmocka_unit_test(test_addresses), cmocka_unit_test(test_user_remove),
        cmocka_unit_test(test_user_in_batch), cmocka_unit_test(test_domains),   cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_postmaster),    cmocka_unit_test(test_alias),     cmocka_unit_test(test_alias_each),
        cmocka_unit_test(test_settings),      cmocka_unit_test(test_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
