/* Lookups against a DNS server of the test's own, on loopback. */
#include "node/io/dns.h"
#include "node/base/buf.h"
#include "node/base/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>

enum { A = 1, CNAME = 5, MX = 15, AAAA = 28, SILENT = 100 };

struct record {
    const char *name;
    int type; /* 0: rcode stands for every question of the name */
    int rcode, preference;
    const char *value;
};

struct server {
    uv_loop_t loop;
    uv_udp_t udp;
    uv_timer_t limit;
    const struct record *records;
    size_t n;
    unsigned asked;
    char address[32], buffer[1500];
    bool over;
    struct dns *dns;
};

/* ---- the server ---- */

static void name_put(struct buf *b, const char *name)
{
    while (*name) {
        size_t n = strcspn(name, ".");
        buf_append_byte(b, (uint8_t)n);
        buf_append(b, name, n);
        name += n + (name[n] == '.');
    }
    buf_append_byte(b, 0);
}

static void be16(struct buf *b, int v)
{
    buf_append_byte(b, (uint8_t)(v >> 8));
    buf_append_byte(b, (uint8_t)v);
}

static void record_put(struct buf *b, const struct record *r)
{
    struct buf data = {0};
    uint8_t address[16];
    if (r->type == MX) {
        be16(&data, r->preference);
        name_put(&data, r->value);
    } else if (r->type == CNAME) {
        name_put(&data, r->value);
    } else {
        assert_int_equal(inet_pton(r->type == A ? AF_INET : AF_INET6, r->value, address), 1);
        buf_append(&data, address, r->type == A ? 4 : 16);
    }
    name_put(b, r->name);
    be16(b, r->type);
    be16(b, 1);
    buf_append(b, "\0\0\1\0", 4);
    be16(b, (int)buf_len(&data));
    buf_append_slice(b, buf_slice(&data));
    buf_close(&data);
}

static size_t name_take(const uint8_t *p, char *out)
{
    size_t at = 0;
    *out = 0;
    while (p[at]) {
        if (*out)
            strcat(out, ".");
        strncat(out, (const char *)p + at + 1, p[at]);
        at += p[at] + 1u;
    }
    return at + 1;
}

/* Records of the name, and of what it is an alias of. */
static void answer_put(struct server *s, struct buf *b, const char *name, int type, int *rcode, int *count)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct record *r = &s->records[i];
        if (strcasecmp(r->name, name) != 0)
            continue;
        *rcode = r->rcode ? r->rcode : *rcode == 3 ? 0 : *rcode;
        if (r->type != type && r->type != CNAME)
            continue;
        record_put(b, r);
        ++*count;
        if (r->type == CNAME && type != CNAME)
            answer_put(s, b, r->value, type, rcode, count);
    }
}

static void asked(uv_udp_t *udp, ssize_t n, const uv_buf_t *in, const struct sockaddr *from, unsigned flags)
{
    struct server *s = udp->data;
    (void)flags;
    if (n < 12 || !from)
        return;
    s->asked++;
    const uint8_t *q = (const uint8_t *)in->base;
    char name[300];
    size_t end = 12 + name_take(q + 12, name);
    int type = q[end] << 8 | q[end + 1], rcode = 3, count = 0;
    struct buf body = {0}, out = {0};
    answer_put(s, &body, name, type, &rcode, &count);
    if (rcode != SILENT) {
        buf_append(&out, q, 2);
        be16(&out, 0x8180 | rcode);
        be16(&out, 1);
        be16(&out, rcode ? 0 : count);
        be16(&out, 0);
        be16(&out, 0);
        buf_append(&out, q + 12, end + 4 - 12);
        if (rcode == 0)
            buf_append_slice(&out, buf_slice(&body));
        uv_buf_t iov = uv_buf_init((char *)out.base, (unsigned)buf_len(&out));
        uv_udp_try_send(udp, &iov, 1, from);
    }
    buf_close(&body);
    buf_close(&out);
}

static void give_buffer(uv_handle_t *h, size_t n, uv_buf_t *out)
{
    struct server *s = h->data;
    (void)n;
    *out = uv_buf_init(s->buffer, sizeof s->buffer);
}

static void limit(uv_timer_t *t)
{
    ((struct server *)t->data)->over = true;
}

static void server_open(struct server *s, const struct record *records, size_t n)
{
    memset(s, 0, sizeof *s);
    s->records = records;
    s->n = n;
    uv_loop_init(&s->loop);
    uv_udp_init(&s->loop, &s->udp);
    uv_timer_init(&s->loop, &s->limit);
    s->udp.data = s->limit.data = s;
    struct sockaddr_in a;
    uv_ip4_addr("127.0.0.1", 0, &a);
    assert_int_equal(uv_udp_bind(&s->udp, (const struct sockaddr *)&a, 0), 0);
    int size = sizeof a;
    uv_udp_getsockname(&s->udp, (struct sockaddr *)&a, &size);
    snprintf(s->address, sizeof s->address, " 127.0.0.1:%d ", ntohs(a.sin_port));
    uv_udp_recv_start(&s->udp, give_buffer, asked);
    struct err_detail e;
    assert_int_equal(dns_new(&s->loop, &(struct dns_config){s->address, 100, 2}, &s->dns, &e), 0);
}

