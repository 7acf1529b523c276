/* Transcripts: what a client sends, and every byte that it gets. */
#include "tests/unit/protocol/support_imap_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct fake_backend *fb;
static uint64_t account;

#define M1                                                                                                             \
    "Date: Mon, 6 Nov 2023 10:00:00 +0200\r\nFrom: Ann <ann@example.org>\r\nTo: bob@example.org\r\n"                   \
    "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@example.org>\r\n\r\nHello Bob\r\n"
#define M2                                                                                                             \
    "From: carl@example.org\r\nSubject: two\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" \
    "--b\r\nContent-Type: text/plain\r\n\r\nfirst part\r\n--b\r\nContent-Type: application/octet-stream\r\n"           \
    "Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"

static int setup(void **state)
{
    (void)state;
    fb = fake_backend_new();
    account = fake_backend_account(fb, "bob@example.org", "secret");
    uint64_t inbox = fake_backend_find(fb, account, "INBOX");
    fake_backend_message(fb, inbox, SLICE_LITERAL(M1), FLAG_SEEN, 1699257600000);
    fake_backend_message(fb, inbox, SLICE_LITERAL(M2), 0, 1699344000000);
    fake_backend_mailbox(fb, account, "Sent");
    fake_backend_run(fb);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_backend_free(&fb);
    return 0;
}

static void open_inbox(struct imap_client *c)
{
    imap_client_login(c, fb, "bob@example.org", "secret");
    imap_client_send(c, SLICE_LITERAL("s SELECT inbox\r\n"));
    assert_true(imap_client_saw(c, "s OK [READ-WRITE] SELECT completed\r\n"));
    imap_client_forget(c);
}

struct turn {
    const char *send, *expect;
};

static void talk_all(struct imap_client *c, const struct turn *turns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        imap_client_talk(c, turns[i].send, turns[i].expect);
}
#define TALK(c, turns) talk_all(c, turns, sizeof turns / sizeof *turns)

static void test_before_login(void **state)
{
    (void)state;
    static const struct turn turns[] = {
        {"a CAPABILITY\r\n",
         "* CAPABILITY IMAP4rev2 IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE STARTTLS LOGINDISABLED\r\n"
         "a OK CAPABILITY completed\r\n"},
        {"b LOGIN bob@example.org secret\r\n", "b NO [PRIVACYREQUIRED] Use STARTTLS first\r\n"},
        {"c AUTHENTICATE PLAIN\r\n", "c NO [PRIVACYREQUIRED] Use STARTTLS first\r\n"},
        {"d SELECT INBOX\r\n", "d BAD Log in first\r\n"},
        {"e FOO\r\n", "e BAD Unknown command\r\n"},
        {"f NOOP\r\n", "f OK NOOP completed\r\n"},
        {"\r\n", "* BAD Expected a tag\r\n"},
        {"g NOOP x\r\n", "g BAD Unexpected text at the end\r\n"},
        {"h ID (\"name\" NIL)\r\n",
         "* ID (\"name\" \"Merlion\" \"version\" \"" MERLION_VERSION "\")\r\nh OK ID completed\r\n"},
        {"h2 ID NIL\r\n", "* ID (\"name\" \"Merlion\" \"version\" \"" MERLION_VERSION "\")\r\nh2 OK ID completed\r\n"},
        {"i LOGOUT\r\n", "* BYE Logging out\r\ni OK LOGOUT completed\r\n"},
    };
    struct imap_client c;
    imap_client_open(&c, fb, false);
    TALK(&c, turns);
    assert_true(c.s->closing);
    imap_client_close(&c);
}

static void test_starttls(void **state)
{
    (void)state;
    struct imap_client c;
    imap_client_open(&c, fb, false);
    /* What follows STARTTLS in the same packet is never obeyed. */
    imap_client_talk(&c, "a STARTTLS\r\nb LOGOUT\r\n", "a OK Begin TLS negotiation now\r\n");
    assert_true(c.s->starttls);
    buf_clear(&c.in);
    c.s->peer.tls = true;
    c.s->ops->tls_started(c.s);
    imap_client_talk(&c, "c STARTTLS\r\n", "c BAD TLS is on already\r\n");
    imap_client_send(&c, SLICE_LITERAL("d LOGIN bob@example.org secret\r\n"));
    assert_true(imap_client_saw(&c, "d OK [CAPABILITY IMAP4rev2 "));
    imap_client_close(&c);
}

