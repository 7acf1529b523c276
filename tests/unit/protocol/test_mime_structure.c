/* MIME trees to BODYSTRUCTURE, and where sections lie (RFC 9051 7.5.2, 6.4.5.1). */
#include "node/base/err.h"
#include "protocol/mime/summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void expect_structure(const char *message, bool extended, const char *expected)
{
    struct buf summary = {0}, out = {0};
    mime_summary_build(slice_str(message), &summary);
    assert_int_equal(mime_summary_check(buf_slice(&summary)), 0);
    mime_structure_write(buf_slice(&summary), extended, false, &out);
    buf_append_byte(&out, 0);
    assert_string_equal((const char *)buf_slice(&out).p, expected);
    buf_close(&summary);
    buf_close(&out);
}

static const struct {
    const char *message, *expected; /* extended */
} structures[] = {
    /* RFC 2045 5.2 default */
    {"\r\nHello\r\n", "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 7 1 NIL NIL NIL NIL)"},
    {"", "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)"},
    {"Content-Type: nonsense\r\n\r\nab\r\ncd",
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 1 NIL NIL NIL NIL)"},
    {"Content-Type: TEXT/HTML\r\n\r\n", "(\"text\" \"html\" NIL NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)"},
    /* RFC 2045 5.1: a comment behind a value; quoted or not is alike */
    {"Content-type: text/plain; charset=us-ascii (Plain text)\r\nContent-Transfer-Encoding: Quoted-Printable "
     "(x)\r\n\r\n",
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"quoted-printable\" 0 0 NIL NIL NIL NIL)"},
    {"Content-type: text/plain; charset=\"US-ASCII\"\r\n\r\n",
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)"},
    {"Content-Type: (c) text (d) / (e) x-y ; (f) a (g) = (h) b (i) ; c=\"d\\\"e\" ;; f ; =g; h=; i\r\n\r\n",
     "(\"text\" \"x-y\" (\"a\" \"b\" \"c\" \"d\\\"e\" \"h\" \"\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)"},
    {"Content-Type: application/pdf; name=my file.pdf; x=\"open\r\n\r\n%PDF",
     "(\"application\" \"pdf\" (\"name\" \"my file.pdf\" \"x\" \"open\") NIL NIL \"7bit\" 4 NIL NIL NIL NIL)"},
    /* RFC 2231 3 and 4.1 */
    {"Content-Type: message/external-body; access-type=URL;\r\n URL*0=\"ftp://\";\r\n"
     " URL*1=\"cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar\"\r\n\r\n",
     "(\"message\" \"external-body\" (\"access-type\" \"URL\" \"url\" "
     "\"ftp://cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar\") NIL NIL \"7bit\" 0 NIL NIL NIL NIL)"},
    {"Content-Type: application/x-stuff;\r\n title*1*=%2A%2A%2Afun%2A%2A%2A%20;\r\n"
     " title*0*=us-ascii'en'This%20is%20even%20more%20;\r\n title*2=\"isn't it!\"\r\n\r\n",
     "(\"application\" \"x-stuff\" (\"title*\" "
     "\"us-ascii'en'This%20is%20even%20more%20%2A%2A%2Afun%2A%2A%2A%20isn%27t%20it!\") NIL NIL \"7bit\" 0 NIL NIL NIL "
     "NIL)"},
    {"Content-Type: a/b; t*=us-ascii'en-us'This%20is; u*1=lost; v*0=a; v*2=lost; w*x=y; z*0=1; z*1*=%32\r\n\r\n",
     "(\"a\" \"b\" (\"t*\" \"us-ascii'en-us'This%20is\" \"v\" \"a\" \"w*x\" \"y\" \"z*\" \"''1%32\") NIL NIL \"7bit\" "
     "0 "
     "NIL NIL NIL NIL)"},
    /* extension data */
    {"Content-Type: image/png\r\nContent-Transfer-Encoding: BASE64\r\nContent-ID: <i@x>\r\n"
     "Content-Description: A\r\n picture\r\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\r\n"
     "Content-Disposition: ATTACHMENT; filename=\"a b.png\"; size=12\r\nContent-Language: en, de (x),fr\r\n"
     "Content-Location: http://x.test/a\r\n\r\nAAAA\r\n",
     "(\"image\" \"png\" NIL \"<i@x>\" \"A picture\" \"base64\" 6 \"Q2hlY2sgSW50ZWdyaXR5IQ==\" "
     "(\"attachment\" (\"filename\" \"a b.png\" \"size\" \"12\")) (\"en\" \"de\" \"fr\") \"http://x.test/a\")"},
    {"Content-Type: image/png\r\nContent-Disposition: inline\r\n\r\n",
     "(\"image\" \"png\" NIL NIL NIL \"7bit\" 0 NIL (\"inline\" NIL) NIL NIL)"},
    /* RFC 2046 5.1.1: preamble, epilogue, a part without header, the line end before a delimiter is not the part's */
    {"MIME-Version: 1.0\r\nContent-type: multipart/mixed; boundary=\"simple boundary\"\r\n\r\npreamble\r\n\r\n"
     "--simple boundary\r\n\r\nimplicitly typed\r\nnot ended\r\n--simple boundary  \r\n"
     "Content-type: text/plain; charset=us-ascii\r\n\r\nexplicit\r\n\r\n--simple boundary--\r\n\r\nepilogue\r\n",
     "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 27 1 NIL NIL NIL NIL)"
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 10 1 NIL NIL NIL NIL)"
     " \"mixed\" (\"boundary\" \"simple boundary\") NIL NIL NIL)"},
    /* no end, empty parts, a delimiter inside a header */
    {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b\r\nContent-Type: a/b\r\n--b\r\n\r\n--b\r\n\r\nx\r\n",
     "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)"
     "(\"a\" \"b\" NIL NIL NIL \"7bit\" 0 NIL NIL NIL NIL)"
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)"
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1 NIL NIL NIL NIL)"
     " \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)"},
    /* no boundary; a boundary that never comes; an empty one: the text stays reachable */
    {"Content-Type: multipart/mixed\r\n\r\n--b\r\n", "(\"text\" \"plain\" NIL NIL NIL \"7bit\" 5 1 NIL NIL NIL NIL)"},
    {"Content-Type: multipart/mixed; boundary=b\r\n\r\n-b\r\n x--b\r\n",
     "(\"text\" \"plain\" NIL NIL NIL \"7bit\" 11 2 NIL NIL NIL NIL)"},
    {"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\n",
     "(\"text\" \"plain\" NIL NIL NIL \"7bit\" 6 2 NIL NIL NIL NIL)"},
    /* boundaries that begin alike: inside out, and outside in; outer ends while inner is open */
    {"Content-Type: multipart/mixed; boundary=ab\r\n\r\n--ab\r\nContent-Type: multipart/alternative; "
     "boundary=abc\r\n\r\n"
     "--abc\r\n\r\n1\r\n--abc--\r\n--ab\r\n\r\n2\r\n--ab--\r\n",
     "(((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL)"
     " \"alternative\" (\"boundary\" \"abc\") NIL NIL NIL)"
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL)"
     " \"mixed\" (\"boundary\" \"ab\") NIL NIL NIL)"},
    {"Content-Type: multipart/mixed; boundary=abc\r\n\r\n--abc\r\nContent-Type: multipart/alternative; "
     "boundary=ab\r\n\r\n"
     "--ab\r\n\r\n1\r\n--abc\r\n\r\n2\r\n--abc--\r\n",
     "(((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL)"
     " \"alternative\" (\"boundary\" \"ab\") NIL NIL NIL)"
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL)"
     " \"mixed\" (\"boundary\" \"abc\") NIL NIL NIL)"},
    /* the same boundary twice: the inner multipart takes it until it is closed */
    {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/related; boundary=b\r\n\r\n"
     "--b\r\n\r\n1\r\n--b--\r\n--b\r\n\r\n22\r\n--b--\r\n",
     "(((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL)"
     " \"related\" (\"boundary\" \"b\") NIL NIL NIL)"
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 2 0 NIL NIL NIL NIL)"
     " \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)"},
    /* a boundary ending in dashes */
    {"Content-Type: multipart/mixed; boundary=\"b--\"\r\n\r\n--b--\r\n\r\n1\r\n--b----\r\n",
     "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL)"
     " \"mixed\" (\"boundary\" \"b--\") NIL NIL NIL)"},
    /* a delimiter behind the closing one is epilogue */
    {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n1\r\n--b--\r\n--b\r\n\r\n2\r\n",
     "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL)"
     " \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)"},
    /* RFC 2046 5.1.5: digest */
    {"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: 1\r\n\r\nx\r\n--b\r\nContent-Type: a/b\r\n"
     "\r\n--b--",
     "((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 15 (NIL \"1\" NIL NIL NIL NIL NIL NIL NIL NIL) "
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL)"
     "(\"a\" \"b\" NIL NIL NIL \"7bit\" 0 NIL NIL NIL NIL) \"digest\" (\"boundary\" \"b\") NIL NIL NIL)"},
    /* a message in a message; 1 line before and none after its only line */
    {"Content-Type: message/rfc822\r\n\r\nContent-Type: message/global\r\nFrom: a@b\r\n\r\nSubject: in\r\n\r\nx\r\n",
     "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 61 (NIL NIL ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) "
     "((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL) (\"message\" \"global\" NIL NIL NIL \"7bit\" 18 "
     "(NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1 "
     "NIL NIL NIL NIL) 3 NIL NIL NIL NIL) 6 NIL NIL NIL NIL)"},
    /* line ends: all LF; lone LF as data in a CRLF message */
    {"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n1\n2\n--b\nContent-Type: a/b\n\n\n--b--\n",
     "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1 NIL NIL NIL NIL)"
     "(\"a\" \"b\" NIL NIL NIL \"7bit\" 0 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)"},
    {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n1\n--b\r\n2\r\n--b--\r\n",
     "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 8 1 NIL NIL NIL NIL)"
     " \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)"},
    /* the first type that can be read counts */
    {"Content-Type: ;\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n",
     "(\"a\" \"b\" NIL NIL NIL \"7bit\" 0 NIL NIL NIL NIL)"},
    {"Content-Type: text/plain charset=utf-8\r\n\r\n",
     "(\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)"},
};

