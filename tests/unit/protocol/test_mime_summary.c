/* The stored form: golden bytes, damage, limits, every truncation of a message. */
#include "node/base/err.h"
#include "node/base/mem.h"
#include "protocol/mime/build.h"
#include "protocol/mime/summary.h"
#include "protocol/mime/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const char sample[] =
    "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n"
    "Subject: =?utf-8?Q?=C3=9C?= \"x\"\r\nTo: G: imap@cac.washington.edu, <@r:a@b>;\r\nCc: (c) \"q\\\" d\" <\"l "
    "p\"@[1.2.3.4]>\r\n"
    "Message-Id: <B27397@cac.washington.edu>\r\nMIME-Version: 1.0\r\n"
    "Content-Type: multipart/mixed; boundary=\"b 1\"\r\n\r\npre\r\n--b 1\r\n"
    "Content-Type: text/plain; charset=UTF-8; name*0*=utf-8''a; name*1=\"b c\"\r\n"
    "Content-Transfer-Encoding: quoted-printable\r\nContent-ID: <1@x>\r\nContent-Language: en, de\r\n\r\n"
    "=C3=BC=\r\n \r\n--b 1\r\nContent-Type: multipart/digest; boundary=b\r\nContent-Location: x\r\n\r\n--b\r\n\r\n"
    "Subject: in\r\n\r\nY\r\n--b--\r\n--b 1\r\nContent-Type: image/png\r\nContent-MD5: AA==\r\n"
    "Content-Disposition: attachment; filename=\"\\\"a.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b "
    "1--\r\nepi\r\n";

static bool count_leaf(void *arg, const struct mime_part *p)
{
    (void)p;
    ++*(size_t *)arg;
    return true;
}

/* Asks everything that can be asked. */
static void use_all(struct slice message, struct slice summary)
{
    struct buf out = {0};
    mime_envelope_write(summary, false, &out);
    mime_envelope_write(summary, true, &out);
    mime_structure_write(summary, false, false, &out);
    mime_structure_write(summary, true, true, &out);
    assert_int_equal(slice_find(buf_slice(&out), 0), buf_len(&out));
    for (int f = MIME_FROM; f <= MIME_IN_REPLY_TO; f++)
        mime_summary_field(summary, (enum mime_field)f, &out);
    int64_t ms;
    int32_t day;
    mime_summary_date(summary, &ms, &day);
    size_t leaves = 0;
    mime_part_each(summary, count_leaf, &leaves);
    for (uint32_t i = 0; i < 5; i++)
        for (uint32_t j = 0; j < 4; j++) {
            uint32_t path[3] = {i, j, 1};
            struct mime_part p;
            for (size_t n = 0; n <= 3; n++)
                if (mime_part_find(summary, path, n, &p) == 0)
                    assert_true(p.body_at + p.body_n <= message.n && p.inner_body_at + p.inner_body_n <= message.n);
        }
    struct text_needle *n = text_needle_new(SLICE_LITERAL("never there"));
    assert_false(text_search_message(message, summary, n, true));
    text_needle_free(&n);
    buf_close(&out);
}

static void build_and_use(struct slice message, struct buf *summary)
{
    buf_clear(summary);
    mime_summary_build(message, summary);
    assert_true(buf_len(summary) <= MIME_SUMMARY_MAX);
    assert_int_equal(mime_summary_check(buf_slice(summary)), 0);
    use_all(message, buf_slice(summary));
}

static void test_truncations(void **state)
{
    (void)state;
    struct buf summary = {0};
    for (size_t n = 0; n <= sizeof(sample) - 1; n++) {
        uint8_t *copy = mem_alloc(n + 1); /* its own block, so that a read too far is seen */
        memcpy(copy, sample, n);
        build_and_use(slice_make(copy, n), &summary);
        mem_free(copy);
    }
    buf_close(&summary);
}

/* ---- layout ---- */

