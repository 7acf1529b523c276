/* Password hashes, the cache of confirmed ones, slowing down of guesses. */
#include "node/auth_cache.h"
#include "node/base/err.h"
#include "node/password.h"
#include "node/throttle.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_password(void **state)
{
    (void)state;
    char a[PASSWORD_HASH_MAX], b[PASSWORD_HASH_MAX];
    assert_int_equal(password_hash(SLICE_LITERAL("secret"), a), 0);
    assert_int_equal(password_hash(SLICE_LITERAL("secret"), b), 0);
    assert_string_not_equal(a, b); /* salted */
    assert_true(password_verify(SLICE_LITERAL("secret"), slice_str(a)));
    assert_false(password_verify(SLICE_LITERAL("Secret"), slice_str(a)));
    assert_false(password_verify(SLICE_LITERAL(""), slice_str(a)));
    assert_false(password_verify(SLICE_LITERAL("secret"), SLICE_LITERAL("")));
    assert_int_equal(password_hash(SLICE_LITERAL(""), a), ERR_INVALID);
}

static void test_password_limits(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "$scrypt$ln=99,r=8,p=1$00$00", /* an amount of memory that nobody gave us */
        "$scrypt$ln=15,r=8,p=1$0011$22",
        "$6$salt$hash",
        "plain",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(password_verify(SLICE_LITERAL("secret"), slice_str(bad[i])));
    static char big[PASSWORD_MAX + 2];
    memset(big, 'x', sizeof big - 1);
    char out[PASSWORD_HASH_MAX];
    assert_int_equal(password_hash(slice_str(big), out), ERR_INVALID);
    big[PASSWORD_MAX] = 0;
    assert_int_equal(password_hash(slice_str(big), out), 0);
    assert_true(password_verify(slice_str(big), slice_str(out)));
}

static void test_cache(void **state)
{
    (void)state;
    struct auth_cache *c = auth_cache_new();
    struct slice hash = SLICE_LITERAL("hash"), password = SLICE_LITERAL("password");
    assert_false(auth_cache_has(c, 1, hash, password, 1000));
    auth_cache_add(c, 1, hash, password, 1000);
    assert_true(auth_cache_has(c, 1, hash, password, 2000));
    assert_false(auth_cache_has(c, 2, hash, password, 2000));
    assert_false(auth_cache_has(c, 1, SLICE_LITERAL("new hash"), password, 2000));
    assert_false(auth_cache_has(c, 1, hash, SLICE_LITERAL("passwore"), 2000));
    assert_false(auth_cache_has(c, 1, hash, password, 1000 + 6 * 60 * 1000));
    auth_cache_free(&c);
}

static void test_throttle(void **state)
{
    (void)state;
    struct throttle *t = throttle_new();
    struct slice a = SLICE_LITERAL("192.0.2.1"), b = SLICE_LITERAL("192.0.2.2");
    for (int i = 0; i < 5; i++) {
        assert_int_equal(throttle_delay_ms(t, a, 0), 0);
        throttle_failed(t, a, 0);
    }
    int64_t first = throttle_delay_ms(t, a, 0);
    assert_true(first > 0);
    assert_int_equal(throttle_delay_ms(t, a, 100), first - 100); /* counts from the last failure */
    assert_int_equal(throttle_delay_ms(t, a, first), 0);         /* who waited as told may try */
    for (int i = 0; i < 100; i++)
        throttle_failed(t, a, 0);
    assert_true(throttle_delay_ms(t, a, 0) > first);
    assert_true(throttle_delay_ms(t, a, 0) <= 5000);
    assert_int_equal(throttle_delay_ms(t, b, 0), 0);
    assert_int_equal(throttle_delay_ms(t, a, 3600 * 1000), 0); /* forgotten */
    throttle_succeeded(t, a);
    assert_int_equal(throttle_delay_ms(t, a, 0), 0);
    throttle_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_password), cmocka_unit_test(test_password_limits),
                                       cmocka_unit_test(test_cache), cmocka_unit_test(test_throttle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
