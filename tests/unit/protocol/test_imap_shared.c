/* Two sessions on one mailbox, IDLE, slow clients, input at every split point, and connections that end in the middle.
 */
#include "tests/unit/protocol/support_imap_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct fake_backend *fb;
static uint64_t account, inbox;

#define MESSAGE "From: a@example.org\r\nSubject: s\r\n\r\nText of it\r\n"

static int setup(void **state)
{
    (void)state;
    fb = fake_backend_new();
    account = fake_backend_account(fb, "bob@example.org", "secret");
    inbox = fake_backend_find(fb, account, "INBOX");
    for (int i = 0; i < 5; i++)
        fake_backend_message(fb, inbox, SLICE_LITERAL(MESSAGE), 0, 0);
    fake_backend_mailbox(fb, account, "Box");
    fake_backend_run(fb);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(fb->watches, 0);
    assert_int_equal(fb->open_views, 0);
    fake_backend_free(&fb);
    return 0;
}

static void open_box(struct imap_client *c, const char *name)
{
    imap_client_login(c, fb, "bob@example.org", "secret");
    struct buf line = {0};
    buf_printf(&line, "s SELECT %s\r\n", name);
    imap_client_send(c, buf_slice(&line));
    buf_close(&line);
    assert_true(imap_client_saw(c, "s OK [READ-WRITE] SELECT completed\r\n"));
    imap_client_forget(c);
}

static void test_two_sessions(void **state)
{
    (void)state;
    struct imap_client a, b;
    open_box(&a, "INBOX");
    open_box(&b, "INBOX");
    imap_client_talk(&a, "1 STORE 2,4 +FLAGS.SILENT \\Deleted\r\n", "1 OK STORE completed\r\n");
    imap_client_talk(&a, "2 EXPUNGE\r\n", "* 4 EXPUNGE\r\n* 2 EXPUNGE\r\n2 OK EXPUNGE completed\r\n");
    /* B's numbers stay as they were until it is told. */
    imap_client_talk(&b, "1 FETCH 1:5 UID\r\n",
                     "* 1 FETCH (UID 1)\r\n* 3 FETCH (UID 3)\r\n* 5 FETCH (UID 5)\r\n"
                     "1 NO [EXPUNGEISSUED] Some messages are expunged\r\n");
    imap_client_talk(&b, "2 FETCH 5 (UID BODY.PEEK[TEXT]<0.4>)\r\n",
                     "* 5 FETCH (UID 5 BODY[TEXT]<0> {4}\r\nText)\r\n2 OK FETCH completed\r\n");
    imap_client_talk(&b, "3 SEARCH 2:5\r\n", "* SEARCH 3 5\r\n3 OK SEARCH completed\r\n");
    imap_client_talk(&b, "4 STORE 3 +FLAGS \\Flagged\r\n", "* 3 FETCH (FLAGS (\\Flagged))\r\n4 OK STORE completed\r\n");
    fake_backend_message(fb, inbox, SLICE_LITERAL(MESSAGE), 0, 0);
    imap_client_pump(&b);
    /* New mail may be told at once, behind the messages that are gone. */
    imap_client_talk(&b, "5 FETCH 1 UID\r\n", "* 1 FETCH (UID 1)\r\n* 6 EXISTS\r\n5 OK FETCH completed\r\n");
    imap_client_talk(&b, "6 FETCH 6 UID\r\n", "* 6 FETCH (UID 6)\r\n6 OK FETCH completed\r\n");
    imap_client_talk(&b, "7 NOOP\r\n", "* 4 EXPUNGE\r\n* 2 EXPUNGE\r\n7 OK NOOP completed\r\n");
    imap_client_talk(&b, "8 FETCH 1:* UID\r\n",
                     "* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 3)\r\n* 3 FETCH (UID 5)\r\n* 4 FETCH (UID 6)\r\n"
                     "8 OK FETCH completed\r\n");
    imap_client_talk(&a, "3 NOOP\r\n", "* 4 EXISTS\r\n* 2 FETCH (UID 3 FLAGS (\\Flagged))\r\n3 OK NOOP completed\r\n");
    imap_client_close(&a);
    imap_client_close(&b);
}

