/* Headers, encoded words, transfer encodings, charsets, search. */
#include "node/base/err.h"
#include "protocol/mime/charset.h"
#include "protocol/mime/match.h"
#include "protocol/mime/summary.h"
#include "protocol/mime/text.h"
#include "protocol/mime/transfer.h"
#include "node/base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void expect_buf(struct buf *got, const char *expected)
{
    buf_append_byte(got, 0);
    assert_string_equal((const char *)buf_slice(got).p, expected);
    buf_close(got);
}

/* ---- header fields ---- */

static void test_header(void **state)
{
    (void)state;
    static const char header[] =
        " lost\r\nA: 1\r\nBad line\r\nB:2\r\n 3\r\n\t4\r\n: none\r\nsp ace: x\r\nC \t: \t5\nD:\r\n\r\nE: 6\r\n";
    static const char *const expected[][3] = {{"A", "1", "A: 1\r\n"},
                                              {"B", "2\r\n 3\r\n\t4", "B:2\r\n 3\r\n\t4\r\n"},
                                              {"C", "5", "C \t: \t5\n"},
                                              {"D", "", "D:\r\n"}};
    struct header_field f;
    size_t at = 0, n = 0;
    for (; header_next(slice_str(header), &at, &f); n++) {
        assert_true(n < 4);
        assert_true(slice_eq(f.name, slice_str(expected[n][0])));
        assert_true(slice_eq(f.value, slice_str(expected[n][1])));
        assert_true(slice_eq(f.line, slice_str(expected[n][2])));
    }
    assert_int_equal(n, 4);
    assert_false(header_next(slice_str(header), &at, &f)); /* stays at the end */
    assert_int_equal(header_length(slice_str(header)), sizeof(header) - 1 - 6);
    assert_int_equal(header_length(slice_str("A: 1\n\nx")), 6);
    assert_int_equal(header_length(slice_str("A: 1\r\n\nx")), 7);
    assert_int_equal(header_length(slice_str("\r\nA: 1\r\n")), 2);
    assert_int_equal(header_length(slice_str("A: 1\r")), 5);
    assert_int_equal(header_length(slice_str("")), 0);
    struct buf out = {0};
    header_unfold(SLICE_LITERAL("a\r\n b\n\tc\rd\0e\r\n"), &out);
    expect_buf(&out, "a b\tc\rd?e");
}

/* ---- encoded words ---- */

