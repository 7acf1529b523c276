/* Mail for elsewhere: what the queue gets, from whom, and who may send as whom. */
#include "tests/unit/protocol/support_client.h"

#include "node/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct fixture {
    struct client c;
    struct session_limits limits;
    uint64_t ann, bob;
};

static void prepare(struct fixture *f)
{
    *f = (struct fixture){.limits = session_limits_default};
    client_init(&f->c);
    f->ann = fake_backend_account(f->c.fb, "ann@example.org", "secret");
    f->bob = fake_backend_account(f->c.fb, "bob@example.org", "hunter2");
    fake_backend_domain(f->c.fb, "example.org");
}

static void start(struct fixture *f, enum smtp_kind kind)
{
    struct client *c = &f->c;

    c->peer.tls = true;
    client_attach(c, smtp_session_new(&c->host, &c->fb->backend, &c->peer, &f->limits, kind));
    client_say(c, kind == SMTP_LMTP ? "LHLO c.example\r\n" : "EHLO c.example\r\n");
    if (kind == SMTP_SUBMISSION)
        client_say(c, "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n");
    client_take(c);
}

static void begin(struct fixture *f)
{
    prepare(f);
    start(f, SMTP_SUBMISSION);
}

static void end(struct fixture *f)
{
    client_close(&f->c);
}

#define OK_MAIL "250 2.1.0 Ok\r\n"
#define OK_RCPT "250 2.1.5 Ok\r\n"
#define GO "354 End with <CRLF>.<CRLF>\r\n"
#define FROM "From: ann@example.org\r\n"

/* The whole message goes in; the last writes' trace must be this. */
static void send(struct fixture *f, const char *envelope, const char *text, const char *reply, const char *trace)
{
    buf_clear(&f->c.fb->trace);
    client_say(&f->c, envelope);
    client_take(&f->c);
    client_expect(&f->c, "DATA\r\n", GO);
    client_say(&f->c, text);
    client_expect(&f->c, ".\r\n", reply);
    buf_append_byte(&f->c.fb->trace, 0);
    assert_string_equal(buf_slice(&f->c.fb->trace).p, trace);
}

static struct slice queued(struct fixture *f)
{
    return slice_from(bytes_slice(f->c.fb->queued), f->c.fb->queued_skip);
}

static void foreign(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    send(&f, "MAIL FROM:<ann@example.org>\r\nRCPT TO:<x@a.test>\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<y@b.test>\r\n",
         FROM "Bcc: secret@a.test\r\n\r\nx\r\n", "250 2.0.0 Ok: queued as s1.1\r\n",
         "deliver 1\nqueue from <ann@example.org> by 1: x@a.test y@b.test\n");
    assert_int_equal(f.ann, 1);
    /* Our Return-Path does not go out; Received, Date and Message-ID do, and the rest is as it came. */
    struct slice out = queued(&f);
    assert_true(f.c.fb->queued_skip == strlen("Return-Path: <ann@example.org>\r\n"));
    assert_int_equal(memcmp(out.p, "Received: from c.example ", 25), 0);
    assert_non_null(memmem(out.p, out.n, "\r\nDate: ", 8));
    assert_non_null(memmem(out.p, out.n, "\r\nMessage-ID: <", 15));
    assert_non_null(memmem(out.p, out.n, "\r\nBcc: secret@a.test\r\n\r\nx\r\n", 27));
    /* Only elsewhere; no second look at the cluster's state for what is accepted. */
    unsigned syncs = f.c.fb->calls[FAKE_SYNC];
    send(&f, "MAIL FROM:<>\r\nRCPT TO:<x@a.test>\r\n", FROM "\r\nx\r\n", "250 2.0.0 Ok: queued as s1.2\r\n",
         "deliver 0\nqueue from <> by 1: x@a.test\n");
    assert_int_equal(f.c.fb->calls[FAKE_SYNC], syncs);
    /* Once each: the domain's case says nothing. */
    send(&f,
         "MAIL FROM:<>\r\nRCPT TO:<x@a.test>\r\nRCPT TO:<x@A.Test>\r\nRCPT TO:<X@a.test>\r\nRCPT TO:<\"x\"@a.test>\r\n",
         FROM "\r\nx\r\n", "250 2.0.0 Ok: queued as s1.3\r\n", "deliver 0\nqueue from <> by 1: x@a.test X@a.test\n");
    client_expect(&f.c, "MAIL FROM:<>\r\nRCPT TO:<x@[300.1.1.1]>\r\nRCPT TO:<x@a..test>\r\nRCPT TO:<x@[192.0.2.1]>\r\n",
                  OK_MAIL "501 5.1.3 Malformed address\r\n501 5.1.3 Malformed address\r\n" OK_RCPT);
    end(&f);
}

