/* Replies of a server (RFC 5321 4.2): "250-first line", "250 last line". A lone LF ends a line too: nothing depends on
 * where a reply's line ends but how we are told things. */
#include "protocol/smtp/client_internal.h"

#include "node/base/utf8.h"

#include <stdio.h>

static bool is_control(int32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029;
}

size_t client_text_copy(struct slice text, char *out, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < text.n;) {
        int32_t code = 0;
        int step = utf8_step(text.p + i, text.n - i, &code);
        size_t taken = step > 0 ? (size_t)step : 1;
        bool plain = step > 0 && !is_control(code);

        if (n + (plain ? taken : 1) >= max)
            break;
        if (plain) {
            memcpy(out + n, text.p + i, taken);
            n += taken;
        } else {
            out[n++] = text.p[i] == '\t' ? ' ' : '?';
        }
        i += taken;
    }
    out[n] = '\0';
    return n;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static size_t digits(struct slice s)
{
    size_t n = 0;

    while (n < s.n && is_digit(s.p[n]))
        n++;
    return n;
}

/* status-code ::= class "." subject "." detail (RFC 2034 3, RFC 3463 2). Returns its octets, 0: none. */
static size_t enhanced_length(struct slice line)
{
    size_t at = 2, n;

    if (line.n < 5 || !is_digit(line.p[0]) || line.p[1] != '.')
        return 0;
    n = digits(slice_from(line, at));
    at += n;
    if (n < 1 || n > 3 || at >= line.n || line.p[at] != '.')
        return 0;
    n = digits(slice_from(line, ++at));
    at += n;
    if (n < 1 || n > 3 || (at < line.n && line.p[at] != ' '))
        return 0;
    return at;
}

static void text_add(struct client_reply *r, struct slice line)
{
    struct slice text = slice_trim(line);
    size_t room = sizeof(r->text) - r->text_n;

    if (text.n == 0)
        return;
    if (r->text_n > 0 && room > 3) {
        memcpy(r->text + r->text_n, "; ", 3);
        r->text_n += 2;
        room -= 2;
    }
    r->text_n += client_text_copy(text, r->text + r->text_n, room);
}

/* The enhanced code is repeated on each line: only the first one's stays in the text. */
static void line_add(struct client_reader *r, struct slice text)
{
    size_t n = enhanced_length(text);
    bool agrees = n > 0 && text.p[0] == '0' + r->reply.code / 100;

    if (r->lines == 1 && agrees)
        snprintf(r->reply.enhanced, sizeof(r->reply.enhanced), "%.*s", (int)n, (const char *)text.p);
    else if (agrees)
        text = slice_from(text, n);
    text_add(&r->reply, text);
}

static enum client_read line_take(struct client_reader *r, struct slice line, struct slice *line_r)
{
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    if (!r->begun) {
        r->reply = (struct client_reply){0};
        r->lines = 0;
    }
    if (line.n < 3 || digits(slice_first(line, 3)) != 3 || line.p[0] < '2' || line.p[0] > '5' ||
        (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-'))
        return CLIENT_READ_BAD;
    int code = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0');
    if ((r->begun && code != r->reply.code) || ++r->lines > CLIENT_LINES_MAX)
        return CLIENT_READ_BAD;
    r->reply.code = code;
    *line_r = slice_from(line, 4);
    line_add(r, *line_r);
    r->begun = line.n > 3 && line.p[3] == '-';
    return r->begun ? CLIENT_READ_LINE : CLIENT_READ_END;
}

enum client_read client_reply_read(struct client_reader *r, struct slice in, size_t *used_r, struct slice *line_r)
{
    size_t end = slice_find(in, '\n');
    size_t take = end < sizeof(r->line) - r->n ? end : sizeof(r->line) - r->n;

    if (take > 0)
        memcpy(r->line + r->n, in.p, take);
    r->n += take;
    *used_r = end < in.n ? end + 1 : in.n;
    if (end == in.n)
        return CLIENT_READ_MORE;
    struct slice line = slice_make(r->line, r->n);
    r->n = 0;
    return line_take(r, line, line_r);
}
