#include "support_state.h"

#include "store/schema.h"

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
    (void)state;
    expect_key(key_position(), "70");
    expect_key(key_state(), "73");
    expect_key(key_u64(&k, 0x0102), "0000000000000102");
    expect_key(key_address(&k, slice_str("a@b.c")), "622e630061");
    expect_key(key_name(&k, 1, slice_str("in")), "0000000000000001696e");
    expect_key(key_uid(&k, 1, 2), "000000000000000100000002");
    expect_key(key_modseq(&k, 1, 2, 3), "0000000000000001000000000000000200000003");
    expect_key(key_mark(&k, 1, 2, 3), "00000000000000010200000003");
    expect_key(key_boot(&k, 1, 2), "00000000000000010000000000000002");
    struct request_id id = {1, 2, 3};
    expect_key(key_request(&k, &id), "000000000000000100000000000000020000000000000003");
    static const char *const tables[] = {
        "position",  "state",       "account",    "address",     "domain",      "setting",   "member",
        "mailbox",   "name",        "message",    "change",      "expunged",    "mark",      "runs",
        "content",   "summary",     "boot",       "request",     "queue",       "queue_leg", "queue_attempt",
        "queue_due", "queue_lease", "queue_next", "destination", "queue_state", "queue_rate"};
    assert_int_equal(TABLE_N, sizeof tables / sizeof *tables);
    for (unsigned t = 0; t < TABLE_N; t++)
        assert_string_equal(table_name(t), tables[t]);
}

