#include "node/listener.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void parsing(void **state)
{
    (void)state;
    struct listener_config c;
    assert_int_equal(listener_address_parse(slice_str("*:143"), &c), 0);
    assert_string_equal(c.address, "::");
    assert_int_equal(c.port, 143);
    assert_int_equal(listener_address_parse(slice_str("[2001:db8::1]:993"), &c), 0);
    assert_string_equal(c.address, "2001:db8::1");
    static const char *const bad[] = {"", ":", "143", "127.0.0.1", "host:143", "127.0.0.1:x", "2001:db8::1:993"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(listener_address_parse(slice_str(bad[i]), &c), ERR_INVALID);
    enum listener_protocol p;
    enum listener_tls t;
    assert_int_equal(listener_protocol_parse(slice_str("lmtp"), &p), 0);
    assert_int_equal(p, LISTENER_LMTP);
    assert_int_equal(listener_protocol_parse(slice_str("http"), &p), ERR_INVALID);
    assert_int_equal(listener_tls_parse(slice_str("starttls"), &t), 0);
    assert_int_equal(t, LISTENER_TLS_STARTTLS);
    assert_int_equal(listener_tls_parse(slice_str("ssl"), &t), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(parsing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