static const struct {
    const char *in, *expected;
} words[] = {
    /* RFC 2047 8 */
    {"(=?ISO-8859-1?Q?a?=)", "(a)"},
    {"(=?ISO-8859-1?Q?a?= b)", "(a b)"},
    {"(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"},
    {"(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)"},
    {"(=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=)", "(ab)"},
    {"(=?ISO-8859-1?Q?a_b?=)", "(a b)"},
    {"(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"},
    {"=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"},
    {"=?ISO-8859-1?Q?Patrik_F=E4ltstr=F6m?=", "Patrik F\xc3\xa4ltstr\xc3\xb6m"},
    {"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
     "If you can read this you understand the example."},
    {"=?iso-8859-8?b?7eXs+SDv4SDo7Oj08A==?=",
     "\xd7\x9d\xd7\x95\xd7\x9c\xd7\xa9 \xd7\x9f\xd7\x91 \xd7\x98\xd7\x9c\xd7\x98\xd7\xa4\xd7\xa0"},
    /* RFC 2231 5 */
    {"=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"},
    /* a character split over two words of one charset, and one left incomplete */
    {"=?utf-8?Q?J=C3?= =?UTF-8?B?tg==?=", "J\xc3\xb6"},
    {"=?utf-8?Q?J=C3?= =?iso-8859-1?Q?=F6?=", "J\xef\xbf\xbd\xc3\xb6"},
    {"=?utf-8?Q?J=C3?= x", "J\xef\xbf\xbd x"},
    {"=?iso-2022-jp?B?GyRCJDMbKEI=?=", "\xe3\x81\x93"},
    {"=?gb2312?B?ztI=?=", "\xe6\x88\x91"},
    {"=?utf-7?Q?+AOk-?=", "\xc3\xa9"},
    /* loose: in the middle of a word, blanks inside, lower-case hex, broken escapes */
    {"a=?utf-8?q?b?=c=?utf-8?q?d?=", "abcd"},
    {"=?utf-8?q?a b=c3=b6?=", "a b\xc3\xb6"},
    {"=?utf-8?q?a=zz=4?=", "a=zz=4"},
    {"=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"},
    {"=?utf-8?b?"
     "?= =?utf-8?q?"
     "?=x",
     "x"},
    {"=?utf-8?b?YQ?==?utf-8?b?YmM?=", "abc"},
    /* no words; unknown charsets stay */
    {"=?", "=?"},
    {"=?utf-8?", "=?utf-8?"},
    {"=?utf-8?q?a", "=?utf-8?q?a"},
    {"=?utf-8?q?a?", "=?utf-8?q?a?"},
    {"=?utf-8?x?a?=", "=?utf-8?x?a?="},
    {"=??q?a?=", "=??q?a?="},
    {"=?=?=?=?utf-8?q?a?=", "=?=?=?a"},
    {"=?x-none?q?a?= =?x-none?q?b?=", "=?x-none?q?a?= =?x-none?q?b?="},
    {"=?utf-8?q?a?= =?x-none?q?b?= =?utf-8?q?c?=", "a =?x-none?q?b?= c"},
    {"=?utf-8//IGNORE?q?a?=", "=?utf-8//IGNORE?q?a?="},
    {"=?../x?q?a?=", "=?../x?q?a?="},
    {"plain \xc3\xb6 = ?", "plain \xc3\xb6 = ?"},
    {"", ""},
};

static void test_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct buf out = {0};
        text_decode_words(slice_str(words[i].in), &out);
        expect_buf(&out, words[i].expected);
    }
}

/* Past the eighth charset words stay as they are, the first eight still work. */
static void test_words_charsets(void **state)
{
    (void)state;
    struct buf in = {0}, out = {0}, expected = {0};
    for (unsigned i = 1; i <= 10; i++) {
        buf_printf(&in, "=?iso-8859-%u?q?%u?= ", i == 10 ? 15 : i, i);
        if (i <= 8)
            buf_printf(&expected, "%u", i);
        else
            buf_printf(&expected, " =?iso-8859-%u?q?%u?=", i == 10 ? 15 : i, i);
    }
    buf_append_str(&in, "=?iso-8859-1?q?x?=");
    buf_append_str(&expected, " x");
    text_decode_words(buf_slice(&in), &out);
    assert_true(slice_eq(buf_slice(&out), buf_slice(&expected)));
    buf_close(&in);
    buf_close(&out);
    buf_close(&expected);
}

/* ---- transfer encodings, at every split point ---- */

static const struct {
    const char *encoding, *in, *expected;
} transfers[] = {
    {"base64", "", ""},
    {"base64", "Zg==", "f"},
    {"base64", "Zm8=", "fo"},
    {"base64", "Zm9v", "foo"},
    {"base64", "Zm9v\r\nYm Fy!\r\n", "foobar"},
    {"base64", "Zg", "f"},
    {"base64", "Zm8", "fo"},
    {"base64", "Z", ""},
    {"base64", "Zg==Zm8=Zm9v", "ffofoo"},
    {"base64", "+/+/", "\xfb\xff\xbf"},
    /* RFC 2045 6.7 */
    {"quoted-printable", "Now's the time =\r\nfor all folk to come=\r\n to the aid of their country.",
     "Now's the time for all folk to come to the aid of their country."},
    {"quoted-printable", "a=3D=c3=B6b",
     "a=\xc3\xb6"
     "b"},
    {"quoted-printable", "line  \t\r\n  next  ", "line\r\n  next"},
    {"quoted-printable", "soft= \t\r\nbreak", "softbreak"},
    {"quoted-printable", "soft=\nbreak  \nx", "softbreak\nx"},
    {"quoted-printable", "kept=20\r\n", "kept \r\n"},
    {"quoted-printable", "=", ""},
    {"quoted-printable", "=4", "=4"},
    {"quoted-printable", "=4x=x=", "=4x=x"},
    {"quoted-printable", "==41=4=41", "=A=4A"},
    {"quoted-printable", "a=  b", "a=  b"},
    {"quoted-printable", "a=\rb", "ab"},
    {"7bit", "a=3D\r\n", "a=3D\r\n"},
    {"x-unknown", "a=3D", "a=3D"},
};

