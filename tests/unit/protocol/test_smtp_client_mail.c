/* Mail through the SMTP client: envelope, content, outcomes. */
#include "tests/unit/protocol/support_smtp_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define EHLO(offers) "S: 220 mx.test\nC: EHLO c.test\nS: 250-mx.test\n" offers "S: 250 HELP\nE: ready\n"
#define PIPE "S: 250-PIPELINING\n"
#define CHUNK "S: 250-CHUNKING\n"

enum { MAX = 4 };
struct fixture {
    struct smtp_client_recipient r[MAX];
    struct smtp_client_mail mails[2];
    struct smtp_script script;
};

static void prepare(struct fixture *f, const char *text)
{
    static const char *const names[MAX] = {"ann@a.test", "bob@a.test", "cy@a.test", "dee@a.test"};

    *f = (struct fixture){0};
    for (size_t i = 0; i < MAX; i++)
        f->r[i].address = slice_str(names[i]);
    for (size_t i = 0; i < 2; i++)
        f->mails[i] = (struct smtp_client_mail){
            .sender = SLICE_LITERAL("joe@b.test"), .body = bytes_copy(slice_str(text)), .recipients = f->r, .n = i + 1};
    f->script = (struct smtp_script){.mails = f->mails};
}

static void finish(struct fixture *f)
{
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(atomic_load(&f->mails[i].body->refs), 1); /* the client kept nothing */
        bytes_unref(&f->mails[i].body);
    }
}

static void run_cases(const char *text, const char *const *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t step = 0; step < 60; step++) {
            struct fixture f;
            prepare(&f, text);
            f.script.step = step;
            smtp_script_run(&f.script, cases[i]);
            finish(&f);
        }
}
#define RUN(text, cases) run_cases((text), (cases), sizeof(cases) / sizeof((cases)[0]))

#define MAIL "MAIL FROM:<joe@b.test>"
#define ANN "RCPT TO:<ann@a.test>"
#define BOB "RCPT TO:<bob@a.test>"
#define TEXT "A: b\r\n\r\nhi\r\n"
#define LINES "C: A: b\nC: \nC: hi\nC: .\nC\n"