static void parameters(void **state)
{
    static const struct {
        const char *mail, *rcpt, *reply, *trace; /* trace NULL: RCPT is refused */
    } cases[] = {
        {"", " NOTIFY=NEVER", NULL, " x@a.test1\n"},
        {"", " NOTIFY=success,FAILURE,DELAY", NULL, " x@a.test14\n"},
        {" RET=FULL ENVID=Q+2B1", " ORCPT=rfc822;Joe+2Bx@a.test", NULL,
         " x@a.test[rfc822;Joe+x@a.test] full envid=Q+1\n"},
        {" RET=HDRS", " ORCPT=rfc822;a NOTIFY=DELAY", NULL, " x@a.test[rfc822;a]8 headers\n"},
        {" SMTPUTF8", " ORCPT=utf-8;\xc3\xbc", NULL, " x@a.test[utf-8;\xc3\xbc] utf8\n"},
        {"", " ORCPT=utf-8;\\x{FC}", NULL, " x@a.test[utf-8;\xc3\xbc]\n"},
        {"", " ORCPT=utf-8;\xc3\xbc", "501 5.5.4 Bad value of ORCPT\r\n", NULL},
        {"", " NOTIFY=NEVER,DELAY", "501 5.5.4 Bad value of NOTIFY\r\n", NULL},
        {"", " NOTIFY", "501 5.5.4 Bad value of NOTIFY\r\n", NULL},
        {"", " NOTIFY=DELAY NOTIFY=DELAY", "501 5.5.4 Malformed parameters\r\n", NULL},
        {"", " ORCPT=a", "501 5.5.4 Bad value of ORCPT\r\n", NULL},
        {"", " ORCPT", "501 5.5.4 Bad value of ORCPT\r\n", NULL},
        {"", " ORCPT=rfc822;a+0D+0A", "501 5.5.4 Bad value of ORCPT\r\n", NULL},
        {"", " RET=FULL", "555 5.5.4 Parameter RET is not known\r\n", NULL},
    };
    char text[300], trace[300];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        begin(&f);
        snprintf(text, sizeof(text), "MAIL FROM:<ann@example.org>%s\r\nRCPT TO:<x@a.test>%s\r\n", cases[i].mail,
                 cases[i].rcpt);
        if (cases[i].trace) {
            snprintf(trace, sizeof(trace), "deliver 0\nqueue from <ann@example.org> by 1:%s", cases[i].trace);
            send(&f, text, FROM "\r\nx\r\n", "250 2.0.0 …", trace);
        } else {
            client_say(&f.c, text);
            assert_string_equal(client_take(&f.c) + strlen(OK_MAIL), cases[i].reply);
        }
        end(&f);
    }
}

static void parameters_of_mail(void **state)
{
    static const struct {
        const char *text, *reply;
    } cases[] = {
        {"RET=HDRS", "250 2.1.0 …"},
        {"RET=ALL", "501 5.5.4 Bad value of RET\r\n"},
        {"RET", "501 5.5.4 …"},
        {"RET=FULL RET=HDRS", "501 5.5.4 Malformed parameters\r\n"},
        {"ENVID=a+2b", "501 5.5.4 Bad value of ENVID\r\n"},
        {"ENVID=a+0D+0Ab", "501 5.5.4 …"},
        {"ENVID", "501 5.5.4 …"},
        {"ENVID=a ENVID=b", "501 5.5.4 Malformed parameters\r\n"},
        {"NOTIFY=NEVER", "555 5.5.4 …"},
    };
    struct fixture f;
    char line[100];

    (void)state;
    prepare(&f);
    start(&f, SMTP_RELAY);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(line, sizeof(line), "MAIL FROM:<joe@b.test> %s\r\n", cases[i].text);
        client_expect(&f.c, line, cases[i].reply);
        client_expect(&f.c, "RSET\r\n", "250 2.0.0 Ok\r\n");
    }
    end(&f);
}

