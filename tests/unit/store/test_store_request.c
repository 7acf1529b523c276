#include "support_state.h"

#include "store/state.h"

/* Requests that come again, and those too old to tell. */

static uint64_t start(struct fx *f)
{
    fx_open(f);
    assert_int_equal(fx_domain(f, "x.org", NULL), 0);
    return fx_user(f, "a@x.org", 0);
}

static int again(struct fx *f, uint64_t seq, const uint64_t *account)
{
    f->seq = seq - 1;
    return fx_deliver(f, 1, account, 1);
}

static void test_repeat(void **state)
{
    struct fx f;
    (void)state;
    uint64_t a = start(&f), inbox = fx_mailbox(&f, a, "INBOX");
    fx_append(&f, inbox, 1, 2, 0, NULL);
    uint64_t seq = f.seq, modseq = f.result->modseq;
    unsigned results = f.results;
    f.seq--;
    assert_int_equal(fx_append(&f, inbox, 1, 2, 0, NULL), 0);
    assert_int_equal(f.seq, seq);
    assert_int_equal(f.results, results + 1);   /* answered, */
    assert_int_equal(f.result->modseq, modseq); /* as the first time, */
    assert_string_equal(fx_text(&f, f.result->uids, f.result->n_uids), "1:2");
    assert_string_equal(fx_uids(&f, inbox), "1:2"); /* and not done twice */
    /* A refusal repeats too, even where it would work now. */
    assert_int_equal(fx_delete(&f, a, "late"), ERR_NOTFOUND);
    seq = f.seq;
    fx_create(&f, a, "late");
    f.seq = seq - 1;
    assert_int_equal(fx_delete(&f, a, "late"), ERR_NOTFOUND);
    assert_string_equal(f.result->text, "no such mailbox");
    fx_reopen(&f);
    f.seq = seq - 1;
    assert_int_equal(fx_delete(&f, a, "late"), ERR_NOTFOUND);
    fx_close(&f);
}

/* The same request twice in one entry. */
static void test_repeat_in_entry(void **state)
{
    struct fx f;
    (void)state;
    uint64_t a = start(&f), inbox = fx_mailbox(&f, a, "INBOX");
    struct fx_body b;
    fx_body(&b, 1);
    Merlion__Deliver d = MERLION__DELIVER__INIT;
    d.body = &b.body;
    d.accounts = &a;
    d.n_accounts = 1;
    Merlion__RequestId id = MERLION__REQUEST_ID__INIT;
    id.node = 1;
    id.boot = 1000;
    id.seq = 77;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.id = &id;
    c.time_ms = f.time_ms;
    c.op_case = MERLION__COMMAND__OP_DELIVER;
    c.deliver = &d;
    uint8_t packed[256];
    size_t n = merlion__command__pack(&c, packed);
    struct buf entry = {0};
    entry_begin(&entry);
    entry_add(&entry, slice_make(packed, n));
    entry_add(&entry, slice_str("\xff garbage"));
    entry_add(&entry, slice_make(packed, n));
    id.seq = 78;
    n = merlion__command__pack(&c, packed);
    entry_add(&entry, slice_make(packed, n));
    entry_end(&entry);
    unsigned results = f.results;
    store_batch_begin(f.s);
    assert_int_equal(store_apply(f.s, ++f.index, 1, buf_slice(&entry)), 0);
    assert_int_equal(store_apply(f.s, f.index, 1, buf_slice(&entry)), 0); /* an index that was applied */
    assert_int_equal(store_batch_commit(f.s), 0);
    assert_int_equal(f.results, results + 3); /* what cannot be read has nobody to answer to */
    assert_string_equal(fx_uids(&f, inbox), "1:2");
    /* MODSEQ: index and place in the entry. */
    assert_int_equal(fx_message(&f, inbox, 1).modseq, f.index * 4096);
    assert_int_equal(fx_message(&f, inbox, 2).modseq, f.index * 4096 + 3);
    buf_close(&entry);
    fx_close(&f);
}

static void test_window(void **state)
{
    struct fx f;
    (void)state;
    uint64_t a = start(&f);
    assert_int_equal(again(&f, 10, &a), 0);
    assert_int_equal(again(&f, 5000, &a), 0); /* sequence numbers need not come in order */
    assert_int_equal(again(&f, 4000, &a), 0);
    assert_int_equal(again(&f, 10, &a), ERR_STALE); /* it took effect, but who knows */
    assert_int_equal(again(&f, 904, &a), ERR_STALE);
    assert_int_equal(again(&f, 905, &a), 0);
    assert_int_equal(again(&f, UINT64_MAX, &a), 0);
    assert_int_equal(again(&f, 5000, &a), ERR_STALE);
    assert_int_equal(fx_info(&f, fx_mailbox(&f, a, "INBOX")).exists, 5);
    fx_scrub(&f);
    fx_close(&f);
}

static void test_boots(void **state)
{
    struct fx f;
    (void)state;
    uint64_t a = start(&f);
    for (f.boot = 2000; f.boot <= 2003; f.boot++)
        assert_int_equal(again(&f, 1, &a), 0); /* five now: boot 1000 is dropped */
    f.boot = 1000;
    assert_int_equal(again(&f, 3, &a), ERR_STALE);
    f.boot = 2000;
    assert_int_equal(again(&f, 1, &a), 0); /* known still: a repeat */
    f.boot = 2500;
    assert_int_equal(again(&f, UINT64_MAX, &a), 0);
    f.boot = 2000;
    assert_int_equal(again(&f, 1, &a), ERR_STALE);
    f.node = 2;
    assert_int_equal(again(&f, 1, &a), 0); /* another node */
    assert_int_equal(fx_info(&f, fx_mailbox(&f, a, "INBOX")).exists, 6);
    fx_close(&f);
}