static void test_login(void **state)
{
    (void)state;
    static const struct turn turns[] = {
        {"a LOGIN bob@example.org wrong\r\n", "a NO [AUTHENTICATIONFAILED] Wrong user name or password\r\n"},
        {"b AUTHENTICATE FOO\r\n", "b NO [CANNOT] No such mechanism\r\n"},
        {"c AUTHENTICATE LOGIN\r\n", "+ VXNlcm5hbWU6\r\n"},
        {"*\r\n", "c BAD Canceled\r\n"},
        {"d AUTHENTICATE PLAIN !!\r\n", "d BAD Malformed response\r\n"},
    };
    struct imap_client c;
    imap_client_open(&c, fb, true);
    TALK(&c, turns);
    fb->auth_delay_ms = 1500;
    imap_client_talk(&c, "e LOGIN bob@example.org secret\r\n",
                     "e NO [LIMIT] Too many failed logins, try again in 2 s\r\n");
    fb->auth_delay_ms = 0;
    fb->fail_n[FAKE_AUTH] = 1;
    fb->fail_status[FAKE_AUTH] = ERR_UNAVAILABLE;
    imap_client_talk(&c, "f LOGIN bob@example.org secret\r\n",
                     "f NO [UNAVAILABLE] Temporarily unavailable, try again later\r\n");
    imap_client_talk(&c, "g AUTHENTICATE PLAIN\r\n", "+ \r\n");
    imap_client_send(&c, SLICE_LITERAL("AGJvYkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n"));
    assert_true(imap_client_saw(&c, "g OK [CAPABILITY "));
    assert_string_equal(c.s->user, "bob@example.org");
    imap_client_close(&c);
}

static void test_login_limit(void **state)
{
    (void)state;
    struct imap_client c;
    imap_client_open(&c, fb, true);
    for (unsigned i = 0; i < session_limits_default.auth_tries_max; i++) {
        assert_false(c.s->closing);
        imap_client_send(&c, SLICE_LITERAL("a LOGIN {15+}\r\nbob@example.org {3}\r\nbad\r\n"));
    }
    assert_true(imap_client_saw(&c, "* BYE Too many failed logins\r\n"));
    assert_true(c.s->closing);
    imap_client_close(&c);
}

static void test_select(void **state)
{
    (void)state;
    static const struct turn turns[] = {
        {"a SELECT INBOX\r\n",
         "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n"
         "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Kept\r\n"
         "* 2 EXISTS\r\n* 0 RECENT\r\n* OK [UNSEEN 2] First unseen\r\n* OK [UIDVALIDITY 1002] UIDs valid\r\n"
         "* OK [UIDNEXT 3] Next UID\r\n* OK [HIGHESTMODSEQ 4] Highest\r\n* OK [MAILBOXID (M2)] Ok\r\n"
         "a OK [READ-WRITE] SELECT completed\r\n"},
        {"b EXAMINE Nope\r\n", "* OK [CLOSED] Previous mailbox is closed\r\nb NO [NONEXISTENT] No such mailbox\r\n"},
        {"c FETCH 1 FLAGS\r\n", "c BAD Select a mailbox first\r\n"},
        {"d ENABLE IMAP4rev2 FOO\r\n", "* ENABLED IMAP4rev2\r\nd OK ENABLE completed\r\n"},
        {"e EXAMINE Sent\r\n",
         "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n* OK [PERMANENTFLAGS ()] Read-only mailbox\r\n"
         "* 0 EXISTS\r\n* LIST () \"/\" \"Sent\"\r\n* OK [UIDVALIDITY 1005] UIDs valid\r\n* OK [UIDNEXT 1] Next UID\r\n"
         "* OK [HIGHESTMODSEQ 5] Highest\r\n* OK [MAILBOXID (M5)] Ok\r\ne OK [READ-ONLY] EXAMINE completed\r\n"},
        {"f STORE 1 FLAGS ()\r\n", "f NO [NOPERM] Mailbox is open read-only\r\n"},
        {"g UNSELECT\r\n", "g OK UNSELECT completed\r\n"},
        {"h CLOSE\r\n", "h BAD Select a mailbox first\r\n"},
    };
    struct imap_client c;
    imap_client_login(&c, fb, "bob@example.org", "secret");
    TALK(&c, turns);
    fb->fail_n[FAKE_SYNC] = 1;
    fb->fail_status[FAKE_SYNC] = ERR_TIMEOUT;
    imap_client_talk(&c, "i SELECT INBOX\r\n", "i NO [UNAVAILABLE] Temporarily unavailable, try again later\r\n");
    imap_client_close(&c);
    assert_int_equal(fb->watches, 0);
}

