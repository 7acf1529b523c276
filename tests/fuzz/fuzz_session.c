#include "tests/fuzz/fuzz_session.h"

#include "node/base/log.h"

#include <stdio.h>

enum { STEPS_MAX = 1000000, OUT_MAX = SESSION_OUT_HIGH + (8 << 20) };

struct connection {
    struct session_host host; /* first */
    struct fake_backend *fb;
    struct session *session;
    struct session_peer peer;
    struct fuzz_dice dice;
    struct buf in;
    uint64_t account;
    int64_t now_ms;
    unsigned released;
    bool stuck, closed;
};

static struct connection *of(struct session_host *h)
{
    return (struct connection *)(void *)h;
}

static void on_wake(struct session_host *h)
{
    ENSURE(of(h)->released == 0);
}

static void on_released(struct session_host *h)
{
    of(h)->released++;
}

static int64_t on_now(struct session_host *h)
{
    return of(h)->now_ms;
}

static bool out_drain(struct connection *c)
{
    struct session *s = c->session;
    size_t n = buf_len(&s->out);
    ENSURE(n < OUT_MAX);
    if (n == 0 || c->stuck)
        return false;
    size_t part = 1 + fuzz_roll(&c->dice, 100000);
    buf_consume(&s->out, part < n ? part : n);
    if (buf_len(&s->out) < SESSION_OUT_LOW)
        s->ops->drained(s);
    return true;
}

static bool tls_start(struct connection *c)
{
    struct session *s = c->session;
    if (!s->starttls || buf_len(&s->out) > 0)
        return false;
    ENSURE(s->peer.tls_available && !s->peer.tls);
    buf_clear(&c->in);
    s->starttls = false;
    s->peer.tls = true;
    s->ops->tls_started(s);
    return true;
}

static bool in_feed(struct connection *c)
{
    struct session *s = c->session;
    struct slice in = buf_slice(&c->in);
    if (in.n == 0 || s->blocked || s->starttls || s->closing || buf_len(&s->out) >= SESSION_OUT_HIGH)
        return false;
    size_t used = s->ops->input(s, in);
    ENSURE(used <= in.n && c->fb->open_views == 0);
    buf_consume(&c->in, used);
    return used > 0;
}

static void pump(struct connection *c)
{
    for (unsigned steps = 0;; steps++) {
        ENSURE(steps < STEPS_MAX);
        bool moved = in_feed(c);
        moved |= out_drain(c);
        moved |= tls_start(c);
        moved |= fake_backend_run_one(c->fb);
        ENSURE(c->fb->open_views == 0);
        if (!moved)
            return;
    }
}

static void backend_trouble(struct connection *c)
{
    static const int status[] = {ERR_UNAVAILABLE, ERR_NOSPACE, ERR_NOTFOUND, ERR_DENIED, ERR_QUOTA, ERR_CONFLICT};
    uint32_t op = fuzz_roll(&c->dice, FAKE_OPS);
    switch (fuzz_roll(&c->dice, 3)) {
    case 0:
        c->fb->held[op] = !c->fb->held[op];
        break;
    case 1:
        c->fb->fail_status[op] = status[fuzz_roll(&c->dice, sizeof(status) / sizeof(status[0]))];
        c->fb->fail_n[op] = 1 + fuzz_roll(&c->dice, 3);
        break;
    default:
        c->fb->newest_first = !c->fb->newest_first;
    }
}

static bool message_is(struct connection *c, uint64_t inbox, uint32_t uid)
{
    struct backend_view *v = c->fb->backend.ops->view_open(&c->fb->backend);
    struct message_info info;
    bool is = v->ops->message_get(v, inbox, uid, &info) == 0;
    v->ops->close(v);
    return is;
}

static void others_change(struct connection *c)
{
    uint64_t inbox = fake_backend_find(c->fb, c->account, "INBOX");
    uint32_t uid = 1 + fuzz_roll(&c->dice, 8), what = fuzz_roll(&c->dice, 4);
    if (inbox == 0)
        return;
    if (what == 0)
        fake_backend_message(c->fb, inbox, SLICE_LITERAL("Subject: new\r\n\r\nx\r\n"), 0, c->now_ms);
    else if (what == 1)
        fake_backend_prune(c->fb, inbox);
    else if (message_is(c, inbox, uid) && what == 2)
        fake_backend_expunge(c->fb, inbox, uid);
    else if (message_is(c, inbox, uid))
        fake_backend_flags(c->fb, inbox, uid, fuzz_roll(&c->dice, 32));
}

