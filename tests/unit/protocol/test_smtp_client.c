/* The client's way to READY, and its end: greeting, EHLO, TLS, AUTH, replies that are none. */
#include "tests/unit/protocol/support_smtp_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Every case at every size of the pieces that the server's octets come in. */
static void run_cases(const struct smtp_client_config *config, const char *const *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t step = 0; step < 40; step++) {
            struct smtp_script s = {.config = *config, .step = step};
            smtp_script_run(&s, cases[i]);
        }
}
#define RUN(config, cases) run_cases((config), (cases), sizeof(cases) / sizeof((cases)[0]))

static void greeting(void **state)
{
    static const char *const cases[] = {
        "S: 220 mx.test ESMTP\nC: EHLO c.test\nC\nS: 250 mx.test\nE: ready\nC\n"
        "Q:\nC: QUIT\nS: 221 bye\nF:\n",
        "S: 220-mx.test\nS: 220-please\nS: 220 wait\nC: EHLO c.test\nS: 250-mx.test\nS: 250 HELP\nE: ready\n",
        "S: 220\nC: EHLO c.test\n", /* no text at all */
        "S: 554 5.7.1 go away\nE: failed 2 554 5.7.1 5.7.1 go away\nC: QUIT\nF:\n",
        "S: 421 busy\nE: failed 1 421 4.3.2 busy\nC\nF:\n",
        "S: 250 what\nE: failed 1 0 4.5.0 the connection was answered with 250 what\nC: QUIT\nF:\n",
        "X: refused\nE: failed 1 0 4.4.1 refused\nF:\n",
        "S: 220 x\nC: EHLO c.test\nX: lost\nE: failed 1 0 4.4.2 lost\nF:\nX: again\n",
        "S: 220 x\nC: EHLO c.test\nS: 421 4.7.0 slow down\nE: failed 1 421 4.7.0 4.7.0 slow down\nF:\n",
        "S: 220 x\nC: EHLO c.test\nS: 502 what?\nC: HELO c.test\nS: 250 hi\nE: ready\n",
        "S: 220 x\nC: EHLO c.test\nS: 502 what?\nC: HELO c.test\nS: 550 no\nE: failed 2 550 5.0.0 no\nC: QUIT\nF:\n",
        "S: 220 x\nC: EHLO c.test\nS: 250 x\nE: ready\nS: 421 idle\nE: failed 1 421 4.3.2 idle\nF:\n",
        /* Mail that was not offered is not refused. */
        "S: 220 x\nC: EHLO c.test\nS: 250 x\nE: ready\nS: 500 idle\n"
        "E: failed 1 0 4.4.2 the server ended the session: 500 idle\nF:\n",
        "S: 220 x\nC: EHLO c.test\nS: 250 x\nE: ready\nX: gone\nE: failed 1 0 4.4.2 gone\nF:\n",
        "S: 220 x\nC: EHLO c.test\nS: 250 x\nE: ready\nQ:\nC: QUIT\nX: gone\nF:\n",
    };

    (void)state;
    RUN((&(struct smtp_client_config){.tls = SMTP_TLS_MAY}), cases);
}

#define BAD "E: failed 1 0 4.5.0 the server sent what is no SMTP reply\nC\nF:\nS: 220 late\nC\n"

static void garbage(void **state)
{
    static const char *const cases[] = {
        "S: HTTP/1.1 400 Bad Request\n" BAD,
        "S: \n" BAD,
        "S: 22\n" BAD,
        "S: 22x mx\n" BAD,
        "S: 120 x\n" BAD,
        "S: 620 x\n" BAD,
        "S: 220+x\n" BAD,
        "S: 220-x\nS: 554 y\n" BAD,
        "S:  220 x\n" BAD,
    };

    (void)state;
    RUN((&(struct smtp_client_config){.tls = SMTP_TLS_MAY}), cases);
}

struct seen {
    unsigned failed;
    struct smtp_outcome o;
};

static void on_failed(void *arg, const struct smtp_outcome *o)
{
    struct seen *s = arg;

    s->failed++;
    s->o = *o;
}

static struct smtp_client *client_new(struct seen *s)
{
    const struct smtp_client_config config = {.helo = "c.test"};
    const struct smtp_client_events ev = {.arg = s, .failed = on_failed};

    return smtp_client_new(&config, &ev);
}