/* What these hold is that yesterday's summaries stay readable: add a version rather than change them. */
static const char golden_message[] = "From: Foo <a@b>\r\nSubject: hi\r\nTo: Gr:<@x:c@d>;\r\nMessage-ID: <1@x>\r\n"
                                     "Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n"
                                     "Content-Type: message/rfc822\r\nContent-ID: i\r\nContent-MD5: m\r\n"
                                     "Content-Disposition: inline; a=1\r\nContent-Language: en\r\n\r\n\r\nx\r\n--B--";
static const char golden[] = "01" /* version */
                             "27"
                             "00"
                             "036869" /* envelope: no date, subject */
                             "01"
                             "0403466f6f01610162" /* from: bits name mailbox host */
                             "00"
                             "00" /* sender, reply-to */
                             "03"
                             "05024772"
                             "080240780163"
                             "0164"
                             "02" /* to: group, route, end of group */
                             "00"
                             "00"
                             "00"
                             "063c3140783e" /* cc bcc in-reply-to message-id */
                             "01"
                             "00"
                             "70"
                             "8601"
                             "09" /* multipart: gap header_n body_n lines */
                             "096d756c746970617274"
                             "056d69786564"
                             "0437626974"
                             "0108626f756e646172790142"
                             "01"
                             "0e"
                             "05"
                             "77"
                             "03"
                             "01" /* message, named, extra */
                             "076d657373616765"
                             "06726663383232"
                             "0437626974"
                             "00"
                             "0269"
                             "00" /* id description */
                             "026d"
                             "07696e6c696e65"
                             "0101610131"
                             "0102656e"
                             "00" /* md5 disposition language location */
                             "0a"
                             "00000000000000000000" /* envelope */
                             "00"
                             "00"
                             "02"
                             "01"
                             "00" /* leaf */
                             "0474657874"
                             "05706c61696e"
                             "0437626974"
                             "0107636861727365740875732d6173636969";