static void test_structures(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(structures) / sizeof(structures[0]); i++)
        expect_structure(structures[i].message, true, structures[i].expected);
}

static void test_body(void **state)
{
    (void)state;
    expect_structure(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: x\r\n\r\n1\r\n--b\r\n"
        "Content-Type: image/png\r\n\r\n--b--\r\n",
        false,
        "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0)"
        "(\"image\" \"png\" NIL NIL NIL \"7bit\" 0) \"mixed\")");
}

/* ---- sections ---- */

/* The example of RFC 9051 6.4.5.1, each part's text naming it. */
static const char tree[] =
    "Subject: top\r\nContent-Type: multipart/mixed; boundary=A\r\n\r\npreamble\r\n"
    "--A\r\nX: h1\r\n\r\nt1\r\n"
    "--A\r\nContent-Type: application/octet-stream\r\n\r\nt2\r\n"
    "--A\r\nContent-Type: message/rfc822\r\n\r\n"
    "Subject: three\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n"
    "--B\r\n\r\nt3.1\r\n--B\r\nContent-Type: a/b\r\n\r\nt3.2\r\n--B--\r\nepi3\r\n"
    "--A\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\n"
    "--C\r\nContent-Type: image/gif\r\n\r\nt4.1\r\n"
    "--C\r\nContent-Type: message/rfc822\r\n\r\n"
    "Subject: four\r\nContent-Type: multipart/mixed; boundary=D\r\n\r\n"
    "--D\r\n\r\nt4.2.1\r\n"
    "--D\r\nContent-Type: multipart/alternative; boundary=E\r\n\r\n"
    "--E\r\nX: y\r\n\r\nt4.2.2.1\r\n--E\r\nContent-Type: text/richtext\r\n\r\nt4.2.2.2\r\n--E--\r\n"
    "--D--\r\n--C--\r\n--A--\r\n";