static void test_transfers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(transfers) / sizeof(transfers[0]); i++) {
        struct slice in = slice_str(transfers[i].in);
        for (size_t cut = 0; cut <= in.n; cut++) {
            struct transfer t;
            struct buf out = {0};
            transfer_open(&t, slice_str(transfers[i].encoding));
            transfer_feed(&t, slice_first(in, cut), &out);
            transfer_feed(&t, slice_from(in, cut), &out);
            transfer_end(&t, &out);
            transfer_close(&t);
            expect_buf(&out, transfers[i].expected);
        }
    }
    struct buf out = {0};
    text_decode_base64(SLICE_LITERAL("Zm9v"), &out);
    text_decode_quoted_printable(SLICE_LITERAL("=41"), &out);
    expect_buf(&out, "fooA");
}

/* ---- charsets, at every split point ---- */

static const struct {
    const char *charset, *in, *expected;
} charsets[] = {
    {"utf-8", "a\xc3\xb6\xe2\x82\xac\xf0\x9f\x98\x80", "a\xc3\xb6\xe2\x82\xac\xf0\x9f\x98\x80"},
    {"US-ASCII", "a\xc3\xb6", "a\xc3\xb6"},
    {"utf8", "a\xf6z", "a\xef\xbf\xbdz"},
    {"utf-8", "\xe2\x82z\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd"},
    {"utf-8", "\xc0\x80\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"ISO-8859-1", "\xe4\xf6", "\xc3\xa4\xc3\xb6"},
    {"iso-8859-15", "\xa4", "\xe2\x82\xac"},
    {"windows-1252", "\x80\x81", "\xe2\x82\xac\xef\xbf\xbd"},
    {"koi8-r", "\xc1", "\xd0\xb0"},
    {"utf-16le", "a", "\xef\xbf\xbd"},
    {"Shift_JIS", "\x82\xb1", "\xe3\x81\x93"},
    {"euc-jp", "\xa4\xb3", "\xe3\x81\x93"},
    {"iso-2022-jp", "\x1b$B$3\x1b(B!", "\xe3\x81\x93!"},
    {"ks_c_5601-1987", "\xb0\xa1", "\xea\xb0\x80"},
    {"big5", "\xa7\xda", "\xe6\x88\x91"},
};

static void test_charsets(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(charsets) / sizeof(charsets[0]); i++) {
        struct slice in = slice_str(charsets[i].in);
        for (size_t cut = 0; cut <= in.n; cut++) {
            struct charset c;
            struct buf out = {0};
            assert_int_equal(charset_open(&c, slice_str(charsets[i].charset)), 0);
            charset_feed(&c, slice_first(in, cut), &out);
            charset_feed(&c, slice_from(in, cut), &out);
            charset_end(&c, &out);
            charset_close(&c);
            expect_buf(&out, charsets[i].expected);
        }
    }
    struct buf none = {0};
    assert_int_equal(text_to_utf8(SLICE_LITERAL("utf-8"), slice_make(NULL, 0), &none), 0);
    assert_int_equal(text_to_utf8(SLICE_LITERAL("koi8-r"), slice_make(NULL, 0), &none), 0);
    assert_int_equal(buf_len(&none), 0);
    buf_close(&none);
    static const char *const unknown[] = {"",
                                          "x-none",
                                          "char",
                                          "wchar_t",
                                          "utf-8//translit",
                                          "iso-8859-1//ignore",
                                          "utf-16,utf-8",
                                          "iso-2022-cn-ext",
                                          "cp1252/../x",
                                          "cp12345678901234567890123456789012345678901234"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        struct buf out = {0};
        assert_int_equal(text_to_utf8(slice_str(unknown[i]), SLICE_LITERAL("a"), &out), ERR_NOTFOUND);
        assert_int_equal(buf_len(&out), 0);
        buf_close(&out);
    }
}

