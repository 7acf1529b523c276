#include "tests/unit/protocol/support_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct client *of(struct session_host *h)
{
    return (struct client *)(void *)h;
}

static void on_wake(struct session_host *h)
{
    (void)h; /* client_pump looks itself */
}

static void on_released(struct session_host *h)
{
    of(h)->released = true;
}

static int64_t on_now(struct session_host *h)
{
    return of(h)->now_ms;
}

void client_init(struct client *c)
{
    *c = (struct client){.host = {on_wake, on_released, on_now}, .now_ms = 1700000000000};
    c->fb = fake_backend_new();
    c->fb->now_ms = c->now_ms;
    c->peer = (struct session_peer){.port = 4711};
    snprintf(c->peer.address, sizeof(c->peer.address), "192.0.2.7");
    snprintf(c->peer.local_name, sizeof(c->peer.local_name), "mx.example.org");
    snprintf(c->peer.id, sizeof(c->peer.id), "s1");
}

void client_attach(struct client *c, struct session *s)
{
    c->session = s;
    client_pump(c);
}

void client_close(struct client *c)
{
    struct session *s = c->session;

    s->ops->close(s);
    if (s->pending > 0) {
        fake_backend_run(c->fb);
        assert_true(c->released);
    }
    s->ops->free(s);
    buf_close(&c->in);
    buf_close(&c->out);
    fake_backend_free(&c->fb);
}

static bool out_drain(struct client *c)
{
    struct session *s = c->session;
    size_t n = buf_len(&s->out);

    if (n > c->out_peak)
        c->out_peak = n;
    if (n == 0 || c->stuck)
        return false;
    buf_append_slice(&c->out, buf_slice(&s->out));
    buf_consume(&s->out, n);
    s->ops->drained(s);
    return true;
}

static bool in_feed(struct client *c)
{
    struct session *s = c->session;
    struct slice in = buf_slice(&c->in);

    if (in.n == 0 || s->blocked || s->starttls || s->closing || buf_len(&s->out) >= SESSION_OUT_HIGH)
        return false;
    if (c->step > 0)
        in = slice_first(in, c->step);
    size_t used = s->ops->input(s, in);
    buf_consume(&c->in, used);
    return used > 0;
}

void client_pump(struct client *c)
{
    for (;;) {
        bool moved = in_feed(c);
        moved |= out_drain(c);
        if (!c->hold)
            moved |= fake_backend_run_one(c->fb);
        if (!moved)
            return;
    }
}

void client_tls(struct client *c)
{
    struct session *s = c->session;

    assert_true(s->starttls);
    buf_clear(&c->in);
    s->starttls = false;
    s->peer.tls = true;
    snprintf(s->peer.tls_version, sizeof(s->peer.tls_version), "TLSv1.3");
    snprintf(s->peer.tls_cipher, sizeof(s->peer.tls_cipher), "TLS_AES_256_GCM_SHA384");
    s->ops->tls_started(s);
    client_pump(c);
}

void client_send(struct client *c, const void *p, size_t n)
{
    buf_append(&c->in, p, n);
    client_pump(c);
}

void client_say(struct client *c, const char *text)
{
    client_send(c, text, strlen(text));
}

const char *client_take(struct client *c)
{
    static struct buf said;

    buf_clear(&said);
    buf_append_slice(&said, buf_slice(&c->out));
    buf_append_byte(&said, 0);
    buf_clear(&c->out);
    return (const char *)buf_slice(&said).p;
}

void client_expect_at(struct client *c, const char *say, const char *expect, const char *file, int line)
{
    static const char more[] = "…";
    size_t n = strlen(expect);
    bool prefix = n >= strlen(more) && strcmp(expect + n - strlen(more), more) == 0;

    client_say(c, say);
    const char *got = client_take(c);
    if (prefix ? strncmp(got, expect, n - strlen(more)) == 0 : strcmp(got, expect) == 0)
        return;
    print_error("said: %s\nexpected: %s\ngot: %s\n", say, expect, got);
    _fail(file, line);
}