struct section {
    const char *path;
    const char *header, *body; /* NULL: not compared; "" and absent parts: see found */
    bool found;
    const char *inner_header, *inner_body;
};

static size_t path_parse(const char *text, uint32_t *path)
{
    size_t n = 0;
    for (char *end; *text; text = *end ? end + 1 : end)
        path[n++] = (uint32_t)strtoul(text, &end, 10);
    return n;
}

static void expect_range(const char *message, uint64_t at, uint64_t n, const char *expected)
{
    if (!expected)
        return;
    assert_true(at + n <= strlen(message));
    char *got = strndup(message + at, n);
    assert_string_equal(got, expected);
    free(got);
}

static void expect_sections(const char *message, const struct section *sections, size_t n)
{
    struct buf summary = {0};
    mime_summary_build(slice_str(message), &summary);
    for (size_t i = 0; i < n; i++) {
        const struct section *s = &sections[i];
        uint32_t path[16];
        struct mime_part p;
        int result = mime_part_find(buf_slice(&summary), path, path_parse(s->path, path), &p);
        assert_int_equal(result, s->found ? 0 : ERR_NOTFOUND);
        if (!s->found)
            continue;
        expect_range(message, p.header_at, p.header_n, s->header);
        expect_range(message, p.body_at, p.body_n, s->body);
        assert_int_equal(p.is_message, s->inner_header != NULL);
        expect_range(message, p.inner_header_at, p.inner_header_n, s->inner_header);
        expect_range(message, p.inner_body_at, p.inner_body_n, s->inner_body);
    }
    buf_close(&summary);
}
#define EXPECT_SECTIONS(message, table) expect_sections((message), (table), sizeof(table) / sizeof((table)[0]))