/* What the next server has to be able to take. */
static void kinds_of_content(void **state)
{
    struct fixture f;
    static const char *const texts[] = {FROM "Subject: \xc3\xbc\r\n\r\nx\r\n", FROM "\r\n12345678\xff\r\n",
                                        FROM "\r\n1234567\xff"
                                             "12345678\r\n"};

    (void)state;
    begin(&f);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (f.c.step = 0; f.c.step < 12; f.c.step++)
            send(&f, "MAIL FROM:<>\r\nRCPT TO:<x@a.test>\r\n", texts[i], "250 2.0.0 …",
                 "deliver 0\nqueue from <> by 1: x@a.test eight\n");
    send(&f, "MAIL FROM:<> BODY=8BITMIME\r\nRCPT TO:<x@a.test>\r\n", FROM "\r\nx\r\n", "250 2.0.0 …",
         "deliver 0\nqueue from <> by 1: x@a.test\n");
    /* An address alone does not make the header need SMTPUTF8: a server that lacks it may get the domain as A-label. */
    send(&f, "MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<x@\xc3\xbc.test>\r\n", FROM "\r\nx\r\n", "250 2.0.0 …",
         "deliver 0\nqueue from <> by 1: x@\xc3\xbc.test utf8\n");
    buf_clear(&f.c.fb->trace);
    client_say(&f.c, "MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<x@a.test>\r\nBDAT 26 LAST\r\n" FROM "\r\n\n");
    buf_append_byte(&f.c.fb->trace, 0);
    assert_string_equal(buf_slice(&f.c.fb->trace).p, "deliver 0\nqueue from <> by 1: x@a.test binary\n");
    end(&f);
}

static void only_after_login(void **state)
{
    struct fixture f;

    (void)state;
    for (int kind = SMTP_RELAY; kind <= SMTP_LMTP; kind++) {
        if (kind == SMTP_SUBMISSION)
            continue;
        prepare(&f);
        start(&f, (enum smtp_kind)kind);
        client_expect(&f.c, "MAIL FROM:<ann@example.org>\r\nRCPT TO:<x@a.test>\r\n",
                      OK_MAIL "550 5.7.1 <x@a.test> relaying denied: not a domain of this server\r\n");
        end(&f);
    }
    /* A backend without a queue. */
    prepare(&f);
    f.c.fb->ops.sender_allowed = NULL;
    start(&f, SMTP_SUBMISSION);
    client_expect(&f.c, "MAIL FROM:<joe@b.test>\r\nRCPT TO:<x@a.test>\r\n", OK_MAIL "550 5.7.1 …");
    end(&f);
}