static void test_fetch(void **state)
{
    (void)state;
    static const struct turn turns[] = {
        {"a FETCH 1:* (FLAGS UID RFC822.SIZE INTERNALDATE)\r\n",
         "* 1 FETCH (FLAGS (\\Seen) UID 1 RFC822.SIZE 168 INTERNALDATE \" 6-Nov-2023 08:00:00 +0000\")\r\n"
         "* 2 FETCH (FLAGS () UID 2 RFC822.SIZE 242 INTERNALDATE \" 7-Nov-2023 08:00:00 +0000\")\r\n"
         "a OK FETCH completed\r\n"},
        {"b FETCH 1 FAST\r\n", "* 1 FETCH (FLAGS (\\Seen) INTERNALDATE \" 6-Nov-2023 08:00:00 +0000\" "
                               "RFC822.SIZE 168)\r\nb OK FETCH completed\r\n"},
        {"c UID FETCH 1 BODY[HEADER.FIELDS (Subject \"To\")]\r\n",
         "* 1 FETCH (UID 1 BODY[HEADER.FIELDS (Subject To)] {61}\r\nTo: bob@example.org\r\n"
         "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n)\r\nc OK FETCH completed\r\n"},
        {"d FETCH 1 BODY.PEEK[TEXT]<2.5>\r\n", "* 1 FETCH (BODY[TEXT]<2> {5}\r\nllo B)\r\nd OK FETCH completed\r\n"},
        {"e FETCH 2 (BODY.PEEK[1] BODY.PEEK[2.MIME])\r\n",
         "* 2 FETCH (BODY[1] {10}\r\nfirst part BODY[2.MIME] {77}\r\nContent-Type: application/octet-stream\r\n"
         "Content-Transfer-Encoding: base64\r\n\r\n)\r\ne OK FETCH completed\r\n"},
        {"f FETCH 2 (BINARY.SIZE[2] BODY.PEEK[9])\r\n",
         "* 2 FETCH (BINARY.SIZE[2] 3 BODY[9] NIL)\r\nf OK FETCH completed\r\n"},
        {"g FETCH 3 FLAGS\r\n", "g BAD No such message\r\n"},
        {"h UID FETCH 3:* FLAGS\r\n", "* 2 FETCH (UID 2 FLAGS ())\r\nh OK FETCH completed\r\n"},
        {"i FETCH 2 BODY[]<0.4>\r\n",
         "* 2 FETCH (BODY[]<0> {4}\r\nFrom)\r\n* 2 FETCH (UID 2 FLAGS (\\Seen))\r\ni OK FETCH completed\r\n"},
        {"j FETCH 1 (BODY[)\r\n", "j BAD Unknown section\r\n"},
        {"k FETCH 1 ()\r\n", "k BAD Unknown FETCH item\r\n"},
        {"l FETCH 1 BODY[MIME]\r\n", "l BAD Unknown section\r\n"},
        {"m FETCH 0 FLAGS\r\n", "m BAD 0 is no message number\r\n"},
        {"n FETCH 2 (UID EMAILID MODSEQ THREADID)\r\n",
         "* 2 FETCH (UID 2 EMAILID (E4) MODSEQ (6) THREADID NIL)\r\nn OK FETCH completed\r\n"},
        {"o FETCH 1:2 (FLAGS) (CHANGEDSINCE 5)\r\n",
         "* 2 FETCH (FLAGS (\\Seen) MODSEQ (6))\r\no OK FETCH completed\r\n"},
    };
    struct imap_client c;
    open_inbox(&c);
    TALK(&c, turns);
    imap_client_send(&c, SLICE_LITERAL("x FETCH 2 BINARY.PEEK[2]\r\n"));
    struct slice want = SLICE_LITERAL("* 2 FETCH (BINARY[2] ~{3}\r\n\x00\x01\x02)\r\nx OK FETCH completed\r\n");
    assert_int_equal(buf_len(&c.seen), want.n);
    assert_memory_equal(buf_slice(&c.seen).p, want.p, want.n);
    imap_client_forget(&c);
    imap_client_send(&c, SLICE_LITERAL("y FETCH 1 FULL\r\n"));
    assert_true(imap_client_saw(&c, "ENVELOPE (\"Mon, 6 Nov 2023 10:00:00 +0200\" "));
    assert_true(imap_client_saw(&c, "((\"Ann\" NIL \"ann\" \"example.org\"))"));
    assert_true(imap_client_saw(&c, "BODY (\"text\" \"plain\""));
    imap_client_close(&c);
}