static void test_golden_build(void **state)
{
    (void)state;
    struct buf summary = {0}, hex = {0};
    mime_summary_build(slice_str(golden_message), &summary);
    struct slice s = buf_slice(&summary);
    for (size_t i = 0; i < s.n; i++)
        buf_printf(&hex, "%02x", s.p[i]);
    buf_append_byte(&hex, 0);
    assert_string_equal((const char *)buf_slice(&hex).p, golden);
    buf_close(&summary);
    buf_close(&hex);
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void golden_bytes(struct buf *out)
{
    for (const char *p = golden; *p; p += 2)
        buf_append_byte(out, (uint8_t)(hex_digit(p[0]) << 4 | hex_digit(p[1])));
}

static void test_golden_read(void **state)
{
    (void)state;
    struct buf summary = {0}, out = {0};
    golden_bytes(&summary);
    assert_int_equal(mime_summary_check(buf_slice(&summary)), 0);
    mime_envelope_write(buf_slice(&summary), false, &out);
    mime_structure_write(buf_slice(&summary), true, false, &out);
    buf_append_byte(&out, 0);
    assert_string_equal(
        (const char *)buf_slice(&out).p,
        "(NIL \"hi\" ((\"Foo\" NIL \"a\" \"b\")) ((\"Foo\" NIL \"a\" \"b\")) ((\"Foo\" NIL \"a\" \"b\")) "
        "((NIL NIL \"Gr\" NIL)(NIL \"@x\" \"c\" \"d\")(NIL NIL NIL NIL)) NIL NIL NIL \"<1@x>\")"
        "((\"message\" \"rfc822\" NIL \"i\" NIL \"7bit\" 3 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) "
        "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL) 1 "
        "\"m\" (\"inline\" (\"a\" \"1\")) (\"en\") NIL) \"mixed\" (\"boundary\" \"B\") NIL NIL NIL)");
    buf_close(&summary);
    buf_close(&out);
}

/* A usual mail with two texts stays small: every replica keeps one beside each body. */
static void test_size(void **state)
{
    (void)state;
    static const char mail[] =
        "Received: from mx.example.org (mx.example.org [192.0.2.1]) by mail.example.net; Thu, 1 Jan 2026 10:00:00 "
        "+0000\r\n"
        "From: Mary Smith <mary.smith@example.org>\r\nTo: John Doe <john.doe@example.net>\r\nSubject: Re: the minutes "
        "of Monday\r\n"
        "Date: Thu, 1 Jan 2026 10:00:00 +0000\r\nMessage-ID: <0123456789abcdef0123@mail.example.org>\r\n"
        "In-Reply-To: <fedcba9876543210fedc@mail.example.net>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/alternative; boundary=\"=_0123456789abcdef\"\r\n\r\n--=_0123456789abcdef\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nx\r\n"
        "--=_0123456789abcdef\r\nContent-Type: text/html; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\nx\r\n--=_0123456789abcdef--\r\n";
    struct buf summary = {0};
    mime_summary_build(slice_str(mail), &summary);
    assert_in_range(buf_len(&summary), 300, 450);
    buf_close(&summary);
}

/* ---- damage ---- */

static void test_damage(void **state)
{
    (void)state;
    struct buf good = {0};
    mime_summary_build(slice_str(sample), &good);
    struct slice s = buf_slice(&good);
    for (size_t n = 0; n < s.n; n++)
        assert_int_equal(mime_summary_check(slice_first(s, n)), ERR_PROTOCOL);
    uint8_t *copy = mem_alloc(s.n + 1);
    memcpy(copy, s.p, s.n);
    copy[s.n] = 0;
    assert_int_equal(mime_summary_check(slice_make(copy, s.n + 1)), ERR_PROTOCOL);
    static const uint8_t changes[] = {0, 1, 2, 0x7f, 0x80, 0xff};
    for (size_t at = 0; at < s.n; at++) {
        for (size_t c = 0; c < sizeof(changes); c++) {
            copy[at] = changes[c];
            if (mime_summary_check(slice_make(copy, s.n)) == 0) {
                struct text_needle *n = text_needle_new(SLICE_LITERAL("never there"));
                struct buf out = {0};
                mime_envelope_write(slice_make(copy, s.n), false, &out);
                mime_structure_write(slice_make(copy, s.n), true, false, &out);
                text_search_message(slice_str(sample), slice_make(copy, s.n), n, true);
                buf_close(&out);
                text_needle_free(&n);
            }
            copy[at] = s.p[at];
        }
    }
    copy[0] = MIME_VERSION + 1;
    assert_int_equal(mime_summary_check(slice_make(copy, s.n)), ERR_PROTOCOL);
    mem_free(copy);
    buf_close(&good);
}

/* What no check has seen must not run away: messages nested far too deep, a huge count, nothing at all. */
static void test_unchecked(void **state)
{
    (void)state;
    struct buf deep = {0}, out = {0};
    buf_append_str(&deep, "\x01");
    buf_append(&deep, "\x0a\0\0\0\0\0\0\0\0\0\0", 11);
    for (unsigned i = 0; i < 100000; i++) /* message/m, envelope of none */
        buf_append(&deep, "\x02\0\0\0\0\0\0\0\0\0", 10);
    static const char count[] = "\x01\0\x08\0\0\0\0\4text\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\x7f";
    struct slice all[] = {buf_slice(&deep), slice_make(count, sizeof(count) - 1), slice_make(NULL, 0)};
    struct text_needle *n = text_needle_new(SLICE_LITERAL("never there"));
    for (size_t i = 0; i < 3; i++) {
        size_t leaves = 0;
        assert_int_equal(mime_summary_check(all[i]), ERR_PROTOCOL);
        mime_envelope_write(all[i], false, &out);
        mime_structure_write(all[i], true, false, &out);
        mime_part_each(all[i], count_leaf, &leaves);
        text_search_message(slice_str(sample), all[i], n, true);
        assert_true(buf_len(&out) < 100000);
    }
    text_needle_free(&n);
    buf_close(&deep);
    buf_close(&out);
}

/* ---- limits ---- */

static size_t leaves_of(struct slice summary)
{
    size_t n = 0;
    mime_part_each(summary, count_leaf, &n);
    return n;
}

static unsigned depth_of(struct slice summary)
{
    struct mime_part p;
    uint32_t path[MIME_DEPTH_MAX * 2];
    unsigned n = 0;
    for (path[0] = 1; n < MIME_DEPTH_MAX * 2 && mime_part_find(summary, path, n + 1, &p) == 0; path[++n] = 1)
        continue;
    return n;
}

static void test_limit_depth(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 2; kind++) {
        struct buf message = {0}, summary = {0}, out = {0};
        for (unsigned i = 0; i < 300; i++) {
            if (kind == 0)
                buf_printf(&message, "Content-Type: multipart/mixed; boundary=b%ux\r\n\r\n--b%ux\r\n", i, i);
            else
                buf_append_str(&message, "Content-Type: message/rfc822\r\n\r\n");
        }
        build_and_use(buf_slice(&message), &summary);
        assert_int_equal(leaves_of(buf_slice(&summary)), 1);
        /* the root is no step of a path when it is a multipart; a message root is part 1 of itself */
        assert_int_equal(depth_of(buf_slice(&summary)), MIME_DEPTH_MAX - (kind == 0));
        mime_structure_write(buf_slice(&summary), false, false, &out);
        buf_append_byte(&out, 0);
        assert_non_null(
            strstr((const char *)buf_slice(&out).p, "(\"application\" \"octet-stream\" NIL NIL NIL \"7bit\""));
        buf_close(&message);
        buf_close(&summary);
        buf_close(&out);
    }
}

