/* Delivery status notifications: a golden one, and others read back with our own MIME parser. */
#include "node/base/utf8.h"
#include "protocol/mime/summary.h"
#include "protocol/mime/text.h"
#include "protocol/smtp/dsn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW 1700000000000 /* Tue, 14 Nov 2023 22:13:20 */
#define ORIGINAL "From: joe@b.test\r\nMessage-ID: <1@b.test>\r\nSubject: hi\r\n\r\nhello\r\n"

struct fixture {
    struct dsn_recipient r[3];
    struct dsn dsn;
    struct buf out, summary;
};

static void prepare(struct fixture *f, enum dsn_action action)
{
    *f = (struct fixture){0};
    f->r[0] = (struct dsn_recipient){.action = action,
                                     .address = SLICE_LITERAL("ann@a.test"),
                                     .enhanced = "5.1.1",
                                     .reply = SLICE_LITERAL("5.1.1 no such user"),
                                     .code = 550,
                                     .host = SLICE_LITERAL("mx.a.test"),
                                     .last_attempt_ms = NOW - 60000,
                                     .will_retry_until_ms = NOW + 3600000};
    f->dsn = (struct dsn){.to = SLICE_LITERAL("joe@b.test"),
                          .reporting = SLICE_LITERAL("mx.b.test"),
                          .from = SLICE_LITERAL("mailer-daemon@b.test"),
                          .now_ms = NOW,
                          .arrival_ms = NOW - 120000,
                          .message_id = "abc.1@mx.b.test",
                          .n = 1,
                          .original = SLICE_LITERAL(ORIGINAL),
                          .full = true,
                          .full_max = 10000};
}

static struct mime_part part(struct fixture *f, uint32_t a, uint32_t b)
{
    struct mime_part p = {0};
    uint32_t path[2] = {a, b};

    assert_int_equal(mime_part_find(buf_slice(&f->summary), path, b ? 2 : 1, &p), 0);
    return p;
}

static struct slice part_text(struct fixture *f, uint32_t n)
{
    struct mime_part p = part(f, n, 0);

    return slice_make(buf_slice(&f->out).p + p.body_at, p.body_n);
}

static bool part_has(struct fixture *f, uint32_t n, const char *text)
{
    struct slice s = part_text(f, n);

    return memmem(s.p, s.n, text, strlen(text)) != NULL;
}

static bool header_has(struct fixture *f, const char *text)
{
    return memmem(f->out.base, header_length(buf_slice(&f->out)), text, strlen(text)) != NULL;
}

/* What holds of every notice. */
static void write_checked(struct fixture *f)
{
    f->dsn.recipients = f->r;
    dsn_write(&f->dsn, &f->out);
    struct slice all = buf_slice(&f->out), rest = all;
    mime_summary_build(all, &f->summary);
    struct mime_part root;
    assert_int_equal(mime_part_find(buf_slice(&f->summary), NULL, 0, &root), 0);
    assert_true(slice_eq(root.type, SLICE_LITERAL("multipart")) && slice_eq(root.subtype, SLICE_LITERAL("report")));
    struct mime_part p;
    uint32_t four = 4;
    assert_int_not_equal(mime_part_find(buf_slice(&f->summary), &four, 1, &p), 0);
    assert_int_equal(part(f, 1, 0).encoding.n, 4); /* 7bit or 8bit */
    assert_true(header_has(f, "\r\nAuto-Submitted: auto-replied\r\n"));
    assert_false(header_has(f, "Return-Path"));
    /* Our own lines: printable, no longer than mail may have, CRLF. */
    rest.n = part(f, 3, 0).header_at;
    while (rest.n > 0) {
        size_t n = slice_find(rest, '\n');
        assert_true(n < rest.n && n > 0 && rest.p[n - 1] == '\r' && n < 998);
        for (size_t i = 0; i + 1 < n; i++)
            assert_true(rest.p[i] == '\t' ||
                        (rest.p[i] >= ' ' && rest.p[i] != 0x7f && (rest.p[i] < 0x80 || f->dsn.utf8)));
        rest = slice_from(rest, n + 1);
    }
    /* Every block of the status part begins as RFC 3464 2.1 wants. */
    assert_int_equal(memcmp(part_text(f, 2).p, "Reporting-MTA: dns; ", 20), 0);
}

static void finish(struct fixture *f)
{
    buf_close(&f->out);
    buf_close(&f->summary);
}