static void test_store(void **state)
{
    (void)state;
    static const struct turn turns[] = {
        {"a STORE 1 +FLAGS (\\Flagged Work)\r\n",
         "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft Work)\r\n"
         "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft Work \\*)] Kept\r\n"
         "* 1 FETCH (FLAGS (\\Flagged \\Seen Work))\r\n"
         "a OK STORE completed\r\n"},
        {"b STORE 1:2 -FLAGS.SILENT \\Flagged\r\n", "b OK STORE completed\r\n"},
        {"c UID STORE 2 FLAGS \\Deleted\r\n", "* 2 FETCH (UID 2 FLAGS (\\Deleted))\r\nc OK STORE completed\r\n"},
        {"d STORE 1 FLAGS (\\Foo)\r\n", "d BAD Unknown system flag\r\n"},
        {"e UID STORE 1:2 (UNCHANGEDSINCE 6) FLAGS.SILENT (\\Draft)\r\n",
         "e OK [MODIFIED 1:2] Conditional STORE failed for some\r\n"},
        {"f UID STORE 1:2 (UNCHANGEDSINCE 7) +FLAGS.SILENT (\\Draft)\r\n",
         "* 1 FETCH (UID 1 MODSEQ (10))\r\nf OK [MODIFIED 2] Conditional STORE failed for some\r\n"},
        {"g EXPUNGE\r\n", "* 2 EXPUNGE\r\ng OK EXPUNGE completed\r\n"},
        {"h FETCH 1:* FLAGS\r\n", "* 1 FETCH (FLAGS (\\Seen \\Draft Work))\r\nh OK FETCH completed\r\n"},
        {"i UID STORE 99 FLAGS \\Seen\r\n", "i OK STORE completed\r\n"},
    };
    struct imap_client c;
    open_inbox(&c);
    TALK(&c, turns);
    fb->fail_n[FAKE_WRITE] = 1;
    fb->fail_status[FAKE_WRITE] = ERR_UNAVAILABLE;
    imap_client_talk(&c, "j STORE 1 FLAGS ()\r\n", "j NO [UNAVAILABLE] Temporarily unavailable, try again later\r\n");
    imap_client_close(&c);
}

/* Neither OK nor NO would be true: a NO would make the client do it again. */
static void test_unknown_outcome(void **state)
{
    static const char *const commands[] = {"a STORE 1 FLAGS ()\r\nb NOOP\r\n", "a COPY 1 Sent\r\n", "a MOVE 1 Sent\r\n",
                                           "a CREATE new\r\n", "a DELETE Sent\r\n", "a APPEND Sent {3+}\r\nabc\r\n"};
    static const char bye[] =
        "* BYE Connection to the other servers was lost, look again whether the last command took effect\r\n";
    (void)state;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        struct imap_client c;
        open_inbox(&c);
        fb->fail_n[FAKE_WRITE] = 1;
        fb->fail_status[FAKE_WRITE] = ERR_TIMEOUT;
        imap_client_talk(&c, commands[i], bye);
        assert_true(c.s->closing);
        imap_client_close(&c);
    }
}

