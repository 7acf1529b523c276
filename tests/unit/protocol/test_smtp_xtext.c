#include "protocol/smtp/xtext.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void notify(void **state)
{
    static const struct {
        const char *text;
        uint32_t bits; /* 0: refused */
        const char *back;
    } cases[] = {
        {"NEVER", 1, "NEVER"},
        {"never", 1, "NEVER"},
        {"SUCCESS", 2, "SUCCESS"},
        {"FAILURE", 4, "FAILURE"},
        {"DELAY", 8, "DELAY"},
        {"Delay,success,FAILURE", 14, "SUCCESS,FAILURE,DELAY"},
        {"FAILURE,DELAY", 12, "FAILURE,DELAY"},
        {"", 0, NULL},
        {",", 0, NULL},
        {"NEVER,SUCCESS", 0, NULL},
        {"SUCCESS,NEVER", 0, NULL},
        {"NEVER,NEVER", 0, NULL},
        {"SUCCESS,SUCCESS", 0, NULL},
        {"SUCCESS,", 0, NULL},
        {",SUCCESS", 0, NULL},
        {"SUCCESS, DELAY", 0, NULL},
        {"SUCCES", 0, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t bits = 0;
        struct buf back = {0};
        int rv = smtp_notify_parse(slice_str(cases[i].text), &bits);
        assert_int_equal(rv == 0, cases[i].bits != 0);
        assert_int_equal(bits, cases[i].bits);
        if (cases[i].back) {
            smtp_notify_write(bits, &back);
            assert_true(slice_eq(buf_slice(&back), slice_str(cases[i].back)));
        }
        buf_close(&back);
    }
}

static void envid(void **state)
{
    static const struct {
        const char *text, *plain; /* NULL: refused */
    } cases[] = {
        {"QQ314159", "QQ314159"},
        {"a+2Bb+3Dc+20d", "a+b=c d"},
        {"", NULL},
        {"a+2", NULL},
        {"a+", NULL},
        {"a+2b", NULL}, /* capitals (RFC 3461 4) */
        {"a=b", NULL},
        {"a+0D+0Ab", NULL}, /* printable inside */
        {"a+7F", NULL},
        {"a+C3", NULL},
        {"\xc3\xbc", NULL},
    };
    char longest[SMTP_ENVID_MAX + 2];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0};
        int rv = smtp_envid_parse(slice_str(cases[i].text), &out);
        assert_int_equal(rv == 0, cases[i].plain != NULL);
        assert_true(slice_eq(buf_slice(&out), slice_str(cases[i].plain)));
        if (rv == 0) {
            struct buf back = {0};
            smtp_xtext_write(buf_slice(&out), &back);
            assert_true(slice_eq(buf_slice(&back), slice_str(cases[i].text)));
            buf_close(&back);
        }
        buf_close(&out);
    }
    memset(longest, 'x', sizeof(longest));
    struct buf out = {0};
    assert_int_equal(smtp_envid_parse(slice_make(longest, SMTP_ENVID_MAX), &out), 0);
    assert_int_not_equal(smtp_envid_parse(slice_make(longest, SMTP_ENVID_MAX + 1), &out), 0);
    buf_close(&out);
}

static void orcpt(void **state)
{
    static const struct {
        const char *text;
        bool utf8;
        const char *plain, *back7, *back8; /* plain NULL: refused; back NULL: as text */
    } cases[] = {
        {"rfc822;Bob@Example.COM", false, "rfc822;Bob@Example.COM", NULL, NULL},
        {"RFC822;a+2Bb+3Dc@x", false, "RFC822;a+b=c@x", NULL, NULL},
        {"x-400;a;b", false, "x-400;a;b", NULL, NULL},
        {"utf-8;b\\x{FC}@x", false, "utf-8;b\xc3\xbc@x", NULL, "utf-8;b\xc3\xbc@x"},
        {"utf-8;b\xc3\xbc@x", true, "utf-8;b\xc3\xbc@x", "utf-8;b\\x{FC}@x", NULL},
        {"utf-8;\\x{2B}\\x{1F600}\\x{20AC}", false, "utf-8;+\xf0\x9f\x98\x80\xe2\x82\xac", NULL,
         "utf-8;\\x{2B}\xf0\x9f\x98\x80\xe2\x82\xac"},
        {"utf-8;b\xc3\xbc@x", false, NULL, NULL, NULL},
        {"utf-8;\xff", true, NULL, NULL, NULL},
        {"utf-8;\xc2\x85", true, NULL, NULL, NULL},
        {"utf-8;\\x{D800}", true, NULL, NULL, NULL},
        {"utf-8;\\x{110000}", true, NULL, NULL, NULL},
        {"utf-8;\\x{0A}", true, NULL, NULL, NULL},
        {"utf-8;\\x{85}", true, NULL, NULL, NULL},
        {"utf-8;\\x{4", true, NULL, NULL, NULL},
        {"utf-8;\\x{4}", true, NULL, NULL, NULL},
        {"utf-8;\\x{41", true, NULL, NULL, NULL},
        {"utf-8;\\y", true, NULL, NULL, NULL},
        {"utf-8;a+2B", true, NULL, NULL, NULL},
        {"rfc822;", false, NULL, NULL, NULL},
        {"rfc822", false, NULL, NULL, NULL},
        {";a@b", false, NULL, NULL, NULL},
        {"rfc 822;a@b", false, NULL, NULL, NULL},
        {"rfc822;a b", false, NULL, NULL, NULL},
        {"rfc822;a+0Ab", false, NULL, NULL, NULL},
        {"rfc822;\xc3\xbc", true, NULL, NULL, NULL},
        {"anatomwhichismuchtoolong;a", false, NULL, NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0}, back = {0};
        int rv = smtp_orcpt_parse(slice_str(cases[i].text), cases[i].utf8, &out);
        assert_int_equal(rv == 0, cases[i].plain != NULL);
        assert_true(slice_eq(buf_slice(&out), slice_str(cases[i].plain)));
        for (int utf8 = 0; utf8 < 2 && rv == 0; utf8++) {
            const char *want = utf8 ? cases[i].back8 : cases[i].back7;
            buf_clear(&back);
            assert_true(smtp_orcpt_write(buf_slice(&out), utf8, &back));
            assert_true(slice_eq(buf_slice(&back), slice_str(want ? want : cases[i].text)));
        }
        buf_close(&out);
        buf_close(&back);
    }
}

static void orcpt_that_is_none(void **state)
{
    static const char *const bad[] = {"", "rfc822", "rfc822;", "rfc822\r\nQUIT;x", "utf-8;\xff"};
    struct buf out = {0};
    char text[600];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(smtp_orcpt_write(slice_str(bad[i]), true, &out));
    assert_int_equal(buf_len(&out), 0);
    memset(text, 'x', sizeof(text));
    memcpy(text, "rfc822;", 7);
    assert_int_equal(smtp_orcpt_parse(slice_make(text, SMTP_ORCPT_MAX), false, &out), 0);
    assert_int_not_equal(smtp_orcpt_parse(slice_make(text, SMTP_ORCPT_MAX + 1), false, &out), 0);
    /* Never a second line, whatever it holds. */
    buf_clear(&out);
    assert_true(smtp_orcpt_write(SLICE_LITERAL("rfc822;a\r\nQUIT"), false, &out));
    assert_true(slice_eq(buf_slice(&out), SLICE_LITERAL("rfc822;a+0D+0AQUIT")));
    buf_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(notify), cmocka_unit_test(envid), cmocka_unit_test(orcpt),
                                       cmocka_unit_test(orcpt_that_is_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