static void server_close(struct server *s)
{
    dns_free(&s->dns);
    uv_close((uv_handle_t *)&s->udp, NULL);
    uv_close((uv_handle_t *)&s->limit, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

/* ---- asking ---- */

struct ask {
    struct dns_lookup lookup;
    struct dns_answer answer;
    unsigned done;
};

static void answered(struct dns_lookup *l, const struct dns_answer *a)
{
    struct ask *k = container_of(l, struct ask, lookup);
    k->answer = *a;
    k->done++;
}

static void wait_for(struct server *s, const struct ask *k)
{
    uv_timer_start(&s->limit, limit, 10000, 0);
    while (!k->done && !s->over)
        uv_run(&s->loop, UV_RUN_ONCE);
    assert_int_equal(k->done, 1);
    uv_timer_stop(&s->limit);
}

static const struct dns_answer *ask(struct server *s, struct ask *k, const char *name, bool mx)
{
    *k = (struct ask){.lookup.done = answered};
    (mx ? dns_mx : dns_addresses)(s->dns, name, &k->lookup);
    assert_int_equal(k->done, 0); /* never inside of the call */
    wait_for(s, k);
    return &k->answer;
}

/* ---- tests ---- */

static const struct record zone[] = {
    {"example.com", MX, 0, 20, "mx2.example.com"},
    {"example.com", MX, 0, 10, "MX1.example.com"},
    {"example.com", MX, 0, 30, "mx3.example.com"},
    {"implicit.example", A, 0, 0, "192.0.2.10"},
    {"null.example", MX, 0, 0, ""},
    {"odd.example", MX, 0, 0, ""},
    {"odd.example", MX, 0, 10, "mx.odd.example"},
    {"broken.example", 0, 2, 0, NULL},
    {"refused.example", 0, 5, 0, NULL},
    {"silent.example", 0, SILENT, 0, NULL},
    {"alias.example", CNAME, 0, 0, "example.com"},
    {"both.example", A, 0, 0, "192.0.2.1"},
    {"both.example", A, 0, 0, "192.0.2.2"},
    {"both.example", AAAA, 0, 0, "2001:db8::1"},
    {"four.example", A, 0, 0, "192.0.2.3"},
    {"six.example", AAAA, 0, 0, "2001:db8::2"},
    {"www.example", CNAME, 0, 0, "four.example"},
};

static void test_mx(void **state)
{
    (void)state;
    struct server s;
    struct ask k;
    server_open(&s, zone, sizeof zone / sizeof zone[0]);
    const struct dns_answer *a = ask(&s, &k, "Example.COM", true);
    assert_int_equal(a->result, DNS_FOUND);
    assert_int_equal(a->n, 3);
    assert_string_equal(a->mx[0].host, "mx1.example.com");
    assert_int_equal(a->mx[0].preference, 10);
    assert_string_equal(a->mx[1].host, "mx2.example.com");
    assert_string_equal(a->mx[2].host, "mx3.example.com");
    assert_int_equal(ask(&s, &k, "alias.example", true)->n, 3);
    assert_int_equal(ask(&s, &k, "implicit.example", true)->result, DNS_NO_DATA);
    assert_int_equal(ask(&s, &k, "null.example", true)->result, DNS_NULL_MX);
    assert_int_equal(ask(&s, &k, "nowhere.example", true)->result, DNS_NO_NAME);
    a = ask(&s, &k, "odd.example", true);
    assert_int_equal(a->result, DNS_FOUND); /* "." beside others means nothing */
    assert_int_equal(a->n, 1);
    assert_string_equal(a->mx[0].host, "mx.odd.example");
    server_close(&s);
}

static void test_addresses(void **state)
{
    (void)state;
    struct server s;
    struct ask k;
    server_open(&s, zone, sizeof zone / sizeof zone[0]);
    const struct dns_answer *a = ask(&s, &k, "both.example", false);
    assert_int_equal(a->result, DNS_FOUND);
    assert_int_equal(a->n, 3);
    assert_string_equal(a->addresses[0], "2001:db8::1");
    assert_string_equal(a->addresses[1], "192.0.2.1");
    assert_string_equal(a->addresses[2], "192.0.2.2");
    a = ask(&s, &k, "www.example", false);
    assert_int_equal(a->n, 1);
    assert_string_equal(a->addresses[0], "192.0.2.3");
    assert_string_equal(ask(&s, &k, "six.example", false)->addresses[0], "2001:db8::2");
    assert_int_equal(ask(&s, &k, "null.example", false)->result, DNS_NO_DATA);
    assert_int_equal(ask(&s, &k, "nowhere.example", false)->result, DNS_NO_NAME);
    server_close(&s);
}

/* What may pass is told from what does not: servers that fail, refuse, or say nothing. */
static void test_temporary(void **state)
{
    (void)state;
    static const char *const names[] = {"broken.example", "refused.example", "silent.example"};
    struct server s;
    struct ask k;
    server_open(&s, zone, sizeof zone / sizeof zone[0]);
    for (size_t i = 0; i < 3; i++)
        for (int mx = 0; mx < 2; mx++) {
            assert_int_equal(ask(&s, &k, names[i], mx)->result, DNS_TEMPORARY);
            assert_non_null(k.answer.why);
        }
    server_close(&s);
}

static void test_not_a_name(void **state)
{
    (void)state;
    struct server s;
    struct ask k;
    char label[80], name[400] = "";
    server_open(&s, zone, sizeof zone / sizeof zone[0]);
    memset(label, 'a', 64);
    label[64] = 0;
    assert_int_equal(ask(&s, &k, label, true)->result, DNS_NO_NAME);
    assert_int_equal(ask(&s, &k, "a..b", true)->result, DNS_NO_NAME);
    for (int i = 0; i < 60; i++)
        strcat(name, "abcde.");
    assert_int_equal(ask(&s, &k, name, true)->result, DNS_NO_NAME);
    ask(&s, &k, name, false);
    ask(&s, &k, "", true);
    server_close(&s);
}

/* Each of equal preferences comes first about as often; better ones stay in front. */
static void test_equal(void **state)
{
    (void)state;
    static const struct record records[] = {{"e.example", MX, 0, 5, "first"},
                                            {"e.example", MX, 0, 10, "a"},
                                            {"e.example", MX, 0, 10, "b"},
                                            {"e.example", MX, 0, 10, "c"},
                                            {"e.example", MX, 0, 20, "last"}};
    struct server s;
    struct ask k;
    unsigned seen[3] = {0};
    server_open(&s, records, 5);
    for (int i = 0; i < 600; i++) {
        const struct dns_answer *a = ask(&s, &k, "e.example", true);
        assert_string_equal(a->mx[0].host, "first");
        assert_string_equal(a->mx[4].host, "last");
        seen[a->mx[1].host[0] - 'a']++;
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(seen[i], 120, 280);
    assert_int_equal(s.asked, 1); /* kept */
    server_close(&s);
}

/* Only the best ones are used, however many there are. */
static void test_many(void **state)
{
    (void)state;
    struct record records[40];
    char hosts[40][8];
    for (int i = 0; i < 40; i++) {
        snprintf(hosts[i], sizeof hosts[i], "h%d", i);
        records[i] = (struct record){"m.example", MX, 0, 100 - i, hosts[i]};
    }
    struct server s;
    struct ask k;
    server_open(&s, records, 20); /* what fits into a packet of 512 octets */
    const struct dns_answer *a = ask(&s, &k, "m.example", true);
    assert_int_equal(a->n, DNS_HOSTS_MAX);
    for (unsigned i = 0; i < DNS_HOSTS_MAX; i++)
        assert_int_equal(a->mx[i].preference, 81 + i);
    server_close(&s);
}

static void test_shared_and_canceled(void **state)
{
    (void)state;
    struct server s;
    struct ask k[4];
    server_open(&s, zone, sizeof zone / sizeof zone[0]);
    for (int i = 0; i < 4; i++) {
        k[i] = (struct ask){.lookup.done = answered};
        dns_mx(s.dns, "example.com", &k[i].lookup);
    }
    dns_cancel(&k[0].lookup);
    dns_cancel(&k[0].lookup);
    wait_for(&s, &k[3]);
    assert_int_equal(s.asked, 1);
    assert_int_equal(k[0].done, 0);
    assert_int_equal(k[1].done, 1);
    assert_int_equal(k[2].done, 1);
    dns_flush(s.dns);
    ask(&s, &k[0], "example.com", true);
    assert_int_equal(s.asked, 2);
    /* And one that is under way when it all ends. */
    k[1] = (struct ask){.lookup.done = answered};
    dns_addresses(s.dns, "silent.example", &k[1].lookup);
    server_close(&s);
    assert_int_equal(k[1].done, 0);
}

static void test_servers(void **state)
{
    (void)state;
    static const char *const bad[] = {"nowhere", "127.0.0.1:x", "1.2.3"};
    struct dns *d;
    uv_loop_t loop;
    uv_loop_init(&loop);
    for (size_t i = 0; i < 3; i++) {
        struct err_detail e = {{0}};
        assert_int_equal(dns_new(&loop, &(struct dns_config){.servers = bad[i]}, &d, &e), ERR_INVALID);
        assert_non_null(strstr(e.text, "resolvers = "));
        assert_null(d);
    }
    assert_int_equal(dns_new(&loop, &(struct dns_config){.servers = "127.0.0.1:5353, [::1]:5353"}, &d, NULL), 0);
    dns_free(&d);
    assert_int_equal(dns_new(&loop, &(struct dns_config){0}, &d, NULL), 0);
    dns_free(&d);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mx),        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_temporary), cmocka_unit_test(test_not_a_name),
        cmocka_unit_test(test_equal),     cmocka_unit_test(test_many),
        cmocka_unit_test(test_servers),   cmocka_unit_test(test_shared_and_canceled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