static void test_append(void **state)
{
    (void)state;
    static const struct turn turns[] = {
        {"a APPEND INBOX (\\Seen Later) \" 1-Jan-2024 12:00:00 +0100\" {6}\r\n", "+ OK\r\n"},
        {"abc\r\nd\r\n", "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft Later)\r\n"
                         "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft Later \\*)] Kept\r\n"
                         "* 3 EXISTS\r\na OK [APPENDUID 1002 3] APPEND completed\r\n"},
        {"b FETCH 3 (FLAGS INTERNALDATE BODY.PEEK[])\r\n",
         "* 3 FETCH (FLAGS (\\Seen Later) INTERNALDATE \" 1-Jan-2024 11:00:00 +0000\" BODY[] {6}\r\nabc\r\nd)\r\n"
         "b OK FETCH completed\r\n"},
        {"c APPEND Nope {3+}\r\nabc\r\n", "c NO [TRYCREATE] No such mailbox\r\n"},
        {"d APPEND {4+}\r\nSent {3+}\r\nabc\r\n", "d OK [APPENDUID 1005 1] APPEND completed\r\n"},
        {"e APPEND Sent {1+}\r\nx {2+}\r\nyz\r\n", "e OK [APPENDUID 1005 2:3] APPEND completed\r\n"},
        {"f APPEND Sent {0+}\r\n\r\n", "f NO Message is empty\r\n"},
        {"g APPEND Sent \"abc\"\r\n", "g BAD Malformed date\r\n"},
        {"h APPEND Sent\r\n", "h BAD Missing space or argument\r\n"},
        {"i APPEND Sent ~{2+}\r\na\x01\r\n", "i OK [APPENDUID 1005 4] APPEND completed\r\n"},
    };
    struct imap_client c;
    open_inbox(&c);
    TALK(&c, turns);
    imap_client_send(&c, SLICE_LITERAL("j APPEND Sent {3+}\r\na\0b\r\n"));
    imap_client_expect(&c, "j BAD NUL is not allowed in a literal\r\n");
    fake_backend_quota(fb, account, 10);
    imap_client_talk(&c, "k APPEND Sent {3+}\r\nabc\r\n", "k NO [OVERQUOTA] Quota would be exceeded\r\n");
    fb->admit_status = ERR_NOSPACE;
    imap_client_talk(&c, "l APPEND Sent {3}\r\n",
                     "l NO [UNAVAILABLE] No space left on the server, try again later\r\n");
    imap_client_talk(&c, "m APPEND Sent {3+}\r\nabc\r\n",
                     "m NO [UNAVAILABLE] No space left on the server, try again later\r\n");
    imap_client_talk(&c, "n NOOP\r\n", "n OK NOOP completed\r\n");
    imap_client_close(&c);
}

static void test_limits(void **state)
{
    (void)state;
    struct session_limits limits = session_limits_default;
    limits.line_max = 100;
    limits.message_max = 10;
    limits.literal_max = 20;
    limits.bad_commands_max = 4;
    struct imap_client c;
    imap_client_open_limits(&c, fb, true, &limits);
    imap_client_send(&c, SLICE_LITERAL("l LOGIN bob@example.org secret\r\n"));
    imap_client_forget(&c);
    imap_client_talk(&c, "a APPEND INBOX {11}\r\n", "a NO [TOOBIG] Message is too big\r\n");
    imap_client_talk(&c, "b APPEND INBOX {11+}\r\n0123456789a\r\n", "b NO [TOOBIG] Message is too big\r\n");
    imap_client_talk(&c, "c APPEND INBOX {6+}\r\n012345 {5+}\r\n01234\r\n", "c NO [TOOBIG] Message is too big\r\n");
    imap_client_talk(&c, "d SELECT {21}\r\n", "d BAD [TOOBIG] Literal is too big\r\n");
    imap_client_talk(&c, "e SELECT {99999999999999999999+}\r\n", "");
    assert_false(c.s->closing);
    imap_client_close(&c);

    imap_client_open(&c, fb, true);
    imap_client_talk(&c, "a LOGIN {9999}\r\n", "a BAD [TOOBIG] Literal is too big\r\n");
    imap_client_talk(&c, "b APPEND INBOX {9}\r\n", "b BAD Log in first\r\n");
    imap_client_talk(&c, "c LOGIN {9999+}\r\n", "* BYE Literal is too big\r\n");
    assert_true(c.s->closing);
    imap_client_close(&c);

    imap_client_open_limits(&c, fb, true, &limits);
    struct buf line = {0};
    buf_append_str(&line, "tag NOOP ");
    for (int i = 0; i < 5000; i++)
        buf_append_byte(&line, 'x');
    buf_append_str(&line, " {3+}\r\nabc\r\nu NOOP\r\n");
    imap_client_send(&c, buf_slice(&line));
    buf_close(&line);
    imap_client_expect(&c, "tag BAD Command line is too long\r\nu OK NOOP completed\r\n");
    imap_client_send(&c, SLICE_LITERAL("v NO\0OP\r\n"));
    imap_client_expect(&c, "v BAD NUL is not allowed\r\n");
    imap_client_talk(&c, "w X\r\nx X\r\ny X\r\n",
                     "w BAD Unknown command\r\nx BAD Unknown command\r\n* BYE Too many bad commands\r\n");
    assert_true(c.s->closing);
    imap_client_close(&c);
}