/* Aliases lead elsewhere for whoever may write to them. */
static void forwarding(void **state)
{
    static const struct {
        enum smtp_kind kind;
        const char *replies, *trace;
    } cases[] = {
        {SMTP_RELAY, "250 2.0.0 Ok: queued as s1.1\r\n",
         "deliver 1\nqueue from <joe@b.test> by 0: x@a.test[rfc822;o]2 y@a.test[rfc822;o]2 z@a.test\n"},
        {SMTP_LMTP,
         "250 2.1.5 <fwd@example.org> delivered, id s1.1\r\n250 2.1.5 <both@example.org> delivered, id s1.1\r\n",
         "deliver 1\nqueue from <joe@b.test> by 0: x@a.test[rfc822;o]2 y@a.test[rfc822;o]2 z@a.test\n"},
        {SMTP_SUBMISSION, "250 2.0.0 Ok: queued as s1.1\r\n",
         "deliver 1\nqueue from <joe@b.test> by 1: x@a.test[rfc822;o]2 y@a.test[rfc822;o]2 z@a.test\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        prepare(&f);
        f.c.fb->any_sender = true;
        fake_backend_address(f.c.fb, "both@example.org", RECIPIENT_LOCAL, &f.bob, 1);
        fake_backend_forward(f.c.fb, "fwd@example.org", "x@a.test");
        fake_backend_forward(f.c.fb, "fwd@example.org", "y@a.test");
        fake_backend_forward(f.c.fb, "both@example.org", "z@a.test");
        fake_backend_forward(f.c.fb, "both@example.org", "x@A.test");
        start(&f, cases[i].kind);
        send(&f,
             "MAIL FROM:<joe@b.test>\r\nRCPT TO:<fwd@example.org> NOTIFY=SUCCESS ORCPT=rfc822;o\r\n"
             "RCPT TO:<both@example.org>\r\n",
             FROM "\r\nx\r\n", cases[i].replies, cases[i].trace);
        end(&f);
    }
}

/* A mailbox that went full since RCPT does not make the client send to the others again. */
static void mixed_outcomes(void **state)
{
    static const struct {
        int status;
        const char *reply;
    } cases[] = {
        {ERR_BUSY, "450 4.7.1 Too many recipients in an hour, try again later\r\n"},
        {ERR_VERSION, "451 4.3.2 …"},
        {ERR_UNAVAILABLE, "451 4.3.0 …"},
    };
    struct fixture f;

    (void)state;
    begin(&f);
    fake_backend_quota(f.c.fb, f.bob, 1);
    send(&f, "MAIL FROM:<>\r\nRCPT TO:<x@a.test>\r\nRCPT TO:<bob@example.org>\r\n", FROM "\r\nx\r\n", "250 2.0.0 …",
         "deliver 1\nqueue from <> by 1: x@a.test\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        f.c.fb->fail_status[FAKE_WRITE] = cases[i].status;
        f.c.fb->fail_n[FAKE_WRITE] = 1;
        send(&f, "MAIL FROM:<>\r\nRCPT TO:<x@a.test>\r\n", FROM "\r\nx\r\n", cases[i].reply, "");
    }
    end(&f);
}

static void mail_from(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    unsigned syncs = f.c.fb->calls[FAKE_SYNC];
    client_expect(&f.c, "MAIL FROM:<ann@example.org>\r\nRSET\r\nMAIL FROM:<>\r\nRSET\r\n",
                  OK_MAIL "250 2.0.0 Ok\r\n" OK_MAIL "250 2.0.0 Ok\r\n");
    assert_int_equal(f.c.fb->calls[FAKE_SYNC], syncs);
    client_expect(&f.c, "MAIL FROM:<bob@example.org> ENVID=x\r\nRCPT TO:<bob@example.org>\r\n",
                  "553 5.7.1 <bob@example.org> is not an address of ann@example.org\r\n503 5.5.1 Say MAIL first\r\n");
    assert_int_equal(f.c.fb->calls[FAKE_SYNC], syncs + 1);
    /* Given a moment ago, through another node. */
    f.c.hold = true;
    client_expect(&f.c, "MAIL FROM:<list@example.org>\r\n", "");
    fake_backend_sender(f.c.fb, f.ann, "list@example.org");
    f.c.hold = false;
    client_expect(&f.c, "", OK_MAIL);
    client_expect(&f.c, "RSET\r\n", "250 2.0.0 Ok\r\n");
    f.c.fb->fail_status[FAKE_SYNC] = ERR_UNAVAILABLE;
    f.c.fb->fail_n[FAKE_SYNC] = 1;
    client_expect(&f.c, "MAIL FROM:<bob@example.org>\r\n",
                  "451 4.3.0 <bob@example.org> cannot be checked now, try again later\r\n");
    client_expect(&f.c, "MAIL FROM:<ann@example.org>\r\n", OK_MAIL);
    end(&f);

    /* The connection goes meanwhile. */
    begin(&f);
    f.c.hold = true;
    client_expect(&f.c, "MAIL FROM:<bob@example.org> ENVID=x\r\n", "");
    end(&f);

    /* Elsewhere nobody is asked. */
    prepare(&f);
    start(&f, SMTP_RELAY);
    client_expect(&f.c, "MAIL FROM:<bob@example.org>\r\n", OK_MAIL);
    assert_int_equal(f.c.fb->asked_senders, 0);
    end(&f);
}

#define NOT_HERS(address) "550 5.7.1 <" address "> in the header is not an address of ann@example.org\r\n"
#define NO_FROM "550 5.6.0 Message has no address in From\r\n"

static void authors(void **state)
{
    static const struct {
        const char *header, *reply;
    } cases[] = {
        {"From: ann@example.org\r\n", "250 2.0.0 …"},
        {"FROM: \"Ann, A.\" <Ann@Example.org> (me)\r\n", "250 2.0.0 …"},
        {"From: \"ann\"@example.org\r\n", "250 2.0.0 …"},
        {"From:\r\n Ann\r\n <ann@example.org>\r\n", "250 2.0.0 …"},
        {"From: ann@example.org, list@example.org\r\nSender: list@example.org\r\n", "250 2.0.0 …"},
        {"From: us: ann@example.org, list@example.org;\r\n", "250 2.0.0 …"},
        {"From: bob@example.org\r\n", NOT_HERS("bob@example.org")},
        {"From: ann@example.org, Bob <bob@example.org>\r\n", NOT_HERS("bob@example.org")},
        {"From: us: ann@example.org, bob@example.org;\r\n", NOT_HERS("bob@example.org")},
        {"From: ann@example.org\r\nSender: bob@example.org\r\n", NOT_HERS("bob@example.org")},
        {"From: ann@example.org\r\nfrom: bob@example.org\r\n", NOT_HERS("bob@example.org")},
        {"From: \"ann@example.org\" <bob@example.org>\r\n", NOT_HERS("bob@example.org")},
        {"From: \"a b\"@example.org\r\n", NOT_HERS("\"a b\"@example.org")},
        {"Subject: x\r\n", NO_FROM},
        {"Sender: ann@example.org\r\n", NO_FROM},
        {"From: \r\n", NO_FROM},
        {"From: nobody:;\r\n", NO_FROM},
        {"", NO_FROM},
        {"\r\nFrom: ann@example.org\r\n", NO_FROM}, /* in the body */
    };
    struct fixture f;
    struct buf many = {0};

    (void)state;
    begin(&f);
    fake_backend_sender(f.c.fb, f.ann, "list@example.org");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        client_expect(&f.c, "MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", OK_MAIL OK_RCPT GO);
        client_say(&f.c, cases[i].header);
        client_expect(&f.c, "\r\nx\r\n.\r\n", cases[i].reply);
    }
    /* One without a host, or that no path could be, is nobody's; an operator may have allowed all. */
    client_expect(&f.c, "MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", OK_MAIL OK_RCPT GO);
    client_expect(&f.c, "From: ann\r\n\r\n.\r\n", "550 5.7.1 …");
    f.c.fb->any_sender = true;
    client_expect(&f.c, "MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", OK_MAIL OK_RCPT GO);
    client_expect(&f.c, "From: ann\r\n\r\n.\r\n", "250 2.0.0 …");
    buf_append_str(&many, "From: ");
    for (int i = 0; i < 101; i++)
        buf_append_str(&many, "ann@example.org,\r\n ");
    buf_append_str(&many, "x@example.org\r\n\r\n.\r\n");
    client_expect(&f.c, "MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", OK_MAIL OK_RCPT GO);
    unsigned asked = f.c.fb->asked_senders;
    client_send(&f.c, buf_slice(&many).p, buf_len(&many));
    client_expect(&f.c, "", "550 5.6.0 Message has too many addresses in From and Sender\r\n");
    assert_int_equal(f.c.fb->asked_senders - asked, 100);
    buf_close(&many);
    end(&f);
}

