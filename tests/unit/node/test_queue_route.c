/* Routes, sources, static hosts: what is understood, what is refused, what wins. */
#include "node/queue_route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

static struct routes *make(const char *routes, const char *sources, const char *hosts)
{
    struct routes *r;
    struct err_detail e = {{0}};
    if (routes_new(slice_str(routes), slice_str(sources), slice_str(hosts), &r, &e))
        fail_msg("%s", e.text);
    return r;
}

static void test_default(void **state)
{
    (void)state;
    struct routes *r = make("", "", "");
    const struct route *t = route_find(r, SLICE_LITERAL("example.com"));
    assert_null(t->host);
    assert_int_equal(t->tls, SMTP_TLS_MAY);
    assert_false(t->hold);
    assert_null(route_source(r, SLICE_LITERAL("a@example.com")));
    routes_free(&r);
    assert_null(r);
}

/* The more specific pattern wins, wherever it stands. */
static void test_match(void **state)
{
    (void)state;
    struct routes *r = make("* host=all\n"
                            "# a comment\n"
                            "example.com host=exact ; .example.com host=below\r\n"
                            "  .deep.example.com host=deeper\n"
                            ".com host=com\n",
                            "", "");
    static const struct {
        const char *destination, *host;
    } table[] = {{"example.com", "exact"},      {"EXAMPLE.com", "exact"},
                 {"a.example.com", "below"},    {"a.b.example.com", "below"},
                 {"deep.example.com", "below"}, {"x.deep.example.com", "deeper"},
                 {"other.com", "com"},          {"example.org", "all"},
                 {"xexample.com", "com"},       {"com", "all"},
                 {"[192.0.2.1]", "all"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_string_equal(route_find(r, slice_str(table[i].destination))->host, table[i].host);
    routes_free(&r);
}

static void test_keys(void **state)
{
    (void)state;
    struct routes *r = make("a host=Relay.Example:587 tls=require user=u password=p=w source=192.0.2.9\n"
                            "b host=[relay]:2525 tls=none\n"
                            "c host=[2001:db8::1]\n"
                            "d host=2001:db8::1\n"
                            "e host=192.0.2.1:26\n"
                            "f hold=yes\n"
                            "g host=x user=u password=p\n"
                            "h tls=verify\n"
                            "i host=x tls=wrapped user=u password=p\n",
                            "", "");
    const struct route *t = route_find(r, SLICE_LITERAL("a"));
    assert_string_equal(t->host, "relay.example");
    assert_int_equal(t->port, 587);
    assert_false(t->direct);
    assert_int_equal(t->tls, SMTP_TLS_REQUIRE);
    assert_string_equal(t->user, "u");
    assert_string_equal(t->password, "p=w");
    assert_string_equal(t->source, "192.0.2.9");
    t = route_find(r, SLICE_LITERAL("b"));
    assert_string_equal(t->host, "relay");
    assert_true(t->direct);
    assert_int_equal(t->port, 2525);
    t = route_find(r, SLICE_LITERAL("c"));
    assert_string_equal(t->host, "2001:db8::1");
    assert_true(t->direct);
    assert_int_equal(t->port, 0);
    t = route_find(r, SLICE_LITERAL("d"));
    assert_string_equal(t->host, "2001:db8::1");
    assert_true(t->direct);
    t = route_find(r, SLICE_LITERAL("e"));
    assert_true(t->direct);
    assert_int_equal(t->port, 26);
    assert_true(route_find(r, SLICE_LITERAL("f"))->hold);
    assert_int_equal(route_find(r, SLICE_LITERAL("g"))->tls, SMTP_TLS_VERIFY); /* a password goes to who it is for */
    assert_int_equal(route_find(r, SLICE_LITERAL("h"))->tls, SMTP_TLS_VERIFY);
    assert_int_equal(route_find(r, SLICE_LITERAL("i"))->tls, SMTP_TLS_WRAPPED);
    routes_free(&r);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *routes, *sources, *hosts, *says;
    } table[] = {
        {"\nexample.com nonsense", "", "", "queue.routes, line 2: nonsense: write key=value"},
        {"a colour=red", "", "", "colour is not known"},
        {"a host=x:0", "", "", "host=x:0"},
        {"a host=x:65536", "", "", "host="},
        {"a host=[x", "", "", "host="},
        {"a host=[]", "", "", "host="},
        {"a host=[x]y", "", "", "host="},
        {"a tls=maybe", "", "", "tls=maybe"},
        {"a hold=no", "", "", "hold=yes"},
        {"a source=eth0", "", "", "source=eth0"},
        {"a user=u", "", "", "go together"},
        {"a user=u password=p tls=none", "", "", "without TLS"},
        {"a user=u password=p tls=may", "", "", "without TLS"},
        {"u@example.com host=x", "", "", "write a domain"},
        {"*.com host=x", "", "", "write a domain"},
        {"host=x", "", "", "write a domain"},
        {". host=x", "", "", "write a domain"},
        {"a host=x\nA host=y", "", "", "twice"},
        {"", "example.com 192.0.2.1", "", "queue.sources, line 1"},
        {"", "@example.com", "", "local address"},
        {"", "@example.com 192.0.2.1 x", "", "local address"},
        {"", "", "mx", "write an address"},
        {"", "", "mx 192.0.2.1:x", "write addresses"},
        {"", "", "mx other.example", "write addresses"},
        {"", "",
         "mx 1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,"
         "1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1",
         "more than 16"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct routes *r;
        struct err_detail e = {{0}};
        int rc = routes_new(slice_str(table[i].routes), slice_str(table[i].sources), slice_str(table[i].hosts), &r, &e);
        if (rc != ERR_INVALID || !strstr(e.text, table[i].says))
            fail_msg("%zu: %d \"%s\" lacks \"%s\"", i, rc, e.text, table[i].says);
        assert_null(r);
    }
}

static void test_sources_and_hosts(void **state)
{
    (void)state;
    struct routes *r = make("", "@example.com 192.0.2.1\nBoss@example.com 2001:db8::2\n",
                            "MX.example.com 127.0.0.1:2525, [::1]:2526\nbare 192.0.2.7\n");
    const char *const *a;
    assert_string_equal(route_source(r, SLICE_LITERAL("a@EXAMPLE.com")), "192.0.2.1");
    assert_string_equal(route_source(r, SLICE_LITERAL("boss@example.com")), "2001:db8::2");
    assert_null(route_source(r, SLICE_LITERAL("a@x.example.com")));
    assert_null(route_source(r, SLICE_LITERAL("")));
    assert_int_equal(route_host(r, SLICE_LITERAL("mx.EXAMPLE.com"), &a), 2);
    assert_string_equal(a[0], "127.0.0.1:2525");
    assert_string_equal(a[1], "[::1]:2526");
    assert_int_equal(route_host(r, SLICE_LITERAL("bare"), &a), 1);
    assert_int_equal(route_host(r, SLICE_LITERAL("none"), &a), 0);
    routes_free(&r);
}

static void test_address(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } table[] = {{"192.0.2.1", "192.0.2.1:25"},
                 {"192.0.2.1:26", "192.0.2.1:26"},
                 {"::1", "[::1]:25"},
                 {"[::1]", "[::1]:25"},
                 {"[::1]:26", "[::1]:26"},
                 {"[192.0.2.1]:27", "192.0.2.1:27"},
                 {"host", NULL},
                 {"192.0.2.1:", NULL},
                 {"", NULL},
                 {"192.0.2", NULL},
                 {"[::1]:", NULL}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char out[160] = "";
        assert_int_equal(route_address(slice_str(table[i].in), 25, out, sizeof out), table[i].out ? 0 : ERR_INVALID);
        if (table[i].out)
            assert_string_equal(out, table[i].out);
    }
    char tiny[8];
    assert_int_equal(route_address(SLICE_LITERAL("192.0.2.1"), 25, tiny, sizeof tiny), ERR_INVALID);
}

/* Every prefix of a rich table is understood or refused, and nothing else happens. */
static void test_prefixes(void **state)
{
    (void)state;
    static const char text[] = "a host=[::1]:25 tls=wrapped user=u password=p source=::1; .b hold=yes\n* host=x:1\n";
    for (size_t n = 0; n < sizeof text; n++) {
        char *exact = mem_strndup(slice_make(text, n));
        struct routes *r;
        struct err_detail e;
        routes_new(slice_str(exact), slice_str(exact), slice_str(exact), &r, &e);
        routes_free(&r);
        routes_new(slice_str(exact), (struct slice){0}, (struct slice){0}, &r, &e);
        routes_free(&r);
        mem_free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),  cmocka_unit_test(test_match),   cmocka_unit_test(test_keys),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_address), cmocka_unit_test(test_sources_and_hosts),
        cmocka_unit_test(test_prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