static void test_sections(void **state)
{
    (void)state;
    static const struct section table[] = {
        {"", "Subject: top\r\nContent-Type: multipart/mixed; boundary=A\r\n\r\n", NULL, true, NULL, NULL},
        {"1", "X: h1\r\n\r\n", "t1", true, NULL, NULL},
        {"2", "Content-Type: application/octet-stream\r\n\r\n", "t2", true, NULL, NULL},
        {"3", "Content-Type: message/rfc822\r\n\r\n", NULL, true,
         "Subject: three\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n",
         "--B\r\n\r\nt3.1\r\n--B\r\nContent-Type: a/b\r\n\r\nt3.2\r\n--B--\r\nepi3"},
        {"3.1", "\r\n", "t3.1", true, NULL, NULL},
        {"3.2", "Content-Type: a/b\r\n\r\n", "t3.2", true, NULL, NULL},
        {"4", "Content-Type: multipart/mixed; boundary=C\r\n\r\n", NULL, true, NULL, NULL},
        {"4.1", "Content-Type: image/gif\r\n\r\n", "t4.1", true, NULL, NULL},
        {"4.2", "Content-Type: message/rfc822\r\n\r\n", NULL, true,
         "Subject: four\r\nContent-Type: multipart/mixed; boundary=D\r\n\r\n", NULL},
        {"4.2.1", "\r\n", "t4.2.1", true, NULL, NULL},
        {"4.2.2", "Content-Type: multipart/alternative; boundary=E\r\n\r\n", NULL, true, NULL, NULL},
        {"4.2.2.1", "X: y\r\n\r\n", "t4.2.2.1", true, NULL, NULL},
        {"4.2.2.2", "Content-Type: text/richtext\r\n\r\n", "t4.2.2.2", true, NULL, NULL},
        {"0", NULL, NULL, false, NULL, NULL},
        {"5", NULL, NULL, false, NULL, NULL},
        {"4294967295", NULL, NULL, false, NULL, NULL},
        {"1.1", NULL, NULL, false, NULL, NULL},
        {"3.3", NULL, NULL, false, NULL, NULL},
        {"3.1.1", NULL, NULL, false, NULL, NULL},
        {"4.2.2.3", NULL, NULL, false, NULL, NULL},
        {"4.0", NULL, NULL, false, NULL, NULL},
    };
    EXPECT_SECTIONS(tree, table);
}

