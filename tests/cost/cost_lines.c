/* SMTP both ways, POP3, the admin protocol, delivery notifications. */
#include "protocol/admin/codec.h"
#include "protocol/smtp/client.h"
#include "protocol/smtp/dsn.h"
#include "tests/cost/cost.h"
#include "tests/unit/protocol/support_client.h"

enum { MANY = 512000, SOME = 32000, FEW = 4000 };

static struct session_limits limits(void)
{
    struct session_limits l = session_limits_default;
    l.recipients_max = l.received_max = l.bad_commands_max = 1 << 20;
    return l;
}

static void run(struct slice in, bool pop3, unsigned messages, size_t step)
{
    struct client c;
    struct session_limits l = limits();
    client_init(&c);
    uint64_t ann = fake_backend_account(c.fb, "a@b", "p"), inbox = fake_backend_find(c.fb, ann, "INBOX");
    for (unsigned i = 0; i < messages; i++)
        fake_backend_message(c.fb, inbox, SLICE_LITERAL("A: b\r\n\r\n.\r\nx"), 0, 0);
    c.peer.tls = true;
    c.step = step;
    client_attach(&c, pop3 ? pop3_session_new(&c.host, &c.fb->backend, &c.peer, &l)
                           : smtp_session_new(&c.host, &c.fb->backend, &c.peer, &l, SMTP_RELAY));
    client_say(&c, pop3 ? "USER a@b\r\nPASS p\r\n" : "EHLO x\r\n");
    cost_begin();
    client_send(&c, in.p, in.n);
    client_close(&c);
}

static void smtp(struct slice in, unsigned n)
{
    (void)n;
    run(in, false, 0, 0);
}
static void smtp_by_seven(struct slice in, unsigned n)
{
    (void)n;
    run(in, false, 0, 7);
}
static void pop3(struct slice in, unsigned n)
{
    run(in, true, n, 0);
}

#define SHAPE_REPEAT(function, before, text, after)                                                                    \
    static void function(unsigned n, struct buf *out)                                                                  \
    {                                                                                                                  \
        buf_append_str(out, before);                                                                                   \
        repeat(out, text, n);                                                                                          \
        buf_append_str(out, after);                                                                                    \
    }
#define MAIL "MAIL FROM:<c@d>\r\n"
SHAPE_REPEAT(data_headers, MAIL "RCPT TO:<a@b>\r\nDATA\r\n", "A: b\r\n", "\r\n.\r\n")
SHAPE_REPEAT(data_received, MAIL "RCPT TO:<a@b>\r\nDATA\r\n", "Received: b\r\n", "\r\n.\r\n")
SHAPE_REPEAT(data_dots, MAIL "RCPT TO:<a@b>\r\nDATA\r\n\r\n", "..\r\n", ".\r\n")
SHAPE_REPEAT(data_bare, MAIL "RCPT TO:<a@b>\r\nDATA\r\n\r\n", "\r", "\r\n.\r\n")
SHAPE_REPEAT(chunks, MAIL "RCPT TO:<a@b>\r\n", "BDAT 1\r\nx", "BDAT 0 LAST\r\n")
SHAPE_REPEAT(recipients_same, MAIL, "RCPT TO:<a@b>\r\n", "DATA\r\nx\r\n.\r\n")
SHAPE_REPEAT(commands, "", "NOOP\r\n", "")
SHAPE_REPEAT(errors, "", "X\r\n", "")
SHAPE_REPEAT(long_line, "NOOP ", "x", "\r\n")
SHAPE_REPEAT(mails, "", MAIL "RCPT TO:<a@b>\r\nRSET\r\n", "")
SHAPE_REPEAT(pop3_list, "LIST\r\nUIDL\r\nSTAT\r\n", "", "")

static void recipients(unsigned n, struct buf *out)
{
    buf_append_str(out, MAIL);
    for (unsigned i = 0; i < n; i++)
        buf_printf(out, "RCPT TO:<a+%u@b>\r\n", i);
    buf_append_str(out, "DATA\r\nx\r\n.\r\n");
}

static void pop3_each(unsigned n, struct buf *out)
{
    for (unsigned i = 1; i <= n; i++)
        buf_printf(out, "RETR %u\r\nTOP %u 1\r\nDELE %u\r\nUIDL %u\r\n", i, i, i, i);
    buf_append_str(out, "LIST\r\nQUIT\r\n");
}

/* ---- the client ---- */

struct host {
    struct smtp_client *client;
    struct smtp_client_mail mail;
};

static void on_ready(void *arg)
{
    struct host *h = arg;
    smtp_client_send(h->client, &h->mail);
}
static void on_done(void *arg, bool again)
{
    (void)arg, (void)again;
}

