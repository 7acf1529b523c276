#include "protocol/smtp/content.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct data_case {
    const char *in, *out; /* out NULL: not ended */
    unsigned faults;
    size_t left; /* octets after the end */
};

static const struct data_case data_cases[] = {
    {".\r\n", "", 0, 0},
    {"a\r\n.\r\n", "a\r\n", 0, 0},
    {"a\r\nb\r\n.\r\nQUIT\r\n", "a\r\nb\r\n", 0, 6},
    {"..\r\n.\r\n", ".\r\n", 0, 0},
    {"a\r\n..b\r\n...\r\n.\r\n", "a\r\n.b\r\n..\r\n", 0, 0},
    {".a\r\n.\r\n", "a\r\n", 0, 0},
    {"\r\n\r\n.\r\n", "\r\n\r\n", 0, 0},
    {"a.\r\n.\r\n", "a.\r\n", 0, 0},
    {"a\r\n.", NULL, 0, 0},
    {"a\r\n.\r", NULL, 0, 0},
    {"a.\r\n", NULL, 0, 0},
    /* CVE-2023-51764 and kin: none of these ends a message, all of them spoil it. */
    {"a\n.\n.\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
    {"a\n.\r\nMAIL FROM:<x>\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
    {"a\r.\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
    {"a\r\n.\nMAIL\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
    {"a\r\n.\rMAIL\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
    {"a\r\n.\r\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
    {"a\r.\rMAIL\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
    {"a\n\n.\n\nMAIL\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
    {"a\r\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
    {"a\n\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
    {"\n.\r\n\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
    {"\r.\r\n\r\n.\r\n", "", SMTP_FAULT_BARE, 0},
};

static void data_check(const struct data_case *k, size_t split)
{
    struct slice in = slice_str(k->in);
    struct smtp_content c = {0};
    bool end = false;
    size_t used;

    smtp_content_begin(&c, 1000, false);
    used = smtp_content_data(&c, slice_first(in, split), &end);
    if (!end) {
        assert_int_equal(used, split);
        used += smtp_content_data(&c, slice_from(in, split), &end);
    }
    assert_int_equal(end, k->out != NULL);
    if (k->out) {
        assert_int_equal(c.faults, k->faults);
        assert_int_equal(used, in.n - k->left);
        assert_true(slice_eq(buf_slice(&c.body), slice_str(k->out)));
    }
    smtp_content_close(&c);
}

static void data_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(data_cases) / sizeof(data_cases[0]); i++)
        for (size_t split = 0; split <= strlen(data_cases[i].in); split++)
            data_check(&data_cases[i], split);
}

static void data_octet_by_octet(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(data_cases) / sizeof(data_cases[0]); i++) {
        const struct data_case *k = &data_cases[i];
        struct smtp_content c = {0};
        bool end = false;

        smtp_content_begin(&c, 1000, false);
        for (size_t at = 0; k->in[at] && !end; at++)
            assert_int_equal(smtp_content_data(&c, slice_make(k->in + at, 1), &end), 1);
        assert_int_equal(end, k->out != NULL);
        if (k->out)
            assert_true(c.faults == k->faults && slice_eq(buf_slice(&c.body), slice_str(k->out)));
        smtp_content_close(&c);
    }
}

static void data_limits(void **state)
{
    static const uint8_t nul[] = "a\0b\r\n.\r\n";
    struct smtp_content c = {0};
    bool end;

    (void)state;
    smtp_content_begin(&c, 6, false);
    smtp_content_data(&c, slice_str("abcd\r\n.\r\n"), &end);
    assert_true(end && c.faults == 0 && buf_len(&c.body) == 6);
    smtp_content_begin(&c, 6, false);
    smtp_content_data(&c, slice_str("abcde\r\n.\r\n"), &end);
    assert_true(end && c.faults == SMTP_FAULT_TOOBIG && buf_len(&c.body) == 0);
    smtp_content_begin(&c, 100, false);
    smtp_content_data(&c, slice_make(nul, sizeof(nul) - 1), &end);
    assert_true(end && c.faults == SMTP_FAULT_NUL);
    smtp_content_close(&c);
}

static void chunks(void **state)
{
    static const struct {
        const char *in;
        unsigned faults;
    } cases[] = {
        {"", 0},
        {"a\r\n", 0},
        {".\r\n..\r\n.\r\n", 0},
        {"a", 0},
        {"a\n", SMTP_FAULT_BARE},
        {"a\r", SMTP_FAULT_BARE},
        {"\r\r\n", SMTP_FAULT_BARE},
        {"\n\r\n", SMTP_FAULT_BARE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice in = slice_str(cases[i].in);
        for (size_t split = 0; split <= in.n; split++) {
            for (int binary = 0; binary < 2; binary++) {
                struct smtp_content c = {0};
                smtp_content_begin(&c, 100, binary);
                smtp_content_chunk(&c, slice_first(in, split));
                smtp_content_chunk(&c, slice_from(in, split));
                smtp_content_chunk_end(&c);
                assert_int_equal(c.faults, binary ? 0 : cases[i].faults);
                if (c.faults == 0)
                    assert_true(slice_eq(buf_slice(&c.body), in));
                smtp_content_close(&c);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_at_every_split),
        cmocka_unit_test(data_octet_by_octet),
        cmocka_unit_test(data_limits),
        cmocka_unit_test(chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
