/* Header fields to ENVELOPE (RFC 9051 7.5.2): addresses, dates, defaults, quoting. */
#include "node/base/err.h"
#include "protocol/mime/date.h"
#include "protocol/mime/summary.h"
#include "protocol/mime/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct slice text_of(struct buf *b)
{
    buf_append_byte(b, 0);
    struct slice s = buf_slice(b);
    s.n--;
    return s;
}

static void expect_envelope(const char *header, bool utf8, const char *expected)
{
    struct buf summary = {0}, out = {0};
    mime_summary_build(slice_str(header), &summary);
    assert_int_equal(mime_summary_check(buf_slice(&summary)), 0);
    mime_envelope_write(buf_slice(&summary), utf8, &out);
    assert_string_equal((const char *)text_of(&out).p, expected);
    buf_close(&summary);
    buf_close(&out);
}

/* ---- addresses: a From: value and the list it makes ---- */

static const struct {
    const char *value, *expected;
} addresses[] = {
    /* RFC 5322 appendix A.1 */
    {"John Doe <jdoe@machine.example>", "((\"John Doe\" NIL \"jdoe\" \"machine.example\"))"},
    {"\"Joe Q. Public\" <john.q.public@example.com>", "((\"Joe Q. Public\" NIL \"john.q.public\" \"example.com\"))"},
    {"Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
     "((\"Mary Smith\" NIL \"mary\" \"x.test\")(NIL NIL \"jdoe\" \"example.org\")(\"Who?\" NIL \"one\" \"y.test\"))"},
    {"<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
     "((NIL NIL \"boss\" \"nil.test\")(\"Giant; \\\"Big\\\" Box\" NIL \"sysservices\" \"example.net\"))"},
    {"A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
     "((NIL NIL \"A Group\" NIL)(\"Ed Jones\" NIL \"c\" \"a.test\")(NIL NIL \"joe\" \"where.test\")"
     "(\"John\" NIL \"jdoe\" \"one.test\")(NIL NIL NIL NIL))"},
    {"Undisclosed recipients:;", "((NIL NIL \"Undisclosed recipients\" NIL)(NIL NIL NIL NIL))"},
    /* RFC 5322 appendix A.5: comments and white space */
    {"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", "((\"Pete\" NIL \"pete\" \"silly.test\"))"},
    {"A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n"
     "         joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end of the group)",
     "((NIL NIL \"A Group\" NIL)(\"Chris Jones\" NIL \"c\" \"public.example\")(NIL NIL \"joe\" \"example.org\")"
     "(\"John\" NIL \"jdoe\" \"one.test\")(NIL NIL NIL NIL))"},
    {"(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;",
     "((NIL NIL \"Hidden recipients\" NIL)(NIL NIL NIL NIL))"},
    /* RFC 5322 appendix A.6.1: obsolete addressing */
    {"Joe Q. Public <john.q.public@example.com>", "((\"Joe Q. Public\" NIL \"john.q.public\" \"example.com\"))"},
    {"Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
     "((\"Mary Smith\" \"@node.test\" \"mary\" \"example.net\")(NIL NIL \"jdoe\" \"test.example\"))"},
    {"<@a.test, @b.test : c@d.test>", "((NIL \"@a.test,@b.test\" \"c\" \"d.test\"))"},
    {"john . doe @ example . org", "((NIL NIL \"john.doe\" \"example.org\"))"},
    {"a@b.test (The Name)", "((\"The Name\" NIL \"a\" \"b.test\"))"},
    {"a@[192.0.2.1]", "((NIL NIL \"a\" \"[192.0.2.1]\"))"},
    {"\"john doe\"@example.org", "((NIL NIL \"john doe\" \"example.org\"))"},
    {"\"a\\\"b\" <\"q\\\\\"@x.test>", "((\"a\\\"b\" NIL \"q\\\\\" \"x.test\"))"},
    {"\"\" <a@b.test>", "((NIL NIL \"a\" \"b.test\"))"},
    {"=?utf-8?Q?J=C3=B6rg?= =?utf-8?Q?_M?= <j@b.test>",
     "((\"=?utf-8?Q?J=C3=B6rg?= =?utf-8?Q?_M?=\" NIL \"j\" \"b.test\"))"},
    /* what should not be */
    {"foo@bar.test <foo@bar.test>", "((\"foo@bar.test\" NIL \"foo\" \"bar.test\"))"},
    {"user", "((NIL NIL \"user\" \"MISSING_DOMAIN\"))"},
    {"two words", "((\"two words\" NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\"))"},
    {"Name <user>", "((\"Name\" NIL \"user\" \"MISSING_DOMAIN\"))"},
    {"Name <>", "((\"Name\" NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\"))"},
    {"<@host>", "((NIL \"@host\" \"MISSING_MAILBOX\" \"MISSING_DOMAIN\"))"},
    {"@host.test", "((NIL NIL \"MISSING_MAILBOX\" \"host.test\"))"},
    {"Open <a@b.test", "((\"Open\" NIL \"a\" \"b.test\"))"},
    {"Open <a@b.test, c@d.test", "((\"Open\" NIL \"a\" \"b.test\")(NIL NIL \"c\" \"d.test\"))"},
    {"\"never closed <a@b.test>", "((NIL NIL \"never closed <a@b.test>\" \"MISSING_DOMAIN\"))"},
    {"(never closed a@b.test", "NIL"},
    {"a@b.test; c@d.test", "((NIL NIL \"a\" \"b.test\")(NIL NIL \"c\" \"d.test\"))"},
    {"G: a@b.test", "((NIL NIL \"G\" NIL)(NIL NIL \"a\" \"b.test\")(NIL NIL NIL NIL))"},
    {"G: H: a@b.test;", "((NIL NIL \"G\" NIL)(NIL NIL \"a\" \"b.test\")(NIL NIL NIL NIL))"},
    {"[List] Bot <a@b.test>", "((\"[List] Bot\" NIL \"a\" \"b.test\"))"},
    {"<a@b@c.test>", "((NIL NIL \"a\" \"b\"))"},
    {"<mailto:a@b.test>", "((NIL NIL \"mailto:a\" \"b.test\"))"},
    {", ,,", "NIL"},
    {")>", "NIL"},
    {"\\", "((NIL NIL \"\\\\\" \"MISSING_DOMAIN\"))"},
    {"", "NIL"},
};

