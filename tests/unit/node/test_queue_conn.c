/* One connection to a mail host: a server on loopback that follows a script. */
#include "node/queue_conn.h"
#include "node/base/task.h"
#include "node/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TURNS_MS = 60000 };
static const char tls_now[] = "tls", hang_up[] = "close", silence[] = "silence", until_dot[] = "dot";

/* What the server waits for, and what it answers then. */
struct step {
    const char *expect; /* the beginning of a line; NULL: at once; until_dot: the end of a message */
    const char *reply;  /* or one of the above */
};

struct rig {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_timer_t limit;
    char address[32];
    const struct step *script;
    struct stream *server;
    struct buf in, message;
    unsigned accepted;
    struct tls *tls;
    SSL_CTX *any, *verify;
    char folder[64];

    struct queue_conn *conn;
    struct smtp_client_mail mail;
    struct smtp_client_recipient recipient;
    unsigned ready, confirmed, done, failed;
    bool again, over, hold_back, withhold;
    enum queue_conn_trouble trouble;
    struct smtp_outcome outcome;
    char tls_text[128];
    _Atomic unsigned count;
};

/* ---- the server ---- */

static void step_next(struct rig *r)
{
    const char *reply = r->script->reply;
    r->script++;
    if (reply == hang_up) {
        stream_close(r->server, 0);
        r->server = NULL;
    } else if (reply == tls_now) {
        SSL_CTX *ctx = tls_context(r->tls);
        assert_int_equal(stream_tls_accept(r->server, ctx), 0);
        SSL_CTX_free(ctx);
    } else if (reply && reply != silence) {
        stream_write(r->server, slice_str(reply));
    }
}

static bool line_take(struct rig *r)
{
    struct slice in = buf_slice(&r->in);
    size_t n = slice_find(in, '\n');
    if (n == in.n)
        return false;
    if (r->script->expect == until_dot) {
        bool dot = slice_eq(slice_first(in, n + 1), SLICE_LITERAL(".\r\n"));
        if (!dot)
            buf_append(&r->message, in.p, n + 1);
        buf_consume(&r->in, n + 1);
        if (dot)
            step_next(r);
        return r->server;
    }
    if (!r->script->expect)
        fail_msg("the script has ended, and \"%.*s\" comes", (int)n, (const char *)in.p);
    if (!slice_istarts(in, slice_str(r->script->expect)))
        fail_msg("\"%.*s\" came instead of \"%s\"", (int)n, (const char *)in.p, r->script->expect);
    buf_consume(&r->in, n + 1);
    step_next(r);
    /* STARTTLS: the reply goes out in plaintext first. */
    if (r->server && r->script->reply == tls_now && !r->script->expect)
        step_next(r);
    return r->server;
}

static size_t server_read(void *arg, struct slice in)
{
    struct rig *r = arg;
    buf_append_slice(&r->in, in);
    while (line_take(r))
        ;
    return in.n;
}

static void server_closed(void *arg, int status, const char *why)
{
    struct rig *r = arg;
    (void)status;
    (void)why;
    stream_close(r->server, 0);
    r->server = NULL;
}

static const struct stream_events server_events = {.read = server_read, .closed = server_closed};

static void accepted(uv_stream_t *listener, int status)
{
    struct rig *r = listener->data;
    assert_int_equal(status, 0);
    uv_tcp_t *tcp = mem_alloc(sizeof *tcp);
    uv_tcp_init(&r->loop, tcp);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)tcp), 0);
    r->accepted++;
    r->server = stream_accept(&r->loop, tcp, &server_events, r);
    while (r->server && r->script->reply && !r->script->expect)
        step_next(r);
}

static void limit(uv_timer_t *t)
{
    ((struct rig *)t->data)->over = true;
}