static void step_by_step(void **state)
{
    static const char *const cases[] = {
        /* taken */
        EHLO("") "M: 0\nC: " MAIL "\nC\nS: 250 ok\nC: " ANN "\nC\nS: 250 ok\nC: DATA\nC\nS: 354 go\n" LINES
                 "S: 250 2.6.0 queued as 7\nE: done again\nO: 0 0 250 2.6.0 2.6.0 queued as 7\nC\n",
        /* one of two */
        EHLO("") "M: 1\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 550-5.1.1 who\nS: 550 5.1.1 is that\nC: " BOB
                 "\nC\nS: 251 ok\nC: DATA\nS: 354 go\n" LINES "S: 250 queued\nE: done again\n"
                 "O: 0 2 550 5.1.1 5.1.1 who; is that\nO: 1 0 250 2.0.0 queued\n",
        /* both refused: no DATA, and the next mail begins with RSET */
        EHLO("") "M: 1\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 450 4.2.1 later\nC: " BOB "\nS: 552 full\n"
                 "E: done again\nC\nO: 0 1 450 4.2.1 4.2.1 later\nO: 1 1 552 4.5.3 full\n"
                 "M: 0\nC: RSET\nC\nS: 250 ok\nC: " MAIL "\nC\nS: 250 ok\nC: " ANN
                 "\nS: 250 ok\nC: DATA\nS: 354 go\n" LINES "S: 250 ok\nE: done again\nM: 0\nC: " MAIL "\n",
        EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN
                 "\nS: 552 5.2.2 full\nE: done again\nO: 0 2 552 5.2.2 5.2.2 full\n",
        /* MAIL refused: all get that, and there is no transaction to reset */
        EHLO("") "M: 1\nC: " MAIL "\nS: 451 4.7.1 greylisted\nE: done again\nC\nO: 0 1 451 4.7.1 4.7.1 greylisted\n"
                 "O: 1 1 451 4.7.1 4.7.1 greylisted\nM: 0\nC: " MAIL
                 "\nS: 553 no\nE: done again\nO: 0 2 553 5.0.0 no\n",
        /* DATA refused */
        EHLO("") "M: 1\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\nC: " BOB
                 "\nS: 550 no\nC: DATA\nS: 554 5.7.1 not so\n"
                 "E: done again\nO: 0 2 554 5.7.1 5.7.1 not so\nO: 1 2 550 5.0.0 no\nM: 0\nC: RSET\n",
        EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\nC: DATA\nS: 250 what\n"
                 "E: done last\nO: 0 1 0 4.5.0 DATA was answered with 250 what\nF:\n",
        /* the final dot */
        EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\nC: DATA\nS: 354 go\n" LINES
                 "S: 452 4.3.1 full\nE: done again\nO: 0 1 452 4.3.1 4.3.1 full\nM: 0\nC: " MAIL "\n",
        EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\nC: DATA\nS: 354 go\n" LINES
                 "S: 554 spam\nE: done again\nO: 0 2 554 5.0.0 spam\n",
        EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\nC: DATA\nS: 354 go\n" LINES
                 "X: lost\nE: done last\nO: 0 1? 0 4.4.2 lost\nF:\nX: again\n",
        EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\nC: DATA\nS: 354 go\n" LINES
                 "S: what\nE: done last\nO: 0 1? 0 4.5.0 the server sent what is no SMTP reply\nF:\n",
        EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\nC: DATA\nS: 354 go\n" LINES
                 "S: 354 more\nE: done last\nO: 0 1? 0 4.5.0 the message was answered with 354 more\nF:\n",
        EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\nC: DATA\nS: 354 go\n" LINES
                 "S: 421 4.3.2 stop\nE: done last\nO: 0 1 421 4.3.2 4.3.2 stop\nF:\n",
        /* 421, and what is none, at each step */
        EHLO("") "M: 1\nC: " MAIL "\nS: 421 stop\nE: done last\nO: 0 1 421 4.3.2 stop\nO: 1 1 421 4.3.2 stop\nF:\n",
        EHLO("") "M: 1\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 550 no\nC: " BOB
                 "\nS: 421 stop\nE: done last\nO: 0 2 550 5.0.0 no\nO: 1 1 421 4.3.2 stop\nF:\n",
        EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\nC: DATA\nS: 421 stop\nE: done last\n"
                 "O: 0 1 421 4.3.2 stop\nF:\n",
        EHLO("") "M: 0\nC: " MAIL "\nS: 354 what\nE: done last\nO: 0 1 0 4.5.0 MAIL was answered with 354 what\nF:\n",
        EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 354 what\nE: done last\n"
                 "O: 0 1 0 4.5.0 RCPT was answered with 354 what\nF:\n",
        EHLO("") "M: 1\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\nC: " BOB
                 "\nS: 550 no\nC: DATA\nX: lost\nE: done last\nO: 0 1 0 4.4.2 lost\nO: 1 2 550 5.0.0 no\nF:\n",
        EHLO("") "M: 0\nC: " MAIL "\nX: timed out\nE: done last\nO: 0 1 0 4.4.2 timed out\nF:\n",
        /* RSET refused: nobody knows what this server thinks */
        EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 550 no\nE: done again\nM: 0\nC: RSET\nS: 500 no\n"
                 "E: done last\nO: 0 1 0 4.5.0 RSET was answered with 500 no\nF:\n",
    };

    (void)state;
    RUN(TEXT, cases);
}