/* Without a readable id nobody waits, and nothing happens. */
static void test_no_id(void **state)
{
    struct fx f;
    (void)state;
    uint64_t a = start(&f);
    struct sum128 before = fx_digest(&f);
    unsigned results = f.results;
    assert_int_equal(again(&f, 0, &a), 0); /* the status is of the command before */
    assert_int_equal(f.results, results);
    struct sum128 after = fx_digest(&f);
    assert_true(before.lo == after.lo && before.hi == after.hi);
    fx_close(&f);
}

static void test_time(void **state)
{
    struct fx f;
    struct store_position p;
    (void)state;
    uint64_t a = start(&f);
    int64_t start_ms = f.time_ms;
    f.time_ms += 3600 * 1000;
    assert_int_equal(fx_subscribe(&f, a, "x", true), 0);
    f.time_ms = start_ms; /* an hour old, just */
    assert_int_equal(fx_deliver(&f, 1, &a, 1), 0);
    store_position(f.s, &p);
    assert_int_equal(p.time_ms, start_ms + 3600 * 1000); /* never back */
    f.time_ms--;
    assert_int_equal(fx_deliver(&f, 2, &a, 1), ERR_STALE);
    assert_int_equal(fx_append(&f, fx_mailbox(&f, a, "Sent"), 1, 1, 0, NULL), ERR_STALE);
    assert_int_equal(fx_subscribe(&f, a, "y", true), 0); /* what brings no body may be old */
    fx_close(&f);
}

static void test_unknown(void **state)
{
    struct fx f;
    (void)state;
    start(&f);
    Merlion__Command c = MERLION__COMMAND__INIT;
    assert_int_equal(fx_run(&f, &c), ERR_VERSION);
    assert_int_equal(fx_run(&f, &c), ERR_VERSION);
    fx_close(&f);
}

static void test_positions(void **state)
{
    struct fx f;
    struct store_position p;
    struct store_view *v;
    (void)state;
    uint64_t a = start(&f);
    store_position(f.s, &p);
    assert_true(p.index == f.index && p.term == 1 && p.format == 1);
    struct sum128 digest = p.digest;
    store_batch_begin(f.s);
    assert_int_equal(store_apply_nothing(f.s, ++f.index, 5), 0);
    assert_int_equal(store_apply_nothing(f.s, f.index - 1, 4), 0);
    assert_int_equal(store_batch_commit(f.s), 0);
    store_position(f.s, &p);
    assert_true(p.index == f.index && p.term == 5 && p.digest.lo == digest.lo);
    /* An aborted batch leaves nothing; a malformed entry is an error. */
    store_batch_begin(f.s);
    assert_int_equal(store_apply(f.s, f.index + 1, 5, slice_str("not an entry")), ERR_PROTOCOL);
    assert_int_equal(store_batch_commit(f.s), ERR_PROTOCOL);
    assert_int_equal(store_view_open(f.s, &v), 0);
    assert_int_equal(store_view_index(v), f.index);
    fx_subscribe(&f, a, "later", true);
    assert_int_equal(store_view_index(v), f.index - 1); /* a view stands still */
    store_view_close(&v);
    assert_int_equal(store_sync(f.s), 0);
    fx_reopen(&f);
    store_position(f.s, &p);
    assert_true(p.index == f.index && p.time_ms == f.time_ms);
    fx_close(&f);
}

/* A full map is an error that lasts until the batch is aborted; what was committed stays. */
static void test_map_full(void **state)
{
    struct fx f;
    struct buf entry = {0};
    (void)state;
    fx_open(&f);
    store_close(&f.s);
    struct store_options o = {.map_size = 256 * 1024, .no_sync = true};
    struct err_detail e;
    assert_int_equal(store_open(f.dir, &o, &f.s, &e), 0);
    fx_listen(&f);
    assert_int_equal(fx_setting(&f, "kept", "1", false), 0);
    Merlion__Settings m = MERLION__SETTINGS__INIT;
    Merlion__Setting one = MERLION__SETTING__INIT, *list[] = {&one};
    uint8_t *big = mem_zalloc(SETTING_VALUE_MAX);
    char name[] = "big";
    one.name = name;
    one.value = (ProtobufCBinaryData){SETTING_VALUE_MAX, big};
    m.set = list;
    m.n_set = 1;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_SETTINGS;
    c.settings = &m;
    fx_entry(&f, &c, &entry);
    store_batch_begin(f.s);
    assert_int_equal(store_apply(f.s, f.index + 1, 1, buf_slice(&entry)), ERR_NOSPACE);
    assert_int_equal(store_apply_nothing(f.s, f.index + 2, 1), ERR_NOSPACE);
    assert_int_equal(store_batch_commit(f.s), ERR_NOSPACE);
    assert_int_equal(fx_setting(&f, "kept", "2", true), ERR_EXISTS);
    mem_free(big);
    buf_close(&entry);
    fx_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repeat),  cmocka_unit_test(test_repeat_in_entry), cmocka_unit_test(test_window),
        cmocka_unit_test(test_boots),   cmocka_unit_test(test_no_id),           cmocka_unit_test(test_time),
        cmocka_unit_test(test_unknown), cmocka_unit_test(test_positions),       cmocka_unit_test(test_map_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