static void session_event(struct connection *c)
{
    struct session *s = c->session;
    ENSURE(s->ops->idle_timeout_ms(s) > 0);
    uint32_t roll = fuzz_roll(&c->dice, 40);
    if (roll == 0)
        s->ops->timed_out(s);
    else if (roll == 1)
        s->ops->shutdown(s);
    else if (roll < 5)
        c->stuck = !c->stuck;
    else if (roll < 12)
        others_change(c);
    else if (roll < 18)
        backend_trouble(c);
    c->now_ms += fuzz_roll(&c->dice, 5000);
}

static void mail_add(struct connection *c)
{
    static const char *const mails[] = {
        "From: A <a@x.test>\r\nTo: u@x.test\r\nSubject: =?utf-8?q?=C3=BC?=\r\nDate: 1 Jan 2020 00:00:00 "
        "+0000\r\n\r\nbody\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
        "Subject: in\r\n\r\ninner\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJj\r\n--b--\r\n",
        "\r\n.dots\r\n..\r\n",
        "",
    };
    uint64_t inbox = fake_backend_find(c->fb, c->account, "INBOX");
    for (size_t i = 0; i < sizeof(mails) / sizeof(mails[0]); i++)
        fake_backend_message(c->fb, inbox, slice_str(mails[i]), i & 1 ? FLAG_SEEN : 0, c->now_ms);
}

static void connection_open(struct connection *c, fuzz_session_new *make)
{
    c->host = (struct session_host){on_wake, on_released, on_now};
    c->now_ms = 1700000000000;
    c->fb = fake_backend_new();
    c->fb->now_ms = c->now_ms;
    c->account = fake_backend_account(c->fb, "u@x.test", "pw");
    fake_backend_domain(c->fb, "x.test");
    fake_backend_mailbox(c->fb, c->account, "Other/Box");
    mail_add(c);
    c->peer.tls = fuzz_roll(&c->dice, 4) != 0;
    c->peer.tls_available = true;
    snprintf(c->peer.address, sizeof(c->peer.address), "192.0.2.7");
    snprintf(c->peer.local_name, sizeof(c->peer.local_name), "mx.x.test");
    snprintf(c->peer.id, sizeof(c->peer.id), "s1");
    c->session = make(&c->host, &c->fb->backend, &c->peer, &session_limits_default);
    pump(c);
}

static void connection_close(struct connection *c)
{
    struct session *s = c->session;
    s->ops->close(s);
    ENSURE(c->released == 0);
    bool pending = s->pending > 0;
    memset(c->fb->held, 0, sizeof(c->fb->held));
    fake_backend_run(c->fb);
    ENSURE(s->pending == 0 && c->released == pending && c->fb->watches == 0 && c->fb->open_views == 0);
    s->ops->free(s);
    buf_close(&c->in);
    fake_backend_free(&c->fb);
}

void fuzz_session_run(struct slice in, fuzz_session_new *make, const char *const *preludes, uint32_t prelude_n)
{
    struct connection c = {.dice = fuzz_dice_take(&in)};
    log_set_level(LOG_ERROR);
    connection_open(&c, make);
    buf_append_str(&c.in, preludes[fuzz_roll(&c.dice, prelude_n)]);
    pump(&c);
    bool calm = fuzz_roll(&c.dice, 2);
    uint32_t step = 1 + fuzz_roll(&c.dice, fuzz_roll(&c.dice, 2) ? 8 : 400);
    while (in.n > 0 && !(c.session->closing && buf_len(&c.session->out) == 0)) {
        struct slice part = slice_first(in, 1 + fuzz_roll(&c.dice, step));
        buf_append_slice(&c.in, part);
        in = slice_from(in, part.n);
        pump(&c);
        if (!calm && fuzz_roll(&c.dice, 4) == 0)
            session_event(&c);
    }
    if (fuzz_roll(&c.dice, 2)) { /* all comes to rest before the connection goes, or not */
        c.stuck = false;
        memset(c.fb->held, 0, sizeof(c.fb->held));
        pump(&c);
        ENSURE(buf_len(&c.session->out) == 0);
    }
    connection_close(&c);
}