static void pipelined(void **state)
{
    static const char *const cases[] = {
        EHLO(PIPE) "M: 1\nC: " MAIL "\nC: " ANN "\nC: " BOB
                   "\nC: DATA\nC\nS: 250 ok\nS: 250 ok\nS: 450 no\nS: 354 go\n" LINES
                   "S: 250 queued\nE: done again\nO: 0 0 250 2.0.0 queued\nO: 1 1 450 4.2.0 no\n",
        /* all refused, DATA too; the next mail goes with RSET in one piece */
        EHLO(PIPE) "M: 0\nC: " MAIL "\nC: " ANN "\nC: DATA\nS: 250 ok\nS: 550 no\nS: 554 nobody\nE: done again\n"
                   "O: 0 2 550 5.0.0 no\nM: 0\nC: RSET\nC: " MAIL "\nC: " ANN "\nC: DATA\nC\nS: 250 ok\nS: 250 ok\n"
                   "S: 250 ok\nS: 354 go\n" LINES "S: 250 ok\nE: done again\nO: 0 0 250 2.0.0 ok\n",
        /* all refused, but DATA is taken: a message for nobody */
        EHLO(PIPE) "M: 0\nC: " MAIL "\nC: " ANN "\nC: DATA\nS: 250 ok\nS: 550 no\nS: 354 go\nC: .\nC\nS: 554 nobody\n"
                   "E: done again\nO: 0 2 550 5.0.0 no\nM: 0\nC: " MAIL "\n",
        EHLO(PIPE) "M: 0\nC: " MAIL "\nC: " ANN "\nC: DATA\nS: 250 ok\nS: 550 no\nS: 354 go\nC: .\nX: lost\n"
                   "E: done last\nO: 0 2 550 5.0.0 no\nF:\n",
        /* MAIL refused: what follows says nothing */
        EHLO(PIPE) "M: 1\nC: " MAIL "\nC: " ANN "\nC: " BOB "\nC: DATA\nS: 550 5.7.1 bad sender\nS: 503 MAIL first\n"
                   "S: 250 what\nS: 503 MAIL first\nE: done again\nO: 0 2 550 5.7.1 5.7.1 bad sender\n"
                   "O: 1 2 550 5.7.1 5.7.1 bad sender\nM: 0\nC: " MAIL "\n",
        EHLO(PIPE) "M: 0\nC: " MAIL "\nC: " ANN
                   "\nC: DATA\nS: 450 later\nX: lost\nE: done last\nO: 0 1 450 4.2.0 later\n",
        EHLO(PIPE) "M: 1\nC: " MAIL "\nC: " ANN "\nC: " BOB "\nC: DATA\nS: 250 ok\nS: 550 no\nS: 421 stop\n"
                   "E: done last\nO: 0 2 550 5.0.0 no\nO: 1 1 421 4.3.2 stop\nF:\n",
        EHLO(PIPE) "M: 1\nC: " MAIL "\nC: " ANN "\nC: " BOB "\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 550 no\nS: 451 later\n"
                   "E: done again\nO: 0 1 451 4.3.0 later\nO: 1 2 550 5.0.0 no\nM: 0\nC: RSET\n",
    };

    (void)state;
    RUN(TEXT, cases);
}

static void chunked(void **state)
{
    static const char *const cases[] = {
        EHLO(PIPE CHUNK) "M: 1\nC: " MAIL "\nC: " ANN "\nC: " BOB
                         "\nC\nS: 250 ok\nS: 550 no\nS: 250 ok\nC: BDAT 12 LAST\nC: A: b\nC: \nC: hi\nC\nS: 250 ok\n"
                         "E: done again\nO: 0 2 550 5.0.0 no\nO: 1 0 250 2.0.0 ok\n",
        EHLO(PIPE CHUNK) "M: 0\nC: " MAIL "\nC: " ANN "\nC\nS: 250 ok\nS: 550 no\nE: done again\nM: 0\nC: RSET\n",
        EHLO(CHUNK) "M: 0\nC: " MAIL "\nC\nS: 250 ok\nC: " ANN
                    "\nC\nS: 250 ok\nC: BDAT 12 LAST\nC: A: b\nC: \nC: hi\nC\n"
                    "X: lost\nE: done last\nO: 0 1? 0 4.4.2 lost\n",
        EHLO(CHUNK) "M: 0\nC: " MAIL "\nS: 550 no\nE: done again\nO: 0 2 550 5.0.0 no\n",
    };

    (void)state;
    RUN(TEXT, cases);
}

