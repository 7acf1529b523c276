#include "tests/unit/protocol/support_imap_client.h"

#include "node/base/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct imap_client *of(struct session_host *h)
{
    return container_of(h, struct imap_client, host);
}

static void on_wake(struct session_host *h)
{
    of(h)->wakes++;
}

static void on_released(struct session_host *h)
{
    of(h)->released = true;
}

static int64_t now_ms(struct session_host *h)
{
    return of(h)->fb->now_ms;
}

void imap_client_open_limits(struct imap_client *c, struct fake_backend *fb, bool tls,
                             const struct session_limits *limits)
{
    struct session_peer peer = {.address = "127.0.0.1",
                                .port = 4000,
                                .local_name = "mail.example",
                                .tls = tls,
                                .tls_available = true,
                                .id = "s1"};
    *c = (struct imap_client){.fb = fb};
    c->host = (struct session_host){.wake = on_wake, .released = on_released, .now_ms = now_ms};
    c->s = imap_session_new(&c->host, &fb->backend, &peer, limits);
    imap_client_pump(c);
    assert_true(imap_client_saw(c, "* OK [CAPABILITY IMAP4rev2 IMAP4rev1 "));
    imap_client_forget(c);
}

void imap_client_open(struct imap_client *c, struct fake_backend *fb, bool tls)
{
    imap_client_open_limits(c, fb, tls, &session_limits_default);
}

void imap_client_login(struct imap_client *c, struct fake_backend *fb, const char *user, const char *password)
{
    imap_client_open(c, fb, true);
    struct buf line = {0};
    buf_printf(&line, "l LOGIN %s %s\r\n", user, password);
    imap_client_send(c, buf_slice(&line));
    buf_close(&line);
    assert_true(imap_client_saw(c, "l OK [CAPABILITY "));
    imap_client_forget(c);
}

/* The host's loop (protocol/session.h). Returns whether anything moved. */
static bool step(struct imap_client *c)
{
    struct session *s = c->s;
    bool moved = false;
    while (buf_len(&c->in) > 0 && !s->blocked && !s->starttls && !s->closing && buf_len(&s->out) < SESSION_OUT_HIGH) {
        size_t used = s->ops->input(s, buf_slice(&c->in));
        buf_consume(&c->in, used);
        if (used == 0)
            break;
        moved = true;
    }
    size_t n = buf_len(&s->out);
    if (n > c->out_high)
        c->out_high = n;
    if (c->read_max != 0 && n > c->read_max)
        n = c->read_max;
    buf_append_slice(&c->seen, slice_first(buf_slice(&s->out), n));
    buf_consume(&s->out, n);
    if (n > 0 && buf_len(&s->out) < SESSION_OUT_LOW)
        s->ops->drained(s);
    return moved || n > 0;
}

void imap_client_pump(struct imap_client *c)
{
    bool moved = true;
    while (moved) {
        moved = step(c);
        if (!c->manual && fake_backend_run_one(c->fb))
            moved = true;
    }
}

void imap_client_send(struct imap_client *c, struct slice bytes)
{
    buf_append_slice(&c->in, bytes);
    imap_client_pump(c);
}

void imap_client_expect(struct imap_client *c, const char *expect)
{
    imap_client_pump(c);
    buf_append_byte(&c->seen, 0);
    assert_string_equal((const char *)buf_slice(&c->seen).p, expect);
    imap_client_forget(c);
}

void imap_client_talk(struct imap_client *c, const char *send, const char *expect)
{
    imap_client_send(c, slice_str(send));
    imap_client_expect(c, expect);
}

bool imap_client_saw(const struct imap_client *c, const char *part)
{
    struct slice s = buf_slice(&c->seen);
    return s.n > 0 && memmem(s.p, s.n, part, strlen(part)) != NULL;
}

void imap_client_forget(struct imap_client *c)
{
    buf_clear(&c->seen);
}

void imap_client_close(struct imap_client *c)
{
    unsigned pending = c->s->pending;
    c->s->ops->close(c->s);
    if (pending > 0) {
        while (!c->released && fake_backend_run_one(c->fb))
            ;
        assert_true(c->released);
    }
    assert_int_equal(c->s->pending, 0);
    c->s->ops->free(c->s);
    buf_close(&c->in);
    buf_close(&c->seen);
}