static void author_recheck(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    client_expect(&f.c, "MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", OK_MAIL OK_RCPT GO);
    f.c.hold = true;
    client_expect(&f.c, "From: list@example.org\r\n\r\nx\r\n.\r\nNOOP\r\n", "");
    fake_backend_sender(f.c.fb, f.ann, "list@example.org");
    f.c.hold = false;
    client_expect(&f.c, "", "250 2.0.0 Ok: queued as s1.1\r\n250 2.0.0 Ok\r\n");
    f.c.fb->fail_status[FAKE_SYNC] = ERR_UNAVAILABLE;
    f.c.fb->fail_n[FAKE_SYNC] = 1;
    client_expect(&f.c, "MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", OK_MAIL OK_RCPT GO);
    client_expect(&f.c, "From: bob@example.org\r\n\r\nx\r\n.\r\n", "451 4.3.0 …");
    /* By BDAT, and the connection goes meanwhile. */
    client_expect(&f.c, "MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nBDAT 0 LAST\r\n", OK_MAIL OK_RCPT NO_FROM);
    f.c.hold = true;
    client_expect(&f.c, "MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nBDAT 9 LAST\r\nFrom: b\r\n", OK_MAIL OK_RCPT);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(foreign),          cmocka_unit_test(parameters),       cmocka_unit_test(parameters_of_mail),
        cmocka_unit_test(kinds_of_content), cmocka_unit_test(only_after_login), cmocka_unit_test(forwarding),
        cmocka_unit_test(mixed_outcomes),   cmocka_unit_test(mail_from),        cmocka_unit_test(authors),
        cmocka_unit_test(author_recheck),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
