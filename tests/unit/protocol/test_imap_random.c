/* Random commands, some of them damaged, to one session while another idles on the same mailbox: nothing crashes or
 * leaks, and the idling client can always follow the numbers that it is told. Seeds are fixed: a failure repeats. */
#include "tests/unit/protocol/support_imap_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { ROUNDS = 400, COMMANDS = 50, DAMAGED_MAX = 400 };

static const char *const commands[] = {
    "a FETCH 1:* (FLAGS UID BODY[] BODY.PEEK[1]<1.2> ENVELOPE BODYSTRUCTURE)",
    "a UID FETCH 1:4 (BODY[HEADER.FIELDS (Subject)] BINARY[1] MODSEQ) (CHANGEDSINCE 3)",
    "a STORE 1:3 +FLAGS (\\Deleted kw)",
    "a UID STORE 2:* (UNCHANGEDSINCE 9) FLAGS.SILENT (\\Seen)",
    "a EXPUNGE",
    "a UID EXPUNGE 1:*",
    "a SEARCH RETURN (SAVE MIN COUNT) OR TEXT abc NOT (SUBJECT x 1:2)",
    "a UID SEARCH CHARSET UTF-8 TEXT {3+}\r\nabc HEADER Subject \"\" SENTSINCE 1-Jan-2020",
    "a COPY 1:2 Sent",
    "a UID MOVE 1 Sent",
    "a APPEND INBOX (\\Seen) {3+}\r\nabc {4+}\r\n1234",
    "a IDLE\r\nDONE",
    "a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (% *) RETURN (CHILDREN STATUS (MESSAGES))",
    "a LSUB \"\" *",
    "a CREATE q/w (USE (\\Junk))",
    "a DELETE q/w",
    "a RENAME INBOX q2",
    "a SELECT Sent",
    "a SELECT INBOX (CONDSTORE)",
    "a EXAMINE INBOX",
    "a CLOSE",
    "a STATUS INBOX (MESSAGES UNSEEN SIZE)",
    "a FETCH $ (UID RFC822)",
    "a CHECK",
    "a ENABLE IMAP4rev2",
    "a SUBSCRIBE Sent/x",
    "a ID (\"a\" NIL)",
};

static uint32_t seed;

static uint32_t random_below(uint32_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

static size_t damage(char *text, size_t n)
{
    size_t at = random_below((uint32_t)n);
    switch (random_below(3)) {
    case 0:
        text[at] = (char)random_below(256);
        return n;
    case 1:
        memmove(text + at, text + at + 1, n - at - 1);
        return n - 1;
    default:
        memmove(text + at + 1, text + at, n - at);
        text[at] = " ()*{}1\"]<"[random_below(10)];
        return n + 1;
    }
}

static void send_one(struct imap_client *c)
{
    char text[DAMAGED_MAX];
    const char *command = commands[random_below(sizeof commands / sizeof *commands)];
    size_t n = strlen(command);
    memcpy(text, command, n);
    if (random_below(4) == 0)
        for (uint32_t i = random_below(3) + 1; i > 0; i--)
            n = damage(text, n);
    imap_client_send(c, slice_make(text, n));
    imap_client_send(c, SLICE_LITERAL("\r\n"));
}

/* What the idling client knows of its mailbox, by the responses it got. */
static unsigned long follow(struct imap_client *c, unsigned long exists)
{
    buf_append_byte(&c->seen, 0);
    const char *line = (const char *)buf_slice(&c->seen).p;
    for (; line != NULL && *line != 0; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        unsigned long n;
        char word[16];
        if (sscanf(line, "* %lu %15s", &n, word) != 2)
            continue;
        if (strcmp(word, "EXPUNGE") == 0) {
            assert_in_range(n, 1, exists);
            exists--;
        } else if (strcmp(word, "EXISTS") == 0) {
            assert_true(n >= exists);
            exists = n;
        } else if (strcmp(word, "FETCH") == 0) {
            assert_in_range(n, 1, exists);
        }
    }
    imap_client_forget(c);
    return exists;
}

static void play(void)
{
    struct session_limits limits = session_limits_default;
    limits.bad_commands_max = COMMANDS;
    struct fake_backend *fb = fake_backend_new();
    uint64_t account = fake_backend_account(fb, "bob", "secret"), inbox = fake_backend_find(fb, account, "INBOX");
    struct slice message =
        SLICE_LITERAL("Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nabc\r\n"
                      "--b--\r\n");
    for (int i = 0; i < 6; i++)
        fake_backend_message(fb, inbox, message, 0, 0);
    fake_backend_mailbox(fb, account, "Sent");
    struct imap_client busy, idle;
    imap_client_open_limits(&busy, fb, true, &limits);
    imap_client_send(&busy, SLICE_LITERAL("l LOGIN bob secret\r\ns SELECT INBOX\r\n"));
    imap_client_login(&idle, fb, "bob", "secret");
    imap_client_send(&idle, SLICE_LITERAL("s SELECT INBOX\r\nt IDLE\r\n"));
    imap_client_forget(&idle);
    fb->newest_first = random_below(2);
    busy.manual = true;
    for (int i = 0; i < COMMANDS; i++) {
        send_one(&busy);
        if (random_below(50) == 0) {
            uint32_t kind = random_below(FAKE_OPS);
            fb->fail_n[kind] = 1;
            fb->fail_status[kind] = random_below(2) ? ERR_UNAVAILABLE : ERR_NOTFOUND;
        }
        if (random_below(20) == 0)
            fake_backend_message(fb, inbox, message, 0, 0);
        for (uint32_t steps = random_below(12); steps > 0; steps--) {
            fake_backend_run_one(fb);
            imap_client_pump(&busy);
        }
    }
    busy.manual = false;
    imap_client_pump(&busy);
    imap_client_pump(&idle);
    assert_int_equal(follow(&idle, 6), fake_backend_count(fb, inbox));
    imap_client_close(&busy);
    imap_client_close(&idle);
    assert_int_equal(fb->watches, 0);
    fake_backend_free(&fb);
}

static void test_random(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        seed = i * 7919 + 1;
        play();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
