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
    uint64_t ann, bob;
};

static void start(struct fixture *f, enum smtp_kind kind)
{
    struct client *c = &f->c;

    client_attach(c, smtp_session_new(&c->host, &c->fb->backend, &c->peer, &f->limits, kind));
}

static void prepare(struct fixture *f)
{
    *f = (struct fixture){.limits = session_limits_default};
    client_init(&f->c);
    f->ann = fake_backend_account(f->c.fb, "ann@example.org", "secret");
    f->bob = fake_backend_account(f->c.fb, "bob@example.org", "hunter2");
    fake_backend_domain(f->c.fb, "example.org");
}

static void begin(struct fixture *f, enum smtp_kind kind)
{
    prepare(f);
    start(f, kind);
    client_expect(&f->c, "",
                  kind == SMTP_LMTP ? "220 mx.example.org LMTP Merlion ready\r\n"
                                    : "220 mx.example.org ESMTP Merlion ready\r\n");
    client_say(&f->c, kind == SMTP_LMTP ? "LHLO c.example\r\n" : "EHLO c.example\r\n");
    client_take(&f->c);
}

static void end(struct fixture *f)
{
    client_close(&f->c);
}

static struct slice inbox(struct fixture *f, uint64_t account, uint32_t uid)
{
    return fake_backend_body(f->c.fb, fake_backend_find(f->c.fb, account, "INBOX"), uid);
}

static uint32_t inbox_count(struct fixture *f, uint64_t account)
{
    return fake_backend_count(f->c.fb, fake_backend_find(f->c.fb, account, "INBOX"));
}

static bool has(struct slice body, const char *text)
{
    return memmem(body.p, body.n, text, strlen(text)) != NULL;
}

#define OK_MAIL "250 2.1.0 Ok\r\n"
#define OK_RCPT "250 2.1.5 Ok\r\n"
#define GO "354 End with <CRLF>.<CRLF>\r\n"

static void greeting_and_help(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f);
    f.c.peer.tls_available = true;
    start(&f, SMTP_RELAY);
    client_take(&f.c);
    client_expect(&f.c, "MAIL FROM:<a@b.c>\r\n", "503 5.5.1 Say EHLO first\r\n");
    client_expect(&f.c, "EHLO\r\n", "501 5.5.4 Say EHLO and your host name\r\n");
    client_expect(&f.c, "LHLO x\r\n", "500 5.5.2 Command not known\r\n");
    client_expect(
        &f.c, "ehlo [192.0.2.7]\r\n",
        "250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 67108864\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
        "250-CHUNKING\r\n250-BINARYMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-STARTTLS\r\n250 HELP\r\n");
    client_expect(&f.c, "HELO x\r\n", "250 mx.example.org\r\n");
    client_expect(&f.c, "HELP\r\n", "214 2.0.0 Commands: EHLO HELO MAIL …");
    client_expect(&f.c, "VRFY ann\r\n", "252 2.0.0 …");
    client_expect(&f.c, "EXPN list\r\n", "502 5.5.1 …");
    client_expect(&f.c, "NOOP what ever\r\n", "250 2.0.0 Ok\r\n");
    client_expect(&f.c, "RSET now\r\n", "501 5.5.4 …");
    client_expect(&f.c, "AUTH PLAIN\r\n", "502 5.5.1 …");
    client_expect(&f.c, "FOO\r\n", "500 5.5.2 Command not known\r\n");
    client_expect(&f.c, "QUIT\r\n", "221 2.0.0 mx.example.org closing\r\n");
    assert_true(f.c.session->closing);
    end(&f);
}

/* The whole stored message, at every size of the pieces it comes in. */
static void delivery_in_pieces(void **state)
{
    static const char expect[] = "Return-Path: <joe@else.example>\r\n"
                                 "Received: from c.example ([192.0.2.7])\r\n"
                                 "\tby mx.example.org (Merlion) with ESMTP id s1.1\r\n"
                                 "\tfor <Ann@Example.org>;\r\n"
                                 "\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
                                 "Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n";

    (void)state;
    for (size_t step = 0; step < 20; step++) {
        struct fixture f;
        begin(&f, SMTP_RELAY);
        f.c.step = step;
        client_expect(&f.c,
                      "MAIL FROM:<joe@else.example> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<Ann@Example.org>\r\nDATA\r\n",
                      OK_MAIL OK_RCPT GO);
        client_expect(&f.c, "Subject: x\r\n\r\n..dot\r\n...\r\nend\r\n.\r\nRSET\r\n",
                      "250 2.0.0 Ok: queued as s1.1\r\n250 2.0.0 Ok\r\n");
        assert_true(slice_eq(inbox(&f, f.ann, 1), slice_str(expect)));
        assert_int_equal(inbox_count(&f, f.bob), 0);
        end(&f);
    }
}