/* ---- search ---- */

static const struct {
    const char *key, *text;
    bool found;
} matches[] = {
    {"", "", true},
    {"", "x", true},
    {"a", "", false},
    {"abc", "xxABCxx", true},
    {"ABC", "xxab cxx", false},
    {"aab", "aaab", true},
    {"ababaca", "abababababaca", true},
    {"\xc3\x96", "o\xcc\x88", true}, /* O with diaeresis, composed and not */
    {"o\xcc\x88", "\xc3\x96", true}, /* and back */
    {"o", "\xc3\xb6", true},         /* decomposed, the base letter is there: i;unicode-casemap */
    {"stra\xc3\x9f"
     "e",
     "STRASSE", true},              /* sharp s */
    {"\xce\xa3", "\xcf\x82", true}, /* final sigma */
    {"k", "\xe2\x84\xaa", true},    /* Kelvin sign */
    {"fi", "\xef\xac\x81", true},   /* ligature */
    {"\xd0\xbf\xd1\x80\xd0\xb8", "\xd0\x9f\xd0\xa0\xd0\x98", true},
    {"\xe3\x81\x93", "\xe3\x81\x93\xe3\x81\x93", true},
    {"z", "\xff\xfe\xc3", false},
    {"z", "\xe2\x82z", true}, /* an octet after a broken character is not eaten */
    {"\xef\xbf\xbd", "\xff", true},
};

static void test_matches(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(matches) / sizeof(matches[0]); i++) {
        struct text_needle *n = text_needle_new(slice_str(matches[i].key));
        struct slice text = slice_str(matches[i].text);
        assert_int_equal(text_needle_in(n, text), matches[i].found);
        for (size_t cut = 0; cut <= text.n; cut++) {
            struct text_match m;
            text_match_begin(&m, n);
            text_match_feed(&m, slice_first(text, cut));
            assert_int_equal(text_match_feed(&m, slice_from(text, cut)), matches[i].found);
            text_match_begin(&m, n);
            for (size_t at = 0; at < text.n; at++)
                text_match_feed(&m, slice_make(text.p + at, 1));
            assert_int_equal(m.found, matches[i].found);
        }
        text_needle_free(&n);
        assert_null(n);
    }
}

static const char message[] =
    "Subject: =?utf-8?Q?=C3=9Cbung?=\r\n macht\r\nX-Other: Needle\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    "preamble-word\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: "
    "quoted-printable\r\n\r\n"
    "Gr=FC=\r\n=DFe\r\n--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    "PGI+Qm9sZDwvYj4=\r\n--b\r\nContent-Type: image/png\r\n\r\npicture\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    "Subject: inner\r\n\r\ndeep\r\n--b\r\nContent-Type: text/plain; charset=x-none\r\n\r\nstrange\r\n--b--\r\n";

static const struct {
    const char *key;
    bool body, text;
} searches[] = {
    {"", true, true},
    {"gr\xc3\xbc\xc3\x9f", true, true},
    {"GR\xc3\x9cSSE", true, true},
    {"=FC", false, false},
    {"bold</b>", true, true},
    {"PGI+", false, false},
    {"picture", false, false},
    {"DEEP", true, true},
    {"inner", true, true},
    {"strange", true, true},
    {"preamble", false, false},
    {"needle", false, true},
    {"\xc3\xbc"
     "bung macht",
     false, true},
    {"x-other: needle", false, true},
    {"machtX-Other", false, false},
    {"utf-8?q", false, false},
    {"needlecontent", false, false},
    {"e<b>", false, false},
};