/* Dots, and ends without CRLF. What BDAT sends is as long as it says. */
static void contents(void **state)
{
    static const struct {
        const char *text, *data, *chunk;
    } cases[] = {
        {"", "C: .\n", "C: BDAT 0 LAST\n"},
        {"x", "C: x\nC: .\n", "C: BDAT 3 LAST\nC: x\n"},
        {"x\r\n", "C: x\nC: .\n", "C: BDAT 3 LAST\nC: x\n"},
        {".", "C: ..\nC: .\n", "C: BDAT 3 LAST\nC: .\n"},
        {".\r\n..\r\n.x\r\nx.\r\n\r\n.\r\n", "C: ..\nC: ...\nC: ..x\nC: x.\nC: \nC: ..\nC: .\n",
         "C: BDAT 20 LAST\nC: .\nC: ..\nC: .x\nC: x.\nC: \nC: .\n"},
        {"\r\n", "C: \nC: .\n", "C: BDAT 2 LAST\nC: \n"},
    };
    char script[600];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int chunk = 0; chunk < 2; chunk++) {
            struct fixture f;
            prepare(&f, cases[i].text);
            snprintf(script, sizeof(script),
                     EHLO("%s") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN
                                "\nS: 250 ok\n%s%sC\nS: 250 ok\nE: done again\n",
                     chunk ? CHUNK : "", chunk ? "" : "C: DATA\nS: 354 go\n", chunk ? cases[i].chunk : cases[i].data);
            smtp_script_run(&f.script, script);
            finish(&f);
        }
}

#define TO_DATA EHLO("") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\nC: DATA\nS: 354 go\n"
#define TO_BDAT EHLO(CHUNK) "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\nS: 250 ok\n"

/* The dot waits for the host. */
static void confirmation(void **state)
{
    static const char *const cases[] = {
        TO_DATA "C: A: b\nC: \nC: hi\nC\nE: confirm\nC\nK:\nC: .\nC\nS: 250 ok\nE: done again\nK:\nW: late\nC\n",
        TO_DATA "E: confirm\nW: what waits is dropped\nC\nE: done last\nO: 0 1 0 4.3.0 what waits is dropped\nF:\n",
        TO_DATA
        "C: A: b\nC: \nC: hi\nE: confirm\nW: lost touch\nC\nE: done last\nO: 0 1 0 4.3.0 lost touch\nF:\nK:\nC\n",
        TO_DATA "C: A: b\nC: \nC: hi\nE: confirm\nX: lost\nE: done last\nO: 0 1 0 4.4.2 lost\nF:\nK:\nC\n",
        TO_DATA "C: A: b\nC: \nC: hi\nE: confirm\nS: 421 stop\nE: done last\nO: 0 1 421 4.3.2 stop\nF:\nK:\nC\n",
        TO_DATA "C: A: b\nC: \nC: hi\nE: confirm\nS: 552 big\nE: done last\nO: 0 2 552 5.2.2 big\nF:\n",
        TO_DATA "C: A: b\nC: \nC: hi\nE: confirm\nS: 250 what\nE: done last\n"
                "O: 0 1 0 4.5.0 the message was answered with 250 what\nF:\n",
        TO_BDAT "E: confirm\nC\nK:\nC: BDAT 12 LAST\nC: A: b\nC: \nC: hi\nC\nS: 250 ok\nE: done again\n",
        TO_BDAT "E: confirm\nW: no\nC\nE: done last\nO: 0 1 0 4.3.0 no\nF:\n",
        /* Nobody would get it: nothing to confirm. */
        EHLO(PIPE) "M: 0\nC: " MAIL "\nC: " ANN "\nC: DATA\nS: 250 ok\nS: 550 no\nS: 354 go\nC: .\nS: 250 ok\n"
                   "E: done again\nO: 0 2 550 5.0.0 no\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        prepare(&f, TEXT);
        f.script.confirm = true;
        smtp_script_run(&f.script, cases[i]);
        finish(&f);
    }
}