static void test_search(void **state)
{
    (void)state;
    static const struct turn turns[] = {
        {"a SEARCH ALL\r\n", "* SEARCH 1 2\r\na OK SEARCH completed\r\n"},
        {"b UID SEARCH UNSEEN\r\n", "* SEARCH 2\r\nb OK SEARCH completed\r\n"},
        {"c SEARCH SUBJECT gr\xc3\xbc\xc3\x9f\x65\r\n", "c BAD Unexpected text at the end\r\n"},
        {"d SEARCH CHARSET UTF-8 SUBJECT {6+}\r\ngr\xc3\xbc\xc3\x9f\r\n", "* SEARCH 1\r\nd OK SEARCH completed\r\n"},
        {"e SEARCH CHARSET KOI8-R TEXT {1+}\r\na\r\n", "e NO [BADCHARSET (UTF-8 US-ASCII)] Unknown charset\r\n"},
        {"f SEARCH BODY \"FIRST part\"\r\n", "* SEARCH 2\r\nf OK SEARCH completed\r\n"},
        {"g SEARCH OR FROM ann BODY first NOT SMALLER 10\r\n", "* SEARCH 1 2\r\ng OK SEARCH completed\r\n"},
        {"h SEARCH TEXT nowhere\r\n", "* SEARCH\r\nh OK SEARCH completed\r\n"},
        {"i SEARCH RETURN (MIN MAX COUNT) 1:*\r\n",
         "* ESEARCH (TAG \"i\") MIN 1 MAX 2 COUNT 2\r\ni OK SEARCH completed\r\n"},
        {"j UID SEARCH RETURN () SENTON 6-Nov-2023\r\n",
         "* ESEARCH (TAG \"j\") UID ALL 1\r\nj OK SEARCH completed\r\n"},
        {"k SEARCH SINCE 7-Nov-2023\r\n", "* SEARCH 2\r\nk OK SEARCH completed\r\n"},
        {"l SEARCH HEADER Message-ID 1@example HEADER Date \"\"\r\n", "* SEARCH 1\r\nl OK SEARCH completed\r\n"},
        {"m SEARCH RETURN (SAVE) UNSEEN\r\n", "m OK SEARCH completed\r\n"},
        {"n FETCH $ UID\r\n", "* 2 FETCH (UID 2)\r\nn OK FETCH completed\r\n"},
        {"o SEARCH (OR $ (1 SEEN)) UID 1:9\r\n", "* SEARCH 1 2\r\no OK SEARCH completed\r\n"},
        {"p SEARCH MODSEQ 4\r\n", "* SEARCH 2 (MODSEQ 4)\r\np OK SEARCH completed\r\n"},
        {"q SEARCH KEYWORD Nope\r\n", "* SEARCH\r\nq OK SEARCH completed\r\n"},
        {"r SEARCH NEW\r\n", "* SEARCH\r\nr OK SEARCH completed\r\n"},
        {"s SEARCH OLD UNKEYWORD Nope\r\n", "* SEARCH 1 2\r\ns OK SEARCH completed\r\n"},
        {"t SEARCH FOO\r\n", "t BAD Unknown search key\r\n"},
        {"u SEARCH 7\r\n", "u BAD No such message\r\n"},
        {"v SEARCH BEFORE 31-Feb-2023\r\n", "v BAD No such day\r\n"},
        {"w SEARCH EMAILID E3\r\n", "* SEARCH 1\r\nw OK SEARCH completed\r\n"},
        {"x ENABLE IMAP4rev2\r\n", "* ENABLED IMAP4rev2\r\nx OK ENABLE completed\r\n"},
        {"y SEARCH FLAGGED\r\n", "* ESEARCH (TAG \"y\")\r\ny OK SEARCH completed\r\n"},
    };
    struct imap_client c;
    open_inbox(&c);
    TALK(&c, turns);
    unsigned bodies = fb->calls[FAKE_BODY];
    imap_client_talk(&c, "z SEARCH HEADER Message-ID <1@example.org> HEADER Subject gr\r\n",
                     "* ESEARCH (TAG \"z\") ALL 1\r\nz OK SEARCH completed\r\n");
    imap_client_talk(&c, "z SEARCH UNSEEN BODY nothing\r\n", "* ESEARCH (TAG \"z\")\r\nz OK SEARCH completed\r\n");
    assert_int_equal(fb->calls[FAKE_BODY], bodies + 1); /* of the message that is left after the cheap key */
    struct buf deep = {0};
    buf_append_str(&deep, "z SEARCH ");
    for (int i = 0; i < 60; i++)
        buf_append_str(&deep, "NOT (");
    imap_client_send(&c, buf_slice(&deep));
    imap_client_talk(&c, "\r\n", "z BAD Search is nested too deep\r\n");
    buf_close(&deep);
    fb->fail_n[FAKE_BODY] = 1;
    fb->fail_status[FAKE_BODY] = ERR_UNAVAILABLE;
    imap_client_talk(&c, "A SEARCH BODY part\r\n", "A NO [UNAVAILABLE] Some messages cannot be read now\r\n");
    imap_client_close(&c);
}

