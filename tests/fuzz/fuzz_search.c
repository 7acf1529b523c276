/* Any bytes as SEARCH keys. How the octets arrive changes nothing; no message is in neither, or in both, of a search
 * and its opposite. */
#include "node/base/log.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/protocol/support_client.h"

#include <stdio.h>
#include <stdlib.h>

enum { MESSAGES = 6 };

static const char *const mails[MESSAGES] = {
    "From: A <a@x.test>\r\nTo: u@x.test\r\nSubject: =?utf-8?q?=C3=BCber?=\r\nDate: 1 Jan 2020 00:00:00 "
    "+0000\r\n\r\nb\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    "Subject: in\r\n\r\ninner\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJj\r\n--b--\r\n",
    "Cc: \"B C\" <b@y.test>, g: c@z.test;\r\nBcc: d@x.test\r\nDate: nonsense\r\nX: y\r\n\r\n.\r\n",
    "Content-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: "
    "quoted-printable\r\n\r\n<b>=FCber</b>\r\n",
    "Subject: (\\\" {3}\r\n\r\n",
    "",
};

static void session_open(struct client *c)
{
    client_init(c);
    uint64_t account = fake_backend_account(c->fb, "a@b", "p"), inbox = fake_backend_find(c->fb, account, "INBOX");
    for (uint32_t i = 0; i < MESSAGES; i++)
        fake_backend_message(c->fb, inbox, slice_str(mails[i]), i * 5 % 32, 1600000000000 + i * 86400000);
    c->peer.tls = true;
    client_attach(c, imap_session_new(&c->host, &c->fb->backend, &c->peer, &session_limits_default));
    client_say(c, "l LOGIN a@b p\r\ns SELECT INBOX\r\n");
    buf_clear(&c->out);
}

static void run(const char *before, struct slice keys, const char *after, size_t step, struct buf *out)
{
    struct client c;
    session_open(&c);
    c.step = step;
    buf_append_str(&c.in, before);
    buf_append_slice(&c.in, keys);
    client_say(&c, after);
    buf_append_slice(out, buf_slice(&c.out));
    ENSURE(c.fb->open_views == 0);
    client_close(&c);
}

/* How many were found; -1: the search was refused. */
static int count(const char *before, struct slice keys, const char *after)
{
    struct buf out = {0};
    int n = -1;
    run(before, keys, after, 0, &out);
    buf_append_byte(&out, 0);
    const char *said = (const char *)buf_slice(&out).p, *at = strstr(said, "COUNT ");
    if (strstr(said, "\r\nt OK") && at)
        n = atoi(at + 6);
    buf_close(&out);
    return n;
}

/* Keys around which parentheses mean what they say. */
static bool closed(struct slice keys)
{
    int depth = 0;
    for (size_t i = 0; i < keys.n; i++) {
        if (keys.p[i] == '"' || keys.p[i] == '{' || keys.p[i] == '\r' || keys.p[i] == '\n' || keys.p[i] == '$')
            return false;
        depth += keys.p[i] == '(' ? 1 : keys.p[i] == ')' ? -1 : 0;
        if (depth < 0)
            return false;
    }
    return depth == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf whole = {0}, pieces = {0};
    log_set_level((enum log_level)(LOG_ERROR + 1));
    struct slice keys = slice_make(data, n);
    struct fuzz_dice dice = fuzz_dice_take(&keys);
    run("t UID SEARCH ", keys, "\r\nu NOOP\r\n", 0, &whole);
    run("t UID SEARCH ", keys, "\r\nu NOOP\r\n", 1 + fuzz_roll(&dice, 12), &pieces);
    ENSURE(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    if (closed(keys)) {
        int yes = count("t SEARCH RETURN (COUNT) (", keys, ")\r\n");
        int no = count("t SEARCH RETURN (COUNT) NOT (", keys, ")\r\n");
        ENSURE(yes < 0 || no < 0 || yes + no == MESSAGES);
    }
    buf_close(&whole);
    buf_close(&pieces);
    return 0;
}