static void offers(void **state)
{
    static const struct {
        const char *what, *script;
        const char *sender, *to, *text, *orcpt, *envid;
        uint32_t notify;
        size_t skip;
        bool utf8, eight, binary, full, headers;
    } cases[] = {
        {.what = "SIZE", .script = EHLO("S: 250-SIZE 12\n") "M: 0\nC: " MAIL " SIZE=12\n"},
        {.what = "SIZE unknown", .script = EHLO("S: 250-SIZE\n") "M: 0\nC: " MAIL " SIZE=12\n"},
        {.what = "SIZE 0 is no limit", .script = EHLO("S: 250-SIZE 0\n") "M: 0\nC: " MAIL " SIZE=12\n"},
        {.what = "too big",
         .script =
             EHLO("S: 250-SIZE 11\n") "M: 0\nE: done again\nC\n"
                                      "O: 0 2 0 5.3.4 the message has 12 octets, and the server takes at most 11\n"},
        {.what = "skip counts", .skip = 6, .script = EHLO("S: 250-SIZE 6\n") "M: 0\nC: " MAIL " SIZE=6\n"},
        {.what = "so does the CRLF that we add",
         .text = "x",
         .script = EHLO("S: 250-SIZE\n") "M: 0\nC: " MAIL " SIZE=3\n"},
        {.what = "null sender", .sender = "", .script = EHLO("") "M: 0\nC: MAIL FROM:<>\n"},
        {.what = "8BITMIME", .eight = true, .script = EHLO("S: 250-8bitmime\n") "M: 0\nC: " MAIL " BODY=8BITMIME\n"},
        {.what = "8BITMIME not needed", .script = EHLO("S: 250-8BITMIME\n") "M: 0\nC: " MAIL "\n"},
        {.what = "8BITMIME lacks",
         .eight = true,
         .script = EHLO("") "M: 0\nE: done again\nC\nO: 0 2 0 5.6.3 the message has 8-bit octets, and the server does "
                            "not offer 8BITMIME\n"},
        {.what = "BINARYMIME",
         .binary = true,
         .eight = true,
         .script = EHLO(CHUNK "S: 250-BINARYMIME\nS: 250-8BITMIME\n") "M: 0\nC: " MAIL " BODY=BINARYMIME\n"},
        {.what = "a bare LF is binary, whatever was said",
         .text = "a\n.\r\n",
         .script = EHLO(CHUNK) "M: 0\nE: done again\nO: 0 2 0 5.6.3 the message is binary, and the server does not "
                               "offer BINARYMIME\n"},
        {.what = "binary is sent as it is",
         .text = "a\n.\r",
         .script = EHLO(CHUNK "S: 250-BINARYMIME\nS: 250-SIZE\n") "M: 0\nC: " MAIL " SIZE=4 BODY=BINARYMIME\n"},
        {.what = "BINARYMIME without CHUNKING",
         .binary = true,
         .script = EHLO("S: 250-BINARYMIME\n") "M: 0\nE: done again\nO: 0 2 0 5.6.3 the message is binary, and the "
                                               "server does not offer BINARYMIME\n"},
        {.what = "SMTPUTF8",
         .to = "b\xc3\xbc@d\xc3\xbc.test",
         .utf8 = true,
         .script = EHLO("S: 250-SMTPUTF8\n") "M: 0\nC: " MAIL
                                             " SMTPUTF8\nS: 250 ok\nC: RCPT TO:<b\xc3\xbc@d\xc3\xbc.test>\n"},
        {.what = "SMTPUTF8 lacks, local part",
         .to = "b\xc3\xbc@d.test",
         .utf8 = true,
         .script = EHLO("") "M: 0\nE: done again\nO: 0 2 0 5.6.7 the address needs SMTPUTF8, and the server does not "
                            "offer it\n"},
        {.what = "SMTPUTF8 lacks, only domains need it",
         .sender = "joe@\xc3\xbc.test",
         .to = "bob@b\xc3\xbc"
               "cher.test",
         .utf8 = true,
         .script = EHLO("") "M: 0\nC: MAIL FROM:<joe@xn--tda.test>\nS: 250 ok\nC: RCPT TO:<bob@xn--bcher-kva.test>\n"},
        {.what = "SMTPUTF8 lacks, a domain has no A-label",
         .to = "bob@a..\xc3\xbc",
         .script = EHLO("") "M: 0\nE: done again\nO: 0 2 0 5.1.3 the address is malformed\n"},
        {.what = "SMTPUTF8 lacks, sender",
         .sender = "j\xc3\xbc@b.test",
         .utf8 = true,
         .script = EHLO("") "M: 0\nE: done again\nO: 0 2 0 5.6.7 the message needs SMTPUTF8, and the server does not "
                            "offer it\n"},
        {.what = "SMTPUTF8 lacks, header",
         .text = "Subject: \xc3\xbc\r\n\r\nx\r\n",
         .utf8 = true,
         .script = EHLO("S: 250-8BITMIME\n") "M: 0\nE: done again\nO: 0 2 0 5.6.7 the message needs SMTPUTF8, and the "
                                             "server does not offer it\n"},
        {.what = "SMTPUTF8 lacks, nothing needs it",
         .text = "Subject: x\r\n\r\n\xc3\xbc\r\n",
         .utf8 = true,
         .eight = true,
         .script = EHLO("S: 250-8BITMIME\n") "M: 0\nC: " MAIL " BODY=8BITMIME\n"},
        {.what = "DSN",
         .full = true,
         .envid = "Q+1=a b",
         .notify = 2 | 8,
         .orcpt = "rfc822;Ann+x@A.test",
         .script = EHLO("S: 250-DSN\n") "M: 0\nC: " MAIL " RET=FULL ENVID=Q+2B1+3Da+20b\nS: 250 ok\nC: " ANN
                                        " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Ann+2Bx@A.test\n"},
        {.what = "DSN, never",
         .headers = true,
         .notify = 1,
         .script = EHLO("S: 250-DSN\n") "M: 0\nC: " MAIL " RET=HDRS\nS: 250 ok\nC: " ANN
                                        " NOTIFY=NEVER ORCPT=rfc822;ann@a.test\n"},
        {.what = "DSN, an address that is none is not sent on",
         .orcpt = "rfc 822;x",
         .script = EHLO("S: 250-DSN\n") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN "\n"},
        {.what = "DSN, UTF-8 without SMTPUTF8",
         .orcpt = "utf-8;\xc3\xbc+@a.test",
         .notify = 4,
         .script = EHLO("S: 250-DSN\n") "M: 0\nC: " MAIL "\nS: 250 ok\nC: " ANN
                                        " NOTIFY=FAILURE ORCPT=utf-8;\\x{FC}\\x{2B}@a.test\n"},
        {.what = "DSN, UTF-8",
         .orcpt = "utf-8;\xc3\xbc@a.test",
         .utf8 = true,
         .script = EHLO("S: 250-DSN\nS: 250-SMTPUTF8\n") "M: 0\nC: " MAIL " SMTPUTF8\nS: 250 ok\nC: " ANN
                                                         " ORCPT=utf-8;\xc3\xbc@a.test\n"},
        {.what = "no DSN there, and success was asked for",
         .full = true,
         .envid = "x",
         .notify = 2,
         .script = TO_DATA LINES "S: 250 ok\nE: done again\nO: 0 0r 250 2.0.0 ok\n"},
        {.what = "no DSN there, failed",
         .notify = 2,
         .script = TO_DATA LINES "S: 550 no\nE: done again\nO: 0 2 550 5.0.0 no\n"},
        {.what = "injection",
         .to = "a@b>\r\nQUIT\r\n",
         .script = EHLO("") "M: 0\nE: done again\nC\nO: 0 2 0 5.1.3 the address is malformed\n"},
        {.what = "parameters by injection",
         .to = "a@b.test> NOTIFY=NEVER",
         .script = EHLO("") "M: 0\nE: done again\nC\nO: 0 2 0 5.1.3 the address is malformed\n"},
        {.what = "injection by the sender",
         .sender = "a@b\r\n",
         .script = EHLO("") "M: 0\nE: done again\nC\nO: 0 2 0 5.1.7 the sender's address is malformed\n"},
        {.what = "no address",
         .to = "",
         .script = EHLO("") "M: 0\nE: done again\nO: 0 2 0 5.1.3 the address is malformed\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        prepare(&f, cases[i].text ? cases[i].text : TEXT);
        struct smtp_client_mail *m = &f.mails[0];
        m->sender = cases[i].sender ? slice_str(cases[i].sender) : m->sender;
        m->skip = cases[i].skip;
        m->utf8 = cases[i].utf8;
        m->eight = cases[i].eight;
        m->binary = cases[i].binary;
        m->ret_full = cases[i].full;
        m->ret_headers = cases[i].headers;
        m->envid = slice_str(cases[i].envid);
        if (cases[i].to)
            f.r[0].address = slice_str(cases[i].to);
        f.r[0].orcpt = slice_str(cases[i].orcpt);
        f.r[0].notify = cases[i].notify;
        print_message("%s\n", cases[i].what);
        smtp_script_run(&f.script, cases[i].script);
        finish(&f);
    }
}

/* A recipient that cannot go there does not keep the others back. */
static void settled_before(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, TEXT);
    f.r[0].address = SLICE_LITERAL("\xc3\xbc@a.test");
    smtp_script_run(&f.script,
                    EHLO(PIPE) "M: 1\nC: " MAIL "\nC: " BOB "\nC: DATA\nC\nS: 250 ok\nS: 250 ok\nS: 354 go\n" LINES
                               "S: 250 ok\nE: done again\nO: 1 0 250 2.0.0 ok\n"
                               "O: 0 2 0 5.6.7 the address needs SMTPUTF8, and the server does not offer it\n");
    finish(&f);
}

