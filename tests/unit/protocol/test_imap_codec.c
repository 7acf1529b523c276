/* Names, patterns, dates, sets, and collecting commands from bytes. */
#include "node/base/err.h"
#include "protocol/imap/imap_input.h"
#include "protocol/imap/imap_names.h"
#include "protocol/imap/imap_set.h"
#include "protocol/imap/imap_text.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_utf7(void **state)
{
    (void)state;
    static const struct {
        const char *utf8, *utf7;
    } rows[] = {
        {"", ""},
        {"INBOX", "INBOX"},
        {"a&b", "a&-b"},
        {"Entw\xc3\xbcrfe", "Entw&APw-rfe"},
        {"~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
         "~peter/mail/&U,BTFw-/&ZeVnLIqe-"},
        {"\xf0\x9f\x98\x80", "&2D3eAA-"},
        {"\xc3\xa4&\xc3\xa4", "&AOQ-&-&AOQ-"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b = {0};
        imap_utf7_encode(slice_str(rows[i].utf8), &b);
        assert_true(slice_eq(buf_slice(&b), slice_str(rows[i].utf7)));
        buf_clear(&b);
        assert_int_equal(imap_utf7_decode(slice_str(rows[i].utf7), &b), 0);
        assert_true(slice_eq(buf_slice(&b), slice_str(rows[i].utf8)));
        buf_close(&b);
    }
    /* Not ended, bad digits, ASCII or half a surrogate pair encoded, bits left over. */
    static const char *const bad[] = {"&", "&AOQ", "&A?-", "&AGE-", "&2D0-", "&3gA-", "&AOR-", "&AOQA-", "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf b = {0};
        assert_int_equal(imap_utf7_decode(slice_str(bad[i]), &b), ERR_INVALID);
        buf_close(&b);
    }
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *in, *name; /* NULL: refused */
    } rows[] = {
        {"inbox", "INBOX"},     {"iNbOx/Sub", "INBOX/Sub"},
        {"inboxes", "inboxes"}, {"", NULL},
        {"a\nb", NULL},         {"\xff", NULL},
        {"\x7f", NULL},         {"a\xcc\x88", "\xc3\xa4"}, /* NFC */
    };
    struct arena a = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice name;
        int status = imap_name_read(&a, true, slice_str(rows[i].in), &name);
        assert_int_equal(status, rows[i].name ? 0 : ERR_INVALID);
        if (rows[i].name != NULL)
            assert_true(slice_eq(name, slice_str(rows[i].name)));
    }
    arena_close(&a);
}

static void test_match(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool match;
    } rows[] = {
        {"*", "a/b/c", true},     {"%", "a", true},         {"%", "a/b", false},           {"a/%", "a/b", true},
        {"a/%", "a/b/c", false},  {"a/%/c", "a/b/c", true}, {"a*c", "a/b/c", true},        {"a%c", "a/c", false},
        {"inbox", "INBOX", true}, {"inb%", "INBOX", true},  {"inbox/*", "INBOX/x", false}, {"", "a", false},
        {"*a%b", "xa/ab", true},  {"%a%", "banana", true},  {"*%", "a/b", true},           {"%*", "a/b", true},
        {"a%", "a", true},        {"*b", "abab", true},     {"%b/%", "abb/x", true},       {"Sent", "sent", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(imap_match(slice_str(rows[i].pattern), slice_str(rows[i].name)), rows[i].match);
}

static void test_dates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int64_t ms;
    } rows[] = {
        {"\" 1-Jan-1970 00:00:00 +0000\"", true, 0},
        {"\"01-Jan-1970 01:00:00 +0100\"", true, 0},
        {"\"29-Feb-2024 23:59:59 -0130\"", true, 1709256599000},
        {"\"31-Dec-1969 23:59:59 +0000\"", true, -1000},
        {"\"29-Feb-2023 00:00:00 +0000\"", false, 0},
        {"\"01-Foo-2023 00:00:00 +0000\"", false, 0},
        {"\"01-Jan-2023 24:00:00 +0000\"", false, 0},
        {"\"1-Jan-2023 00:00:00 +0000\"", false, 0},
        {"\"01-Jan-2023 00:00:00 +0000", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct imap_args a = {.in = slice_str(rows[i].text)};
        int64_t ms;
        assert_int_equal(imap_args_date_time(&a, &ms), rows[i].ok);
        if (rows[i].ok)
            assert_int_equal(ms, rows[i].ms);
    }
    struct buf b = {0};
    imap_write_date_time(&b, 1709256599000);
    imap_write_date_time(&b, -1000);
    struct slice want = SLICE_LITERAL("\" 1-Mar-2024 01:29:59 +0000\"\"31-Dec-1969 23:59:59 +0000\"");
    assert_true(slice_eq(buf_slice(&b), want));
    assert_int_equal(imap_day_of_ms(-1), -1);
    buf_close(&b);
}

