/* Any bytes as what a server says to our SMTP client: how they are cut changes nothing that the client says or reports;
 * every mail ends once; nobody is delivered to without a server's yes; no secret goes out in the clear. */
#include "protocol/smtp/client.h"
#include "node/base/utf8.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>

enum { MAILS = 3, RECIPIENTS = 3, BIG = 200000 };
static const char secret[] = "AHVzZXIAczNjcmV0"; /* base64 of NUL "user" NUL "s3cret" */

struct host {
    struct smtp_client *client;
    struct smtp_client_mail mails[MAILS];
    struct smtp_client_recipient recipients[MAILS][RECIPIENTS];
    unsigned sent, done, ready, failed;
    bool comparable; /* messages fit into one portion, and there is no TLS on the way */
    bool withhold;
    struct buf said; /* everything, in order */
};

static void mail_next(struct host *h)
{
    if (h->sent == MAILS)
        smtp_client_quit(h->client);
    else
        smtp_client_send(h->client, &h->mails[h->sent++]);
}

static void out_take(struct host *h)
{
    struct buf *out = smtp_client_out(h->client);
    struct slice s = buf_slice(out);
    ENSURE(s.n <= 4 * SMTP_CLIENT_OUT_LOW + BIG);
    if (!smtp_client_tls(h->client))
        ENSURE(!memmem(s.p ? s.p : (const uint8_t *)"", s.n, secret, sizeof secret - 1));
    buf_append_slice(&h->said, s);
    buf_consume(out, s.n);
}

static void ensure_outcome(const struct smtp_outcome *o)
{
    ENSURE(memchr(o->enhanced, 0, sizeof o->enhanced) && memchr(o->text, 0, sizeof o->text));
    struct slice text = slice_str(o->text);
    ENSURE(utf8_valid(text) && slice_find(text, '\n') == text.n && slice_find(text, '\r') == text.n);
    ENSURE(o->code == 0 || (o->code >= 200 && o->code < 600));
    ENSURE(o->kind != SMTP_DELIVERED || o->code / 100 == 2);
    ENSURE(o->enhanced[0] == 0 || o->enhanced[0] == "245"[o->kind == SMTP_DELIVERED  ? 0
                                                          : o->kind == SMTP_DEFERRED ? 1
                                                                                     : 2]);
}

static void on_ready(void *arg)
{
    struct host *h = arg;
    ENSURE(h->ready++ == 0 && h->failed == 0 && smtp_client_idle(h->client));
    out_take(h);
    buf_append_str(&h->said, "[ready]\n");
    mail_next(h);
}

static void on_confirm(void *arg)
{
    struct host *h = arg;
    out_take(h);
    buf_append_str(&h->said, "[confirm]\n");
    if (h->withhold)
        smtp_client_withhold(h->client, "lost touch");
    else
        smtp_client_commit(h->client);
}

static void on_done(void *arg, bool again)
{
    struct host *h = arg;
    ENSURE(h->done++ < h->sent && h->failed == 0 && again == smtp_client_idle(h->client));
    out_take(h);
    buf_printf(&h->said, "[done %d]\n", again);
    for (size_t i = 0; i < h->mails[h->done - 1].n; i++) {
        const struct smtp_client_recipient *r = &h->recipients[h->done - 1][i];
        ensure_outcome(&r->outcome);
        ENSURE(!r->relayed || (r->outcome.kind == SMTP_DELIVERED && (r->notify & 2)));
        buf_printf(&h->said, "[%d %d %s %s]\n", r->outcome.kind, r->outcome.code, r->outcome.enhanced, r->outcome.text);
    }
    if (again)
        mail_next(h);
}

static void on_failed(void *arg, const struct smtp_outcome *o)
{
    struct host *h = arg;
    ENSURE(h->failed++ == 0 && h->done == h->sent);
    ensure_outcome(o);
    ENSURE(o->kind != SMTP_DELIVERED);
    out_take(h);
    buf_printf(&h->said, "[failed %d %d %s %s]\n", o->kind, o->code, o->enhanced, o->text);
}