static void golden(void **state)
{
    static const char expect[] = "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
                                 "From: Mail Delivery System <mailer-daemon@b.test>\r\n"
                                 "To: <joe@b.test>\r\n"
                                 "Subject: Undelivered mail: returned to sender\r\n"
                                 "Message-ID: <abc.1@mx.b.test>\r\n"
                                 "In-Reply-To: <1@b.test>\r\n"
                                 "References: <1@b.test>\r\n"
                                 "Auto-Submitted: auto-replied\r\n"
                                 "MIME-Version: 1.0\r\n"
                                 "Content-Type: multipart/report; report-type=delivery-status;\r\n"
                                 "\tboundary=\"=_0_abc.1mx.b.test\"\r\n"
                                 "\r\n"
                                 "--=_0_abc.1mx.b.test\r\n"
                                 "Content-Type: text/plain; charset=us-ascii\r\n"
                                 "\r\n"
                                 "This is the mail system at mx.b.test.\r\n"
                                 "\r\n"
                                 "Your message could not be delivered to:\r\n"
                                 "\r\n"
                                 "  <ann@a.test>\r\n"
                                 "    mx.a.test said: 550 5.1.1 no such user\r\n"
                                 "\r\n"
                                 "  <bob@c.test>\r\n"
                                 "    the domain does not exist\r\n"
                                 "\r\n"
                                 "The message is attached.\r\n"
                                 "\r\n"
                                 "--=_0_abc.1mx.b.test\r\n"
                                 "Content-Type: message/delivery-status\r\n"
                                 "\r\n"
                                 "Reporting-MTA: dns; mx.b.test\r\n"
                                 "Original-Envelope-Id: Q 1\r\n"
                                 "Arrival-Date: Tue, 14 Nov 2023 22:11:20 +0000\r\n"
                                 "\r\n"
                                 "Original-Recipient: rfc822;Ann@a.test\r\n"
                                 "Final-Recipient: rfc822;ann@a.test\r\n"
                                 "Action: failed\r\n"
                                 "Status: 5.1.1\r\n"
                                 "Remote-MTA: dns; mx.a.test\r\n"
                                 "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
                                 "Last-Attempt-Date: Tue, 14 Nov 2023 22:12:20 +0000\r\n"
                                 "\r\n"
                                 "Final-Recipient: rfc822;bob@c.test\r\n"
                                 "Action: failed\r\n"
                                 "Status: 5.1.2\r\n"
                                 "Diagnostic-Code: x-merlion; the domain does not exist\r\n"
                                 "\r\n"
                                 "--=_0_abc.1mx.b.test\r\n"
                                 "Content-Type: message/rfc822\r\n"
                                 "\r\n" ORIGINAL "\r\n"
                                 "--=_0_abc.1mx.b.test--\r\n";
    struct fixture f;

    (void)state;
    prepare(&f, DSN_FAILED);
    f.dsn.envid = SLICE_LITERAL("Q 1");
    f.r[0].orcpt = SLICE_LITERAL("rfc822;Ann@a.test");
    f.r[1] = (struct dsn_recipient){.action = DSN_FAILED,
                                    .address = SLICE_LITERAL("bob@c.test"),
                                    .enhanced = "5.1.2",
                                    .reply = SLICE_LITERAL("the domain does not exist")};
    f.dsn.n = 2;
    write_checked(&f);
    buf_append_byte(&f.out, 0);
    assert_string_equal(buf_slice(&f.out).p, expect);
    f.out.end--;
    struct mime_part p = part(&f, 3, 0);
    assert_true(p.is_message);
    assert_true(slice_eq(part_text(&f, 3), SLICE_LITERAL(ORIGINAL)));
    finish(&f);
}

