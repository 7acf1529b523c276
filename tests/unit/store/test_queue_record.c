#include "support_state.h"

#include "store/queue_schema.h"

/* What lies on disk may never change by accident. */
static void expect_hex(struct buf *b, const char *hex)
{
    char got[2048];
    assert_true(buf_len(b) * 2 < sizeof got);
    hex_encode(buf_slice(b), got);
    assert_string_equal(got, hex);
    buf_clear(b);
}

static void expect_key(struct slice key, const char *hex)
{
    char got[2 * KEY_MAX + 1];
    hex_encode(key, got);
    assert_string_equal(got, hex);
}

static void test_keys(void **state)
{
    struct key k;
    struct slice name;
    struct queue_due d;
    (void)state;
    expect_key(key_queue_state(), "71");
    expect_key(key_queue_leg(&k, 1, 2), "000000000000000100000002");
    expect_key(key_queue_attempt(&k, 1, 2, 3), "00000000000000010000000200000003");
    expect_key(key_queue_lease(&k, 1, 2, 3, 4), "00000000000000010000000000000002000000000000000300000004");
    expect_key(key_queue_next(&k, 5, slice_str("a.b")), "0000000000000005612e62");
    struct slice due = key_queue_due(&k, slice_str("a.b"), 5, 6, 7);
    expect_key(due, "612e62000000000000000005000000000000000600000007");
    assert_true(key_queue_due_read(due, &name, &d));
    assert_true(slice_eq(name, slice_str("a.b")) && d.due_ms == 5 && d.item == 6 && d.leg == 7);
    for (size_t n = 0; n < due.n; n++)
        assert_false(key_queue_due_read(slice_first(due, n), &name, &d));
    assert_false(key_queue_due_read(slice_from(due, 3), &name, &d)); /* no name */
}

static struct store_queue_item item_sample(void)
{
    struct store_queue_item i = {.sender = SLICE_LITERAL("u@x"),
                                 .envid = SLICE_LITERAL("E"),
                                 .session = SLICE_LITERAL("s1"),
                                 .flags = 5,
                                 .account = 2,
                                 .size = 3,
                                 .skip = 4,
                                 .legs = 6,
                                 .received_ms = 7,
                                 .expires_ms = -1,
                                 .held = true};
    memset(i.hash.b, 0xab, sizeof i.hash.b);
    return i;
}

static void leg_sample(struct queue_leg_record *l, struct buf *recipients)
{
    struct store_queue_recipient one = {SLICE_LITERAL("p@a"), SLICE_LITERAL("rfc822;p"), QUEUE_NOTIFY_DELAY},
                                 two = {SLICE_LITERAL("q@a"), SLICE_LITERAL(""), 0};
    queue_recipient_put(recipients, &one);
    queue_recipient_put(recipients, &two);
    *l = (struct queue_leg_record){.l = {.destination = SLICE_LITERAL("a.b"),
                                         .state = QUEUE_LEASED,
                                         .attempts = 2,
                                         .due_ms = 3,
                                         .holder = 4,
                                         .boot = 5,
                                         .until_ms = 6,
                                         .warned = true,
                                         .recipient_n = 2},
                                   .history = 1,
                                   .recipients = buf_slice(recipients)};
}

static void attempt_sample(struct queue_attempt_record *a, struct buf *replies)
{
    struct store_queue_reply r = {1, SLICE_LITERAL("450 no"), SLICE_LITERAL("p@a\0q@a")};
    queue_reply_put(replies, &r);
    *a = (struct queue_attempt_record){.a = {.at_ms = 1,
                                             .node = 2,
                                             .host = SLICE_LITERAL("h"),
                                             .address = SLICE_LITERAL("1:2"),
                                             .tls = SLICE_LITERAL("")},
                                       .reply_n = 1,
                                       .replies = buf_slice(replies)};
}

static void test_records(void **state)
{
    struct buf b = {0}, parts = {0};
    (void)state;
    struct store_queue_item i = item_sample();
    record_queue_item_write(&b, &i);
    expect_hex(&b, "01050000000200000000000000abababababababababababababababababababababababababababababababab"
                   "03000000000000000400000006000000"
                   "0700000000000000ffffffffffffffff01000300000075407801000000450200000073"
                   "31");
    struct queue_leg_record l;
    leg_sample(&l, &parts);
    record_queue_leg_write(&b, &l);
    expect_hex(&b, "0101020000000300000000000000040000000000000005000000000000000600000000000000010103000000612e62"
                   "020000000300000070406108000000726663383232"
                   "3b700803000000714061"
                   "0000000000");
    buf_clear(&parts);
    struct queue_attempt_record a;
    attempt_sample(&a, &parts);
    record_queue_attempt_write(&b, &a);
    expect_hex(&b, "0101000000000000000200000000000000010000006803000000313a3200000000010000000106000000343530206e6f"
                   "0700000070406100714061");
    struct store_queue_destination d = {.waiting = 1, .held = 2, .leased = 3, .first_due_ms = INT64_MAX};
    record_destination_write(&b, &d);
    expect_hex(&b, "010100000000000000020000000000000003000000ffffffffffffff7f");
    struct queue_state_record q = {1, 2, 3, 4, 5, 6, 7};
    record_queue_state_write(&b, &q);
    expect_hex(&b, "010100000000000000020000000000000003000000000000000400000000000000050000000000000006000000000000"
                   "000700000000000000");
    struct queue_rate_record rate = {1, 2};
    record_queue_rate_write(&b, &rate);
    expect_hex(&b, "01010000000000000002000000");
    buf_close(&parts);
    buf_close(&b);
}