static void test_sets(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        bool uid, ok;
        const char *uids; /* of a mailbox with 2, 3, 5, 9 */
    } rows[] = {
        {"1", false, true, "2"},
        {"1:*", false, true, "2:3,5,9"},
        {"*", false, true, "9"},
        {"4:3", false, true, "5,9"},
        {"5", false, false, ""},
        {"2,*,2:3", false, true, "3,5,9"},
        {"1:*", true, true, "2:3,5,9"},
        {"10:*", true, true, "9"},
        {"4:8", true, true, "5"},
        {"7", true, true, ""},
        {"1:4294967295", true, true, "2:3,5,9"},
        {"$", true, true, "5"},
    };
    struct uid_set map = {0}, saved = {0};
    uid_set_add(&map, 2, 3);
    uid_set_add(&map, 5, 5);
    uid_set_add(&map, 9, 9);
    uid_set_add(&saved, 4, 8);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena arena = {0};
        struct imap_args a = {.in = slice_str(rows[i].set), .arena = &arena};
        struct imap_set set;
        struct uid_set out = {0};
        struct buf text = {0};
        assert_true(imap_args_set(&a, &set) && imap_args_end(&a));
        assert_int_equal(imap_set_resolve(&set, rows[i].uid, &map, &saved, &out), rows[i].ok);
        imap_write_set(&text, &out);
        assert_true(slice_eq(buf_slice(&text), slice_str(rows[i].uids)));
        buf_close(&text);
        uid_set_close(&out);
        arena_close(&arena);
    }
    static const char *const bad[] = {"", "0", "1,", ":1", "a", "1:", "4294967296", "1:2:3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena arena = {0};
        struct imap_args a = {.in = slice_str(bad[i]), .arena = &arena};
        struct imap_set set;
        assert_false(imap_args_set(&a, &set) && imap_args_end(&a));
        arena_close(&arena);
    }
    struct imap_cursor c;
    uint32_t seqs[4] = {0}, n = 0;
    imap_cursor_init(&c, &map, &map);
    while (imap_cursor_next(&c))
        seqs[n++] = c.seq;
    assert_int_equal(n, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(seqs[i], i + 1);
    uid_set_close(&map);
    uid_set_close(&saved);
}

/* Spans in any order, against a mailbox with holes, by the definition: each number one by one. */
static void test_sets_random(void **state)
{
    (void)state;
    unsigned seed = 11;
    for (unsigned round = 0; round < 3000; round++) {
        struct uid_set map = {0}, want = {0}, got = {0};
        uint32_t uids[40], n = 0, top = 0;
        for (uint32_t uid = 1; uid < 40; uid++)
            if (rand_r(&seed) % 3) {
                uid_set_add(&map, uid, uid);
                uids[n++] = top = uid;
            }
        struct imap_span spans[8];
        struct imap_set set = {.spans = spans, .n = 1 + (size_t)rand_r(&seed) % 8};
        bool by_uid = rand_r(&seed) % 2, ok = true;
        for (size_t i = 0; i < set.n; i++) {
            spans[i] = (struct imap_span){(uint32_t)rand_r(&seed) % 30, (uint32_t)rand_r(&seed) % 30};
            uint32_t a = spans[i].first ? spans[i].first : by_uid ? top : n;
            uint32_t b = spans[i].last ? spans[i].last : by_uid ? top : n, high = a > b ? a : b;
            ok = ok && (by_uid || (high <= n && a > 0 && b > 0));
            for (uint32_t k = 1; ok && k <= 40; k++) {
                bool is = by_uid ? uid_set_has(&map, k) : k <= n;
                if (is && k >= (a < b ? a : b) && k <= high)
                    uid_set_add(&want, by_uid ? k : uids[k - 1], by_uid ? k : uids[k - 1]);
            }
        }
        assert_int_equal(imap_set_resolve(&set, by_uid, &map, NULL, &got), ok);
        assert_true(!ok || got.n == want.n);
        for (size_t i = 0; ok && i < got.n; i++)
            assert_true(got.ranges[i].first == want.ranges[i].first && got.ranges[i].last == want.ranges[i].last);
        uid_set_close(&map);
        uid_set_close(&want);
        uid_set_close(&got);
    }
}