static void mails_make(struct host *h, struct fuzz_dice *dice)
{
    static const char *const addresses[] = {"a@x.test", "b@y.test", "\xc3\xbc@x.test", "c@\xc3\xbc.test", "a b@x.test"};
    for (unsigned i = 0; i < MAILS; i++) {
        struct smtp_client_mail *m = &h->mails[i];
        bool big = !h->comparable && fuzz_roll(dice, 8) == 0;
        *m = (struct smtp_client_mail){.sender = slice_str(i ? "s@x.test" : ""), .recipients = h->recipients[i]};
        m->body =
            big ? bytes_new(BIG) : bytes_copy(SLICE_LITERAL("Return-Path: <>\r\nSubject: x\r\n\r\n.\r\n..x\r\nend"));
        if (big)
            memset(m->body->p, fuzz_roll(dice, 2) ? '.' : '\n', BIG);
        m->skip = big ? 0 : 17;
        m->n = 1 + fuzz_roll(dice, RECIPIENTS);
        m->utf8 = fuzz_roll(dice, 8) == 0;
        m->eight = fuzz_roll(dice, 4) == 0;
        m->binary = fuzz_roll(dice, 8) == 0;
        m->ret_full = fuzz_roll(dice, 2);
        if (fuzz_roll(dice, 2))
            m->envid = SLICE_LITERAL("QQ+314159");
        for (unsigned k = 0; k < RECIPIENTS; k++)
            h->recipients[i][k] = (struct smtp_client_recipient){.address = slice_str(addresses[fuzz_roll(dice, 5)]),
                                                                 .notify = fuzz_roll(dice, 16)};
    }
}

static void talk(struct slice in, struct fuzz_dice dice, bool pieces, bool comparable, struct buf *said)
{
    struct host h = {.comparable = comparable, .withhold = fuzz_roll(&dice, 16) == 0};
    struct smtp_client_events ev = {&h, on_ready, fuzz_roll(&dice, 2) ? on_confirm : NULL, on_done, on_failed};
    static const enum smtp_tls_policy plain[] = {SMTP_TLS_NONE, SMTP_TLS_WRAPPED};
    static const enum smtp_tls_policy all[] = {SMTP_TLS_MAY, SMTP_TLS_REQUIRE, SMTP_TLS_VERIFY, SMTP_TLS_NONE};
    struct smtp_client_config config = {.helo = "c.test",
                                        .tls = comparable ? plain[fuzz_roll(&dice, 2)] : all[fuzz_roll(&dice, 4)]};
    if (fuzz_roll(&dice, 3) == 0)
        config.user = "user", config.password = "s3cret";
    mails_make(&h, &dice);
    h.client = smtp_client_new(&config, &ev);
    while (in.n > 0) {
        struct slice part = pieces ? slice_first(in, 1 + fuzz_roll(&dice, 60)) : in;
        in = slice_from(in, part.n);
        smtp_client_input(h.client, part);
        ENSURE(smtp_client_timeout_s(h.client) > 0);
        for (out_take(&h); !smtp_client_closing(h.client);) {
            smtp_client_drained(h.client);
            if (buf_len(smtp_client_out(h.client)) == 0)
                break;
            out_take(&h);
        }
        if (smtp_client_wants_tls(h.client)) {
            ENSURE(!comparable && !smtp_client_tls(h.client));
            smtp_client_tls_started(h.client);
        }
    }
    out_take(&h);
    ENSURE(strlen(smtp_client_server_name(h.client)) < 256);
    smtp_client_closed(h.client, ERR_CLOSED, "gone");
    smtp_client_closed(h.client, ERR_CLOSED, "again");
    ENSURE(smtp_client_closing(h.client) && h.done == h.sent);
    smtp_client_free(&h.client);
    for (unsigned i = 0; i < MAILS; i++)
        bytes_unref(&h.mails[i].body);
    buf_append_slice(said, buf_slice(&h.said));
    buf_close(&h.said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct fuzz_dice dice = fuzz_dice_take(&in);
    struct buf whole = {0}, cut = {0};
    bool comparable = fuzz_roll(&dice, 2);
    if (comparable) {
        talk(in, dice, false, true, &whole);
        talk(in, dice, true, true, &cut);
        ENSURE(slice_eq(buf_slice(&whole), buf_slice(&cut)));
    } else {
        talk(in, dice, true, false, &cut);
    }
    buf_close(&whole);
    buf_close(&cut);
    return 0;
}
