/* Domains become A-labels; everything else stays. */
#include "node/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void forms(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"ann@example.org", "ann@example.org"},
        {"ANN@Example.org", "ANN@Example.org"},
        {"müller.example", "xn--mller-kva.example"},
        {"MÜLLER.example", "xn--mller-kva.example"},
        {"jürgen@müller.example", "jürgen@xn--mller-kva.example"},
        {"jürgen@example.org", "jürgen@example.org"},
        {"a@xn--mller-kva.example", "a@xn--mller-kva.example"},
        {"a_b@c_d.example", "a_b@c_d.example"},
        {"postmaster", "postmaster"},
        {"@", "@"},
        {"", ""},
        {"a@\xff\xfe", "a@\xff\xfe"}, /* no UTF-8: the store refuses it */
        {"\"x@y\"@bücher.example", "\"x@y\"@xn--bcher-kva.example"},
    };
    char out[ADDRESS_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(address_ascii(slice_str(rows[i].in), out), rows[i].out);
}

static void overlong(void **state)
{
    char in[2 * ADDRESS_TEXT_MAX], out[ADDRESS_TEXT_MAX];

    (void)state;
    memset(in, 'a', sizeof in);
    memcpy(in + 10, "@\xc3\xbc", 3);
    for (size_t n = 0; n < sizeof in; n++)
        assert_true(strlen(address_ascii(slice_make(in, n), out)) < ADDRESS_TEXT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(forms), cmocka_unit_test(overlong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