static void test_list(void **state)
{
    (void)state;
    static const struct turn turns[] = {
        {"a LIST \"\" \"\"\r\n", "* LIST (\\Noselect) \"/\" \"\"\r\na OK LIST completed\r\n"},
        {"b LIST \"\" *\r\n", "* LIST (\\HasNoChildren) \"/\" \"INBOX\"\r\n* LIST (\\HasNoChildren) \"/\" \"Sent\"\r\n"
                              "b OK LIST completed\r\n"},
        {"c CREATE a/b (USE (\\Archive))\r\n", "c OK [MAILBOXID (M7)] CREATE completed\r\n"},
        {"d LIST a %\r\n", "* LIST (\\HasChildren) \"/\" \"a\"\r\nd OK LIST completed\r\n"},
        {"e LIST \"\" (inbox a/%) RETURN (SPECIAL-USE STATUS (MESSAGES UNSEEN))\r\n",
         "* LIST (\\HasNoChildren) \"/\" \"INBOX\"\r\n* STATUS \"INBOX\" (MESSAGES 2 UNSEEN 1)\r\n"
         "* LIST (\\HasNoChildren \\Archive) \"/\" \"a/b\"\r\n* STATUS \"a/b\" (MESSAGES 0 UNSEEN 0)\r\n"
         "e OK LIST completed\r\n"},
        {"f SUBSCRIBE a/b\r\n", "f OK SUBSCRIBE completed\r\n"},
        {"g SUBSCRIBE gone\r\n", "g OK SUBSCRIBE completed\r\n"},
        {"h LSUB \"\" *\r\n",
         "* LSUB () \"/\" \"a/b\"\r\n* LSUB (\\Noselect) \"/\" \"gone\"\r\nh OK LSUB completed\r\n"},
        {"i LSUB \"\" %\r\n",
         "* LSUB (\\Noselect) \"/\" \"a\"\r\n* LSUB (\\Noselect) \"/\" \"gone\"\r\ni OK LSUB completed\r\n"},
        {"j LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %\r\n",
         "* LIST (\\HasChildren) \"/\" \"a\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n"
         "* LIST (\\NonExistent \\Subscribed \\HasNoChildren) \"/\" \"gone\"\r\nj OK LIST completed\r\n"},
        {"k LIST (RECURSIVEMATCH) \"\" %\r\n", "k BAD RECURSIVEMATCH needs another option\r\n"},
        {"l CREATE inbox\r\n", "l NO [ALREADYEXISTS] Mailbox exists already\r\n"},
        {"m CREATE x (USE (\\Archive))\r\n", "m NO [USEATTR] Another mailbox has this use\r\n"},
        {"n DELETE a\r\n", "n NO [HASCHILDREN] Mailbox has children\r\n"},
        {"o DELETE INBOX\r\n", "o NO [CANNOT] INBOX stays\r\n"},
        {"p RENAME a &AOQ-/\r\n", "p OK RENAME completed\r\n"},
        {"q LIST \"\" &AOQ-*\r\n", "* LIST (\\HasChildren) \"/\" \"&AOQ-\"\r\n* LIST (\\HasNoChildren \\Archive) \"/\" "
                                   "\"&AOQ-/b\"\r\nq OK LIST completed\r\n"},
        {"r CREATE &x\r\n", "r BAD Malformed mailbox name\r\n"},
        {"s STATUS Sent (MESSAGES RECENT UIDNEXT UIDVALIDITY SIZE DELETED HIGHESTMODSEQ MAILBOXID)\r\n",
         "* STATUS \"Sent\" (MESSAGES 0 RECENT 0 UIDNEXT 1 UIDVALIDITY 1005 DELETED 0 SIZE 0 HIGHESTMODSEQ 5 "
         "MAILBOXID (M5))\r\ns OK STATUS completed\r\n"},
        {"t STATUS Nope (MESSAGES)\r\n", "t NO [NONEXISTENT] No such mailbox\r\n"},
        {"u ENABLE IMAP4rev2\r\n", "* ENABLED IMAP4rev2\r\nu OK ENABLE completed\r\n"},
        {"v LIST \"\" \"\xc3\xa4\"\r\n", "* LIST (\\HasChildren) \"/\" \"\xc3\xa4\"\r\nv OK LIST completed\r\n"},
        {"w DELETE \"\xc3\xa4/b\"\r\n", "w OK DELETE completed\r\n"},
        {"x NAMESPACE\r\n", "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\nx OK NAMESPACE completed\r\n"},
        {"y UNSUBSCRIBE gone\r\n", "y OK UNSUBSCRIBE completed\r\n"},
        {"z RENAME Nope b\r\n", "z NO [NONEXISTENT] No such mailbox\r\n"},
    };
    struct imap_client c;
    imap_client_login(&c, fb, "bob@example.org", "secret");
    TALK(&c, turns);
    imap_client_close(&c);
}

