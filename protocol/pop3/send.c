/* RETR and TOP, and multi-line responses: sent in pieces, as fast as the client takes them (RFC 1939 3). */
#include "protocol/pop3/internal.h"

enum { SEND_PIECE = 32 * 1024 };

/* ---- a body ---- */

static bool at_line_start(struct slice body, size_t at)
{
    return at == 0 || (at >= 2 && body.p[at - 2] == '\r' && body.p[at - 1] == '\n');
}

/* Up to the next line that begins with a dot, or a piece. Returns where it got to. */
static size_t body_piece_send(struct slice body, size_t at, struct buf *out)
{
    size_t n = body.n - at < SEND_PIECE ? body.n - at : SEND_PIECE;

    if (at_line_start(body, at) && body.p[at] == '.')
        buf_append_byte(out, '.');
    /* Looks past the piece: a CRLF that its end would split must not hide the dot after it. */
    const uint8_t *from = body.p + at;
    size_t look = body.n - at < n + 3 ? body.n - at : n + 3;
    const uint8_t *dot = memmem(from, look, "\r\n.", 3);
    if (dot)
        n = (size_t)(dot - from) + 2;
    buf_append(out, from, n);
    return at + n;
}

static void body_send(struct pop3 *p)
{
    struct buf *out = &p->session.out;
    struct slice body = slice_first(bytes_slice(p->body), p->send_end);

    while (p->send_at < body.n && buf_len(out) < SESSION_OUT_HIGH)
        p->send_at = body_piece_send(body, p->send_at, out);
    if (p->send_at == body.n && body.n > 0 && !at_line_start(body, body.n))
        buf_append_str(out, "\r\n");
}

/* ---- listings ---- */

static void listing_send(struct pop3 *p)
{
    struct buf *out = &p->session.out;

    for (; p->send_at < p->send_end && buf_len(out) < SESSION_OUT_HIGH; p->send_at++) {
        const struct pop3_message *m = &p->messages[p->send_at];
        if (m->deleted)
            continue;
        buf_append_u64(out, p->send_at + 1);
        buf_append_byte(out, ' ');
        if (p->send == POP3_SEND_LIST)
            buf_append_u64(out, m->size);
        else
            buf_printf(out, "%u.%u", p->uidvalidity, m->uid);
        buf_append_str(out, "\r\n");
    }
}

void pop3_send_begin(struct pop3 *p, enum pop3_send what, size_t end)
{
    p->send = what;
    p->send_at = 0;
    p->send_end = end;
    pop3_move(p, POP3_SENDING);
    pop3_send_more(p);
}

void pop3_send_more(struct pop3 *p)
{
    if (p->send == POP3_SEND_BODY)
        body_send(p);
    else
        listing_send(p);
    if (p->send_at < p->send_end)
        return;
    buf_append_str(&p->session.out, ".\r\n");
    bytes_unref(&p->body);
    pop3_resume(p, POP3_TRANSACTION);
}

/* ---- RETR and TOP ---- */

/* Octets of the header, the empty line, and so many lines of the text. */
static size_t top_length(struct slice body, uint64_t lines)
{
    bool in_header = true;
    size_t at = 0;

    while (at < body.n && (in_header || lines > 0)) {
        const uint8_t *end = memmem(body.p + at, body.n - at, "\r\n", 2);
        size_t next = end ? (size_t)(end - body.p) + 2 : body.n;
        if (!in_header)
            lines--;
        else if (next == at + 2)
            in_header = false;
        at = next;
    }
    return at;
}

static void fetch_done(struct backend_op *op)
{
    struct pop3 *p = op->owner;

    if (!session_op_end(&p->session))
        return;
    if (op->status == 0) {
        struct slice body = bytes_slice(p->fetch.body);
        p->body = p->fetch.body;
        p->fetch.body = NULL;
        pop3_ok(p, "%zu octets", body.n);
        pop3_send_begin(p, POP3_SEND_BODY, p->top ? top_length(body, p->top_lines) : body.n);
    } else {
        if (op->status == ERR_NOTFOUND)
            pop3_err(p, "", "Message is gone: another session deleted it");
        else
            pop3_err(p, "[SYS/TEMP] ", "Message cannot be had now, try again later");
        pop3_resume(p, POP3_TRANSACTION);
    }
    p->session.host->wake(p->session.host);
}

static void message_fetch(struct pop3 *p, const struct pop3_message *m)
{
    struct backend *b = p->session.backend;
    struct backend_view *v = b->ops->view_open(b);
    struct message_info info;
    int rv = v->ops->message_get(v, p->mailbox, m->uid, &info);

    v->ops->close(v);
    if (rv != 0) {
        pop3_err(p, "", "Message is gone: another session deleted it");
        return;
    }
    p->fetch = (struct backend_body){.op = {.done = fetch_done, .owner = p}, .hash = info.hash};
    pop3_move(p, POP3_FETCH);
    session_op_begin(&p->session);
    b->ops->body_get(b, &p->fetch);
}

void pop3_retr_run(struct pop3 *p, struct slice arg)
{
    const struct pop3_message *m = pop3_message_take(p, arg);

    if (!m)
        return;
    p->top = false;
    message_fetch(p, m);
}

void pop3_top_run(struct pop3 *p, struct slice arg)
{
    struct slice number, lines;

    arg = slice_trim(arg);
    number = slice_first(arg, slice_find(arg, ' '));
    lines = slice_trim(slice_from(arg, number.n));
    if (lines.n == 0 || slice_u64(lines, UINT32_MAX, &p->top_lines) != 0) {
        pop3_err(p, "", "Say TOP, a message number and a number of lines");
        return;
    }
    const struct pop3_message *m = pop3_message_take(p, number);
    if (!m)
        return;
    p->top = true;
    message_fetch(p, m);
}