/* A mail to n recipients, of n lines with dots. */
static void client(struct slice in, unsigned n)
{
    struct smtp_client_config config = {.helo = "c.test", .tls = SMTP_TLS_NONE};
    struct host h = {0};
    struct smtp_client_events ev = {.arg = &h, .ready = on_ready, .done = on_done};
    struct buf body = {0};
    repeat(&body, ".\r\n", n);
    h.mail.body = bytes_copy(buf_slice(&body));
    h.mail.recipients = mem_zalloc(n * sizeof *h.mail.recipients);
    h.mail.n = n;
    for (unsigned i = 0; i < n; i++)
        h.mail.recipients[i].address = SLICE_LITERAL("a@b.test");
    cost_begin();
    h.client = smtp_client_new(&config, &ev);
    for (struct slice rest = in; rest.n > 0; rest = slice_from(rest, 1000)) {
        smtp_client_input(h.client, slice_first(rest, 1000));
        do
            buf_clear(smtp_client_out(h.client));
        while (smtp_client_drained(h.client), buf_len(smtp_client_out(h.client)) > 0);
    }
    smtp_client_closed(h.client, ERR_CLOSED, "gone");
    smtp_client_free(&h.client);
    mem_free(h.mail.recipients);
    bytes_unref(&h.mail.body);
    buf_close(&body);
}
SHAPE_REPEAT(replies, "220 x\r\n250-x\r\n250 PIPELINING\r\n250 ok\r\n", "250 ok\r\n", "354 go\r\n250 ok\r\n")
SHAPE_REPEAT(reply_long, "220-", "x", "\r\n220 x\r\n")
SHAPE_REPEAT(reply_lines, "", "220-x\r\n", "220 x\r\n")

/* ---- notifications ---- */

static void dsn(struct slice in, unsigned n)
{
    struct dsn_recipient *r = mem_zalloc(n * sizeof *r);
    struct dsn d = {.to = SLICE_LITERAL("s@x.test"), .from = SLICE_LITERAL("m@x.test"), .now_ms = 1, .recipients = r};
    struct buf out = {0};
    d.reporting = SLICE_LITERAL("mx.x.test");
    d.original = in;
    d.full = true;
    d.full_max = SIZE_MAX;
    d.n = n;
    snprintf(d.message_id, sizeof d.message_id, "1@mx.x.test");
    for (unsigned i = 0; i < n; i++)
        r[i] = (struct dsn_recipient){.address = SLICE_LITERAL("a@b.test"), .code = 550, .enhanced = "5.1.1"};
    if (n > 0)
        r[0].reply = in;
    cost_begin();
    dsn_write(&d, &out);
    buf_close(&out);
    mem_free(r);
}
SHAPE_REPEAT(dsn_headers, "", "Message-ID: <a@b>\r\n", "\r\nx\r\n")
SHAPE_REPEAT(dsn_boundaries, "", "--=_0_1mx.x.test\r\n", "")

/* ---- admin ---- */

static void admin(struct slice in, unsigned n)
{
    struct admin_request r;
    struct admin_answer a;
    struct err_detail e;
    (void)n;
    (void)admin_line_find(in);
    if (admin_request_parse(in, &r, &e) == 0)
        admin_request_close(&r);
    if (admin_answer_parse(in, &a) == 0)
        admin_answer_close(&a);
}
SHAPE_REPEAT(json_list, "{\"verb\":\"alias add\",\"args\":{\"address\":\"a@b\",\"targets\":[", "\"c\",", "\"d\"]}}\n")
SHAPE_REPEAT(json_nested, "", "[", "\n")
SHAPE_REPEAT(json_quotes, "{\"ok\":true,\"data\":\"", "\\\"", "\"}\n")

const struct shape shapes_lines[] = {
    {"DATA: headers", 1000, MANY, data_headers, smtp},
    {"DATA: headers, by seven octets", 1000, SOME, data_headers, smtp_by_seven},
    {"DATA: Received", 1000, SOME, data_received, smtp},
    {"DATA: dots", 1000, SOME, data_dots, smtp_by_seven},
    {"DATA: bare CR", 1000, SOME, data_bare, smtp},
    {"BDAT: chunks", 1000, SOME, chunks, smtp},
    {"RCPT", 100, FEW, recipients, smtp},
    {"RCPT, the same", 100, FEW, recipients_same, smtp},
    {"SMTP commands", 1000, SOME, commands, smtp},
    {"SMTP errors", 1000, SOME, errors, smtp},
    {"SMTP long line", 1000, SOME, long_line, smtp_by_seven},
    {"SMTP mails", 1000, SOME, mails, smtp},
    {"POP3 LIST", 250, FEW, pop3_list, pop3},
    {"POP3 each message", 125, FEW, pop3_each, pop3},
    {"client: recipients", 1000, SOME, replies, client},
    {"client: long reply", 1000, SOME, reply_long, client},
    {"client: lines of a reply", 1000, SOME, reply_lines, client},
    {"notification", 1000, SOME, dsn_headers, dsn},
    {"notification, boundaries", 1000, SOME, dsn_boundaries, dsn},
    {"admin: list", 1000, SOME, json_list, admin},
    {"admin: nested", 1000, SOME, json_nested, admin},
    {"admin: quotes", 1000, SOME, json_quotes, admin},
    {0},
};
