#include "tests/unit/protocol/support_client.h"

#include "node/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct client c;
    struct session_limits limits;
    uint64_t ann, inbox;
};

static void start(struct fixture *f)
{
    client_attach(&f->c, pop3_session_new(&f->c.host, &f->c.fb->backend, &f->c.peer, &f->limits));
}

static void prepare(struct fixture *f)
{
    *f = (struct fixture){.limits = session_limits_default};
    client_init(&f->c);
    f->ann = fake_backend_account(f->c.fb, "ann@example.org", " se cret ");
    f->inbox = fake_backend_find(f->c.fb, f->ann, "INBOX");
}

static void message(struct fixture *f, const char *text)
{
    fake_backend_message(f->c.fb, f->inbox, slice_str(text), 0, f->c.now_ms);
}

static const char one[] = "Subject: 1\r\n\r\nline 1\r\n.line 2\r\n..\r\nline 4\r\n";
static const char two[] = ".Subject: 2\r\n\r\n.\r\nno end";

static void login(struct fixture *f)
{
    prepare(f);
    message(f, one);
    message(f, "gone");
    message(f, two);
    fake_backend_expunge(f->c.fb, f->inbox, 2);
    f->c.peer.tls = true;
    start(f);
    client_expect(&f->c, "", "+OK Merlion POP3 ready\r\n");
    client_expect(&f->c, "USER ann@example.org\r\nPASS  se cret \r\n", "+OK Say PASS\r\n+OK 2 messages, 67 octets\r\n");
}

static void before_login(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f);
    f.c.peer.tls_available = true;
    start(&f);
    client_take(&f.c);
    client_expect(
        &f.c, "CAPA\r\n",
        "+OK Capabilities\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nSTLS\r\nEXPIRE NEVER\r\n"
        "IMPLEMENTATION Merlion-…");
    client_expect(&f.c, "USER ann@example.org\r\n", "-ERR [SYS/PERM] …");
    client_expect(&f.c, "PASS x\r\n", "-ERR [SYS/PERM] …");
    client_expect(&f.c, "AUTH PLAIN\r\n", "-ERR [SYS/PERM] …");
    client_expect(&f.c, "AUTH\r\n", "+OK\r\n.\r\n");
    client_expect(&f.c, "STAT\r\n", "-ERR Log in first\r\n");
    client_expect(&f.c, "STLS now\r\n", "-ERR Takes no argument\r\n");
    client_expect(&f.c, "STLS\r\nUSER evil\r\n", "+OK Start TLS\r\n");
    client_tls(&f.c);
    client_expect(&f.c, "", "");
    client_expect(&f.c, "STLS\r\n", "-ERR TLS is on already\r\n");
    client_expect(&f.c, "PASS x\r\n", "-ERR Say USER first\r\n");
    client_expect(&f.c, "CAPA\r\n",
                  "+OK Capabilities\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUSER\r\n"
                  "SASL PLAIN LOGIN\r\nEXPIRE NEVER\r\n…");
    client_expect(&f.c, "QUIT\r\n", "+OK Bye\r\n");
    assert_true(f.c.session->closing);
    client_close(&f.c);
}