static void test_names_noted(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct imap_names names = {.arena = &arena};
    char name[32];
    assert_false(imap_names_take(&names, slice_str("a")));
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "box/%u", i % 1000);
        imap_names_note(&names, slice_str(name));
    }
    assert_int_equal(names.n, 1000);
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "box/%u", i);
        assert_int_equal(imap_names_take(&names, slice_str(name)), i < 1000);
        assert_false(imap_names_take(&names, slice_str(name)));
        imap_names_note(&names, slice_str(name)); /* one that was taken stays so */
        assert_int_equal(imap_names_take(&names, slice_str(name)), i >= 1000);
    }
    arena_close(&arena);
}

static void test_quoting(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool utf8;
        const char *out;
    } rows[] = {
        {"", false, "\"\""},
        {"a\"b\\c", false, "\"a\\\"b\\\\c\""},
        {"a\r\nb", false, "{4}\r\na\r\nb"},
        {"\xc3\xa4", false, "{2}\r\n\xc3\xa4"},
        {"\xc3\xa4", true, "\"\xc3\xa4\""},
        {"\xff", true, "{1}\r\n\xff"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b = {0};
        imap_write_string(&b, rows[i].utf8, slice_str(rows[i].in));
        assert_true(slice_eq(buf_slice(&b), slice_str(rows[i].out)));
        buf_close(&b);
    }
    static const char *const bad[] = {"\"", "\"a", "\"a\\", "\"a\\b\"", "\"a\r\nb\"", "{3}\r\nab", "{3", "(", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena arena = {0};
        struct imap_args a = {.in = slice_str(bad[i]), .arena = &arena};
        imap_args_astring(&a);
        assert_non_null(a.error);
        arena_close(&arena);
    }
}

/* Takes one command in two portions; literals of 3 go inline, of 4 apart, others are refused. */
static void collect(struct imap_input *in, struct slice bytes, size_t split)
{
    size_t at = 0;
    for (unsigned portion = 0; portion < 2; portion++) {
        size_t end = portion == 0 ? split : bytes.n;
        while (at < end) {
            enum imap_event event;
            size_t n = imap_input_feed(in, slice_make(bytes.p + at, end - at), &event);
            at += n;
            if (event == IMAP_COMMAND)
                return;
            if (event == IMAP_LITERAL && in->literal_size == 3)
                imap_input_literal_inline(in);
            else if (event == IMAP_LITERAL && in->literal_size == 4)
                imap_input_literal_body(in);
            else if (event == IMAP_LITERAL)
                imap_input_literal_refuse(in, "NO refused");
            else
                assert_int_equal(at, end);
        }
    }
}

static void test_input(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *text, *body, *refused;
    } rows[] = {
        {"a NOOP\r\n", "a NOOP", NULL, NULL},
        {"a NOOP\n", "a NOOP", NULL, NULL},
        {"a {3}\r\n}\r\n b\r\n", "a {3}\r\n}\r\n b", NULL, NULL},
        {"a {3+}\r\nabc {4+}\r\nwxyz\r\n", "a {3+}\r\nabc {4+}\r\n", "wxyz", NULL},
        {"a ~{4+}\r\nwxyz q\r\n", "a ~{4+}\r\n q", "wxyz", NULL},
        {"a {5+}\r\nb\r\nc {4+}\r\nwxyz d\r\n", NULL, NULL, "NO refused"},
        {"a {x}\r\n", "a {x}", NULL, NULL},
        {"a {}\r\n", "a {}", NULL, NULL},
        {"abcdefghijklmnopqrstuvwxyz0123456789 {3+}\r\n\r\n{ z\r\n", NULL, NULL, "BAD Command line is too long"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice bytes = slice_str(rows[i].bytes);
        for (size_t split = 0; split <= bytes.n; split++) {
            struct imap_input in = {.text_max = 30};
            collect(&in, bytes, split);
            assert_int_equal(in.state, IMAP_IN_READY);
            if (rows[i].refused != NULL)
                assert_string_equal(in.refused, rows[i].refused);
            else
                assert_null(in.refused);
            if (rows[i].text != NULL)
                assert_true(slice_eq(imap_input_text(&in), slice_str(rows[i].text)));
            if (rows[i].body != NULL)
                assert_true(slice_eq(bytes_slice(in.bodies[0].bytes), slice_str(rows[i].body)));
            imap_input_reset(&in);
            assert_int_equal(buf_len(&in.line), 0);
            imap_input_close(&in);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf7),        cmocka_unit_test(test_names),   cmocka_unit_test(test_match),
        cmocka_unit_test(test_dates),       cmocka_unit_test(test_sets),    cmocka_unit_test(test_sets_random),
        cmocka_unit_test(test_names_noted), cmocka_unit_test(test_quoting), cmocka_unit_test(test_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
