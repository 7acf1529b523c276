#include "tests/unit/protocol/support_smtp_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct run {
    const struct smtp_script *script;
    struct smtp_client *client;
    struct smtp_client_mail *mail; /* the last one */
    struct buf events;             /* lines */
    const char *file, *line_text;
    int line;
};

static void event(struct run *r, const char *text)
{
    buf_append_str(&r->events, text);
    buf_append_byte(&r->events, '\n');
}

static void on_ready(void *arg)
{
    event(arg, "ready");
}

static void on_confirm(void *arg)
{
    event(arg, "confirm");
}

static void on_done(void *arg, bool again)
{
    event(arg, again ? "done again" : "done last");
}

static void outcome_text(const struct smtp_outcome *o, bool relayed, char *out, size_t max)
{
    snprintf(out, max, "%d%s%s %d %s %s", (int)o->kind, o->unsure ? "?" : "", relayed ? "r" : "", o->code, o->enhanced,
             o->text);
}

static void on_failed(void *arg, const struct smtp_outcome *o)
{
    char text[700], all[720];

    outcome_text(o, false, text, sizeof(text));
    snprintf(all, sizeof(all), "failed %s", text);
    event(arg, all);
}

static void mismatch(struct run *r, const char *got)
{
    print_error("step %zu, at: %s\ngot: %s\n", r->script->step, r->line_text, got);
    _fail(r->file, r->line);
}

static void feed(struct run *r, struct slice in)
{
    size_t step = r->script->step ? r->script->step : in.n;

    while (in.n > 0) {
        /* A copy of its own, so that the sanitizer sees a read behind it. */
        struct bytes *piece = bytes_copy(slice_first(in, step));
        smtp_client_input(r->client, bytes_slice(piece));
        in = slice_from(in, piece->n);
        bytes_unref(&piece);
    }
}

static void expect_out(struct run *r, const char *text)
{
    struct buf *out = smtp_client_out(r->client), want = {0};

    buf_append_str(&want, text);
    buf_append_str(&want, "\r\n");
    struct slice got = buf_slice(out);
    if (!slice_eq(slice_first(got, buf_len(&want)), buf_slice(&want))) {
        char *copy = mem_strndup(got);
        mismatch(r, copy);
    }
    buf_consume(out, buf_len(&want));
    buf_close(&want);
    smtp_client_drained(r->client);
}

static void expect_event(struct run *r, const char *text)
{
    struct slice all = buf_slice(&r->events);
    struct slice first = slice_first(all, slice_find(all, '\n'));

    if (!slice_eq(first, slice_str(text)))
        mismatch(r, mem_strndup(first));
    buf_consume(&r->events, first.n + (first.n < all.n));
}

static void expect_outcome(struct run *r, const char *text)
{
    char *end, got[700];
    size_t at = strtoul(text, &end, 10);

    assert_true(at < r->mail->n);
    outcome_text(&r->mail->recipients[at].outcome, r->mail->recipients[at].relayed, got, sizeof(got));
    if (strcmp(got, end + 1) != 0)
        mismatch(r, got);
}

static void line_run(struct run *r, const char *text)
{
    struct smtp_client *c = r->client;
    const char *arg = strlen(text) > 3 ? text + 3 : "";

    switch (text[0]) {
    case 'C':
        if (text[1] == ':')
            expect_out(r, arg);
        else if (buf_len(smtp_client_out(c)) > 0)
            mismatch(r, mem_strndup(buf_slice(smtp_client_out(c))));
        break;
    case 'M':
        r->mail = &r->script->mails[atoi(arg)];
        assert_true(smtp_client_idle(c));
        smtp_client_send(c, r->mail);
        break;
    case 'E':
        expect_event(r, arg);
        break;
    case 'O':
        expect_outcome(r, arg);
        break;
    case 'K':
        smtp_client_commit(c);
        break;
    case 'W':
        smtp_client_withhold(c, arg);
        break;
    case 'T':
        assert_true(smtp_client_wants_tls(c));
        smtp_client_tls_started(c);
        break;
    case 'Q':
        smtp_client_quit(c);
        break;
    case 'X':
        smtp_client_closed(c, ERR_CLOSED, arg);
        break;
    case 'F':
        assert_true(smtp_client_closing(c));
        break;
    default:
        mismatch(r, "a script line that is none");
    }
}

static void lines_run(struct run *r, const char *text)
{
    struct buf said = {0};

    while (*text) {
        size_t n = strcspn(text, "\n");
        char *line = mem_strndup(slice_make(text, n));
        text += n + (text[n] == '\n');
        r->line_text = line;
        if (line[0] == 'S') {
            buf_append_str(&said, strlen(line) > 3 ? line + 3 : "");
            buf_append_str(&said, "\r\n");
        }
        if (line[0] == 'S' ? *text != 'S' : true) {
            feed(r, buf_slice(&said));
            buf_clear(&said);
        }
        if (line[0] != 'S')
            line_run(r, line);
        mem_free(line);
    }
    buf_close(&said);
}

void smtp_script_run_at(const struct smtp_script *s, const char *text, const char *file, int line)
{
    struct run r = {.script = s, .file = file, .line = line};
    struct smtp_client_config config = s->config;
    const struct smtp_client_events ev = {
        .arg = &r, .ready = on_ready, .confirm = s->confirm ? on_confirm : NULL, .done = on_done, .failed = on_failed};

    if (!config.helo)
        config.helo = "c.test";
    r.client = smtp_client_new(&config, &ev);
    lines_run(&r, text);
    r.line_text = "the end";
    if (buf_len(&r.events) > 0)
        mismatch(&r, mem_strndup(buf_slice(&r.events)));
    smtp_client_free(&r.client);
    buf_close(&r.events);
}