static void logins(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f);
    start(&f); /* no TLS to be had: passwords are taken */
    client_take(&f.c);
    client_expect(&f.c, "USER nobody\r\nPASS x\r\nPASS x\r\n",
                  "+OK Say PASS\r\n-ERR [AUTH] Name or password is wrong\r\n-ERR Say USER first\r\n");
    client_expect(&f.c, "USER ann@example.org\r\nPASS se cret\r\n",
                  "+OK Say PASS\r\n-ERR [AUTH] Name or password is wrong\r\n");
    f.c.fb->auth_delay_ms = 2000;
    client_expect(&f.c, "USER ann@example.org\r\nPASS  se cret \r\n",
                  "+OK Say PASS\r\n-ERR [SYS/TEMP] Too many failed logins, try again in 2 s\r\n");
    f.c.fb->auth_delay_ms = 0;
    f.c.fb->fail_status[FAKE_AUTH] = f.c.fb->fail_status[FAKE_SYNC] = ERR_UNAVAILABLE;
    f.c.fb->fail_n[FAKE_AUTH] = 1;
    client_expect(&f.c, "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwAgc2UgY3JldCA=\r\n", "-ERR [SYS/TEMP] …");
    f.c.fb->fail_n[FAKE_SYNC] = 1;
    client_expect(&f.c, "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwAgc2UgY3JldCA=\r\n", "-ERR [SYS/TEMP] …");
    assert_string_equal(f.c.session->user, "");
    client_expect(&f.c, "AUTH FOO\r\n", "-ERR Mechanisms are PLAIN LOGIN\r\n");
    client_expect(&f.c, "AUTH PLAIN\r\n*\r\n", "+ \r\n-ERR Authentication canceled\r\n");
    client_expect(&f.c, "AUTH LOGIN\r\nYW5uQGV4YW1wbGUub3Jn\r\nIHNlIGNyZXQg\r\nSTAT\r\n",
                  "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n+OK 0 messages, 0 octets\r\n+OK 0 0\r\n");
    assert_string_equal(f.c.session->user, "ann@example.org");
    client_expect(&f.c, "USER x\r\n", "-ERR Logged in already\r\n");
    client_close(&f.c);

    prepare(&f);
    f.limits.auth_tries_max = 2;
    start(&f);
    client_take(&f.c);
    client_expect(&f.c, "USER a\r\nPASS b\r\nUSER a\r\nPASS b\r\nUSER a\r\n",
                  "+OK Say PASS\r\n-ERR [AUTH] Name or password is wrong\r\n"
                  "+OK Say PASS\r\n-ERR [AUTH] Name or password is wrong\r\n");
    assert_true(f.c.session->closing);
    client_close(&f.c);
}

static void listings(void **state)
{
    struct fixture f;
    char uidl[100];
    struct mailbox_info info;

    (void)state;
    login(&f);
    struct backend_view *v = f.c.fb->backend.ops->view_open(&f.c.fb->backend);
    assert_int_equal(v->ops->mailbox_get(v, f.inbox, &info), 0);
    v->ops->close(v);
    client_expect(&f.c, "STAT\r\n", "+OK 2 67\r\n");
    client_expect(&f.c, "LIST\r\n", "+OK 2 messages, 67 octets\r\n1 43\r\n2 24\r\n.\r\n");
    client_expect(&f.c, "LIST 2\r\n", "+OK 2 24\r\n");
    client_expect(&f.c, "LIST 3\r\n", "-ERR No such message\r\n");
    client_expect(&f.c, "LIST 0\r\n", "-ERR No such message\r\n");
    client_expect(&f.c, "LIST x\r\n", "-ERR Give a message number\r\n");
    snprintf(uidl, sizeof(uidl), "+OK Unique ids\r\n1 %u.1\r\n2 %u.3\r\n.\r\n", info.uidvalidity, info.uidvalidity);
    client_expect(&f.c, "uidl\r\n", uidl);
    snprintf(uidl, sizeof(uidl), "+OK 2 %u.3\r\n", info.uidvalidity);
    client_expect(&f.c, "UIDL 2\r\n", uidl);
    /* Mail that came later is for the next session. */
    message(&f, "new");
    client_expect(&f.c, "STAT\r\n", "+OK 2 67\r\n");
    client_expect(&f.c, "DELE 1\r\nDELE 1\r\nLIST 1\r\nRETR 1\r\nTOP 1 0\r\n",
                  "+OK Marked\r\n-ERR Message is marked as deleted\r\n-ERR Message is marked as deleted\r\n"
                  "-ERR Message is marked as deleted\r\n-ERR Message is marked as deleted\r\n");
    client_expect(&f.c, "LIST\r\nSTAT\r\n", "+OK 1 messages, 24 octets\r\n2 24\r\n.\r\n+OK 1 24\r\n");
    client_expect(&f.c, "RSET\r\nNOOP\r\nSTAT\r\n", "+OK Nothing is marked\r\n+OK Nothing done\r\n+OK 2 67\r\n");
    client_close(&f.c);
}

