/* The message's octets: with dots stuffed and a final dot (RFC 5321 4.5.2), or as one last chunk (RFC 3030). They go to
 * out in portions. What makes the server accept, the final dot or the last portion of the chunk, is put there only when
 * the host confirmed. */
#include "protocol/smtp/client_internal.h"

#include <inttypes.h>

uint64_t client_content_size(const struct smtp_client *c)
{
    return c->mail.content.n + (c->mail.crlf ? 2 : 0);
}

/* Every line that begins with a dot gets another. */
static void stuffed_append(struct client_mail *t, struct slice in, struct buf *out)
{
    while (in.n > 0) {
        if (t->line_start && in.p[0] == '.')
            buf_append_byte(out, '.');
        size_t n = slice_find(in, '\n');
        t->line_start = n < in.n;
        n += t->line_start;
        buf_append(out, in.p, n);
        in = slice_from(in, n);
    }
}

static void header_send(struct smtp_client *c)
{
    if (!c->mail.header_sent)
        buf_printf(&c->out, "BDAT %" PRIu64 " LAST\r\n", client_content_size(c));
    c->mail.header_sent = true;
}

static void portion_send(struct smtp_client *c, size_t n)
{
    struct client_mail *t = &c->mail;
    struct slice in = slice_first(slice_from(t->content, t->at), n);

    if (t->chunked) {
        header_send(c);
        buf_append_slice(&c->out, in);
    } else {
        stuffed_append(t, in, &c->out);
    }
    t->at += in.n;
}

/* Octets that wait for the confirmation: of a chunk the last portion, before a dot none. */
static bool portion_left(const struct client_mail *t)
{
    size_t left = t->content.n - t->at;

    return t->chunked ? left > CLIENT_PORTION : left > 0;
}

void client_content_push(struct smtp_client *c)
{
    while (portion_left(&c->mail) && buf_len(&c->out) < CLIENT_OUT_HIGH)
        portion_send(c, CLIENT_PORTION);
    if (portion_left(&c->mail) || buf_len(&c->out) >= SMTP_CLIENT_OUT_LOW)
        return;
    client_phase_set(c, CLIENT_CONFIRM);
    if (c->events.confirm)
        c->events.confirm(c->events.arg);
    else
        smtp_client_commit(c);
}

void client_content_begin(struct smtp_client *c)
{
    c->mail.line_start = true;
    client_content_push(c);
}

void client_content_last(struct smtp_client *c)
{
    struct client_mail *t = &c->mail;

    portion_send(c, t->content.n - t->at);
    if (t->crlf)
        buf_append_str(&c->out, "\r\n");
    if (!t->chunked)
        buf_append_str(&c->out, ".\r\n");
}