static void test_addresses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        struct buf header = {0}, expected = {0};
        buf_printf(&header, "To: %s\r\n\r\n", addresses[i].value);
        buf_printf(&expected, "(NIL NIL NIL NIL NIL %s NIL NIL NIL NIL)", addresses[i].expected);
        expect_envelope((const char *)text_of(&header).p, false, (const char *)text_of(&expected).p);
        buf_close(&header);
        buf_close(&expected);
    }
}

/* ---- whole envelopes ---- */

static void test_envelope(void **state)
{
    (void)state;
    /* RFC 9051 8 */
    expect_envelope(
        "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n"
        "Subject: IMAP4rev2 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n"
        "cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
        "Message-Id: <B27397-0100000@cac.washington.edu>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n",
        false,
        "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev2 WG mtg summary and minutes\" "
        "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) "
        "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((NIL NIL \"imap\" \"cac.washington.edu\")) "
        "((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL "
        "\"<B27397-0100000@cac.washington.edu>\")");
    /* absent: NIL; present and empty: "" for texts, NIL or From for addresses */
    expect_envelope("", false, "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
    expect_envelope("Date:\r\nSubject: \r\nFrom:\r\nTo: \r\nIn-Reply-To:\r\nMessage-ID:\r\n\r\n", false,
                    "(\"\" \"\" NIL NIL NIL NIL NIL NIL \"\" \"\")");
    expect_envelope(
        "From: a@b\r\nSender: c@d\r\nReply-To: \r\n\r\n", false,
        "(NIL NIL ((NIL NIL \"a\" \"b\")) ((NIL NIL \"c\" \"d\")) ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL)");
    /* unfolding keeps the blanks; the first Subject counts, address fields add up */
    expect_envelope(
        "Subject: one\r\n\ttwo\r\n  three\r\nSubject: other\r\nCC: a@b\r\nCc: c@d\r\n\r\n", false,
        "(NIL \"one\ttwo  three\" NIL NIL NIL NIL ((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")) NIL NIL NIL)");
    /* lone LF; no line end at all; blanks before the colon; lines that are no fields */
    expect_envelope("Subject: x\nIn-Reply-To: y\n\nSubject: z\n", false,
                    "(NIL \"x\" NIL NIL NIL NIL NIL NIL \"y\" NIL)");
    expect_envelope("From x@y Sat Jan  1 00:00:00 2000\r\nno field\r\nSubject : x", false,
                    "(NIL \"x\" NIL NIL NIL NIL NIL NIL NIL NIL)");
    expect_envelope("\r\nSubject: x\r\n\r\n", false, "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
}

static void test_strings(void **state)
{
    (void)state;
    expect_envelope("Subject: a\"b\\c\r\n", false, "(NIL \"a\\\"b\\\\c\" NIL NIL NIL NIL NIL NIL NIL NIL)");
    expect_envelope("Subject: J\xc3\xb6\r\n", false, "(NIL {3}\r\nJ\xc3\xb6 NIL NIL NIL NIL NIL NIL NIL NIL)");
    expect_envelope("Subject: J\xc3\xb6\r\n", true, "(NIL \"J\xc3\xb6\" NIL NIL NIL NIL NIL NIL NIL NIL)");
    expect_envelope("Subject: J\xf6\r\n", true, "(NIL {2}\r\nJ\xf6 NIL NIL NIL NIL NIL NIL NIL NIL)");
    expect_envelope("Subject: a\rb\r\n", true, "(NIL {3}\r\na\rb NIL NIL NIL NIL NIL NIL NIL NIL)");
    struct buf summary = {0}, out = {0};
    mime_summary_build(SLICE_LITERAL("Subject: a\0b\r\nFrom: \"x\0\" <y\0@z>\r\n\r\n"), &summary);
    mime_envelope_write(buf_slice(&summary), true, &out);
    assert_int_equal(slice_find(buf_slice(&out), 0), buf_len(&out));
    buf_close(&summary);
    buf_close(&out);
}