/* .SILENT hides one's own change only. */
static void test_silent_tells_others(void **state)
{
    (void)state;
    struct imap_client a;
    open_box(&a, "INBOX");
    fake_backend_flags(fb, inbox, 1, FLAG_ANSWERED);
    fake_backend_flags(fb, inbox, 3, FLAG_DRAFT);
    imap_client_pump(&a);
    imap_client_talk(&a, "1 STORE 1 +FLAGS.SILENT (\\Seen)\r\n",
                     "* 1 FETCH (UID 1 FLAGS (\\Answered))\r\n* 3 FETCH (UID 3 FLAGS (\\Draft))\r\n"
                     "1 OK STORE completed\r\n");
    imap_client_close(&a);
}

static void test_stale_changes(void **state)
{
    (void)state;
    struct imap_client a;
    open_box(&a, "INBOX");
    fake_backend_expunge(fb, inbox, 2);
    fake_backend_flags(fb, inbox, 3, FLAG_SEEN);
    fake_backend_message(fb, inbox, SLICE_LITERAL(MESSAGE), 0, 0);
    fake_backend_expunge(fb, inbox, 5);
    fake_backend_prune(fb, inbox);
    imap_client_talk(&a, "1 CHECK\r\n",
                     "* 5 EXPUNGE\r\n* 2 EXPUNGE\r\n* 4 EXISTS\r\n* 2 FETCH (UID 3 FLAGS (\\Seen))\r\n"
                     "1 OK CHECK completed\r\n");
    imap_client_close(&a);
}

static void test_idle(void **state)
{
    (void)state;
    struct imap_client a;
    open_box(&a, "INBOX");
    imap_client_talk(&a, "1 IDLE\r\n", "+ idling\r\n");
    unsigned wakes = a.wakes;
    fake_backend_message(fb, inbox, SLICE_LITERAL(MESSAGE), 0, 0);
    imap_client_expect(&a, "* 6 EXISTS\r\n");
    assert_true(a.wakes > wakes);
    fake_backend_expunge(fb, inbox, 1);
    imap_client_expect(&a, "* 1 EXPUNGE\r\n");
    fake_backend_flags(fb, inbox, 2, FLAG_SEEN);
    imap_client_expect(&a, "* 1 FETCH (UID 2 FLAGS (\\Seen))\r\n");
    imap_client_talk(&a, "done\r\n", "1 OK IDLE completed\r\n");
    imap_client_talk(&a, "2 IDLE\r\nFOO\r\n", "+ idling\r\n2 BAD Expected DONE\r\n");
    imap_client_talk(&a, "3 IDLE\r\nDONE\r\n4 NOOP\r\n", "+ idling\r\n3 OK IDLE completed\r\n4 OK NOOP completed\r\n");
    /* Without a mailbox too. */
    imap_client_talk(&a, "5 UNSELECT\r\n6 IDLE\r\n", "5 OK UNSELECT completed\r\n+ idling\r\n");
    a.s->ops->shutdown(a.s);
    imap_client_expect(&a, "* BYE Server is shutting down\r\n");
    imap_client_close(&a);
}

/* A client in IDLE that does not read: changes are folded, out does not grow. */
static void test_idle_slow_client(void **state)
{
    (void)state;
    struct imap_client a;
    open_box(&a, "INBOX");
    imap_client_talk(&a, "1 IDLE\r\n", "+ idling\r\n");
    for (unsigned i = 0; i < 20000; i++) {
        fake_backend_flags(fb, inbox, 1 + i % 5, i & 31);
        while (fake_backend_run_one(fb))
            ;
    }
    assert_true(buf_len(&a.s->out) < SESSION_OUT_HIGH + 4096);
    fake_backend_expunge(fb, inbox, 5);
    imap_client_pump(&a);
    assert_true(imap_client_saw(&a, "* 5 EXPUNGE\r\n"));
    imap_client_forget(&a);
    imap_client_talk(&a, "DONE\r\n", "1 OK IDLE completed\r\n");
    imap_client_close(&a);
}

