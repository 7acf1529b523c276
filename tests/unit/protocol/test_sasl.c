#include "protocol/sasl/sasl.h"

#include "node/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void base64_vectors(void **state)
{
    static const char *pairs[][2] = {/* RFC 4648 10 */
                                     {"", ""},
                                     {"f", "Zg=="},
                                     {"fo", "Zm8="},
                                     {"foo", "Zm9v"},
                                     {"foob", "Zm9vYg=="},
                                     {"fooba", "Zm9vYmE="},
                                     {"foobar", "Zm9vYmFy"},
                                     {"\xff\xfe\xfd", "//79"},
                                     {"\xfb\xf0", "+/A="}};

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct buf b = {0};
        base64_encode(slice_str(pairs[i][0]), &b);
        assert_true(slice_eq(buf_slice(&b), slice_str(pairs[i][1])));
        buf_clear(&b);
        assert_int_equal(base64_decode(slice_str(pairs[i][1]), 100, &b), 0);
        assert_true(slice_eq(buf_slice(&b), slice_str(pairs[i][0])));
        buf_close(&b);
    }
}

static void base64_refused(void **state)
{
    static const char *bad[] = {"Z",    "Zg",   "Zg=",  "Zh==", "Zm9=",   "====",         "Z===",   "Zg==Zg==",
                                "Zm 9", "Zm9-", "=Zg=", "Zg=a", "Zm9v\n", "Zm9v\r\n\r\n", "Zm\xc3v"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf b = {0};
        buf_append_str(&b, "x");
        assert_int_equal(base64_decode(slice_str(bad[i]), 100, &b), ERR_INVALID);
        assert_int_equal(buf_len(&b), 1);
        buf_close(&b);
    }
    struct buf b = {0};
    assert_int_equal(base64_decode(slice_str("Zm9v"), 2, &b), ERR_TOOBIG);
    assert_int_equal(base64_decode(slice_str("Zm8="), 2, &b), 0);
    buf_close(&b);
}

#define PLAIN(s) slice_make(s, sizeof(s) - 1)
static void plain(void **state)
{
    struct sasl_credentials c;

    (void)state;
    assert_int_equal(sasl_plain_parse(PLAIN("\0tim\0tan"), &c), 0);
    assert_true(slice_eq(c.authcid, slice_str("tim")) && slice_eq(c.password, slice_str("tan")) && c.authzid.n == 0);
    assert_int_equal(sasl_plain_parse(PLAIN("tim\0tim\0tan"), &c), 0);
    assert_int_equal(sasl_plain_parse(PLAIN("ann\0tim\0tan"), &c), ERR_DENIED);
    assert_int_equal(sasl_plain_parse(PLAIN("\0tim"), &c), ERR_INVALID);
    assert_int_equal(sasl_plain_parse(PLAIN("tim"), &c), ERR_INVALID);
    assert_int_equal(sasl_plain_parse(PLAIN(""), &c), ERR_INVALID);
    assert_int_equal(sasl_plain_parse(PLAIN("\0\0tan"), &c), ERR_INVALID);
    assert_int_equal(sasl_plain_parse(PLAIN("\0tim\0"), &c), ERR_INVALID);
    assert_int_equal(sasl_plain_parse(PLAIN("\0tim\0tan\0"), &c), ERR_INVALID);
}

static void plain_exchange(void **state)
{
    struct sasl s = {0};
    struct buf challenge = {0};

    (void)state;
    assert_int_equal(sasl_start(&s, slice_str("plain"), true, slice_str("AHRpbQB0YW4="), &challenge), SASL_READY);
    assert_true(slice_eq(s.user, slice_str("tim")) && slice_eq(s.password, slice_str("tan")));
    assert_int_equal(sasl_start(&s, slice_str("PLAIN"), false, slice_str(""), &challenge), SASL_MORE);
    assert_int_equal(buf_len(&challenge), 0);
    assert_int_equal(sasl_respond(&s, slice_str("AHRpbQB0YW4="), &challenge), SASL_READY);
    assert_int_equal(sasl_start(&s, slice_str("PLAIN"), false, slice_str(""), &challenge), SASL_MORE);
    assert_int_equal(sasl_respond(&s, slice_str("*"), &challenge), SASL_CANCELED);
    assert_int_equal(sasl_respond(&s, slice_str("AHRpbQB0YW4="), &challenge), SASL_MALFORMED);
    assert_int_equal(sasl_start(&s, slice_str("PLAIN"), true, slice_str("="), &challenge), SASL_MALFORMED);
    assert_int_equal(sasl_start(&s, slice_str("PLAIN"), true, slice_str("YQB0aW0AdGFu"), &challenge), SASL_REFUSED);
    assert_int_equal(sasl_start(&s, slice_str("CRAM-MD5"), false, slice_str(""), &challenge), SASL_UNKNOWN);
    sasl_close(&s);
    buf_close(&challenge);
}

static void login_exchange(void **state)
{
    struct sasl s = {0};
    struct buf challenge = {0};

    (void)state;
    assert_int_equal(sasl_start(&s, slice_str("LOGIN"), false, slice_str(""), &challenge), SASL_MORE);
    assert_true(slice_eq(buf_slice(&challenge), slice_str("VXNlcm5hbWU6")));
    buf_clear(&challenge);
    assert_int_equal(sasl_respond(&s, slice_str("dGlt"), &challenge), SASL_MORE);
    assert_true(slice_eq(buf_slice(&challenge), slice_str("UGFzc3dvcmQ6")));
    assert_int_equal(sasl_respond(&s, slice_str("dGFu"), &challenge), SASL_READY);
    assert_true(slice_eq(s.user, slice_str("tim")) && slice_eq(s.password, slice_str("tan")));
    /* With an initial response the user name comes first at once. */
    assert_int_equal(sasl_start(&s, slice_str("LOGIN"), true, slice_str("dGlt"), &challenge), SASL_MORE);
    assert_int_equal(sasl_respond(&s, slice_str(""), &challenge), SASL_MALFORMED);
    sasl_close(&s);
    buf_close(&challenge);
}

static void long_responses(void **state)
{
    struct sasl s = {0};
    struct buf challenge = {0}, in = {0}, line = {0};

    (void)state;
    for (size_t n = 1; n < SASL_RESPONSE_MAX + 100; n += 61) {
        buf_clear(&in);
        buf_clear(&line);
        buf_append_str(&in, "");
        buf_append_byte(&in, 0);
        buf_append_str(&in, "u");
        buf_append_byte(&in, 0);
        for (size_t i = 0; i < n; i++)
            buf_append_byte(&in, 'p');
        base64_encode(buf_slice(&in), &line);
        enum sasl_result r = sasl_start(&s, slice_str("PLAIN"), true, buf_slice(&line), &challenge);
        assert_int_equal(r, n <= SASL_PASSWORD_MAX ? SASL_READY : SASL_MALFORMED);
    }
    sasl_close(&s);
    buf_close(&challenge);
    buf_close(&in);
    buf_close(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_vectors), cmocka_unit_test(base64_refused), cmocka_unit_test(plain),
        cmocka_unit_test(plain_exchange), cmocka_unit_test(login_exchange), cmocka_unit_test(long_responses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