/* RET and the size decide what goes along; only failures carry the body (RFC 3461 4.3). */
static void what_goes_along(void **state)
{
    static const struct {
        enum dsn_action action;
        bool full;
        size_t max;
        bool body;
    } cases[] = {
        {DSN_FAILED, true, 10000, true},    {DSN_FAILED, false, 10000, false},   {DSN_FAILED, true, 20, false},
        {DSN_DELAYED, true, 10000, false},  {DSN_DELIVERED, true, 10000, false}, {DSN_RELAYED, true, 10000, false},
        {DSN_EXPANDED, true, 10000, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        prepare(&f, cases[i].action);
        f.dsn.full = cases[i].full;
        f.dsn.full_max = cases[i].max;
        write_checked(&f);
        struct mime_part p = part(&f, 3, 0);
        assert_int_equal(p.is_message, cases[i].body);
        assert_true(slice_eq(p.subtype, slice_str(cases[i].body ? "rfc822" : "rfc822-headers")));
        assert_int_equal(part_has(&f, 3, "hello"), cases[i].body);
        assert_true(part_has(&f, 3, "Subject: hi\r\n"));
        finish(&f);
    }
}

static void each_action(void **state)
{
    static const struct {
        enum dsn_action action;
        const char *field, *subject, *text;
    } cases[] = {
        {DSN_FAILED, "\r\nAction: failed\r\nStatus: 5.0.0\r\n", "\r\nSubject: Undelivered",
         "could not be delivered to:"},
        {DSN_DELAYED, "\r\nAction: delayed\r\nStatus: 4.0.0\r\n", "\r\nSubject: Delayed", "still being tried"},
        {DSN_DELIVERED, "\r\nAction: delivered\r\nStatus: 2.0.0\r\n", "\r\nSubject: Delivery report", "was delivered"},
        {DSN_RELAYED, "\r\nAction: relayed\r\nStatus: 2.0.0\r\n", "\r\nSubject: Delivery report",
         "sends no delivery reports"},
        {DSN_EXPANDED, "\r\nAction: expanded\r\nStatus: 2.0.0\r\n", "\r\nSubject: Delivery report", "members"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        prepare(&f, cases[i].action);
        f.r[0].enhanced[0] = '\0';
        write_checked(&f);
        bool delayed = cases[i].action == DSN_DELAYED;
        assert_true(part_has(&f, 2, cases[i].field));
        assert_true(header_has(&f, cases[i].subject));
        assert_true(part_has(&f, 1, cases[i].text));
        assert_int_equal(part_has(&f, 2, "\r\nWill-Retry-Until: Tue, 14 Nov 2023 23:13:20 +0000\r\n"), delayed);
        assert_int_equal(part_has(&f, 1, "It is tried until Tue, 14 Nov 2023 23:13:20 +0000."), delayed);
        finish(&f);
    }
}

static void utf8_addresses(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, DSN_FAILED);
    f.dsn.utf8 = true;
    f.dsn.to = SLICE_LITERAL("j\xc3\xbc@b.test");
    f.r[0].address = SLICE_LITERAL("\xc3\xbc@a.test");
    f.r[0].orcpt = SLICE_LITERAL("utf-8;\xc3\xb6@a.test");
    f.r[0].reply = SLICE_LITERAL("gibt es nicht: \xc3\xbc");
    f.dsn.original = SLICE_LITERAL("Subject: \xc3\xa4\r\n\r\nx\r\n");
    write_checked(&f);
    assert_true(slice_eq(part(&f, 2, 0).subtype, SLICE_LITERAL("global-delivery-status")));
    assert_true(slice_eq(part(&f, 2, 0).encoding, SLICE_LITERAL("8bit")));
    assert_true(slice_eq(part(&f, 3, 0).subtype, SLICE_LITERAL("global")));
    assert_true(part_has(&f, 2, "\r\nOriginal-Recipient: utf-8;\xc3\xb6@a.test\r\n"));
    assert_true(part_has(&f, 2, "\r\nFinal-Recipient: utf-8;\xc3\xbc@a.test\r\n"));
    assert_true(part_has(&f, 2, "Diagnostic-Code: smtp; 550 gibt es nicht: \xc3\xbc\r\n"));
    assert_true(header_has(&f, "\r\nTo: <j\xc3\xbc@b.test>\r\n"));
    assert_true(header_has(&f, "\r\nContent-Transfer-Encoding: 8bit\r\n"));
    finish(&f);

    prepare(&f, DSN_DELAYED);
    f.dsn.utf8 = true;
    write_checked(&f);
    assert_true(slice_eq(part(&f, 3, 0).subtype, SLICE_LITERAL("global-headers")));
    assert_true(part_has(&f, 2, "\r\nFinal-Recipient: rfc822;ann@a.test\r\n"));
    finish(&f);

    /* The sender's server may not know UTF-8, though an alias led to an address that needs it. */
    prepare(&f, DSN_FAILED);
    f.r[0].address = SLICE_LITERAL("\xc3\xbc@a.test");
    f.r[0].orcpt = SLICE_LITERAL("utf-8;\xc3\xb6@a.test");
    f.r[0].reply = SLICE_LITERAL("nein: \xc3\xbc");
    write_checked(&f);
    assert_true(slice_eq(part(&f, 2, 0).subtype, SLICE_LITERAL("delivery-status")));
    assert_true(part_has(&f, 2, "\r\nOriginal-Recipient: utf-8;\\x{F6}@a.test\r\n"));
    assert_true(part_has(&f, 2, "\r\nFinal-Recipient: utf-8;\\x{FC}@a.test\r\n"));
    assert_true(part_has(&f, 2, "Diagnostic-Code: smtp; 550 nein: ?\r\n"));
    assert_false(header_has(&f, "8bit"));
    finish(&f);
}

static void hostile_texts(void **state)
{
    struct fixture f;

    (void)state;
    for (int utf8 = 0; utf8 < 2; utf8++) {
        prepare(&f, DSN_FAILED);
        f.dsn.utf8 = utf8;
        f.r[0].reply = SLICE_LITERAL("a\r\nAction: delivered\r\n\r\n--=_0_abc.1mx.b.test\r\n\x01\x7f\xff\xc2\x85 b");
        f.r[0].host = SLICE_LITERAL("evil\r\nStatus: 2.0.0");
        f.r[0].address = SLICE_LITERAL("a\r\nb@c");
        f.r[0].orcpt = SLICE_LITERAL("rfc822;x\r\ny: z");
        f.dsn.envid = SLICE_LITERAL("e\r\n\r\nFinal-Recipient: rfc822;no");
        f.dsn.to = SLICE_LITERAL("t\r\nBcc: all@b.test");
        f.dsn.original = SLICE_LITERAL("Message-ID: <a\r\n\tb>\r\n\r\nx\r\n");
        write_checked(&f);
        assert_false(part_has(&f, 2, "\nAction: delivered"));
        assert_false(part_has(&f, 2, "\nStatus: 2.0.0"));
        assert_true(part_has(&f, 2, "\r\nAction: failed\r\n"));
        assert_false(header_has(&f, "\nBcc:"));
        assert_false(header_has(&f, "References"));
        finish(&f);
    }
}

static void long_texts(void **state)
{
    static char text[5000];
    struct fixture f;

    (void)state;
    for (int words = 0; words < 3; words++)
        for (size_t n = 1; n < sizeof(text); n = n * 3 + 7) {
            for (size_t i = 0; i < sizeof(text); i++)
                text[i] = words == 1 && i % 7 == 6 ? ' ' : words == 2 && i > 0 ? "\xac\xe2\x82"[i % 3] : 'x';
            prepare(&f, DSN_FAILED);
            f.dsn.utf8 = words == 2;
            f.r[0].reply = slice_make(text, n - (words == 2 ? (n - 1) % 3 : 0));
            f.dsn.full = false;
            write_checked(&f);
            if (words == 1 && n > 100)
                assert_true(part_has(&f, 2, "\r\n\txxxxxx xxxxxx "));
            /* No character was cut in two. */
            assert_true(utf8_valid(part_text(&f, 2)));
            finish(&f);
        }
}

/* The original may hold our boundary: a notice about a notice, or malice. */
static void boundary_clash(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, DSN_FAILED);
    f.dsn.original = SLICE_LITERAL("Subject: x\r\n\r\n--=_0_abc.1mx.b.test--\r\n--=_1_abc.1mx.b.test\r\nend\r\n");
    write_checked(&f);
    assert_true(part_has(&f, 3, "end\r\n"));
    assert_true(header_has(&f, "boundary=\"=_2_abc.1mx.b.test\""));
    finish(&f);
    prepare(&f, DSN_FAILED);
    memset(f.dsn.message_id, 'm', sizeof(f.dsn.message_id) - 1);
    write_checked(&f);
    finish(&f);
}