static void recipients(void **state)
{
    struct fixture f;
    uint64_t both[2], locked[1];

    (void)state;
    begin(&f, SMTP_RELAY);
    both[0] = f.bob;
    both[1] = f.ann;
    locked[0] = f.bob;
    f.limits.recipients_max = 3;
    fake_backend_address(f.c.fb, "all@example.org", RECIPIENT_LOCAL, both, 2);
    fake_backend_address(f.c.fb, "locked@example.org", RECIPIENT_LOCKED, locked, 1);
    fake_backend_address(f.c.fb, "full@example.org", RECIPIENT_OVERQUOTA, locked, 1);
    fake_backend_address(f.c.fb, "postmaster", RECIPIENT_LOCAL, both, 1);
    client_expect(&f.c, "RCPT TO:<ann@example.org>\r\n", "503 5.5.1 Say MAIL first\r\n");
    client_expect(&f.c, "MAIL FROM:<>\r\n", OK_MAIL);
    client_expect(&f.c, "MAIL FROM:<>\r\n", "503 5.5.1 …");
    client_expect(&f.c, "DATA\r\n", "554 5.5.1 No valid recipients\r\n");
    client_expect(&f.c, "RCPT TO:<nobody@example.org>\r\n", "550 5.1.1 …");
    client_expect(&f.c, "RCPT TO:<x@foreign.example>\r\n", "550 5.7.1 …");
    client_expect(&f.c, "RCPT TO:<locked@example.org>\r\n", "550 5.2.1 …");
    client_expect(&f.c, "RCPT TO:<full@example.org>\r\n", "452 4.2.2 …");
    client_expect(&f.c, "RCPT TO:ann@example.org\r\n", "501 5.1.3 …");
    client_expect(&f.c, "RCPT TO:<\"ann\"@example.org> NOTIFY=NEVER X=1\r\n", "555 5.5.4 …");
    client_expect(&f.c, "RCPT TO:<\xc3\xbc@example.org>\r\n", "553 5.6.7 …");
    client_expect(&f.c, "RCPT TO:<\"ann\"@example.org>\r\n", OK_RCPT);
    client_expect(&f.c, "RCPT TO:<@relay.example:all@example.org>\r\n", OK_RCPT);
    client_expect(&f.c, "rcpt to: <Postmaster>\r\n", OK_RCPT);
    client_expect(&f.c, "RCPT TO:<bob@example.org>\r\n", "452 4.5.3 …");
    client_expect(&f.c, "DATA\r\n", GO);
    client_expect(&f.c, "\r\nx\r\n.\r\n", "250 2.0.0 …");
    /* Every account once, in one write, and no "for" when there are several. */
    assert_int_equal(inbox_count(&f, f.ann), 1);
    assert_int_equal(inbox_count(&f, f.bob), 1);
    assert_true(slice_eq(buf_slice(&f.c.fb->trace), slice_str("deliver 2\n")));
    assert_false(has(inbox(&f, f.ann, 1), "for <"));
    client_expect(&f.c, "DATA\r\n", "503 5.5.1 Say MAIL first\r\n");
    end(&f);
}

