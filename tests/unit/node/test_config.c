/* Configuration files and what is said about bad ones. */
#include "node/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define MINIMAL "[node]\nname = n1\ndata = /tmp/d\n[peer]\nlisten = 127.0.0.1:1\n"

static int load_bytes(const char *text, size_t n, struct config **c, struct err_detail *e)
{
    char path[] = "config-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
    close(fd);
    int r = config_load(path, c, e);
    unlink(path);
    return r;
}

static int load(const char *text, struct config **c, struct err_detail *e)
{
    return load_bytes(text, strlen(text), c, e);
}

/* A line that begins with NUL is an empty string to whoever looks for its end. */
static void test_nul(void **state)
{
    (void)state;
    static const char first[] = MINIMAL "\0\n", middle[] = MINIMAL "heartbeat_ms\0 = 50\n", only[] = "\0";
    static const struct {
        const char *text;
        size_t n;
        const char *says;
    } rows[] = {{first, sizeof first - 1, ":6: a NUL byte"},
                {middle, sizeof middle - 1, ":6: a NUL byte"},
                {only, sizeof only - 1, ":1: a NUL byte"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config *c;
        struct err_detail e = {{0}};
        assert_int_equal(load_bytes(rows[i].text, rows[i].n, &c, &e), ERR_INVALID);
        if (!strstr(e.text, rows[i].says))
            fail_msg("row %zu: %s", i, e.text);
        config_free(&c);
    }
}

static void test_good(void **state)
{
    (void)state;
    struct config *c;
    struct err_detail e = {{0}};
    assert_int_equal(load(MINIMAL "heartbeat_ms = 50\nelection_ms=200\n[store]\ndisk_reserve_mb = 3\n"
                                  "[queue]\nresolvers = 127.0.0.1:53, [::1]:53\ndeliveries = 7\n"
                                  "[listener imap]\nprotocol = imap\nlisten = 127.0.0.1:143\ntls = starttls\n"
                                  "[listener lb]\nprotocol = smtp\nlisten = [::]:25\nproxy_protocol = yes\n"
                                  "proxy_trusted = 192.0.2.0/24\n",
                          &c, &e),
                     0);
    assert_string_equal(c->name, "n1");
    assert_string_equal(c->hostname, "n1");
    assert_string_equal(c->peer_advertise, "127.0.0.1:1");
    assert_int_equal(c->heartbeat_ms, 50);
    assert_int_equal(c->disk_reserve, 3 << 20);
    assert_string_equal(c->queue_resolvers, "127.0.0.1:53, [::1]:53");
    assert_null(c->queue_ca_file);
    assert_int_equal(c->queue_deliveries, 7);
    assert_int_equal(c->listener_n, 2);
    assert_int_equal(c->listeners[0].listener.protocol, LISTENER_IMAP);
    assert_true(c->listeners[1].listener.proxy);
    assert_int_equal(c->listeners[1].listener.tls, LISTENER_TLS_STARTTLS); /* nothing is in the clear unasked */
    config_free(&c);
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"[node]\nname = n1\n", "[node] data is missing"},
        {"[node]\nnames = n1\n", ":2: names is not known in [node]: write one of name, data"},
        {MINIMAL "[queue]\ndeliveries = 0\n", ":7: deliveries = 0: write a whole number from 1 to 10000"},
        {"[nod]\nname = n1\n", ":2: section [nod] is not known"},
        {"[node]\n\n# a comment\nlog_level = loud\n", ":4: log_level = loud: write debug"},
        {"[node]\nthis is no pair\n", ":2: neither a [section] nor NAME = VALUE"},
        {MINIMAL "heartbeat_ms = x\n", ":6: heartbeat_ms = x: write a whole number from 10 to 10000"},
        {MINIMAL "heartbeat_ms = 200\nelection_ms = 300\n", "three times heartbeat_ms"},
        {MINIMAL "[tls]\nkey = /k\n", "certificate and key go together"},
        {MINIMAL "[listener a]\nprotocol = http\n", ":7: protocol = http: write imap"},
        {MINIMAL "[listener a]\nprotocol = imap\nlisten = localhost\n", ":8: listen = localhost: write ADDRESS:PORT"},
        {MINIMAL "[listener a]\nprotocol = imap\n", "[listener a] needs protocol and listen"},
        {MINIMAL "[listener a]\nprotocol = imap\nlisten = 1.2.3.4:5\nproxy_protocol = yes\n", "write proxy_trusted"},
        {MINIMAL "[listener a]\nprotocol=imap\nlisten=1.2.3.4:5\n[listener b]\nprotocol=imap\nlisten=1.2.3.4:5\n",
         "listens on 1.2.3.4 port 5 like [listener a]"},
        {MINIMAL "[listener a]\nprotocol=imap\nlisten=1.2.3.4:5\nproxy_trusted=1.2.3.4/99\n", ":9: proxy_trusted"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config *c;
        struct err_detail e = {{0}};
        assert_int_equal(load(rows[i].text, &c, &e), ERR_INVALID);
        if (!strstr(e.text, rows[i].says))
            fail_msg("row %zu: \"%s\" does not say \"%s\"", i, e.text, rows[i].says);
        config_free(&c);
    }
    struct config *c;
    struct err_detail e;
    assert_int_equal(config_load("/nonexistent", &c, &e), ERR_NOTFOUND);
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nul), cmocka_unit_test(test_good),
                                       cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