/* Between commands, and in IDLE, buffers are given back. */
static void test_idle_memory(void **state)
{
    (void)state;
    struct imap_client a;
    open_box(&a, "INBOX");
    imap_client_talk(&a, "1 NOOP\r\n", "1 OK NOOP completed\r\n");
    assert_int_equal(a.s->out.cap, 0);
    imap_client_talk(&a, "2 IDLE\r\n", "+ idling\r\n");
    assert_int_equal(a.s->out.cap, 0);
    imap_client_close(&a);
}

static void test_mailbox_deleted(void **state)
{
    (void)state;
    struct imap_client a, b, d;
    open_box(&a, "Box");
    open_box(&b, "Box");
    open_box(&d, "Box");
    imap_client_talk(&b, "1 IDLE\r\n", "+ idling\r\n");
    imap_client_talk(&a, "1 DELETE Box\r\n", "* OK [CLOSED] Selected mailbox was deleted\r\n1 OK DELETE completed\r\n");
    imap_client_talk(&a, "2 CHECK\r\n", "2 BAD Select a mailbox first\r\n");
    imap_client_expect(&b, "* BYE Selected mailbox was deleted\r\n");
    assert_true(b.s->closing);
    imap_client_talk(&d, "1 UID FETCH 1:* FLAGS\r\n", "* BYE Selected mailbox was deleted\r\n");
    assert_true(d.s->closing);
    imap_client_close(&a);
    imap_client_close(&b);
    imap_client_close(&d);
}

static void test_seen_without_quorum(void **state)
{
    (void)state;
    struct imap_client a;
    open_box(&a, "INBOX");
    fb->fail_n[FAKE_WRITE] = 1;
    fb->fail_status[FAKE_WRITE] = ERR_UNAVAILABLE;
    imap_client_talk(&a, "1 FETCH 1 BODY[TEXT]<0.2>\r\n",
                     "* 1 FETCH (BODY[TEXT]<0> {2}\r\nTe)\r\n1 OK FETCH completed\r\n");
    fb->fail_n[FAKE_BODY] = 1;
    fb->fail_status[FAKE_BODY] = ERR_UNAVAILABLE;
    imap_client_talk(&a, "2 FETCH 1:2 BODY.PEEK[TEXT]<0.2>\r\n",
                     "* 2 FETCH (BODY[TEXT]<0> {2}\r\nTe)\r\n"
                     "2 NO [UNAVAILABLE] Some messages cannot be read now\r\n");
    imap_client_close(&a);
}

/* However the backend orders its answers, messages come in order, and out stays bounded. */
static void test_big_fetch(void **state)
{
    (void)state;
    enum { SIZE = 3000000 };
    struct buf text = {0};
    buf_append_str(&text, "Subject: big\r\n\r\n");
    while (buf_len(&text) < SIZE)
        buf_append_str(&text, "0123456789012345678901234567890123456789\r\n");
    uint64_t box = fake_backend_find(fb, account, "Box");
    for (int i = 0; i < 6; i++) {
        buf_printf(&text, "%d\r\n", i);
        fake_backend_message(fb, box, buf_slice(&text), FLAG_SEEN, 0);
    }
    struct imap_client a;
    fb->newest_first = true;
    open_box(&a, "Box");
    a.read_max = 100000;
    imap_client_send(&a, SLICE_LITERAL("1 FETCH 1:* (UID BODY.PEEK[] BODY.PEEK[HEADER])\r\n2 NOOP\r\n"));
    assert_true(a.out_high <= SESSION_OUT_HIGH + 65536);
    struct slice seen = buf_slice(&a.seen);
    size_t at = 0;
    for (int i = 0; i < 6; i++) {
        struct buf want = {0};
        struct slice body = fake_backend_body(fb, box, (uint32_t)i + 1);
        buf_printf(&want, "* %d FETCH (UID %d BODY[] {%zu}\r\n", i + 1, i + 1, body.n);
        buf_append_slice(&want, body);
        buf_append_str(&want, " BODY[HEADER] {16}\r\nSubject: big\r\n\r\n)\r\n");
        assert_true(slice_eq(slice_first(slice_from(seen, at), buf_len(&want)), buf_slice(&want)));
        at += buf_len(&want);
        buf_close(&want);
    }
    assert_true(slice_eq(slice_from(seen, at), SLICE_LITERAL("1 OK FETCH completed\r\n2 OK NOOP completed\r\n")));
    imap_client_close(&a);
    buf_close(&text);
}