static void mail_parameters(void **state)
{
    static const struct {
        const char *param, *reply;
    } cases[] = {
        {"SIZE=67108864", "250 2.1.0 …"},
        {"SIZE=67108865", "552 5.3.4 …"},
        {"SIZE=99999999999999999999999", "501 5.5.4 …"},
        {"SIZE", "501 5.5.4 …"},
        {"SIZE=1x", "501 5.5.4 …"},
        {"BODY=7BIT", "250 2.1.0 …"},
        {"BODY=9BIT", "501 5.5.4 …"},
        {"BODY", "501 5.5.4 …"},
        {"SMTPUTF8", "250 2.1.0 …"},
        {"SMTPUTF8=yes", "501 5.5.4 …"},
        {"RET=FULL ENVID=a+2Bb", "250 2.1.0 …"},
        {"AUTH=<>", "555 5.5.4 …"},
        {"SIZE=1 SIZE=2", "501 5.5.4 …"},
    };
    struct fixture f;
    char line[200];

    (void)state;
    begin(&f, SMTP_RELAY);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(line, sizeof(line), "MAIL FROM:<a@b.c> %s\r\n", cases[i].param);
        client_expect(&f.c, line, cases[i].reply);
        client_expect(&f.c, "RSET\r\n", "250 2.0.0 Ok\r\n");
    }
    client_expect(&f.c, "MAIL FROM:<\xc3\xbc@b.c>\r\n", "553 5.6.7 …");
    client_expect(&f.c, "MAIL FROM:<\xc3\xbc@b.c> SMTPUTF8\r\n", OK_MAIL);
    client_expect(&f.c, "RSET\r\nMAIL\r\nMAIL FROM\r\nMAIL FROM:\r\n",
                  "250 2.0.0 Ok\r\n501 5.5.4 Say MAIL FROM:<address>\r\n501 5.5.4 Say MAIL FROM:<address>\r\n"
                  "501 5.1.7 Malformed address\r\n");
    f.c.fb->admit_status = ERR_NOSPACE;
    client_expect(&f.c, "MAIL FROM:<a@b.c>\r\n", "452 4.3.1 …");
    f.c.fb->admit_status = ERR_BUSY;
    client_expect(&f.c, "MAIL FROM:<a@b.c>\r\n", "451 4.3.2 …");
    f.c.fb->admit_status = 0;
    client_expect(&f.c, "MAIL FROM:<a@b.c>\r\nRCPT TO:<ann@example.org>\r\n", OK_MAIL OK_RCPT);
    f.c.fb->admit_status = ERR_NOSPACE;
    client_expect(&f.c, "DATA\r\n", "452 4.3.1 …");
    client_expect(&f.c, "BDAT 5 LAST\r\nQUIT\nNOOP\r\n",
                  "452 4.3.1 Not enough storage, try again later\r\n250 2.0.0 Ok\r\n");
    end(&f);
}

/* Nothing of what comes after a false end may ever be read as a command. */
static void smuggling(void **state)
{
    static const char *ends[] = {"\n.\r\n", "\n.\n",     "\r.\r\n",     "\r.\r",       "\r\n.\n",
                                 "\r\n.\r", "\n\n.\r\n", "\r\n\n.\r\n", "\r\n.\r\r\n", "\r\r\n.\r\n "};

    (void)state;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        for (size_t step = 0; step < 4; step++) {
            struct fixture f;
            char data[300];
            begin(&f, SMTP_RELAY);
            f.c.step = step;
            client_say(&f.c, "MAIL FROM:<a@b.c>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n");
            client_take(&f.c);
            bool real = strcmp(ends[i], "\r\r\n.\r\n ") == 0; /* refused, but this one does end it */
            snprintf(data, sizeof(data),
                     "Subject: x\r\n\r\nhi%sMAIL FROM:<evil@b.c>\r\nRCPT TO:<bob@example.org>\r\n%s", ends[i],
                     real ? "" : ".\r\n");
            client_say(&f.c, data);
            const char *got = client_take(&f.c);
            assert_int_equal(strncmp(got, "550 5.6.0 ", 10), 0);
            if (!real)
                assert_string_equal(strchr(got, '\n'), "\n"); /* one reply and no more */
            assert_int_equal(inbox_count(&f, f.ann) + inbox_count(&f, f.bob), 0);
            assert_int_equal(f.c.fb->calls[FAKE_WRITE], 0);
            end(&f);
        }
    }
}

static void bad_lines(void **state)
{
    struct fixture f;
    char line[SESSION_OUT_LOW];

    (void)state;
    begin(&f, SMTP_RELAY);
    client_expect(&f.c, "NOOP\n", "");
    client_expect(&f.c, "NOOP\r\n", "500 5.5.2 …");
    client_expect(&f.c, "NOOP\rNOOP\r\n", "500 5.5.2 …");
    client_send(&f.c, "NOOP \0\r\n", 8);
    client_expect(&f.c, "", "500 5.5.2 …");
    memset(line, 'x', sizeof(line));
    client_send(&f.c, line, sizeof(line));
    client_send(&f.c, line, sizeof(line));
    client_expect(&f.c, "\r\n", "500 5.5.2 Line too long\r\n");
    for (unsigned i = 4; i < f.limits.bad_commands_max; i++)
        client_expect(&f.c, "FOO\r\n", "500 5.5.2 Command not known\r\n");
    client_expect(&f.c, "FOO\r\nNOOP\r\n",
                  "500 5.5.2 Command not known\r\n421 4.7.0 mx.example.org Too many bad commands, closing\r\n");
    assert_true(f.c.session->closing);
    end(&f);
}