static void rig_open(struct rig *r, const struct step *script)
{
    memset(r, 0, sizeof *r);
    r->script = script;
    uv_loop_init(&r->loop);
    uv_tcp_init(&r->loop, &r->listener);
    uv_timer_init(&r->loop, &r->limit);
    r->listener.data = r->limit.data = r;
    struct sockaddr_in a;
    uv_ip4_addr("127.0.0.1", 0, &a);
    assert_int_equal(uv_tcp_bind(&r->listener, (const struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&r->listener, 8, accepted), 0);
    int n = sizeof a;
    uv_tcp_getsockname(&r->listener, (struct sockaddr *)&a, &n);
    snprintf(r->address, sizeof r->address, "127.0.0.1:%u", ntohs(a.sin_port));
    strcpy(r->folder, "/tmp/merlion-conn-XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    struct err_detail e;
    assert_int_equal(tls_new(&(struct tls_config){.data = r->folder, .host_name = "mx.example"}, &r->tls, &e), 0);
    r->any = SSL_CTX_new(TLS_client_method());
    r->verify = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(r->verify, SSL_VERIFY_PEER, NULL);
}

static void certificate_trust(struct rig *r, SSL_CTX *ctx)
{
    SSL_CTX *server = tls_context(r->tls);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), SSL_CTX_get0_certificate(server));
    SSL_CTX_free(server);
}