static void test_many_messages(void **state)
{
    (void)state;
    uint64_t box = fake_backend_find(fb, account, "Box");
    for (int i = 0; i < 3000; i++)
        fake_backend_message(fb, box, SLICE_LITERAL(MESSAGE), i % 3 ? FLAG_SEEN : 0, 0);
    struct imap_client a;
    open_box(&a, "Box");
    imap_client_send(&a, SLICE_LITERAL("1 FETCH 1:* (FLAGS UID ENVELOPE BODYSTRUCTURE)\r\n"));
    assert_true(a.out_high <= SESSION_OUT_HIGH + 65536);
    assert_true(imap_client_saw(&a, "* 3000 FETCH (FLAGS (\\Seen) UID 3000 ENVELOPE"));
    assert_true(imap_client_saw(&a, "1 OK FETCH completed\r\n"));
    imap_client_forget(&a);
    imap_client_talk(&a, "2 SEARCH RETURN (COUNT MIN MAX) UNSEEN SUBJECT s\r\n",
                     "* ESEARCH (TAG \"2\") MIN 1 MAX 2998 COUNT 1000\r\n2 OK SEARCH completed\r\n");
    imap_client_talk(&a, "3 SEARCH RETURN (COUNT) BODY text 1:600\r\n",
                     "* ESEARCH (TAG \"3\") COUNT 600\r\n3 OK SEARCH completed\r\n");
    imap_client_close(&a);
}

static const char script[] =
    "1 SELECT {5+}\r\nINBOX\r\n2 FETCH 1:2 (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])\r\n"
    "3 APPEND INBOX (\\Seen) {7+}\r\na: b\r\n\n\r\n4 SEARCH CHARSET UTF-8 SUBJECT {1+}\r\ns 1:3\r\n"
    "5 STORE 1 +FLAGS (\\Deleted $x)\r\n6 IDLE\r\nDONE\r\n7 EXPUNGE\r\n8 LIST \"\" {1+}\r\n*\r\n9 NOPE "
    "{3+}\r\na\r\n\r\n"
    "A UID SEARCH TEXT text\r\nB LOGOUT\r\n";

static void play(size_t first, size_t step, struct buf *out)
{
    setup(NULL);
    struct imap_client a;
    imap_client_login(&a, fb, "bob@example.org", "secret");
    struct slice all = slice_str(script);
    imap_client_send(&a, slice_first(all, first));
    for (size_t at = first; at < all.n; at += step)
        imap_client_send(&a, slice_first(slice_from(all, at), step));
    buf_append_slice(out, buf_slice(&a.seen));
    imap_client_close(&a);
    teardown(NULL);
}

