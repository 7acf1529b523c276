#include "support_state.h"

#define DEFAULTS "Archive* Drafts* Junk* Sent* Trash*"

static uint64_t start(struct fx *f)
{
    fx_open(f);
    assert_int_equal(fx_domain(f, "x.org", NULL), 0);
    uint64_t a = fx_user(f, "a@x.org", 0);
    assert_string_equal(fx_mailboxes(f, a), "INBOX* " DEFAULTS);
    return a;
}

static void test_create(void **state)
{
    struct fx f;
    (void)state;
    uint64_t a = start(&f);
    assert_int_equal(fx_create(&f, a, "work/b/c"), 0);
    assert_int_equal(f.result->id, fx_mailbox(&f, a, "work/b/c"));
    assert_string_equal(fx_mailboxes(&f, a), "INBOX* " DEFAULTS " work/ work/b/ work/b/c");
    assert_int_equal(fx_create(&f, a, "work/b"), ERR_EXISTS);
    assert_int_equal(fx_create(&f, a, "inbox"), ERR_EXISTS);
    assert_int_equal(fx_create(&f, a, "InBox/sub"), 0);
    assert_true(fx_mailbox(&f, a, "INBOX/sub") && fx_mailbox(&f, a, "inboX/sub") && !fx_mailbox(&f, a, "INBOX/SUB"));
    assert_int_equal(fx_create(&f, 999, "z"), ERR_NOTFOUND);
    struct store_mailbox sent = fx_info(&f, fx_mailbox(&f, a, "Sent"));
    assert_true(sent.use == 5 && sent.subscribed && sent.selectable && sent.highest_modseq >= 1 && sent.uidnext == 1);
    fx_close(&f);
}

static void test_names(void **state)
{
    struct fx f;
    char longest[300], deep[100] = "d";
    static const char *const bad[] = {
        "",      "/a",   "a/",        "a//b",         "a%",       "a*b",           "a\x01",
        "a\x7f", "\xff", "a\xc2\x85", "\xed\xa0\x80", "\xc0\xaf", "\xe2\x80\xa8x", "\xf4\x90\x80\x80"};
    (void)state;
    uint64_t a = start(&f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(fx_create(&f, a, bad[i]), ERR_INVALID);
    memset(longest, 'n', sizeof longest);
    longest[256] = 0;
    assert_int_equal(fx_create(&f, a, longest), ERR_INVALID);
    longest[255] = 0;
    assert_int_equal(fx_create(&f, a, longest), 0);
    for (int i = 1; i < 20; i++)
        strcat(deep, "/d");
    assert_int_equal(fx_create(&f, a, deep), 0);
    strcat(deep, "/d");
    assert_int_equal(fx_create(&f, a, deep), ERR_INVALID);
    assert_int_equal(fx_create(&f, a, "Entw\xc3\xbcrfe \xf0\x9f\x93\xac"), 0);
    fx_close(&f);
}

static void test_delete(void **state)
{
    struct fx f;
    (void)state;
    uint64_t a = start(&f);
    fx_create(&f, a, "p/c");
    uint64_t p = fx_mailbox(&f, a, "p"), c = fx_mailbox(&f, a, "p/c");
    uint32_t validity = fx_info(&f, p).uidvalidity;
    fx_append(&f, p, 1, 3, 0, NULL);
    fx_append(&f, c, 1, 2, 0, NULL);
    assert_int_equal(fx_delete(&f, a, "INBOX"), ERR_DENIED);
    assert_int_equal(fx_delete(&f, a, "nope"), ERR_NOTFOUND);
    /* With inferiors: the messages go, the name stays, once. */
    assert_int_equal(fx_delete(&f, a, "p"), 0);
    assert_string_equal(fx_mailboxes(&f, a), "INBOX* " DEFAULTS " (p)/ p/c");
    assert_int_equal(f.freed, 1);
    assert_int_equal(fx_delete(&f, a, "p"), ERR_CONFLICT);
    assert_int_equal(fx_append(&f, p, 1, 1, 0, NULL), ERR_NOTFOUND);
    assert_int_equal(fx_copy(&f, c, "1", p, false), ERR_NOTFOUND);
    /* Made again it is another mailbox. */
    assert_int_equal(fx_create(&f, a, "p"), 0);
    uint64_t p2 = fx_mailbox(&f, a, "p");
    assert_true(p2 != p && fx_info(&f, p2).uidvalidity > validity);
    assert_int_equal(fx_delete(&f, a, "p"), 0);
    /* The last inferior takes the bare name along. */
    assert_int_equal(fx_delete(&f, a, "p/c"), 0);
    assert_string_equal(fx_mailboxes(&f, a), "INBOX* " DEFAULTS);
    assert_int_equal(fx_used(&f, a), 0);
    assert_int_equal(f.freed, 3);
    fx_close(&f);
}

/* The clock stands still, or goes back: UIDVALIDITY ascends. */
static void test_uidvalidity(void **state)
{
    struct fx f;
    uint32_t last = 0;
    (void)state;
    uint64_t a = start(&f);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fx_create(&f, a, "again"), 0);
        struct store_mailbox m = fx_info(&f, f.result->id);
        assert_true(m.uidvalidity > last && m.uidvalidity >= 1700000000);
        last = m.uidvalidity;
        assert_int_equal(fx_delete(&f, a, "again"), 0);
        f.time_ms -= 100000000;
    }
    f.time_ms = INT64_MAX; /* a clock gone wild leaves room */
    assert_int_equal(fx_create(&f, a, "again"), 0);
    assert_int_equal(fx_info(&f, f.result->id).uidvalidity, 0xf0000000);
    fx_close(&f);
}