/* ---- dates ---- */

static void test_dates(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int64_t seconds; /* since the epoch; -1: no date */
        int32_t day;
    } dates[] = {
        {"Fri, 21 Nov 1997 09:55:06 -0600", 880127706, 10186},
        {"21 Nov 97 09:55:06 GMT", 880106106, 10186},
        {"Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n               -0330 (Newfoundland Time)",
         -27723480, -322},
        {"Fri, 21 Nov 1997 23:55:06 -0600", 880178106, 10186},
        {"1 Jan 1970 00:00:00 +0000", 0, 0},
        {"Thu, 1 Jan 1970 00:00:00 Z", 0, 0},
        {"29 Feb 2000 12:00 EST", 951843600, 11016},
        {"29 Feb 1900 12:00 EST", -1, 0},
        {"31 Dec 2049 23:59:60 +0000", 2524607999, 29219},
        {"1 Jan 49 00:00:00 +0000", 2493072000, 28855},
        {"1 Jan 50 00:00:00 +0000", -631152000, -7305},
        {"1 Jan 100 00:00:00 +0000", 946684800, 10957},
        {"Sat Jan  1 00:00:00 2000", 946684800, 10957},
        {"Sat Jan  1 00:00:00 PST 2000", 946713600, 10957},
        {"1 Jan 2000 00:00:00 (a (nested) comment) +0100", 946681200, 10957},
        {"(x) Sat (y), 1 (z) January 2000 00:00:00", 946684800, 10957},
        {"32 Jan 2000 00:00:00 +0000", -1, 0},
        {"0 Jan 2000 00:00:00 +0000", -1, 0},
        {"1 Foo 2000 00:00:00 +0000", -1, 0},
        {"1 Jan 2000 24:00:00 +0000", -1, 0},
        {"1 Jan 2000", -1, 0},
        {"1 Jan 99999 00:00:00 +0000", -1, 0},
        {"Mon,", -1, 0},
        {"(open", -1, 0},
        {"", -1, 0},
    };
    for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++) {
        struct buf header = {0}, summary = {0};
        buf_printf(&header, "Date: %s\r\n\r\n", dates[i].value);
        mime_summary_build(buf_slice(&header), &summary);
        int64_t ms = -1000;
        int32_t day = 0;
        bool found = mime_summary_date(buf_slice(&summary), &ms, &day);
        assert_int_equal(found, dates[i].seconds != -1);
        assert_int_equal(ms, dates[i].seconds * 1000);
        assert_int_equal(day, dates[i].day);
        buf_close(&header);
        buf_close(&summary);
    }
}

static void test_day_of(void **state)
{
    (void)state;
    /* every day of 400 years follows the one before */
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int32_t expected = mime_day_of(1800, 1, 1);
    assert_int_equal(expected, -62091);
    for (int32_t y = 1800; y < 2200; y++)
        for (unsigned m = 1; m <= 12; m++) {
            bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
            for (unsigned d = 1; d <= days[m - 1] + (m == 2 && leap ? 1 : 0); d++)
                assert_int_equal(mime_day_of(y, m, d), expected++);
        }
}

/* ---- decoded fields ---- */

static void test_fields(void **state)
{
    (void)state;
    static const char message[] =
        "From: =?utf-8?Q?J=C3=B6rg?= <j@b.test>, x@y.test\r\nTo: G: a@b.test, C <c@d>;, e@f\r\n"
        "Cc:\r\nSubject: =?iso-8859-1?Q?a=F6?=\r\nMessage-ID: <1@x>\r\n\r\nSubject: body\r\n";
    static const struct {
        enum mime_field field;
        const char *expected;
    } table[] = {
        {MIME_FROM, "J\xc3\xb6rg <j@b.test>, x@y.test"},
        {MIME_TO, "G: a@b.test, C <c@d>;, e@f"},
        {MIME_SUBJECT, "a\xc3\xb6"},
        {MIME_MESSAGE_ID, "<1@x>"},
        {MIME_CC, NULL},
        {MIME_BCC, NULL},
        {MIME_SENDER, NULL},
        {MIME_REPLY_TO, NULL},
        {MIME_IN_REPLY_TO, NULL},
    };
    struct buf summary = {0};
    mime_summary_build(slice_str(message), &summary);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct buf out = {0};
        assert_int_equal(mime_summary_field(buf_slice(&summary), table[i].field, &out), table[i].expected != NULL);
        assert_string_equal((const char *)text_of(&out).p, table[i].expected ? table[i].expected : "");
        buf_close(&out);
    }
    buf_close(&summary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_envelope), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_dates),     cmocka_unit_test(test_day_of),   cmocka_unit_test(test_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