/* What a server offered before TLS, or somebody in its place, does not count. */
static void offers_before_tls(void **state)
{
    struct fixture f;

    (void)state;
    prepare(&f, TEXT);
    smtp_script_run(&f.script, "S: 220 mx.test\nC: EHLO c.test\nS: 250-mx.test\nS: 250-PIPELINING\nS: 250-CHUNKING\n"
                               "S: 250-SIZE 5\nS: 250-DSN\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nT:\n"
                               "C: EHLO c.test\nS: 250 mx.test\nE: ready\nM: 0\nC: " MAIL "\nC\nS: 250 ok\nC: " ANN
                               "\nC\nS: 250 ok\nC: DATA\nS: 354 go\n" LINES "S: 250 ok\nE: done again\n");
    finish(&f);
}

/* ---- a large message: never all of it in out, and the end only after the host confirmed ---- */

struct large {
    struct smtp_client *client;
    unsigned confirmed, done;
};

static void large_confirm(void *arg)
{
    ((struct large *)arg)->confirmed++;
}

static void large_done(void *arg, bool again)
{
    struct large *l = arg;

    assert_true(again);
    l->done++;
}

static size_t large_pump(struct large *l, struct buf *sent)
{
    struct buf *out = smtp_client_out(l->client);
    size_t peak = 0;

    while (buf_len(out) > 0) {
        if (buf_len(out) > peak)
            peak = buf_len(out);
        struct slice piece = slice_first(buf_slice(out), 10000);
        buf_append_slice(sent, piece);
        buf_consume(out, piece.n);
        if (buf_len(out) < SMTP_CLIENT_OUT_LOW)
            smtp_client_drained(l->client);
    }
    return peak;
}