static void test_every_split(void **state)
{
    (void)state;
    struct buf whole = {0};
    play(sizeof script - 1, 1, &whole);
    assert_true(memmem(whole.base, buf_len(&whole), "B OK LOGOUT completed\r\n", 23) != NULL);
    assert_true(memmem(whole.base, buf_len(&whole), "3 OK [APPENDUID ", 16) != NULL);
    for (size_t i = 0; i < sizeof script; i++) {
        struct buf split = {0};
        play(i, i == 0 ? 1 : sizeof script, &split);
        assert_true(slice_eq(buf_slice(&split), buf_slice(&whole)));
        buf_close(&split);
    }
    buf_close(&whole);
}

/* Gone after any number of backend steps, in any command: nothing leaks, nothing is touched. */
static void test_close_any_time(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 60; steps++) {
        setup(NULL);
        struct imap_client a;
        fb->newest_first = steps & 1;
        imap_client_open(&a, fb, true);
        a.manual = true;
        struct slice all = slice_str(script);
        imap_client_send(&a, SLICE_LITERAL("0 LOGIN bob@example.org secret\r\nx SELECT INBOX\r\n"
                                           "y FETCH 1:* BODY[]\r\nz SEARCH TEXT nothing\r\n"));
        imap_client_send(&a, all);
        for (unsigned i = 0; i < steps; i++) {
            fake_backend_run_one(fb);
            imap_client_pump(&a);
        }
        imap_client_close(&a);
        teardown(NULL);
    }
}

static void test_timeouts(void **state)
{
    (void)state;
    struct imap_client a;
    imap_client_open(&a, fb, true);
    assert_true(a.s->ops->idle_timeout_ms(a.s) < 30 * 60 * 1000);
    imap_client_close(&a);
    open_box(&a, "INBOX");
    assert_true(a.s->ops->idle_timeout_ms(a.s) >= 30 * 60 * 1000);
    a.s->ops->timed_out(a.s);
    imap_client_expect(&a, "* BYE Autologout, idle for too long\r\n");
    assert_true(a.s->closing);
    imap_client_close(&a);
    /* A command under way ends first. */
    open_box(&a, "INBOX");
    a.manual = true;
    imap_client_talk(&a, "1 NOOP\r\n", "");
    a.s->ops->shutdown(a.s);
    imap_client_expect(&a, "");
    a.manual = false;
    imap_client_expect(&a, "1 OK NOOP completed\r\n* BYE Server is shutting down\r\n");
    imap_client_close(&a);
    /* And one whose line or message is on its way. */
    open_box(&a, "INBOX");
    imap_client_talk(&a, "1 NO", "");
    a.s->ops->shutdown(a.s);
    imap_client_talk(&a, "OP\r\n", "1 OK NOOP completed\r\n* BYE Server is shutting down\r\n");
    imap_client_close(&a);
    open_box(&a, "INBOX");
    imap_client_talk(&a, "1 APPEND INBOX {4}\r\na", "+ OK\r\n");
    a.s->ops->shutdown(a.s);
    imap_client_send(&a, SLICE_LITERAL(":b\n\r\n2 NOOP\r\n"));
    assert_true(imap_client_saw(&a, "1 OK [APPENDUID "));
    assert_true(imap_client_saw(&a, "\r\n* BYE Server is shutting down\r\n"));
    imap_client_forget(&a);
    imap_client_close(&a);
}

/* A mailbox made on another node a moment ago: not found here, found after a sync. */
static void test_lagging_target(void **state)
{
    (void)state;
    struct imap_client a;
    open_box(&a, "INBOX");
    a.manual = true;
    imap_client_talk(&a, "1 COPY 1 New\r\n", "");
    fake_backend_mailbox(fb, account, "New");
    a.manual = false;
    imap_client_pump(&a);
    assert_true(imap_client_saw(&a, "1 OK [COPYUID "));
    imap_client_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_sessions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silent_tells_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stale_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle_slow_client, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mailbox_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_seen_without_quorum, setup, teardown),
        cmocka_unit_test_setup_teardown(test_big_fetch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_messages, setup, teardown),
        cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_close_any_time),
        cmocka_unit_test_setup_teardown(test_timeouts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lagging_target, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