static void nul_size_and_loop(void **state)
{
    struct fixture f;
    struct buf loop = {0};

    (void)state;
    begin(&f, SMTP_RELAY);
    f.limits.message_max = 2000;
    f.limits.received_max = 5;
#define ENVELOPE "MAIL FROM:<a@b.c>\r\nRCPT TO:<ann@example.org>\r\n"
    client_expect(&f.c, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
    client_send(&f.c, "a\0b\r\n.\r\n", 8);
    client_expect(&f.c, "", "550 5.6.0 Message has a NUL octet\r\n");
    client_expect(&f.c, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
    for (int i = 0; i < 50; i++)
        client_say(&f.c, "0123456789012345678901234567890123456789012345678901234567890123456789\r\n");
    client_expect(&f.c, ".\r\n", "552 5.3.4 Message is too big\r\n");
    for (int n = 5; n <= 6; n++) {
        buf_clear(&loop);
        for (int i = 0; i < n; i++)
            buf_append_str(&loop, "received: from a\r\n\tby b\r\n");
        buf_append_str(&loop, "\r\nReceived: no header any more\r\n.\r\n");
        client_expect(&f.c, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
        client_send(&f.c, buf_slice(&loop).p, buf_len(&loop));
        client_expect(&f.c, "", n == 5 ? "250 2.0.0 …" : "554 5.4.6 …");
    }
    buf_close(&loop);
    end(&f);
}

static void chunking(void **state)
{
    (void)state;
    for (size_t step = 0; step < 6; step++) {
        struct fixture f;
        begin(&f, SMTP_RELAY);
        f.c.step = step;
        client_expect(&f.c, ENVELOPE "BDAT 6\r\nA: b\r\nBDAT 0\r\nBDAT 7 last\r\n\r\n.\r\n\r\nNOOP\r\n",
                      OK_MAIL OK_RCPT
                      "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok: queued as s1.1\r\n250 2.0.0 Ok\r\n");
        struct slice body = inbox(&f, f.ann, 1);
        assert_true(body.n > 13 && memcmp(body.p + body.n - 13, "A: b\r\n\r\n.\r\n\r\n", 13) == 0);
        /* A zero LAST ends it; DATA and RCPT do not mix with chunks. */
        client_expect(&f.c, ENVELOPE "BDAT 6\r\nA: b\r\nDATA\r\nRCPT TO:<bob@example.org>\r\nBDAT 0 LAST\r\n",
                      OK_MAIL OK_RCPT
                      "250 2.0.0 Ok\r\n503 5.5.1 Use BDAT for this message\r\n503 5.5.1 Not after BDAT\r\n"
                      "250 2.0.0 Ok: queued as s1.2\r\n");
        /* Bare LF: only in binary mail. */
        client_expect(&f.c, ENVELOPE "BDAT 3 LAST\r\na\nbNOOP\r\n",
                      OK_MAIL OK_RCPT
                      "550 5.6.0 Message has a CR or LF that is not part of a CRLF\r\n250 2.0.0 Ok\r\n");
        client_expect(&f.c,
                      "MAIL FROM:<a@b.c> BODY=BINARYMIME\r\nRCPT TO:<ann@example.org>\r\nDATA\r\nBDAT 3 LAST\r\na\nb",
                      OK_MAIL OK_RCPT "503 5.5.1 Use BDAT for this message\r\n250 2.0.0 Ok: queued as s1.4\r\n");
        /* A refused chunk is taken off the stream, never run. */
        client_expect(&f.c, "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", "503 5.5.1 Say MAIL first\r\n250 2.0.0 Ok\r\n");
        /* Too big: told at once. */
        f.limits.message_max = 5;
        client_expect(&f.c, ENVELOPE "BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n",
                      OK_MAIL OK_RCPT "552 5.3.4 Message is too big\r\n503 5.5.1 Say MAIL first\r\n250 2.0.0 Ok\r\n");
        client_expect(&f.c, "BDAT x\r\nNOOP\r\n", "501 5.5.4 Say BDAT size [LAST]\r\n");
        assert_true(f.c.session->closing);
        assert_int_equal(inbox_count(&f, f.ann), 3);
        end(&f);
    }
}

static void failed_writes(void **state)
{
    static const struct {
        int status;
        const char *reply;
    } cases[] = {
        {ERR_UNAVAILABLE, "451 4.3.0 …"}, {ERR_NOSPACE, "452 4.3.1 …"}, {ERR_CANCELED, "451 4.3.0 …"},
        {ERR_TOOBIG, "552 5.3.4 …"},      {ERR_QUOTA, "452 4.2.2 …"},   {ERR_IO, "451 4.3.0 …"},
    };
    struct fixture f;

    (void)state;
    begin(&f, SMTP_RELAY);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        f.c.fb->fail_status[FAKE_WRITE] = cases[i].status;
        f.c.fb->fail_n[FAKE_WRITE] = 1;
        client_expect(&f.c, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
        client_expect(&f.c, "x\r\n.\r\n", cases[i].reply);
    }
    /* Full since RCPT: one of two got it, and a retry would only give that one a second copy. */
    fake_backend_quota(f.c.fb, f.ann, 1);
    client_expect(&f.c, ENVELOPE "RCPT TO:<bob@example.org>\r\nDATA\r\n", OK_MAIL OK_RCPT OK_RCPT GO);
    client_expect(&f.c, "x\r\n.\r\n", "250 2.0.0 …");
    assert_int_equal(inbox_count(&f, f.bob), 1);
    client_expect(&f.c, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
    client_expect(&f.c, "x\r\n.\r\n", "452 4.2.2 …");
    end(&f);
}

/* It may be stored or not: no answer about the message, as if the connection had been lost. */
static void unknown_outcome(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, SMTP_RELAY);
    f.c.fb->fail_status[FAKE_WRITE] = ERR_TIMEOUT;
    f.c.fb->fail_n[FAKE_WRITE] = 1;
    client_expect(&f.c, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
    client_expect(&f.c, "x\r\n.\r\nNOOP\r\n", "421 4.4.0 …");
    assert_true(f.c.session->closing);
    end(&f);
}

static void lmtp(void **state)
{
    struct fixture f;
    uint64_t both[2];

    (void)state;
    begin(&f, SMTP_LMTP);
    both[0] = f.ann;
    both[1] = f.bob;
    fake_backend_address(f.c.fb, "all@example.org", RECIPIENT_LOCAL, both, 2);
    client_expect(&f.c, "EHLO x\r\n", "500 5.5.2 …");
    client_expect(&f.c, "MAIL FROM:<>\r\nRCPT TO:<x@example.org>\r\nDATA\r\nRSET\r\n",
                  OK_MAIL
                  "550 5.1.1 <x@example.org> no such user here\r\n503 5.5.1 No valid recipients\r\n250 2.0.0 Ok\r\n");
    fake_backend_quota(f.c.fb, f.ann, 1);
    client_expect(&f.c,
                  "MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\n"
                  "RCPT TO:<all@example.org>\r\nDATA\r\n",
                  OK_MAIL OK_RCPT OK_RCPT OK_RCPT GO);
    client_expect(&f.c, "x\r\n.\r\n",
                  "452 4.2.2 <ann@example.org> Mailbox is full\r\n250 2.1.5 <bob@example.org> delivered, id s1.2\r\n"
                  "250 2.1.5 <all@example.org> delivered, id s1.2\r\n");
    assert_int_equal(inbox_count(&f, f.bob), 1);
    /* Refusals are said once for each recipient too. */
    client_expect(&f.c, "MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nBDAT 1 LAST\r\n\n",
                  OK_MAIL OK_RCPT OK_RCPT "550 5.6.0 Message has a CR or LF that is not part of a CRLF\r\n"
                                          "550 5.6.0 Message has a CR or LF that is not part of a CRLF\r\n");
    end(&f);
}

static void starttls_and_auth(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f);
    f.c.peer.tls_available = true;
    start(&f, SMTP_SUBMISSION);
    client_say(&f.c, "EHLO c.example\r\n");
    const char *caps = client_take(&f.c);
    assert_non_null(strstr(caps, "250-STARTTLS\r\n"));
    assert_null(strstr(caps, "AUTH"));
    client_expect(&f.c, "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n", "538 5.7.11 …");
    client_expect(&f.c, "MAIL FROM:<ann@example.org>\r\n", "530 5.7.0 Say STARTTLS first, then authenticate\r\n");
    /* What follows STARTTLS in plaintext is never run. */
    client_expect(&f.c, "STARTTLS\r\nNOOP\r\nEHLO evil\r\n", "220 2.0.0 Start TLS\r\n");
    client_tls(&f.c);
    client_expect(&f.c, "", "");
    client_expect(&f.c, "AUTH PLAIN\r\n", "503 5.5.1 Say EHLO first\r\n");
    client_say(&f.c, "EHLO c.example\r\n");
    caps = client_take(&f.c);
    assert_null(strstr(caps, "STARTTLS"));
    assert_non_null(strstr(caps, "250-AUTH PLAIN LOGIN\r\n"));
    client_expect(&f.c, "STARTTLS\r\n", "503 5.5.1 …");
    client_expect(&f.c, "MAIL FROM:<ann@example.org>\r\n", "530 5.7.0 Authentication required\r\n");
    client_expect(&f.c, "AUTH CRAM-MD5\r\n", "504 5.5.4 …");
    client_expect(&f.c, "AUTH PLAIN\r\n", "334 \r\n");
    client_expect(&f.c, "*\r\n", "501 5.7.0 …");
    client_expect(&f.c, "AUTH PLAIN !!!\r\n", "501 5.5.2 …");
    client_expect(&f.c, "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwB3cm9uZw==\r\n", "535 5.7.8 …");
    f.c.fb->auth_delay_ms = 1500;
    client_expect(&f.c, "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n",
                  "454 4.7.0 Too many failed logins, try again in 2 s\r\n");
    f.c.fb->auth_delay_ms = 0;
    f.c.fb->fail_n[FAKE_AUTH] = 1;
    f.c.fb->fail_status[FAKE_AUTH] = ERR_UNAVAILABLE;
    client_expect(&f.c, "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n", "454 4.7.0 …");
    client_expect(&f.c, "AUTH LOGIN\r\n", "334 VXNlcm5hbWU6\r\n");
    client_expect(&f.c, "YW5uQGV4YW1wbGUub3Jn\r\n", "334 UGFzc3dvcmQ6\r\n");
    client_expect(&f.c, "c2VjcmV0\r\n", "235 2.7.0 Authenticated\r\n");
    assert_string_equal(f.c.session->user, "ann@example.org");
    client_expect(&f.c, "AUTH PLAIN\r\n", "503 5.5.1 Authenticated already\r\n");
    client_expect(&f.c,
                  "MAIL FROM:<ann@example.org> AUTH=<>\r\nRCPT TO:<x@foreign.example>\r\nRCPT TO:<bob@example.org>\r\n",
                  OK_MAIL OK_RCPT OK_RCPT);
    client_expect(&f.c, "DATA\r\n", GO);
    client_expect(&f.c, "From: ann@example.org\r\nSubject: no date\r\n\r\nDate: body\r\n.\r\n", "250 2.0.0 …");
    struct slice body = inbox(&f, f.bob, 1);
    assert_true(has(body, "with ESMTPSA id"));
    assert_true(has(body, "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)"));
    assert_true(has(body, "\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n"));
    assert_true(has(body, "\r\nMessage-ID: <18bcfe56800."));
    client_expect(&f.c, "MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", OK_MAIL OK_RCPT GO);
    client_expect(&f.c, "From: ann@example.org\r\nDATE: mine\r\nMessage-id: <mine>\r\n\r\n.\r\n", "250 2.0.0 …");
    body = inbox(&f, f.bob, 2);
    assert_false(has(body, "Date: "));
    assert_false(has(body, "Message-ID: "));
    end(&f);
}

static void too_many_logins(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f);
    f.c.peer.tls = true;
    start(&f, SMTP_SUBMISSION);
    client_say(&f.c, "EHLO c.example\r\n");
    client_take(&f.c);
    for (unsigned i = 1; i < f.limits.auth_tries_max; i++)
        client_expect(&f.c, "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwB3cm9uZw==\r\n",
                      "535 5.7.8 Name or password is wrong\r\n");
    client_expect(
        &f.c, "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwB3cm9uZw==\r\n",
        "535 5.7.8 Name or password is wrong\r\n421 4.7.0 mx.example.org Too many failed logins, closing\r\n");
    assert_true(f.c.session->closing);
    end(&f);
}

static void shutdown_and_timeout(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, SMTP_RELAY);
    client_expect(&f.c, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
    f.c.session->ops->shutdown(f.c.session);
    client_expect(&f.c, "x\r\n", "");
    f.c.hold = true;
    client_expect(&f.c, ".\r\nNOOP\r\n", "");
    assert_true(f.c.session->blocked);
    f.c.session->ops->timed_out(f.c.session); /* waiting for ourselves is no silence of the client's */
    f.c.hold = false;
    client_expect(&f.c, "", "250 2.0.0 Ok: queued as s1.1\r\n421 4.3.2 mx.example.org Shutting down, try again\r\n");
    assert_true(f.c.session->closing);
    end(&f);

    /* Between transactions at once, but not before the first, and not amid one. */
    begin(&f, SMTP_RELAY);
    client_expect(&f.c, ENVELOPE "RSET\r\n", OK_MAIL OK_RCPT "250 …");
    f.c.session->ops->shutdown(f.c.session);
    client_expect(&f.c, "", "421 4.3.2 …");
    assert_true(f.c.session->closing);
    end(&f);

    begin(&f, SMTP_RELAY);
    f.c.session->ops->shutdown(f.c.session);
    client_expect(&f.c, "NOOP\r\n", "250 …");
    client_expect(&f.c, ENVELOPE, OK_MAIL OK_RCPT);
    client_expect(&f.c, "RSET\r\n", "250 …");
    assert_true(f.c.session->closing);
    end(&f);

    begin(&f, SMTP_RELAY);
    client_expect(&f.c, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
    assert_int_equal(f.c.session->ops->idle_timeout_ms(f.c.session), 300000);
    f.c.session->ops->timed_out(f.c.session);
    client_expect(&f.c, "", "421 4.4.2 …");
    assert_true(f.c.session->closing);
    end(&f);
}

/* The connection goes while the write is under way: it takes effect, and everything is freed. */
static void gone_meanwhile(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, SMTP_RELAY);
    client_expect(&f.c, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
    f.c.hold = true;
    client_expect(&f.c, "x\r\n.\r\n", "");
    end(&f);

    prepare(&f);
    f.c.peer.tls = true;
    start(&f, SMTP_SUBMISSION);
    f.c.hold = true;
    client_say(&f.c, "EHLO c.example\r\nAUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n");
    assert_true(f.c.session->blocked);
    end(&f);
}

static void helo_is_tamed(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, SMTP_RELAY);
    client_expect(&f.c, "EHLO a b\r\n", "501 5.5.4 …");
    client_say(&f.c, "HELO x(;)\"\xff\r\n");
    client_take(&f.c);
    client_expect(&f.c, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
    client_expect(&f.c, ".\r\n", "250 2.0.0 …");
    struct slice body = inbox(&f, f.ann, 1);
    assert_true(has(body, "from x????? ([192.0.2.7])\r\n\tby mx.example.org (Merlion) with SMTP id"));
    end(&f);
}

static void big_message(void **state)
{
    struct fixture f;
    struct buf piece = {0};

    (void)state;
    begin(&f, SMTP_RELAY);
    for (int i = 0; i < 1024; i++)
        buf_append_str(&piece, "0123456789012345678901234567890123456789012345678901234567890\r\n");
    client_expect(&f.c, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
    for (int i = 0; i < 800; i++) /* 50 MB */
        client_send(&f.c, buf_slice(&piece).p, buf_len(&piece));
    client_expect(&f.c, ".\r\n", "250 2.0.0 …");
    assert_true(inbox(&f, f.ann, 1).n > 800 * buf_len(&piece));
    buf_close(&piece);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greeting_and_help),
        cmocka_unit_test(delivery_in_pieces),
        cmocka_unit_test(recipients),
        cmocka_unit_test(mail_parameters),
        cmocka_unit_test(smuggling),
        cmocka_unit_test(bad_lines),
        cmocka_unit_test(nul_size_and_loop),
        cmocka_unit_test(chunking),
        cmocka_unit_test(failed_writes),
        cmocka_unit_test(unknown_outcome),
        cmocka_unit_test(lmtp),
        cmocka_unit_test(starttls_and_auth),
        cmocka_unit_test(too_many_logins),
        cmocka_unit_test(shutdown_and_timeout),
        cmocka_unit_test(gone_meanwhile),
        cmocka_unit_test(helo_is_tamed),
        cmocka_unit_test(big_message),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