static void bodies(void **state)
{
    static const char one_sent[] = "+OK 43 octets\r\nSubject: 1\r\n\r\nline 1\r\n..line 2\r\n...\r\nline 4\r\n.\r\n";
    static const char two_sent[] = "+OK 24 octets\r\n..Subject: 2\r\n\r\n..\r\nno end\r\n.\r\n";
    struct fixture f;

    (void)state;
    login(&f);
    client_expect(&f.c, "RETR 1\r\n", one_sent);
    client_expect(&f.c, "RETR 2\r\n", two_sent);
    client_expect(&f.c, "TOP 1 0\r\n", "+OK 43 octets\r\nSubject: 1\r\n\r\n.\r\n");
    client_expect(&f.c, "TOP 1  2\r\n", "+OK 43 octets\r\nSubject: 1\r\n\r\nline 1\r\n..line 2\r\n.\r\n");
    client_expect(&f.c, "TOP 1 99\r\n", one_sent);
    client_expect(&f.c, "TOP 2 1\r\n", "+OK 24 octets\r\n..Subject: 2\r\n\r\n..\r\n.\r\n");
    client_expect(&f.c, "TOP 1\r\n", "-ERR Say TOP…");
    client_expect(&f.c, "TOP 1 -1\r\n", "-ERR Say TOP…");
    client_expect(&f.c, "RETR\r\n", "-ERR Give a message number\r\n");
    f.c.fb->fail_n[FAKE_BODY] = 1;
    f.c.fb->fail_status[FAKE_BODY] = ERR_UNAVAILABLE;
    client_expect(&f.c, "RETR 1\r\n", "-ERR [SYS/TEMP] …");
    f.c.fb->fail_n[FAKE_BODY] = 1;
    f.c.fb->fail_status[FAKE_BODY] = ERR_NOTFOUND;
    client_expect(&f.c, "RETR 1\r\n", "-ERR Message is gone…");
    fake_backend_expunge(f.c.fb, f.inbox, 1);
    client_expect(&f.c, "RETR 1\r\n", "-ERR Message is gone…");
    client_expect(&f.c, "RETR 2\r\nNOOP\r\n",
                  "+OK 24 octets\r\n..Subject: 2\r\n\r\n..\r\nno end\r\n.\r\n+OK Nothing done\r\n");
    client_close(&f.c);
}

/* A message whose dots meet every edge of the pieces it is sent in, to a client that reads slowly. */
static void slow_client(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 6; shift++) {
        struct fixture f;
        struct buf text = {0}, expect = {0};

        prepare(&f);
        for (size_t i = 0; i < shift; i++)
            buf_append_byte(&text, 'x');
        buf_append_slice(&expect, buf_slice(&text));
        for (int i = 0; i < 200000; i++) {
            buf_append_str(&text, "\r\n.ab");
            buf_append_str(&expect, "\r\n..ab");
        }
        fake_backend_message(f.c.fb, f.inbox, buf_slice(&text), 0, 0);
        start(&f);
        client_say(&f.c, "USER ann@example.org\r\nPASS  se cret \r\n");
        client_take(&f.c);
        f.c.stuck = true;
        client_say(&f.c, "RETR 1\r\nNOOP\r\n");
        assert_true(buf_len(&f.c.session->out) < SESSION_OUT_HIGH + 64 * 1024);
        f.c.stuck = false;
        client_pump(&f.c);
        assert_true(f.c.out_peak < SESSION_OUT_HIGH + 64 * 1024);
        const char *got = client_take(&f.c);
        got = strchr(got, '\n') + 1;
        buf_append_str(&expect, "\r\n.\r\n+OK Nothing done\r\n");
        assert_int_equal(strlen(got), buf_len(&expect));
        assert_memory_equal(got, buf_slice(&expect).p, buf_len(&expect));
        buf_close(&text);
        buf_close(&expect);
        client_close(&f.c);
    }
}