static void test_small_records(void **state)
{
    struct buf b = {0};
    (void)state;
    struct position_record p = {1, 2, {3, 4}};
    uint8_t raw[33];
    record_position_write(&b, &p);
    struct position_record got;
    assert_true(record_position_read(buf_slice(&b), &got) && got.index == 1 && got.digest.hi == 4);
    for (unsigned bit = 0; bit < 8 * 41; bit++) { /* no digest is over this one */
        b.base[b.start + bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(record_position_read(buf_slice(&b), &got));
        b.base[b.start + bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    expect_hex(&b, "020100000000000000020000000000000003000000000000000400000000000000c3d1aa83bc9581e8");
    hex_decode(slice_str("010100000000000000020000000000000003000000000000000400000000000000"), raw, sizeof raw);
    assert_true(record_position_read(slice_make(raw, sizeof raw), &got) && got.term == 2 && got.digest.lo == 3);
    struct state_record st = {1, 2, 3, -1, 5, 6, 7, 8, 9, 10};
    record_state_write(&b, &st);
    expect_hex(&b, "01010000000000000002000000000000000300000000000000ffffffffffffffff05000000"
                   "06000000000000000700000000000000080000000000000009000000000000000a00000000000000");
    struct address_record ar = {ADDRESS_ALIAS, 0, SLICE_LITERAL("x@y")};
    record_address_write(&b, &ar);
    expect_hex(&b, "0102000000000000000003000000784079");
    record_bytes_write(&b, slice_str("v"));
    expect_hex(&b, "010100000076");
    struct name_record n = {7, true};
    record_name_write(&b, &n);
    expect_hex(&b, "01070000000000000001");
    record_u32_write(&b, 5);
    expect_hex(&b, "0105000000");
    record_u64_write(&b, 5);
    expect_hex(&b, "010500000000000000");
    record_empty_write(&b);
    expect_hex(&b, "01");
    struct uid_range runs[] = {{1, 3}, {5, 5}};
    record_runs_write(&b, runs, 2);
    expect_hex(&b, "0101000000030000000500000005000000");
    record_content_write(&b, 2, 300);
    expect_hex(&b, "0102000000000000002c01000000000000");
    record_opaque_write(&b, slice_str("R"));
    expect_hex(&b, "0152");
    buf_close(&b);
}

static struct mailbox_record mailbox_sample(void)
{
    return (struct mailbox_record){.account = 1,
                                   .uidvalidity = 2,
                                   .uidnext = 3,
                                   .highest_modseq = 4,
                                   .exists = 5,
                                   .unseen = 6,
                                   .deleted = 7,
                                   .bytes = 8,
                                   .expunge_floor = 9,
                                   .expunge_n = 10,
                                   .use = 5,
                                   .selectable = true,
                                   .name = SLICE_LITERAL("Sent"),
                                   .keyword_n = 2,
                                   .keyword = {SLICE_LITERAL("$A"), SLICE_LITERAL("b")}};
}

static void test_large_records(void **state)
{
    struct buf b = {0};
    (void)state;
    struct account_record a = {1, 2, 3, 4, 5, 6, 7, 8, SLICE_LITERAL("u@d"), SLICE_LITERAL("pw")};
    record_account_write(&b, &a);
    expect_hex(&b, "010102000000000000000300000000000000040000000000000005000000000000000600000007000000"
                   "08000000000000000300000075406402000000"
                   "7077");
    struct member_record m = {1, 2, 3, SLICE_LITERAL("n"), SLICE_LITERAL("a"), SLICE_LITERAL("v")};
    record_member_write(&b, &m);
    expect_hex(&b, "010100000000000000020000000000000003000000010000006e01000000610100000076");
    struct mailbox_record mb = mailbox_sample();
    record_mailbox_write(&b, &mb);
    expect_hex(&b, "010100000000000000020000000300000004000000000000000500000006000000070000000800000000000000"
                   "09000000000000000a00000005010400000053656e740202244101"
                   "62");
    struct store_message msg = {
        .uid = 99, .flags = 9, .keywords = 2, .modseq = 3, .internal_ms = 4, .save_ms = 5, .size = 6, .email_id = 7};
    memset(msg.hash.b, 0xab, sizeof msg.hash.b);
    record_message_write(&b, &msg);
    expect_hex(&b,
               "0109020000000000000003000000000000000400000000000000050000000000000006000000000000000700000000000000"
               "abababababababababababababababababababababababababababababababab");
    buf_close(&b);
}

static void test_read_back(void **state)
{
    struct buf b = {0};
    (void)state;
    struct mailbox_record in = mailbox_sample(), out;
    record_mailbox_write(&b, &in);
    assert_true(record_mailbox_read(buf_slice(&b), &out));
    assert_true(out.account == 1 && out.expunge_n == 10 && out.selectable && out.keyword_n == 2 && out.use == 5);
    assert_true(slice_eq(out.keyword[1], slice_str("b")) && slice_eq(out.name, slice_str("Sent")));
    /* Every cut, a byte too many and another version are refused. */
    struct slice whole = buf_slice(&b);
    for (size_t n = 0; n < whole.n; n++)
        assert_false(record_mailbox_read(slice_first(whole, n), &out));
    buf_append_byte(&b, 0);
    assert_false(record_mailbox_read(buf_slice(&b), &out));
    buf_truncate(&b, whole.n);
    b.base[b.start] = 2;
    assert_false(record_mailbox_read(buf_slice(&b), &out));
    buf_close(&b);
}

static void test_runs_refused(void **state)
{
    static const struct {
        size_t n;
        struct uid_range r[2];
    } bad[] = {{0, {{0, 0}}},         {1, {{0, 5}}},         {1, {{5, 4}}},
               {2, {{1, 3}, {4, 5}}}, {2, {{1, 3}, {3, 5}}}, {2, {{9, 9}, {1, 1}}}};
    struct uid_range out[RUNS_MAX];
    struct buf b = {0};
    size_t n;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        record_runs_write(&b, bad[i].r, bad[i].n);
        assert_false(record_runs_read(buf_slice(&b), out, &n));
        buf_clear(&b);
    }
    struct uid_range many[RUNS_MAX + 1];
    for (uint32_t i = 0; i <= RUNS_MAX; i++)
        many[i] = (struct uid_range){2 * i + 1, 2 * i + 1};
    record_runs_write(&b, many, RUNS_MAX + 1);
    assert_false(record_runs_read(buf_slice(&b), out, &n));
    buf_close(&b);
}

static void test_valid(void **state)
{
    struct key k;
    uint8_t one = 1;
    struct slice empty = {&one, 1};
    (void)state;
    assert_true(record_valid(TABLE_MARK, key_mark(&k, 1, 1, 1), empty));
    assert_false(record_valid(TABLE_MARK, key_uid(&k, 1, 1), empty));
    assert_false(record_valid(TABLE_MAILBOX, key_u64(&k, 1), empty));
    assert_false(record_valid(TABLE_NAME, key_u64(&k, 1), slice_str("\x01")));
    assert_false(record_valid(TABLE_SETTING, slice_str(""), slice_str("")));
}

static void test_digest_sum(void **state)
{
    struct sum128 a = {UINT64_MAX, 1}, b = {2, 0}, c;
    (void)state;
    c = a;
    sum128_add(&c, b);
    assert_true(c.lo == 1 && c.hi == 2);
    sum128_sub(&c, b);
    assert_true(sum128_eq(c, a));
    struct buf scratch = {0};
    struct sum128 s = record_sum(&scratch, TABLE_NAME, slice_str("k"), slice_str("v"));
    assert_true(sum128_eq(s, checksum128(slice_make("\x08\x01\x00kv", 5))));
    buf_close(&scratch);
}

/* ---- entries ---- */

struct seen {
    unsigned n;
    char text[64];
    int stop;
};

static int see(void *arg, struct slice command)
{
    struct seen *s = arg;
    s->n++;
    snprintf(s->text + strlen(s->text), sizeof s->text - strlen(s->text), "%.*s;", (int)command.n,
             (const char *)command.p);
    return s->stop;
}

static void test_entry(void **state)
{
    struct buf b = {0};
    struct seen seen = {0};
    (void)state;
    entry_begin(&b);
    entry_add(&b, slice_str("abc"));
    entry_add(&b, slice_str(""));
    entry_end(&b);
    assert_int_equal(entry_each(buf_slice(&b), see, &seen), 0);
    assert_string_equal(seen.text, "abc;;");
    seen = (struct seen){.stop = ERR_BUSY};
    assert_int_equal(entry_each(buf_slice(&b), see, &seen), ERR_BUSY);
    assert_int_equal(seen.n, 1);
    expect_hex(&b, "4d4c450102000000030000006162630000000000"
                   "00000000");
    buf_close(&b);
}

static void test_entry_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "4d4c4501",
        "4d4c450200000000",                 /* version */
        "4d4c450101000000",                 /* a command missing */
        "4d4c4501010000000500000061626364", /* cut */
        "4d4c450101000000ffffffff61626364", /* too long */
        "4d4c450101000000030000006162630a", /* padding is not zero */
        "4d4c4501000000000000000000000000", /* padding too long */
        "4d4c4501ffffffff0000000000000000", /* too many */
        "4d4c45010100000003000000616263",   /* length is no multiple of 8 */
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t bytes[64];
        struct seen seen = {0};
        size_t len = strlen(bad[i]) / 2;
        assert_int_equal(hex_decode(slice_str(bad[i]), bytes, len), 0);
        assert_int_equal(entry_each(slice_make(bytes, len), see, &seen), ERR_PROTOCOL);
        assert_int_equal(seen.n, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),       cmocka_unit_test(test_small_records), cmocka_unit_test(test_large_records),
        cmocka_unit_test(test_read_back),  cmocka_unit_test(test_runs_refused),  cmocka_unit_test(test_valid),
        cmocka_unit_test(test_digest_sum), cmocka_unit_test(test_entry),         cmocka_unit_test(test_entry_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