/* A long line is cut, many lines end it, and what is kept is one printable line of UTF-8. */
static void oversize(void **state)
{
    struct seen s = {0};
    struct smtp_client *c = client_new(&s);
    static char line[100 * 1024];

    (void)state;
    memset(line, 'x', sizeof(line));
    memcpy(line, "554 ", 4);
    smtp_client_input(c, slice_make(line, sizeof(line)));
    assert_int_equal(s.failed, 0);
    smtp_client_input(c, SLICE_LITERAL("\r\n"));
    assert_int_equal(s.failed, 1);
    assert_int_equal(s.o.code, 554);
    assert_int_equal(strlen(s.o.text), sizeof(s.o.text) - 1);
    smtp_client_free(&c);

    for (unsigned n = 255; n <= 256; n++) {
        s = (struct seen){0};
        c = client_new(&s);
        for (unsigned i = 0; i < n; i++)
            smtp_client_input(c, SLICE_LITERAL("554-much to say about this\r\n"));
        smtp_client_input(c, SLICE_LITERAL("554 end\r\n"));
        assert_int_equal(s.failed, 1);
        assert_int_equal(s.o.code, n == 255 ? 554 : 0);
        smtp_client_free(&c);
    }
}

static void hostile_texts(void **state)
{
    static const struct {
        const char *said, *text;
    } cases[] = {
        {"554 a\rb\tc\x01\x7f\n", "a?b c??"},
        {"554 \xc3\xbc \xff \xc3\n", "\xc3\xbc ? ?"},
        {"554 \xc2\x85 \xe2\x80\xa8x\n", "? ?x"}, /* C1 control, line separator */
        {"554-5.1.1 one\n554-5.1.1 two\n554 5.1.1  three  \n", "5.1.1 one; two; three"},
        {"554-one\n554-\n554 two\n", "one; two"},
        {"554\n", ""},
        {"554 5.1.1\n", "5.1.1"},
        {"554 4.1.1 other class\n", "4.1.1 other class"},
        {"554 5.1 not one\n", "5.1 not one"},
        {"554 5.1234.1 not one\n", "5.1234.1 not one"},
        {"554 5.1.1x not one\n", "5.1.1x not one"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct seen s = {0};
        struct smtp_client *c = client_new(&s);
        smtp_client_input(c, slice_str(cases[i].said));
        assert_int_equal(s.failed, 1);
        assert_string_equal(s.o.text, cases[i].text);
        bool given = strncmp(cases[i].text, "5.1.1", 5) == 0 && cases[i].text[5] != 'x';
        assert_string_equal(s.o.enhanced, given ? "5.1.1" : "5.0.0");
        smtp_client_free(&c);
    }
}

#define HELLO_TLS "S: 220 mx.test\nC: EHLO c.test\nS: 250-mx.test\nS: 250-PIPELINING\nS: 250 STARTTLS\n"
#define HELLO "S: 220 mx.test\nC: EHLO c.test\nS: 250-mx.test\nS: 250 PIPELINING\n"

static void tls_may(void **state)
{
    static const char *const cases[] = {
        HELLO_TLS "C: STARTTLS\nC\nS: 220 go\nC\nT:\nC: EHLO c.test\nS: 250 mx.test\nE: ready\n",
        HELLO_TLS "C: STARTTLS\nS: 454 not now\nE: ready\nC\n",
        HELLO_TLS "C: STARTTLS\nS: 502 no\nE: ready\nC\n",
        HELLO_TLS "C: STARTTLS\nS: 421 no\nE: failed 1 421 4.3.2 no\nF:\n",
        HELLO "E: ready\nC\n",
        /* Injected in plaintext: never looked at. A forged 250 would be READY, a forged 554 the end. */
        HELLO_TLS "C: STARTTLS\nS: 220 go\nS: 250 forged\nC\nT:\nC: EHLO c.test\nC\nS: 250 mx.test\nE: ready\n",
        HELLO_TLS "C: STARTTLS\nS: 220 go\nS: 554 forged\nS: 25\nC\nT:\nC: EHLO c.test\nS: 250 mx.test\nE: ready\n",
        /* What was offered before TLS is forgotten: no HELO, and STARTTLS is not said twice. */
        HELLO_TLS "C: STARTTLS\nS: 220 go\nT:\nC: EHLO c.test\nS: 250-mx.test\nS: 250 STARTTLS\nE: ready\nC\n",
        HELLO_TLS "C: STARTTLS\nS: 220 go\nT:\nC: EHLO c.test\nS: 500 no\nE: failed 2 500 5.5.2 no\nC: QUIT\nF:\n",
        HELLO_TLS "C: STARTTLS\nS: 220 go\nX: handshake failed\nE: failed 1 0 4.4.2 handshake failed\nF:\n",
    };

    (void)state;
    RUN((&(struct smtp_client_config){.tls = SMTP_TLS_MAY}), cases);
}

static void tls_must(void **state)
{
    static const char *const cases[] = {
        HELLO_TLS "C: STARTTLS\nC\nS: 220 go\nC\nT:\nC: EHLO c.test\nS: 250 mx.test\nE: ready\n",
        HELLO_TLS "C: STARTTLS\nS: 454 not now\n"
                  "E: failed 1 0 4.7.10 TLS is required, and STARTTLS was answered with 454 not now\nC: QUIT\nF:\n",
        HELLO_TLS "C: STARTTLS\nS: 502 no\n"
                  "E: failed 1 0 4.7.10 TLS is required, and STARTTLS was answered with 502 no\nC: QUIT\nF:\n",
        HELLO "E: failed 1 0 4.7.10 TLS is required, and the server does not offer STARTTLS\nC: QUIT\nF:\n",
        "S: 220 x\nC: EHLO c.test\nS: 502 what?\n"
        "E: failed 1 0 4.7.10 TLS is required, and the server refuses EHLO\nC: QUIT\nF:\n",
    };
    static const char *const none[] = {HELLO_TLS "E: ready\nC\n"};

    (void)state;
    RUN((&(struct smtp_client_config){.tls = SMTP_TLS_REQUIRE}), cases);
    RUN((&(struct smtp_client_config){.tls = SMTP_TLS_VERIFY}), cases);
    RUN((&(struct smtp_client_config){.tls = SMTP_TLS_NONE}), none);
    RUN((&(struct smtp_client_config){.tls = SMTP_TLS_WRAPPED}), none);
}

#define HELLO_AUTH(names) "S: 220 mx.test\nC: EHLO c.test\nS: 250-mx.test\nS: 250 AUTH" names "\n"

static void login(void **state)
{
    static const char *const cases[] = {
        HELLO_AUTH(" LOGIN PLAIN") "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nC\nS: 235 2.7.0 in\nE: ready\n",
        HELLO_AUTH("=PLAIN") "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 235 in\nE: ready\n",
        HELLO_AUTH(" plain") "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 334 \nC: AGFubgBzZWNyZXQ=\nS: 235 in\nE: ready\n",
        HELLO_AUTH(" LOGIN X") "C: AUTH LOGIN\nC\nS: 334 VXNlcm5hbWU6\nC: YW5u\nC\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\n"
                               "S: 235 in\nE: ready\n",
        /* Never the sender's fault: mail waits. */
        HELLO_AUTH(" PLAIN") "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 535 5.7.8 wrong\n"
                             "E: failed 1 535 4.7.8 AUTH was answered with 535 5.7.8 wrong\nC: QUIT\nF:\n",
        HELLO_AUTH(" LOGIN") "C: AUTH LOGIN\nS: 334 \nC: YW5u\nS: 334 \nC: c2VjcmV0\nS: 334 \n"
                             "E: failed 1 0 4.7.0 the server asks on and on during AUTH\nC: QUIT\nF:\n",
        HELLO_AUTH(" LOGIN") "C: AUTH LOGIN\nS: 250 ok\n"
                             "E: failed 1 250 4.7.8 AUTH was answered with 250 ok\nC: QUIT\nF:\n",
        HELLO_AUTH(" GSSAPI") "E: failed 1 0 4.7.0 the server offers neither AUTH PLAIN nor AUTH LOGIN\nC: QUIT\nF:\n",
    };
    static const char *const plain[] = {
        HELLO_AUTH(" PLAIN") "E: failed 1 0 4.7.11 a password is set for this server, and it is not sent without "
                             "TLS\nC: QUIT\nF:\n",
    };

    (void)state;
    RUN((&(struct smtp_client_config){.tls = SMTP_TLS_WRAPPED, .user = "ann", .password = "secret"}), cases);
    RUN((&(struct smtp_client_config){.tls = SMTP_TLS_MAY, .user = "ann", .password = "secret"}), plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greeting),      cmocka_unit_test(garbage), cmocka_unit_test(oversize),
        cmocka_unit_test(hostile_texts), cmocka_unit_test(tls_may), cmocka_unit_test(tls_must),
        cmocka_unit_test(login),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