static void large_run(bool chunk)
{
    enum { LINES_N = 1000 * 1000 };
    struct large l = {0};
    struct smtp_client_recipient r = {.address = SLICE_LITERAL("ann@a.test")};
    struct buf text = {0}, want = {0}, sent = {0};
    const struct smtp_client_events ev = {.arg = &l, .confirm = large_confirm, .done = large_done};

    if (chunk)
        buf_printf(&want, "BDAT %d LAST\r\n", LINES_N * 3);
    for (size_t i = 0; i < LINES_N; i++) { /* every line is to be stuffed */
        buf_append_str(&text, ".\r\n");
        buf_append_str(&want, chunk ? ".\r\n" : "..\r\n");
    }
    if (!chunk)
        buf_append_str(&want, ".\r\n");
    struct smtp_client_mail m = {.body = bytes_copy(buf_slice(&text)), .recipients = &r, .n = 1};
    l.client = smtp_client_new(&(struct smtp_client_config){.helo = "c.test"}, &ev);
    smtp_client_input(l.client, slice_str(chunk ? "220 x\r\n250-x\r\n250 CHUNKING\r\n" : "220 x\r\n250 x\r\n"));
    smtp_client_send(l.client, &m);
    smtp_client_input(l.client, SLICE_LITERAL("250 ok\r\n"));
    if (!chunk)
        smtp_client_input(l.client, SLICE_LITERAL("250 ok\r\n"));
    buf_clear(smtp_client_out(l.client));
    smtp_client_input(l.client, slice_str(chunk ? "250 ok\r\n" : "354 go\r\n"));
    assert_true(large_pump(&l, &sent) < 6 * SMTP_CLIENT_OUT_LOW);
    assert_int_equal(l.confirmed, 1);
    assert_true(buf_len(&sent) < buf_len(&want)); /* not complete before */
    smtp_client_commit(l.client);
    large_pump(&l, &sent);
    assert_true(slice_eq(buf_slice(&sent), buf_slice(&want)));
    smtp_client_input(l.client, SLICE_LITERAL("250 ok\r\n"));
    assert_int_equal(l.done, 1);
    assert_int_equal(r.outcome.kind, SMTP_DELIVERED);
    smtp_client_free(&l.client);
    buf_close(&text);
    buf_close(&want);
    buf_close(&sent);
    bytes_unref(&m.body);
}

