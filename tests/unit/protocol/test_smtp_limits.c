/* What SMTP answers at its limits, and when it cannot know. */
#include "tests/unit/protocol/support_client.h"

#include "node/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void begin(struct client *c)
{
    client_init(c);
    fake_backend_account(c->fb, "ann@example.org", "secret");
    fake_backend_domain(c->fb, "example.org");
    client_attach(c, smtp_session_new(&c->host, &c->fb->backend, &c->peer, &session_limits_default, SMTP_RELAY));
    client_say(c, "EHLO c.example\r\nMAIL FROM:<joe@else.example>\r\n");
    client_take(c);
}

/* A delivery of more accounts than one write takes would be refused for good after its data. */
static void accounts_of_aliases(void **state)
{
    struct client c;
    uint64_t ids[RECIPIENT_ACCOUNTS_MAX];
    char name[40], line[60];

    (void)state;
    begin(&c);
    for (unsigned i = 0; i * RECIPIENT_ACCOUNTS_MAX < DELIVERY_ACCOUNTS_MAX; i++) {
        for (unsigned k = 0; k < RECIPIENT_ACCOUNTS_MAX; k++)
            ids[k] = 1000 + i * RECIPIENT_ACCOUNTS_MAX + k;
        snprintf(name, sizeof name, "list%u@example.org", i);
        snprintf(line, sizeof line, "RCPT TO:<%s>\r\n", name);
        fake_backend_address(c.fb, name, RECIPIENT_LOCAL, ids, RECIPIENT_ACCOUNTS_MAX);
        bool fits = (i + 1) * RECIPIENT_ACCOUNTS_MAX <= DELIVERY_ACCOUNTS_MAX;
        client_expect(&c, line,
                      fits ? "250 2.1.5 Ok\r\n" : "452 4.5.3 Too many recipients, send the rest separately\r\n");
    }
    client_expect(&c, "RCPT TO:<ann@example.org>\r\n", "250 2.1.5 Ok\r\n"); /* one more still fits */
    client_close(&c);
}

/* Not knowing is never a reason to send mail back. */
static void recipient_that_cannot_be_told(void **state)
{
    struct client c;

    (void)state;
    begin(&c);
    fake_backend_address(c.fb, "who@example.org", RECIPIENT_UNSURE, NULL, 0);
    client_expect(&c, "RCPT TO:<who@example.org>\r\n",
                  "451 4.3.0 <who@example.org> cannot be checked now, try again later\r\n");
    c.fb->fail_status[FAKE_SYNC] = ERR_UNAVAILABLE;
    c.fb->fail_n[FAKE_SYNC] = 1;
    client_expect(&c, "RCPT TO:<new@example.org>\r\n",
                  "451 4.3.0 <new@example.org> cannot be checked now, try again later\r\n");
    client_expect(&c, "RCPT TO:<new@example.org>\r\n", "550 5.1.1 <new@example.org> no such user here\r\n");
    client_close(&c);
}

/* Who guesses names is cut off; what is only too much for now is no guess, and LMTP's clients only pass on. */
static void refused_recipients(void **state)
{
    struct client c;

    (void)state;
    begin(&c);
    fake_backend_address(c.fb, "full@example.org", RECIPIENT_OVERQUOTA, NULL, 0);
    for (unsigned i = 0; i < 20; i++) {
        client_expect(&c, "RCPT TO:<full@example.org>\r\n", "452 4.2.2 …");
        client_expect(&c, i % 2 ? "RCPT TO:<x@else.example>\r\n" : "RCPT TO:<who@example.org>\r\n", "550 5.…");
    }
    client_expect(&c, "RCPT TO:<ann@example.org>\r\n", "250 2.1.5 Ok\r\n");
    client_expect(&c, "RCPT TO:<who@example.org>\r\nNOOP\r\n",
                  "550 5.1.1 <who@example.org> no such user here\r\n"
                  "421 4.7.0 mx.example.org Too many refused recipients, closing\r\n");
    assert_true(c.session->closing);
    client_close(&c);

    client_init(&c);
    fake_backend_domain(c.fb, "example.org");
    client_attach(&c, smtp_session_new(&c.host, &c.fb->backend, &c.peer, &session_limits_default, SMTP_LMTP));
    client_say(&c, "LHLO c.example\r\nMAIL FROM:<joe@else.example>\r\n");
    client_take(&c);
    for (unsigned i = 0; i < 50; i++)
        client_expect(&c, "RCPT TO:<who@example.org>\r\n", "550 5.1.1 …");
    client_expect(&c, "NOOP\r\n", "250 2.0.0 Ok\r\n");
    client_close(&c);
}

/* Aliases that lead elsewhere, likewise. */
static void targets_of_aliases(void **state)
{
    struct client c;
    char name[40], line[60];

    (void)state;
    begin(&c);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 300; k++) {
            snprintf(name, sizeof name, "list%u@example.org", i);
            snprintf(line, sizeof line, "u%u@%u.example", k, i);
            fake_backend_forward(c.fb, name, line);
        }
    for (unsigned i = 0; i < 4; i++) {
        snprintf(line, sizeof line, "RCPT TO:<list%u@example.org>\r\n", i);
        client_expect(&c, line,
                      i < 3 ? "250 2.1.5 Ok\r\n" : "452 4.5.3 Too many recipients, send the rest separately\r\n");
    }
    client_expect(&c, "RCPT TO:<ann@example.org>\r\n", "250 2.1.5 Ok\r\n");
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(accounts_of_aliases),
                                       cmocka_unit_test(recipient_that_cannot_be_told),
                                       cmocka_unit_test(refused_recipients), cmocka_unit_test(targets_of_aliases)};
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