static void test_limit_parts(void **state)
{
    (void)state;
    struct buf message = {0}, summary = {0};
    buf_append_str(&message, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (unsigned i = 0; i < MIME_PARTS_MAX * 2; i++)
        buf_append_str(&message, i % 2 ? "--b\r\n\r\nx\r\n" : "--b\r\nContent-Type: message/rfc822\r\n\r\n");
    build_and_use(buf_slice(&message), &summary);
    assert_in_range(leaves_of(buf_slice(&summary)), 600, MIME_PARTS_MAX);
    /* every part number up to the last is there, and none behind */
    struct mime_part p;
    uint32_t n = 1;
    while (mime_part_find(buf_slice(&summary), &n, 1, &p) == 0)
        n++;
    assert_in_range(n - 1, 600, MIME_PARTS_MAX - 1);
    buf_close(&message);
    buf_close(&summary);
}

static size_t count_of(struct slice s, const char *what)
{
    size_t n = 0, step = strlen(what);
    for (const uint8_t *p = s.p; (p = memmem(p, s.n - (size_t)(p - s.p), what, step)) != NULL; p += step)
        n++;
    return n;
}

static void test_limit_addresses(void **state)
{
    (void)state;
    struct buf message = {0}, summary = {0}, out = {0};
    buf_append_str(&message, "To: G:");
    for (unsigned i = 0; i < MIME_ADDRESSES_MAX + 100; i++)
        buf_append_str(&message, "a@b.test,");
    buf_append_str(&message, ";\r\nCc: x@y.test\r\n\r\n");
    build_and_use(buf_slice(&message), &summary);
    mime_envelope_write(buf_slice(&summary), false, &out);
    assert_int_equal(count_of(buf_slice(&out), "\"b.test\""), MIME_ADDRESSES_MAX - 1);
    assert_int_equal(count_of(buf_slice(&out), "(NIL NIL NIL NIL)"), 1); /* the group is closed all the same */
    assert_int_equal(count_of(buf_slice(&out), "y.test"), 0);
    buf_close(&message);
    buf_close(&summary);
    buf_close(&out);
}

static void test_limit_params(void **state)
{
    (void)state;
    struct buf message = {0}, summary = {0}, out = {0};
    buf_append_str(&message, "Content-Type: a/b");
    for (unsigned i = 0; i < 100; i++)
        buf_printf(&message, ";p%u=v", i);
    buf_append_str(&message, "\r\nContent-Language: ");
    for (unsigned i = 0; i < 100; i++)
        buf_append_str(&message, "lang,");
    build_and_use(buf_slice(&message), &summary);
    mime_structure_write(buf_slice(&summary), true, false, &out);
    assert_int_equal(count_of(buf_slice(&out), "\"v\""), MIME_PARAMS_MAX);
    assert_int_equal(count_of(buf_slice(&out), "lang"), MIME_PARAMS_MAX);
    buf_close(&message);
    buf_close(&summary);
    buf_close(&out);
}

static void fill(struct buf *b, const char *before, size_t n)
{
    buf_append_str(b, before);
    memset(buf_reserve(b, n), 'x', n);
    buf_commit(b, n);
}

/* Detail past MIME_SUMMARY_MAX is left out, and what is there is whole: build_and_use looks at the size. */
static void test_limit_bytes(void **state)
{
    (void)state;
    struct buf message = {0}, summary = {0}, out = {0};
    fill(&message, "Subject: ", 3 * MIME_SUMMARY_MAX);
    fill(&message, "\r\nTo: y@", MIME_SUMMARY_MAX);
    fill(&message, "\r\nContent-Type: multipart/", MIME_TOKEN_MAX - 1);
    buf_append_str(&message, ";boundary=b\r\n\r\n");
    for (unsigned i = 0; i < MIME_PARTS_MAX; i++) {
        fill(&message, "\r\n--b\r\nContent-Type: ", MIME_TOKEN_MAX);
        fill(&message, "/", MIME_TOKEN_MAX);
        fill(&message, ";a=", 100);
        fill(&message, "\r\nContent-Transfer-Encoding: ", MIME_TOKEN_MAX);
        fill(&message, "\r\nContent-ID: ", 100);
        fill(&message, "\r\nContent-Disposition: ", 400);
        fill(&message, ";f=", 100);
        fill(&message, "\r\nContent-Description: ", 1000);
        buf_append_str(&message, "\r\n\r\n");
    }
    build_and_use(buf_slice(&message), &summary);
    assert_in_range(buf_len(&summary), MIME_SUMMARY_MAX * 3 / 4, MIME_SUMMARY_MAX);
    assert_int_equal(leaves_of(buf_slice(&summary)), MIME_PARTS_MAX - 1);
    mime_envelope_write(buf_slice(&summary), false, &out);
    assert_int_equal(count_of(buf_slice(&out), "{65536}\r\nxxx"), 1);
    buf_close(&message);
    buf_close(&summary);
    buf_close(&out);
}

/* Many fields of every kind: what is kept does not grow with them. */
static void test_many_headers(void **state)
{
    (void)state;
    struct buf message = {0}, summary = {0};
    for (unsigned i = 0; i < 5000; i++)
        buf_append_str(&message,
                       "Subject: s\r\nX: y\r\nContent-Type: ;\r\nContent-Disposition: x; y=z\r\nContent-Language: a\r\n"
                       "Content-ID: i\r\nContent-Transfer-Encoding: ;\r\nno field\r\n");
    build_and_use(buf_slice(&message), &summary);
    assert_in_range(buf_len(&summary), 40, 120);
    buf_close(&message);
    buf_close(&summary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncations),  cmocka_unit_test(test_golden_build),
        cmocka_unit_test(test_golden_read),  cmocka_unit_test(test_size),
        cmocka_unit_test(test_damage),       cmocka_unit_test(test_limit_depth),
        cmocka_unit_test(test_limit_parts),  cmocka_unit_test(test_limit_params),
        cmocka_unit_test(test_limit_bytes),  cmocka_unit_test(test_limit_addresses),
        cmocka_unit_test(test_many_headers), cmocka_unit_test(test_unchecked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