static void test_subscribe(void **state)
{
    struct fx f;
    (void)state;
    uint64_t a = start(&f);
    assert_int_equal(fx_subscribe(&f, a, "ghost", true), 0);
    assert_int_equal(fx_subscribe(&f, a, "Sent", false), 0);
    assert_string_equal(fx_mailboxes(&f, a), "INBOX* Archive* Drafts* Junk* Sent Trash* (ghost)*");
    assert_int_equal(fx_mailbox(&f, a, "ghost"), 0);
    assert_int_equal(fx_create(&f, a, "ghost"), 0);
    assert_int_equal(fx_delete(&f, a, "ghost"), 0); /* the subscription stays */
    assert_string_equal(fx_mailboxes(&f, a), "INBOX* Archive* Drafts* Junk* Sent Trash* (ghost)*");
    assert_int_equal(fx_subscribe(&f, a, "ghost", false), 0);
    assert_int_equal(fx_subscribe(&f, a, "ghost", false), 0);
    assert_string_equal(fx_mailboxes(&f, a), "INBOX* Archive* Drafts* Junk* Sent Trash*");
    assert_int_equal(fx_subscribe(&f, a, "x//y", true), ERR_INVALID);
    assert_int_equal(fx_subscribe(&f, 999, "x", true), ERR_NOTFOUND);
    fx_close(&f);
}

static void test_rename(void **state)
{
    struct fx f;
    (void)state;
    uint64_t a = start(&f);
    fx_create(&f, a, "p/c/d");
    fx_create(&f, a, "p-x");
    fx_subscribe(&f, a, "p/c", true);
    fx_subscribe(&f, a, "p/ghost", true);
    uint64_t c = fx_mailbox(&f, a, "p/c");
    uint32_t validity = fx_info(&f, c).uidvalidity;
    fx_append(&f, c, 1, 2, 0, NULL);
    assert_int_equal(fx_rename(&f, a, "p", "q/r"), 0);
    assert_string_equal(fx_mailboxes(&f, a), "INBOX* " DEFAULTS " p-x q/ q/r/ q/r/c/* q/r/c/d (q/r/ghost)*");
    assert_int_equal(fx_mailbox(&f, a, "q/r/c"), c);
    assert_true(fx_info(&f, c).uidvalidity == validity && fx_info(&f, c).exists == 2);
    assert_int_equal(fx_rename(&f, a, "q", "q/z"), ERR_INVALID);
    assert_int_equal(fx_rename(&f, a, "q", "p-x"), ERR_EXISTS);
    assert_int_equal(fx_rename(&f, a, "none", "p"), ERR_NOTFOUND);
    assert_int_equal(fx_rename(&f, a, "q", "a%"), ERR_INVALID);
    assert_int_equal(fx_rename(&f, a, "q", "Inbox"), ERR_EXISTS);
    assert_int_equal(fx_rename(&f, 999, "q", "z"), ERR_NOTFOUND);
    /* A bare name goes with its last inferior. */
    fx_create(&f, a, "bare/leaf");
    fx_delete(&f, a, "bare");
    assert_int_equal(fx_rename(&f, a, "bare/leaf", "p-x/leaf"), 0);
    assert_string_equal(fx_mailboxes(&f, a), "INBOX* " DEFAULTS " p-x/ p-x/leaf q/ q/r/ q/r/c/* q/r/c/d (q/r/ghost)*");
    /* Too deep for the inferior only: nothing happens. */
    char deep[100] = "d";
    for (int i = 1; i < 18; i++)
        strcat(deep, "/d");
    assert_int_equal(fx_rename(&f, a, "q", deep), ERR_INVALID);
    assert_int_equal(fx_mailbox(&f, a, "q/r/c"), c);
    assert_int_equal(fx_mailbox(&f, a, "d"), 0);
    fx_close(&f);
}

