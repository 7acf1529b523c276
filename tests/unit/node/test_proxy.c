#include "node/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>

#define BYTES(s)                                                                                                       \
    {                                                                                                                  \
        (const uint8_t *)(s), sizeof(s) - 1                                                                            \
    }
#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define FOUR "\xc0\x00\x02\x01\x0a\x00\x00\x02\x1f\x90\x00\x19"
#define SIX "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2\xff\xff\x03\xe1"

struct row {
    const char *what;
    struct slice in;
    int rc;
    bool local;
    const char *address;
    uint16_t port;
};

static const struct row rows[] = {
    {"v1 tcp4", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 56324 143\r\n"), 0, false, "192.0.2.1", 56324},
    {"v1 tcp6", BYTES("PROXY TCP6 2001:DB8::1 ::1 1 65535\r\n"), 0, false, "2001:db8::1", 1},
    {"v1 unknown", BYTES("PROXY UNKNOWN\r\n"), 0, true, "", 0},
    {"v1 unknown, more", BYTES("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"), 0, true, "", 0},
    {"v1 longest",
     BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     0, true, "", 0},
    {"v1 one too long",
     BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655355\r\n"),
     ERR_PROTOCOL, false, "", 0},
    {"v1 no CR", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 56324 143\n"), ERR_PROTOCOL, false, "", 0},
    {"v1 wrong family", BYTES("PROXY TCP4 ::1 ::1 1 2\r\n"), ERR_PROTOCOL, false, "", 0},
    {"v1 bad port", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 65536 143\r\n"), ERR_PROTOCOL, false, "", 0},
    {"v1 port with zero", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 0143 143\r\n"), ERR_PROTOCOL, false, "", 0},
    {"v1 port missing", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n"), ERR_PROTOCOL, false, "", 0},
    {"v1 trailing word", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 56324 143 x\r\n"), ERR_PROTOCOL, false, "", 0},
    {"v1 two spaces", BYTES("PROXY TCP4  192.0.2.1 198.51.100.2 56324 143\r\n"), ERR_PROTOCOL, false, "", 0},
    {"v1 lower case", BYTES("PROXY tcp4 192.0.2.1 198.51.100.2 56324 143\r\n"), ERR_PROTOCOL, false, "", 0},
    {"v1 NUL", BYTES("PROXY TCP4 192.0.2.1\0 198.51.100.2 56324 143\r\n"), ERR_PROTOCOL, false, "", 0},
    {"v2 inet", BYTES(SIG "\x21\x11\x00\x0c" FOUR), 0, false, "192.0.2.1", 8080},
    {"v2 inet with TLV", BYTES(SIG "\x21\x11\x00\x13" FOUR "\x04\x00\x04\0\0\0\0"), 0, false, "192.0.2.1", 8080},
    {"v2 inet6", BYTES(SIG "\x21\x21\x00\x24" SIX), 0, false, "2001:db8::1", 65535},
    {"v2 local", BYTES(SIG "\x20\x00\x00\x00"), 0, true, "", 0},
    {"v2 local with addresses", BYTES(SIG "\x20\x11\x00\x0c" FOUR), 0, true, "", 0},
    {"v2 unspec",
     BYTES(SIG "\x21\x00\x00\x03"
               "abc"),
     0, true, "", 0},
    {"v2 short addresses", BYTES(SIG "\x21\x11\x00\x0b" FOUR), ERR_PROTOCOL, false, "", 0},
    {"v2 short inet6", BYTES(SIG "\x21\x21\x00\x0c" FOUR), ERR_PROTOCOL, false, "", 0},
    {"v2 family unknown", BYTES(SIG "\x21\x41\x00\x0c" FOUR), ERR_PROTOCOL, false, "", 0},
    {"v2 version", BYTES(SIG "\x31\x11\x00\x0c" FOUR), ERR_PROTOCOL, false, "", 0},
    {"v2 command", BYTES(SIG "\x22\x11\x00\x0c" FOUR), ERR_PROTOCOL, false, "", 0},
    {"v2 too long", BYTES(SIG "\x21\x11\x10\x01" FOUR), ERR_PROTOCOL, false, "", 0},
    {"neither", BYTES("EHLO client.test\r\n"), ERR_PROTOCOL, false, "", 0},
    {"TLS", BYTES("\x16\x03\x01\x02\x00\x01\x00\x01"), ERR_PROTOCOL, false, "", 0},
    {"other word", BYTES("PROXX TCP4 1"), ERR_PROTOCOL, false, "", 0},
};

/* Every row whole, followed by other bytes, and at every split point: more is asked for until it is decided. */
static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        print_message("%s\n", r->what);
        for (size_t n = 0; n <= r->in.n + 4; n++) {
            uint8_t *copy = test_malloc(n + 1);
            size_t have = n < r->in.n ? n : r->in.n;
            memcpy(copy, r->in.p, have);
            memset(copy + have, 'z', n - have);
            struct proxy_header h;
            size_t used;
            int rc = proxy_parse(slice_make(copy, n), &h, &used);
            if (r->rc == 0) {
                assert_int_equal(rc, n < r->in.n ? 1 : 0);
                assert_int_equal(used, n < r->in.n ? 0 : r->in.n);
            } else {
                assert_true(rc == r->rc || (rc == 1 && n < r->in.n));
            }
            if (rc == 0) {
                assert_int_equal(h.local, r->local);
                assert_string_equal(h.address, r->address);
                assert_int_equal(h.port, r->port);
            }
            test_free(copy);
        }
    }
}

/* A peer that never ends its line is not listened to for ever. */
static void limits(void **state)
{
    (void)state;
    char line[200];
    memset(line, 'a', sizeof line);
    memcpy(line, "PROXY TCP4 ", 11);
    struct proxy_header h;
    size_t used;
    assert_int_equal(proxy_parse(slice_make(line, PROXY_V1_MAX - 1), &h, &used), 1);
    assert_int_equal(proxy_parse(slice_make(line, PROXY_V1_MAX), &h, &used), ERR_PROTOCOL);
}

static void networks(void **state)
{
    (void)state;
    static const struct {
        const char *network, *address;
        int rc;
        bool has;
    } cases[] = {
        {"192.0.2.0/24", "192.0.2.77", 0, true},
        {"192.0.2.0/24", "192.0.3.1", 0, false},
        {"192.0.2.1", "192.0.2.1", 0, true},
        {"192.0.2.1", "192.0.2.2", 0, false},
        {"0.0.0.0/0", "203.0.113.9", 0, true},
        {"0.0.0.0/0", "2001:db8::1", 0, false},
        {"::/0", "203.0.113.9", 0, true},
        {"2001:db8::/32", "2001:db8:1::2", 0, true},
        {"2001:db8::/32", "2001:db9::", 0, false},
        {"::1", "::1", 0, true},
        {"10.0.0.0/9", "10.127.0.1", 0, true},
        {"10.0.0.0/9", "10.128.0.1", 0, false},
        {"192.0.2.1/24", NULL, ERR_INVALID, false},
        {"192.0.2.0/33", NULL, ERR_INVALID, false},
        {"", NULL, ERR_INVALID, false},
        {"/8", NULL, ERR_INVALID, false},
        {"192.0.2.0/", NULL, ERR_INVALID, false},
        {"2001:db8::/129", NULL, ERR_INVALID, false},
        {"example.net/8", NULL, ERR_INVALID, false},
        {"192.0.2.0/-1", NULL, ERR_INVALID, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct network n;
        print_message("%s %s\n", cases[i].network, cases[i].address ? cases[i].address : "");
        assert_int_equal(network_parse(slice_str(cases[i].network), &n), cases[i].rc);
        if (cases[i].rc == 0)
            assert_int_equal(network_has(&n, cases[i].address), cases[i].has);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(table), cmocka_unit_test(limits), cmocka_unit_test(networks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