/* Every cut, a byte too many and another version are refused. */
static void expect_whole_only(enum table t, struct slice key, struct buf *b)
{
    struct slice whole = buf_slice(b);
    assert_true(record_valid(t, key, whole));
    for (size_t n = 0; n < whole.n; n++)
        assert_false(record_valid(t, key, slice_first(whole, n)));
    assert_false(record_valid(t, slice_first(key, key.n - 1), whole) && key.n != 3); /* a shorter name is one, too */
    assert_false(record_valid(t, slice_make(NULL, 0), whole));
    buf_append_byte(b, 0);
    assert_false(record_valid(t, key, buf_slice(b)));
    b->base[b->start] = 2;
    assert_false(record_valid(t, key, slice_first(buf_slice(b), whole.n)));
    buf_clear(b);
}

static void test_valid(void **state)
{
    struct buf b = {0}, parts = {0};
    struct key k;
    (void)state;
    struct store_queue_item i = item_sample();
    record_queue_item_write(&b, &i);
    expect_whole_only(TABLE_QUEUE, key_u64(&k, 1), &b);
    struct queue_leg_record l;
    leg_sample(&l, &parts);
    record_queue_leg_write(&b, &l);
    expect_whole_only(TABLE_QUEUE_LEG, key_queue_leg(&k, 1, 1), &b);
    buf_clear(&parts);
    struct queue_attempt_record a;
    attempt_sample(&a, &parts);
    record_queue_attempt_write(&b, &a);
    expect_whole_only(TABLE_QUEUE_ATTEMPT, key_queue_attempt(&k, 1, 1, 1), &b);
    record_empty_write(&b);
    expect_whole_only(TABLE_QUEUE_DUE, key_queue_due(&k, slice_str("a"), 1, 1, 1), &b);
    record_u64_write(&b, 1);
    expect_whole_only(TABLE_QUEUE_LEASE, key_queue_lease(&k, 1, 1, 1, 1), &b);
    record_empty_write(&b);
    expect_whole_only(TABLE_QUEUE_NEXT, key_queue_next(&k, 1, slice_str("a")), &b);
    struct store_queue_destination d = {.waiting = 1, .first_due_ms = 1};
    record_destination_write(&b, &d);
    expect_whole_only(TABLE_DESTINATION, slice_str("a.b"), &b);
    struct queue_state_record q = {.next_item = 1};
    record_queue_state_write(&b, &q);
    expect_whole_only(TABLE_QUEUE_STATE, key_queue_state(), &b);
    struct queue_rate_record rate = {1, 2};
    record_queue_rate_write(&b, &rate);
    expect_whole_only(TABLE_QUEUE_RATE, key_u64(&k, 1), &b);
    /* A leg of nobody, one without a destination, a state that is none. */
    leg_sample(&l, &parts);
    l.l.recipient_n = 0;
    l.recipients = slice_make(NULL, 0);
    record_queue_leg_write(&b, &l);
    assert_false(record_valid(TABLE_QUEUE_LEG, key_queue_leg(&k, 1, 1), buf_slice(&b)));
    buf_clear(&b);
    buf_clear(&parts);
    leg_sample(&l, &parts);
    l.l.destination = slice_str("");
    record_queue_leg_write(&b, &l);
    assert_false(record_valid(TABLE_QUEUE_LEG, key_queue_leg(&k, 1, 1), buf_slice(&b)));
    buf_clear(&b);
    buf_clear(&parts);
    leg_sample(&l, &parts);
    l.l.state = (enum queue_leg_state)3;
    record_queue_leg_write(&b, &l);
    assert_false(record_valid(TABLE_QUEUE_LEG, key_queue_leg(&k, 1, 1), buf_slice(&b)));
    buf_close(&parts);
    buf_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_keys), cmocka_unit_test(test_records),
                                       cmocka_unit_test(test_valid)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