static void test_search_message(void **state)
{
    (void)state;
    struct buf summary = {0};
    mime_summary_build(slice_str(message), &summary);
    for (size_t i = 0; i < sizeof(searches) / sizeof(searches[0]); i++) {
        struct text_needle *n = text_needle_new(slice_str(searches[i].key));
        assert_int_equal(text_search_message(slice_str(message), buf_slice(&summary), n, false), searches[i].body);
        assert_int_equal(text_search_message(slice_str(message), buf_slice(&summary), n, true), searches[i].text);
        /* a summary of a longer message must not lead outside */
        for (size_t cut = 0; cut < sizeof(message); cut += 7)
            text_search_message(slice_make(message, cut), buf_slice(&summary), n, true);
        text_needle_free(&n);
    }
    buf_close(&summary);
}

/* What is cut by the decoder's portions is found all the same. */
static void test_search_portions(void **state)
{
    (void)state;
    struct text_needle *n = text_needle_new(slice_str("n\xc3\xa9"
                                                      "edle"));
    for (size_t pad = 16 * 1024 - 12; pad <= 16 * 1024 + 2; pad++) {
        struct buf text = {0}, summary = {0};
        buf_append_str(
            &text, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n");
        for (size_t i = 0; i < pad; i++)
            buf_append_byte(&text, 'n');
        buf_append_str(&text, "N=C3=89EDLE");
        mime_summary_build(buf_slice(&text), &summary);
        assert_true(text_search_message(buf_slice(&text), buf_slice(&summary), n, false));
        buf_close(&text);
        buf_close(&summary);
    }
    text_needle_free(&n);
}

static void test_search_header(void **state)
{
    (void)state;
    static const char header[] =
        "To: a@b.test\r\nX-A: one\r\nx-a: =?utf-8?q?tw=C3=B6?=\r\n  three\r\nX-Empty:\r\n\r\nX-A: body\r\n";
    static const struct {
        const char *name, *key;
        bool found;
    } table[] = {
        {"X-A", "ONE", true},    {"x-A", "tw\xc3\xb6  three", true},
        {"X-A", "body", false},  {"X-A", "onetw", false},
        {"X-Empty", "", true},   {"X-Empty", "x", false},
        {"X-None", "", false},   {"X", "", false},
        {"To", "@B.TEST", true},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct text_needle *n = text_needle_new(slice_str(table[i].key));
        assert_int_equal(text_search_header(slice_str(header), slice_str(table[i].name), n), table[i].found);
        text_needle_free(&n);
    }
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        int step;
        int32_t code;
    } table[] = {
        {"a", 1, 'a'},
        {"\xc2\x80", 2, 0x80},
        {"\xe0\xa0\x80", 3, 0x800},
        {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
        {"\xf4\x90\x80\x80", UTF8_INVALID, 0},
        {"\xf0\x8f\xbf\xbf", UTF8_INVALID, 0},
        {"\xe0\x9f\xbf", UTF8_INVALID, 0},
        {"\xed\xa0\x80", UTF8_INVALID, 0},
        {"\xc1\x80", UTF8_INVALID, 0},
        {"\x80", UTF8_INVALID, 0},
        {"\xff", UTF8_INVALID, 0},
        {"\xe2", UTF8_INCOMPLETE, 0},
        {"\xf0\x9f\x98", UTF8_INCOMPLETE, 0},
        {"\xe0\x80", UTF8_INVALID, 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int32_t code = 0;
        assert_int_equal(utf8_step((const uint8_t *)table[i].in, strlen(table[i].in), &code), table[i].step);
        if (table[i].step > 0)
            assert_int_equal(code, table[i].code);
        assert_int_equal(utf8_valid(slice_str(table[i].in)), table[i].step > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),         cmocka_unit_test(test_words),
        cmocka_unit_test(test_words_charsets), cmocka_unit_test(test_transfers),
        cmocka_unit_test(test_charsets),       cmocka_unit_test(test_matches),
        cmocka_unit_test(test_search_message), cmocka_unit_test(test_search_portions),
        cmocka_unit_test(test_search_header),  cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