static void large(void **state)
{
    (void)state;
    large_run(false);
    large_run(true);
}

static void timeouts(void **state)
{
    struct smtp_client_recipient r = {.address = SLICE_LITERAL("ann@a.test")};
    struct bytes *body = bytes_copy(SLICE_LITERAL("x\r\n"));
    struct smtp_client_mail m = {.body = body, .recipients = &r, .n = 1};
    const struct smtp_client_events ev = {0};
    struct smtp_client *c = smtp_client_new(&(struct smtp_client_config){.helo = "c.test"}, &ev);

    (void)state;
    assert_int_equal(smtp_client_timeout_s(c), 300);
    smtp_client_input(c, SLICE_LITERAL("220 my.name ESMTP\r\n250 x\r\n"));
    assert_string_equal(smtp_client_server_name(c), "my.name");
    smtp_client_send(c, &m);
    assert_int_equal(smtp_client_timeout_s(c), 300);
    smtp_client_input(c, SLICE_LITERAL("250 ok\r\n"));
    assert_int_equal(smtp_client_timeout_s(c), 300);
    smtp_client_input(c, SLICE_LITERAL("250 ok\r\n"));
    assert_int_equal(smtp_client_timeout_s(c), 120);
    smtp_client_input(c, SLICE_LITERAL("354 ok\r\n"));
    assert_int_equal(smtp_client_timeout_s(c), 600);
    smtp_client_free(&c); /* with a mail under way */
    bytes_unref(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(step_by_step),   cmocka_unit_test(pipelined),         cmocka_unit_test(chunked),
        cmocka_unit_test(contents),       cmocka_unit_test(confirmation),      cmocka_unit_test(offers),
        cmocka_unit_test(settled_before), cmocka_unit_test(offers_before_tls), cmocka_unit_test(large),
        cmocka_unit_test(timeouts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
