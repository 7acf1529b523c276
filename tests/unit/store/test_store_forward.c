#include "support_queue.h"

/* Aliases that lead elsewhere, and who may send as whom. */

struct found {
    enum resolve r;
    unsigned n;
    uint64_t accounts[4];
    struct resolve_foreign foreign;
    char text[9000]; /* of foreign, with spaces */
};

static struct found *resolve(struct fx *f, const char *address)
{
    static struct found x;
    struct store_view *v;
    memset(&x, 0xee, sizeof x);
    assert_int_equal(store_view_open(f->s, &v), 0);
    x.r = store_resolve(v, slice_str(address), x.accounts, 4, &x.n, &x.foreign);
    store_view_close(&v);
    for (size_t i = 0; i < x.foreign.n; i++)
        x.text[i] = x.foreign.text[i] ? x.foreign.text[i] : ' ';
    x.text[x.foreign.n] = 0;
    return &x;
}

static void test_foreign_targets(void **state)
{
    struct qx q;
    struct fx *f = &q.f;
    struct found *x;
    (void)state;
    qx_open(&q);
    assert_int_equal(fx_alias(f, "away@x.org", "Jo.Smith@A.ORG", NULL), 0);
    x = resolve(f, "away@x.org");
    assert_true(x->r == RESOLVE_LOCAL && x->n == 0 && x->foreign.count == 1);
    assert_string_equal(x->text, "Jo.Smith@a.org "); /* the local part as it was given */
    /* Some here, some there, nobody twice. */
    assert_int_equal(fx_alias(f, "all@x.org", "away@x.org", "both@x.org"), 0);
    assert_int_equal(fx_alias(f, "both@x.org", "u@x.org", "Jo.Smith@a.org"), 0);
    x = resolve(f, "all+detail@x.org");
    assert_true(x->r == RESOLVE_LOCAL && x->n == 1 && x->accounts[0] == 1 && x->foreign.count == 1);
    x = resolve(f, "u@x.org");
    assert_true(x->r == RESOLVE_LOCAL && x->n == 1 && x->foreign.count == 0 && x->foreign.n == 0);
    x = resolve(f, "any@a.org");
    assert_true(x->r == RESOLVE_FOREIGN && x->n == 0 && x->foreign.count == 0);
    x = resolve(f, "none@x.org");
    assert_true(x->r == RESOLVE_UNKNOWN && x->foreign.count == 0);
    /* postmaster may be elsewhere. */
    assert_int_equal(fx_alias(f, "postmaster@x.org", "admin@a.org", NULL), 0);
    x = resolve(f, "postmaster@x.org");
    assert_true(x->r == RESOLVE_LOCAL && x->n == 0);
    assert_string_equal(x->text, "admin@a.org ");
    /* A caller without room for them loses nobody's copy silently. */
    struct store_view *v;
    uint64_t accounts[4];
    unsigned n;
    assert_int_equal(store_view_open(f->s, &v), 0);
    assert_int_equal(store_resolve(v, slice_str("all@x.org"), accounts, 4, &n, NULL), RESOLVE_OVERQUOTA);
    store_view_close(&v);
    qx_close(&q);
}

static void test_foreign_limits(void **state)
{
    struct qx q;
    struct fx *f = &q.f;
    char alias[40], next[40], target[256];
    (void)state;
    qx_open(&q);
    /* A chain of aliases, each with a target of 240 bytes elsewhere: the 9th is behind the depth that is followed. */
    for (int i = 0; i < 20; i++) {
        snprintf(alias, sizeof alias, "l%d@x.org", i);
        snprintf(next, sizeof next, "l%d@x.org", i + 1);
        snprintf(target, sizeof target, "t%02d@%.60s.%.60s.%.60s.org", i,
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        assert_int_equal(fx_alias(f, alias, target, next), 0);
    }
    struct found *x = resolve(f, "l0@x.org");
    assert_true(x->r == RESOLVE_LOCAL && x->foreign.count == 11);
    /* In a loop each is met once. */
    assert_int_equal(fx_alias(f, "l5@x.org", "t@a.org", "l0@x.org"), 0);
    x = resolve(f, "l0@x.org");
    assert_true(x->r == RESOLVE_LOCAL && x->foreign.count == 6);
    /* More than there is room for. */
    for (int i = 0; i < 60; i++) {
        Merlion__AliasAdd m = MERLION__ALIAS_ADD__INIT;
        char *targets[3], text[3][256];
        for (int k = 0; k < 2; k++) {
            snprintf(text[k], sizeof text[k], "m%d@x.org", 2 * i + k + 1);
            targets[k] = text[k];
        }
        snprintf(text[2], sizeof text[2], "v%02d@%.60s.%.60s.%.60s.%.60s.org", i,
                 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
                 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
                 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
                 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
        targets[2] = text[2];
        snprintf(alias, sizeof alias, "m%d@x.org", i);
        m.address = alias;
        m.targets = targets;
        m.n_targets = 3;
        Merlion__Command c = MERLION__COMMAND__INIT;
        c.op_case = MERLION__COMMAND__OP_ALIAS_ADD;
        c.alias_add = &m;
        assert_int_equal(fx_run(f, &c), 0);
    }
    x = resolve(f, "m0@x.org");
    assert_true(x->r == RESOLVE_OVERQUOTA && x->foreign.count == 0 && x->foreign.n == 0);
    qx_close(&q);
}

static bool belongs(struct fx *f, uint64_t account, const char *address)
{
    struct store_view *v;
    assert_int_equal(store_view_open(f->s, &v), 0);
    bool yes = store_address_belongs(v, account, slice_str(address));
    store_view_close(&v);
    return yes;
}

static void test_belongs(void **state)
{
    struct qx q;
    struct fx *f = &q.f;
    (void)state;
    qx_open(&q);
    fx_domain(f, "y.org", "u@x.org");
    uint64_t u = 1, w = fx_user(f, "w@x.org", 0), plus = fx_user(f, "w+own@x.org", 0);
    fx_alias(f, "team@x.org", "u@x.org", "away@a.org");
    fx_alias(f, "all@y.org", "team@x.org", NULL);
    fx_alias(f, "loop@x.org", "loop2@x.org", NULL);
    fx_alias(f, "loop2@x.org", "loop@x.org", NULL);
    fx_setting(f, "postmaster", "u@x.org", false);
    const struct {
        uint64_t account;
        const char *address;
        bool yes;
    } table[] = {
        {u, "u@x.org", true},      {u, "U@X.org", true},           {u, "u+list@x.org", true},
        {u, "w@x.org", false},     {u, "team@x.org", true},        {w, "team@x.org", false},
        {u, "all@y.org", true},    {u, "all+d@y.org", true},       {u, "any@y.org", false}, /* a catch-all's */
        {u, "away@a.org", false},  {u, "u@a.org", false},          {u, "", false},
        {u, "u", false},           {u, "loop@x.org", false},       {w, "w+x@x.org", true},
        {w, "w+own@x.org", false}, {plus, "w+own@x.org", true},    {0, "u@x.org", false},
        {99, "u@x.org", false},    {u, "postmaster@x.org", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (belongs(f, table[i].account, table[i].address) != table[i].yes)
            fail_msg("%s: %d", table[i].address, !table[i].yes);
    qx_close(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_foreign_targets), cmocka_unit_test(test_foreign_limits),
                                       cmocka_unit_test(test_belongs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