static void deletion(void **state)
{
    struct fixture f;

    (void)state;
    login(&f);
    client_expect(&f.c, "DELE 1\r\nDELE 2\r\nQUIT\r\n", "+OK Marked\r\n+OK Marked\r\n+OK 2 messages deleted\r\n");
    assert_true(f.c.session->closing);
    assert_int_equal(f.c.fb->calls[FAKE_WRITE], 1);
    assert_int_equal(fake_backend_count(f.c.fb, f.inbox), 0);
    client_close(&f.c);

    login(&f);
    f.c.fb->fail_n[FAKE_WRITE] = 1;
    f.c.fb->fail_status[FAKE_WRITE] = ERR_UNAVAILABLE;
    client_expect(&f.c, "DELE 1\r\nQUIT\r\n",
                  "+OK Marked\r\n-ERR [SYS/TEMP] Messages are not deleted, try again later\r\n");
    assert_true(f.c.session->closing);
    assert_int_equal(fake_backend_count(f.c.fb, f.inbox), 2);
    client_close(&f.c);

    /* They may be deleted: neither +OK nor -ERR would be true. */
    login(&f);
    f.c.fb->fail_n[FAKE_WRITE] = 1;
    f.c.fb->fail_status[FAKE_WRITE] = ERR_TIMEOUT;
    client_expect(&f.c, "DELE 1\r\nQUIT\r\n", "+OK Marked\r\n");
    assert_true(f.c.session->closing);
    client_close(&f.c);

    /* One that another session deleted meanwhile is no trouble; without QUIT nothing is deleted. */
    login(&f);
    fake_backend_expunge(f.c.fb, f.inbox, 1);
    client_expect(&f.c, "DELE 1\r\nQUIT\r\n", "+OK Marked\r\n+OK 0 messages deleted\r\n");
    client_close(&f.c);
    login(&f);
    client_expect(&f.c, "DELE 1\r\n", "+OK Marked\r\n");
    f.c.session->ops->timed_out(f.c.session);
    client_expect(&f.c, "", "");
    assert_true(f.c.session->closing);
    assert_int_equal(f.c.fb->calls[FAKE_WRITE], 0);
    client_close(&f.c);
}

static void bad_lines_and_shutdown(void **state)
{
    struct fixture f;
    char line[1000];

    (void)state;
    login(&f);
    memset(line, 'x', sizeof(line));
    client_expect(&f.c, "NOOP\n", "");
    client_expect(&f.c, "NOOP\r\n", "-ERR Lines end with CRLF; no CR, LF or NUL inside\r\n");
    client_send(&f.c, line, sizeof(line));
    client_expect(&f.c, "\r\n", "-ERR Line too long\r\n");
    for (unsigned i = 2; i < f.limits.bad_commands_max; i++)
        client_expect(&f.c, "FOO\r\n", "-ERR Command not known\r\n");
    client_expect(&f.c, "FOO\r\n", "-ERR Command not known\r\n-ERR Too many bad commands, closing\r\n");
    assert_true(f.c.session->closing);
    client_close(&f.c);

    login(&f);
    f.c.hold = true;
    client_expect(&f.c, "RETR 1\r\n", "");
    f.c.session->ops->shutdown(f.c.session);
    f.c.hold = false;
    client_pump(&f.c);
    const char *got = client_take(&f.c);
    const char *end = strstr(got, "\r\n.\r\n");
    assert_non_null(end);
    assert_string_equal(end, "\r\n.\r\n"); /* and not a word that nobody asked for */
    client_expect(&f.c, "DELE 1\r\nQUIT\r\n", "+OK Marked\r\n+OK 1 messages deleted\r\n");
    assert_true(f.c.session->closing);
    client_close(&f.c);

    prepare(&f); /* and before the login */
    start(&f);
    f.c.session->ops->shutdown(f.c.session);
    client_expect(&f.c, "USER ann@example.org\r\nPASS  se cret \r\nNOOP\r\nQUIT\r\n", "+OK …");
    assert_true(f.c.session->closing);
    client_close(&f.c);
}

static void gone_meanwhile(void **state)
{
    static const char *says[] = {"RETR 1\r\n", "DELE 1\r\nQUIT\r\n"};
    struct fixture f;

    (void)state;
    for (int i = 0; i < 2; i++) {
        login(&f);
        f.c.hold = true;
        client_say(&f.c, says[i]);
        assert_int_equal(f.c.session->pending, 1);
        client_close(&f.c);
    }
    for (int i = 0; i < 2; i++) { /* at the password, at the sync */
        prepare(&f);
        start(&f);
        f.c.hold = true;
        client_say(&f.c, "USER ann@example.org\r\nPASS  se cret \r\n");
        if (i == 1)
            fake_backend_run_one(f.c.fb);
        assert_int_equal(f.c.session->pending, 1);
        client_close(&f.c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_login),
        cmocka_unit_test(logins),
        cmocka_unit_test(listings),
        cmocka_unit_test(bodies),
        cmocka_unit_test(slow_client),
        cmocka_unit_test(deletion),
        cmocka_unit_test(bad_lines_and_shutdown),
        cmocka_unit_test(gone_meanwhile),
    };
    log_set_level(LOG_ERROR + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