static void test_copy_move(void **state)
{
    (void)state;
    static const struct turn turns[] = {
        {"a COPY 1:2 Nope\r\n", "a NO [TRYCREATE] No such mailbox\r\n"},
        {"b COPY 1:2 Sent\r\n", "b OK [COPYUID 1005 1:2 1:2] COPY completed\r\n"},
        {"c UID MOVE 1 Sent\r\n", "* OK [COPYUID 1005 1 3] Moved\r\n* 1 EXPUNGE\r\nc OK MOVE completed\r\n"},
        {"d UID COPY 1 Sent\r\n", "d OK Nothing to do\r\n"},
        {"e UID EXPUNGE 2\r\n", "e OK EXPUNGE completed\r\n"},
        {"f STORE 1 +FLAGS.SILENT \\Deleted\r\n", "f OK STORE completed\r\n"},
        {"g UID EXPUNGE 1\r\n", "g OK EXPUNGE completed\r\n"},
        {"h UID EXPUNGE 1:2\r\n", "* 1 EXPUNGE\r\nh OK EXPUNGE completed\r\n"},
        {"i CLOSE\r\n", "i OK CLOSE completed\r\n"},
    };
    struct imap_client c;
    open_inbox(&c);
    TALK(&c, turns);
    assert_int_equal(fake_backend_count(fb, fake_backend_find(fb, account, "Sent")), 3);
    imap_client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_before_login, setup, teardown),
        cmocka_unit_test_setup_teardown(test_starttls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_login, setup, teardown),
        cmocka_unit_test_setup_teardown(test_login_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_select, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fetch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_outcome, setup, teardown),
        cmocka_unit_test_setup_teardown(test_append, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_search, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy_move, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