static void test_rename_inbox(void **state)
{
    struct fx f;
    (void)state;
    uint64_t a = start(&f), inbox = fx_mailbox(&f, a, "INBOX");
    fx_create(&f, a, "INBOX/keep");
    fx_append(&f, inbox, 1, 3, 0, "kw");
    fx_expunge(&f, inbox, "2", true);
    assert_int_equal(fx_rename(&f, a, "inbox", "old/mail"), 0);
    uint64_t old = fx_mailbox(&f, a, "old/mail");
    assert_string_equal(fx_mailboxes(&f, a), "INBOX/* Archive* Drafts* INBOX/keep Junk* Sent* Trash* old/ old/mail");
    assert_int_equal(fx_mailbox(&f, a, "INBOX"), inbox);
    assert_string_equal(fx_uids(&f, inbox), "");
    assert_string_equal(fx_uids(&f, old), "1:2");
    assert_int_equal(fx_message(&f, old, 2).keywords, 1);
    assert_int_equal(fx_used(&f, a), 101 + 103);
    fx_append(&f, inbox, 9, 1, 0, NULL);
    assert_string_equal(fx_uids(&f, inbox), "4");
    assert_int_equal(fx_rename(&f, a, "INBOX", "INBOX/more"), 0);
    assert_int_equal(fx_info(&f, fx_mailbox(&f, a, "INBOX/more")).exists, 1);
    fx_close(&f);
}

static void test_names_limit(void **state)
{
    struct fx f;
    char name[32];
    struct buf entry = {0};
    (void)state;
    uint64_t a = start(&f);
    store_batch_begin(f.s);
    for (int i = 6; i < 9999; i++) {
        snprintf(name, sizeof name, "m%d", i);
        Merlion__Subscribe m = MERLION__SUBSCRIBE__INIT;
        m.account = a;
        m.name = name;
        m.on = true;
        Merlion__Command c = MERLION__COMMAND__INIT;
        c.op_case = MERLION__COMMAND__OP_SUBSCRIBE;
        c.subscribe = &m;
        fx_entry(&f, &c, &entry);
        assert_int_equal(store_apply(f.s, ++f.index, 1, buf_slice(&entry)), 0);
        assert_int_equal(f.result->status, 0);
    }
    assert_int_equal(store_batch_commit(f.s), 0);
    buf_close(&entry);
    assert_int_equal(fx_create(&f, a, "two/names"), ERR_TOOBIG);
    assert_int_equal(fx_mailbox(&f, a, "two"), 0);
    assert_int_equal(fx_subscribe(&f, a, "last", true), 0);
    assert_int_equal(fx_subscribe(&f, a, "more", true), ERR_TOOBIG);
    assert_int_equal(fx_create(&f, a, "more"), ERR_TOOBIG);
    fx_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),       cmocka_unit_test(test_names),       cmocka_unit_test(test_delete),
        cmocka_unit_test(test_uidvalidity),  cmocka_unit_test(test_subscribe),   cmocka_unit_test(test_rename),
        cmocka_unit_test(test_rename_inbox), cmocka_unit_test(test_names_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