static void odd_originals(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        bool message, eight;
        const char *has;
    } cases[] = {
#define CASE(text, message, eight, has) {(text), sizeof(text) - 1, (message), (eight), (has)}
        CASE("", true, false, ""),
        CASE("Subject: x", true, false, "Subject: x"),
        CASE("Subject: x\r\n\r\n\xc3\xbc\r\n", true, true, "\xc3\xbc"),
        CASE("Subject: \xff\r\n\r\nx\r\n", true, true, "\xff"),
        CASE("Subject: x\r\n\r\na\nb\r\n", false, false, "Subject: x\r\n"), /* as text: headers alone */
        CASE("Subject: x\r\n\r\na\rb\r\n", false, false, "Subject: x\r\n"),
        CASE("Subject: x\r\n\r\na\0b\r\n", false, false, "Subject: x\r\n"),
        CASE("Subject: x\r\n\r\nab\r", false, false, "Subject: x\r\n"),
        CASE("A: \0\nB: y\rC: z\n\nx", false, false, "A: ?\r\nB: y\r\nC: z\r\n"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        prepare(&f, DSN_FAILED);
        f.dsn.original = slice_make(cases[i].text, cases[i].n);
        write_checked(&f);
        assert_int_equal(part(&f, 3, 0).is_message, cases[i].message);
        assert_int_equal(slice_eq(part(&f, 3, 0).encoding, SLICE_LITERAL("8bit")), cases[i].eight);
        assert_int_equal(header_has(&f, "8bit"), cases[i].eight);
        assert_true(part_has(&f, 3, cases[i].has));
        finish(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),         cmocka_unit_test(what_goes_along), cmocka_unit_test(each_action),
        cmocka_unit_test(utf8_addresses), cmocka_unit_test(hostile_texts),   cmocka_unit_test(long_texts),
        cmocka_unit_test(boundary_clash), cmocka_unit_test(odd_originals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