/* A message that is no multipart has part 1, its body; so has one inside (RFC 9051 6.4.5.1). */
static void test_sections_single(void **state)
{
    (void)state;
    static const struct section plain[] = {
        {"", "Subject: x\r\n\r\n", "text\r\n", true, NULL, NULL},
        {"1", "Subject: x\r\n\r\n", "text\r\n", true, NULL, NULL},
        {"2", NULL, NULL, false, NULL, NULL},
        {"1.1", NULL, NULL, false, NULL, NULL},
    };
    EXPECT_SECTIONS("Subject: x\r\n\r\ntext\r\n", plain);
    static const struct section message[] = {
        {"1", "Content-Type: message/rfc822\r\n\r\n", "Subject: in\r\n\r\ntext\r\n", true, "Subject: in\r\n\r\n",
         "text\r\n"},
        {"1.1", "Subject: in\r\n\r\n", "text\r\n", true, NULL, NULL},
        {"1.2", NULL, NULL, false, NULL, NULL},
        {"1.1.1", NULL, NULL, false, NULL, NULL},
        {"2", NULL, NULL, false, NULL, NULL},
    };
    EXPECT_SECTIONS("Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntext\r\n", message);
    static const struct section headless[] = {{"1", "Subject: x", "", true, NULL, NULL}};
    EXPECT_SECTIONS("Subject: x", headless);
    static const struct section in_message[] = {
        {"1.1", "\r\n", "a", true, NULL, NULL},
        {"1.2", "\r\n", "b", true, NULL, NULL},
        {"1.3", NULL, NULL, false, NULL, NULL},
    };
    EXPECT_SECTIONS("Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/x; boundary=b\r\n\r\n"
                    "--b\r\n\r\na\r\n--b\r\n\r\nb\r\n--b--\r\n",
                    in_message);
}

static bool leaf_note(void *arg, const struct mime_part *p)
{
    struct buf *out = arg;
    buf_append_slice(out, p->type);
    buf_append_byte(out, '/');
    buf_append_slice(out, p->subtype);
    buf_printf(out, ":%.*s;", (int)p->body_n, tree + p->body_at);
    return memcmp(tree + p->body_at, "t4.2.2.1", 8) != 0;
}

static void test_each(void **state)
{
    (void)state;
    struct buf summary = {0}, out = {0};
    mime_summary_build(slice_str(tree), &summary);
    mime_part_each(buf_slice(&summary), leaf_note, &out);
    buf_append_byte(&out, 0);
    assert_string_equal((const char *)buf_slice(&out).p,
                        "text/plain:t1;application/octet-stream:t2;text/plain:t3.1;a/b:t3.2;image/gif:t4.1;"
                        "text/plain:t4.2.1;text/plain:t4.2.2.1;");
    struct mime_part p;
    assert_int_equal(mime_part_find(buf_slice(&summary), (uint32_t[]){1}, 1, &p), 0);
    assert_true(slice_eq(p.charset, SLICE_LITERAL("us-ascii")) && slice_eq(p.encoding, SLICE_LITERAL("7bit")));
    buf_close(&summary);
    buf_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structures),      cmocka_unit_test(test_body), cmocka_unit_test(test_sections),
        cmocka_unit_test(test_sections_single), cmocka_unit_test(test_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
