/* Any bytes to an SMTP, submission, LMTP, POP3 or IMAP session: whole, and again in pieces. How the network splits the
 * octets must change neither a word of the answers nor what is stored. */
#include "node/base/log.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/protocol/support_client.h"

enum { KINDS = 5, POP3 = 3, IMAP = 4 };

static void session_start(struct client *c, unsigned kind)
{
    client_init(c);
    uint64_t ann = fake_backend_account(c->fb, "a@b", "p");
    fake_backend_message(c->fb, fake_backend_find(c->fb, ann, "INBOX"), slice_str("A: b\r\n\r\n.\r\nx"), 0, 0);
    c->peer.tls = kind == 1;
    c->peer.tls_available = kind == 0;
    if (kind == IMAP)
        client_attach(c, imap_session_new(&c->host, &c->fb->backend, &c->peer, &session_limits_default));
    else if (kind == POP3)
        client_attach(c, pop3_session_new(&c->host, &c->fb->backend, &c->peer, &session_limits_default));
    else
        client_attach(
            c, smtp_session_new(&c->host, &c->fb->backend, &c->peer, &session_limits_default, (enum smtp_kind)kind));
}

/* The answers, and after them what was written. */
static void session_run(unsigned kind, size_t step, struct slice in, struct buf *result)
{
    struct client c;

    session_start(&c, kind);
    c.step = step;
    if (kind < POP3)
        client_say(&c, kind == 2 ? "LHLO x\r\n" : "EHLO x\r\n");
    if (kind == 1)
        client_say(&c, "AUTH PLAIN AGFAYgBw\r\n");
    if (kind == IMAP) {
        c.peer.tls = true;
        client_say(&c, "l LOGIN a@b p\r\n");
    }
    client_send(&c, in.p, in.n);
    buf_append_slice(result, buf_slice(&c.out));
    buf_append_slice(result, buf_slice(&c.fb->trace));
    ENSURE(c.fb->open_views == 0);
    client_close(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf whole = {0}, pieces = {0};

    log_set_level((enum log_level)(LOG_ERROR + 1));
    if (n < 2)
        return 0;
    struct slice in = slice_make(data + 2, n - 2);
    session_run(data[0] % KINDS, 0, in, &whole);
    session_run(data[0] % KINDS, 1u + data[1] % 8u, in, &pieces);
    ENSURE(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    buf_close(&whole);
    buf_close(&pieces);
    return 0;
}
