#include "protocol/line.h"
#include "protocol/smtp/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void paths(void **state)
{
    static const struct {
        const char *in;
        enum smtp_path_kind kind;
        enum smtp_path_status status;
        const char *address;
        size_t used;
        bool utf8;
    } cases[] = {
        {"<>", SMTP_PATH_RETURN, SMTP_PATH_OK, "", 2, false},
        {"<>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<a@b>", SMTP_PATH_RETURN, SMTP_PATH_OK, "a@b", 5, false},
        {"<a@b> SIZE=1", SMTP_PATH_RETURN, SMTP_PATH_OK, "a@b", 5, false},
        {"<a.b+c=d@e.example>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "a.b+c=d@e.example", 19, false},
        {"<@x.example,@y.example:a@b>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "a@b", 27, false},
        {"<@x.example:>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<@x.example,y:a@b>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<@:a@b>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<Postmaster>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "Postmaster", 12, false},
        {"<Postmaster>", SMTP_PATH_RETURN, SMTP_PATH_SYNTAX, "", 0, false},
        {"<ann>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<\"ann\"@b>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "ann@b", 9, false},
        {"<\"a\\nn\"@b>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "ann@b", 10, false},
        {"<\"a b\"@b>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "\"a b\"@b", 9, false},
        {"<\"a>\\\"b\"@b>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "\"a>\\\"b\"@b", 11, false},
        {"<\"a@b\"@c>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "\"a@b\"@c", 9, false},
        {"<\"\"@c>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "\"\"@c", 6, false},
        {"<\"a@b>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<\"a\\", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<a@[192.0.2.1]>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "a@[192.0.2.1]", 15, false},
        {"<a@[IPv6:2001:db8::1]>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "a@[IPv6:2001:db8::1]", 22, false},
        {"<a@[192.0.2]>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<a@[]>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<ü@bücher.example>", SMTP_PATH_FORWARD, SMTP_PATH_OK, "ü@bücher.example", 20, true},
        {"<\xfc@b>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<a..b@c>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<.a@c>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<a.@c>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<a@>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<a@b.>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<a@b..c>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<a@b", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"a@b", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<a@b c>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<a b@c>", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"<", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
        {"", SMTP_PATH_FORWARD, SMTP_PATH_SYNTAX, "", 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct smtp_path path;
        size_t used = 0;
        /* A copy of just that size lets the sanitizer see a read past the end. */
        size_t n = strlen(cases[i].in);
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, cases[i].in, n);
        copy = realloc(copy, n ? n : 1);
        enum smtp_path_status status = smtp_path_parse(slice_make(copy, n), cases[i].kind, &path, &used);
        if (status != cases[i].status)
            print_error("case: %s\n", cases[i].in);
        assert_int_equal(status, cases[i].status);
        if (status == SMTP_PATH_OK) {
            assert_string_equal(path.address, cases[i].address);
            assert_int_equal(used, cases[i].used);
            assert_int_equal(path.utf8, cases[i].utf8);
        }
        free(copy);
    }
}

static void long_paths(void **state)
{
    char in[1000];
    struct smtp_path path;
    size_t used;

    (void)state;
    for (size_t n = 1; n < 600; n++) { /* the local part, then the domain */
        in[0] = '<';
        memset(in + 1, 'a', n);
        memcpy(in + 1 + n, "@b>", 3);
        enum smtp_path_status s = smtp_path_parse(slice_make(in, n + 4), SMTP_PATH_FORWARD, &path, &used);
        assert_int_equal(s == SMTP_PATH_OK, n <= SMTP_LOCAL_MAX);
        memcpy(in, "<a@", 3);
        for (size_t i = 0; i < n; i++)
            in[3 + i] = i % 50 == 49 && i + 1 < n ? '.' : 'a';
        in[3 + n] = '>';
        s = smtp_path_parse(slice_make(in, n + 4), SMTP_PATH_FORWARD, &path, &used);
        assert_int_equal(s == SMTP_PATH_OK, n <= SMTP_DOMAIN_MAX);
        in[0] = '<';
        in[1] = '"';
        memset(in + 2, '"', n); /* escaped quotes: the form that grows most */
        for (size_t i = 0; i < n; i += 2)
            in[2 + i] = '\\';
        memcpy(in + 2 + n, "\"@b>", 4);
        smtp_path_parse(slice_make(in, n + 6), SMTP_PATH_FORWARD, &path, &used);
    }
}

static void params(void **state)
{
    static const struct {
        const char *in;
        int n; /* -1: malformed */
    } cases[] = {
        {"", 0},        {" ", 0},           {" SIZE=1", 1}, {" SIZE=1 BODY=7BIT SMTPUTF8", 3},
        {"SIZE=1", -1}, {" SIZE=", -1},     {" =1", -1},    {" SIZE=1 size=2", -1},
        {" A=b=c", -1}, {" -A", -1},        {" A-B=c", 1},  {" A_B", -1},
        {" A B C", 3},  {" A B C D E", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct smtp_param p[4];
        size_t n = 0;
        int rv = smtp_params_parse(slice_str(cases[i].in), p, 4, &n);
        assert_int_equal(rv == 0 ? (int)n : -1, cases[i].n);
    }
}

static void lines(void **state)
{
    static const char in[] =
        "one\r\n\r\na\rb\nc\r\n0123456789\r\n01234567890\r\n0123456789012345678901234567\r\rx\r\nend\r\n";
    static const char *expect[] = {"one", "", "a\rb\nc", "0123456789", NULL, NULL, "end"};

    (void)state;
    for (size_t step = 1; step <= sizeof(in); step++) {
        struct line_reader r = {.max = 10};
        size_t at = 0, n = 0;
        while (at < sizeof(in) - 1) {
            struct slice line, part = slice_first(slice_make(in + at, sizeof(in) - 1 - at), step);
            size_t used;
            enum line_status status = line_read(&r, part, &line, &used);
            assert_true(used > 0 && used <= part.n);
            at += used;
            if (status == LINE_MORE)
                continue;
            assert_true(n < 7);
            assert_int_equal(status, expect[n] ? LINE_READY : LINE_TOO_LONG);
            if (expect[n])
                assert_true(slice_eq(line, slice_str(expect[n])));
            n++;
        }
        assert_int_equal(n, 7);
        line_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
        cmocka_unit_test(long_paths),
        cmocka_unit_test(params),
        cmocka_unit_test(lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