static void rig_close(struct rig *r)
{
    char path[128];
    if (r->server)
        stream_close(r->server, 0);
    uv_close((uv_handle_t *)&r->listener, NULL);
    uv_close((uv_handle_t *)&r->limit, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    assert_int_equal(atomic_load(&r->count), 0);
    SSL_CTX_free(r->any);
    SSL_CTX_free(r->verify);
    tls_free(&r->tls);
    bytes_unref(&r->mail.body);
    buf_close(&r->in);
    buf_close(&r->message);
    snprintf(path, sizeof path, "%s/tls-selfsigned.pem", r->folder);
    unlink(path);
    rmdir(r->folder);
}

/* ---- the client's owner ---- */

static void on_ready(struct queue_conn *c)
{
    struct rig *r = queue_conn_owner(c);
    r->ready++;
    snprintf(r->tls_text, sizeof r->tls_text, "%s", queue_conn_tls(c));
    if (!r->hold_back)
        queue_conn_send(c, &r->mail);
}

static void on_confirm(struct queue_conn *c)
{
    struct rig *r = queue_conn_owner(c);
    r->confirmed++;
    if (r->withhold)
        queue_conn_withhold(c, "not now");
    else if (!r->hold_back)
        queue_conn_commit(c);
}

static void on_done(struct queue_conn *c, bool again)
{
    struct rig *r = queue_conn_owner(c);
    r->done++;
    r->again = again;
    r->outcome = r->recipient.outcome;
    if (!again)
        r->conn = NULL;
}

static void on_failed(struct queue_conn *c, enum queue_conn_trouble t, const struct smtp_outcome *o)
{
    struct rig *r = queue_conn_owner(c);
    r->failed++;
    r->trouble = t;
    r->outcome = *o;
    r->conn = NULL;
}

static const struct queue_conn_events events = {on_ready, on_confirm, on_done, on_failed};

static void dial(struct rig *r, struct queue_conn_config c)
{
    static const char message[] = "Return-Path: <>\r\nSubject: hello\r\n\r\n.dots\r\nbody\r\n";
    if (!r->mail.body)
        r->mail.body = bytes_copy(slice_str(message));
    r->mail.skip = 17;
    r->mail.sender = SLICE_LITERAL("from@a.example");
    r->mail.recipients = &r->recipient;
    r->mail.n = 1;
    r->recipient.address = SLICE_LITERAL("to@b.example");
    c.loop = &r->loop;
    c.address = c.address ? c.address : r->address;
    c.server_name = c.server_name ? c.server_name : "mx.example";
    c.helo = "us.example";
    c.tls_any = r->any;
    c.tls_verify = r->verify;
    c.events = &events;
    c.owner = r;
    c.count = &r->count;
    r->conn = queue_conn_new(&c);
}

#define until(r, cond)                                                                                                 \
    do {                                                                                                               \
        uv_timer_start(&(r)->limit, limit, TURNS_MS, 0);                                                               \
        while (!(cond)) {                                                                                              \
            uv_run(&(r)->loop, UV_RUN_ONCE);                                                                           \
            if ((r)->over)                                                                                             \
                fail_msg("timed out waiting for %s", #cond);                                                           \
        }                                                                                                              \
        uv_timer_stop(&(r)->limit);                                                                                    \
    } while (0)

#define EHLO                                                                                                           \
    {                                                                                                                  \
        "EHLO us.example", "250-mx.example\r\n250 8BITMIME\r\n"                                                        \
    }
#define EHLO_TLS                                                                                                       \
    {                                                                                                                  \
        "EHLO us.example", "250-mx.example\r\n250 STARTTLS\r\n"                                                        \
    }
#define MAIL                                                                                                           \
    {"MAIL FROM:<from@a.example>", "250 ok\r\n"}, {"RCPT TO:<to@b.example>", "250 ok\r\n"}, {"DATA", "354 go\r\n"},    \
    {                                                                                                                  \
        until_dot, "250 2.0.0 taken\r\n"                                                                               \
    }

/* ---- tests ---- */

static void test_two_mails(void **state)
{
    (void)state;
    static const struct step script[] = {{NULL, "220 mx.example\r\n"}, EHLO, MAIL, MAIL, {"QUIT", "221 bye\r\n"}, {0}};
    struct rig r;
    rig_open(&r, script);
    dial(&r, (struct queue_conn_config){.tls = SMTP_TLS_MAY});
    until(&r, r.done == 1);
    assert_true(r.again);
    assert_int_equal(r.outcome.kind, SMTP_DELIVERED);
    assert_string_equal(r.outcome.text, "2.0.0 taken");
    assert_int_equal(r.confirmed, 1);
    assert_string_equal(r.tls_text, "");
    struct slice got = buf_slice(&r.message);
    assert_true(slice_eq(got, SLICE_LITERAL("Subject: hello\r\n\r\n..dots\r\nbody\r\n")));
    queue_conn_send(r.conn, &r.mail);
    until(&r, r.done == 2);
    assert_int_equal(queue_conn_mails(r.conn), 2);
    queue_conn_quit(r.conn);
    until(&r, !r.server);
    assert_int_equal(r.accepted, 1);
    assert_int_equal(r.failed, 0);
    rig_close(&r);
}

/* More than the client keeps ahead, and more than the socket takes at once. */
static void test_large(void **state)
{
    (void)state;
    static const struct step script[] = {{NULL, "220 mx\r\n"}, EHLO, MAIL, {"QUIT", hang_up}, {0}};
    struct rig r;
    rig_open(&r, script);
    r.mail.body = bytes_new(20000000);
    memset(r.mail.body->p, 'x', r.mail.body->n);
    for (size_t i = 998; i + 1 < r.mail.body->n; i += 1000)
        memcpy(r.mail.body->p + i, "\r\n", 2);
    dial(&r, (struct queue_conn_config){0});
    until(&r, r.done == 1);
    assert_int_equal(r.outcome.kind, SMTP_DELIVERED);
    assert_int_equal(buf_len(&r.message), r.mail.body->n - 17);
    queue_conn_quit(r.conn);
    rig_close(&r);
}

static void test_starttls(void **state)
{
    (void)state;
    static const struct step script[] = {{NULL, "220 mx\r\n"}, EHLO_TLS, {"STARTTLS", "220 go\r\n"},
                                         {NULL, tls_now},      EHLO,     MAIL,
                                         {"QUIT", hang_up},    {0}};
    static const struct {
        enum smtp_tls_policy tls;
        bool trusted;
    } table[] = {{SMTP_TLS_MAY, false}, {SMTP_TLS_REQUIRE, false}, {SMTP_TLS_MAY, true}, {SMTP_TLS_VERIFY, true}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct rig r;
        rig_open(&r, script);
        if (table[i].trusted) {
            certificate_trust(&r, r.any);
            certificate_trust(&r, r.verify);
        }
        dial(&r, (struct queue_conn_config){.tls = table[i].tls});
        until(&r, r.done == 1);
        assert_int_equal(r.outcome.kind, SMTP_DELIVERED);
        assert_non_null(strstr(r.tls_text, "TLSv1.3 TLS_"));
        assert_int_equal(strstr(r.tls_text, " verified") != NULL, table[i].trusted);
        queue_conn_quit(r.conn);
        rig_close(&r);
    }
}

/* A certificate of nobody we trust, or of another name: no mail goes there when the policy is to verify. */
static void test_not_verified(void **state)
{
    (void)state;
    static const struct step script[] = {
        {NULL, "220 mx\r\n"}, EHLO_TLS, {"STARTTLS", "220 go\r\n"}, {NULL, tls_now}, {0}};
    for (int trusted = 0; trusted < 2; trusted++) {
        struct rig r;
        rig_open(&r, script);
        if (trusted)
            certificate_trust(&r, r.verify);
        dial(&r, (struct queue_conn_config){.tls = SMTP_TLS_VERIFY, .server_name = "other.example"});
        until(&r, r.failed == 1);
        assert_int_equal(r.trouble, QUEUE_CONN_TLS);
        assert_int_equal(r.outcome.kind, SMTP_DEFERRED);
        assert_string_equal(r.outcome.enhanced, "4.7.5");
        assert_int_equal(r.ready, 0);
        rig_close(&r);
    }
}

/* STARTTLS is answered with what is no TLS. */
static void test_broken_tls(void **state)
{
    (void)state;
    static const struct step script[] = {
        {NULL, "220 mx\r\n"},
        EHLO_TLS,
        {"STARTTLS", "220 go\r\nHTTP/1.1 400 no\r\n\r\n more of that, more of that\r\n"},
        {"", silence},
        {"", silence},
        {"", silence},
        {"", silence},
        {"", silence},
        {"", silence},
        {0}};
    struct rig r;
    rig_open(&r, script);
    dial(&r, (struct queue_conn_config){.tls = SMTP_TLS_MAY, .connect_ms = 5000});
    until(&r, r.failed == 1);
    assert_int_equal(r.trouble, QUEUE_CONN_TLS);
    rig_close(&r);
}

static void test_unreachable(void **state)
{
    (void)state;
    static const struct step script[] = {{0}};
    struct rig r;
    rig_open(&r, script);
    dial(&r, (struct queue_conn_config){.address = "127.0.0.1:1"});
    until(&r, r.failed == 1);
    assert_int_equal(r.trouble, QUEUE_CONN_SILENT);
    assert_string_equal(r.outcome.enhanced, "4.4.1");
    assert_non_null(strstr(r.outcome.text, "refused"));
    /* A family that the source address is not of. */
    dial(&r, (struct queue_conn_config){.source = "::1"});
    until(&r, r.failed == 2);
    assert_int_equal(r.trouble, QUEUE_CONN_SILENT);
    rig_close(&r);
}

static void peer_is(struct rig *r, const char *address)
{
    char text[64];
    uint16_t port;
    stream_peer_address(r->server, text, sizeof text, &port);
    assert_string_equal(text, address);
}

static void test_source(void **state)
{
    (void)state;
    static const struct step script[] = {{NULL, "220 mx\r\n"}, EHLO, {0}};
    struct rig r;
    rig_open(&r, script);
    r.hold_back = true;
    dial(&r, (struct queue_conn_config){.source = "127.0.0.77"});
    until(&r, r.ready == 1);
    peer_is(&r, "127.0.0.77");
    queue_conn_cut(r.conn, ERR_CANCELED, "over");
    assert_int_equal(r.failed, 1);
    rig_close(&r);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct step scripts[][3] = {{{NULL, "554 5.7.1 go away\r\n"}, {"QUIT", hang_up}, {0}},
                                             {{NULL, "421 4.3.2 busy\r\n"}, {"QUIT", hang_up}, {0}},
                                             {{NULL, hang_up}, {0}, {0}}};
    static const enum smtp_outcome_kind kinds[] = {SMTP_FAILED, SMTP_DEFERRED, SMTP_DEFERRED};
    for (size_t i = 0; i < 3; i++) {
        struct rig r;
        rig_open(&r, scripts[i]);
        dial(&r, (struct queue_conn_config){0});
        until(&r, r.failed == 1);
        assert_int_equal(r.trouble, QUEUE_CONN_REFUSED);
        assert_int_equal(r.outcome.kind, kinds[i]);
        rig_close(&r);
    }
}

/* After the dot and no answer: nobody knows. */
static void test_unsure(void **state)
{
    (void)state;
    static const struct step script[] = {
        {NULL, "220 mx\r\n"}, EHLO, {"MAIL", "250 ok\r\n"}, {"RCPT", "250 ok\r\n"}, {"DATA", "354 go\r\n"},
        {until_dot, hang_up}, {0}};
    struct rig r;
    rig_open(&r, script);
    dial(&r, (struct queue_conn_config){0});
    until(&r, r.done == 1);
    assert_false(r.again);
    assert_int_equal(r.outcome.kind, SMTP_DEFERRED);
    assert_true(r.outcome.unsure);
    rig_close(&r);
}

/* Without our word the server does not get the dot. */
static void test_withheld(void **state)
{
    (void)state;
    static const struct step script[] = {
        {NULL, "220 mx\r\n"},         EHLO, {"MAIL", "250 ok\r\n"}, {"RCPT", "250 ok\r\n"}, {"DATA", "354 go\r\n"},
        {until_dot, "250 never\r\n"}, {0}};
    struct rig r;
    rig_open(&r, script);
    r.withhold = true;
    dial(&r, (struct queue_conn_config){0});
    until(&r, r.done == 1);
    assert_false(r.again);
    assert_int_equal(r.outcome.kind, SMTP_DEFERRED);
    assert_false(r.outcome.unsure);
    until(&r, !r.server);
    assert_true(r.script->expect == until_dot);
    rig_close(&r);
}

/* A confirmation that comes later, from outside of the event. */
static void test_confirmed_later(void **state)
{
    (void)state;
    static const struct step script[] = {{NULL, "220 mx\r\n"}, EHLO, MAIL, {"QUIT", hang_up}, {0}};
    struct rig r;
    rig_open(&r, script);
    r.hold_back = true;
    dial(&r, (struct queue_conn_config){0});
    until(&r, r.ready == 1);
    queue_conn_send(r.conn, &r.mail);
    until(&r, r.confirmed == 1);
    assert_int_equal(r.done, 0);
    queue_conn_commit(r.conn);
    until(&r, r.done == 1);
    assert_int_equal(r.outcome.kind, SMTP_DELIVERED);
    queue_conn_quit(r.conn);
    rig_close(&r);
}

/* The host closes a connection that we keep: whoever keeps it hears of it. */
static void test_idle_closed(void **state)
{
    (void)state;
    static const struct step script[] = {{NULL, "220 mx\r\n"}, EHLO, MAIL, {0}};
    struct rig r;
    rig_open(&r, script);
    dial(&r, (struct queue_conn_config){0});
    until(&r, r.done == 1);
    stream_write(r.server, SLICE_LITERAL("421 4.4.2 idle for too long\r\n"));
    stream_close(r.server, 1000);
    r.server = NULL;
    until(&r, r.failed == 1);
    assert_int_equal(r.outcome.kind, SMTP_DEFERRED);
    rig_close(&r);
}

/* It ends in every state, by our hand, and frees itself. */
static void test_cut(void **state)
{
    (void)state;
    static const struct step script[] = {{NULL, "220 mx\r\n"}, EHLO, MAIL, {0}};
    for (int steps = 0; steps < 40; steps++) {
        struct rig r;
        rig_open(&r, script);
        dial(&r, (struct queue_conn_config){0});
        for (int i = 0; i < steps && r.conn && !r.done; i++) {
            uv_timer_start(&r.limit, limit, 5, 0);
            uv_run(&r.loop, UV_RUN_ONCE);
        }
        unsigned told = r.done + r.failed;
        if (r.conn && r.done) {
            queue_conn_quit(r.conn);
        } else if (r.conn) {
            queue_conn_cut(r.conn, ERR_CANCELED, "the node stops");
            assert_int_equal(r.done + r.failed, told + 1);
        }
        r.script = (const struct step[]){{"", silence}, {"", silence}, {"", silence}, {"", silence}, {0}};
        rig_close(&r);
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_mails),       cmocka_unit_test(test_large),   cmocka_unit_test(test_starttls),
        cmocka_unit_test(test_not_verified),    cmocka_unit_test(test_refused), cmocka_unit_test(test_broken_tls),
        cmocka_unit_test(test_unreachable),     cmocka_unit_test(test_source),  cmocka_unit_test(test_unsure),
        cmocka_unit_test(test_withheld),        cmocka_unit_test(test_cut),     cmocka_unit_test(test_idle_closed),
        cmocka_unit_test(test_confirmed_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
