/* Raw header blocks (RFC 5322 2.2). A line ends with LF, with or without CR before it: messages with bare LF are
 * read alike. What is over 998 octets a line is read as well. */
#include "protocol/mime/text.h"

/* The position behind the line that begins at `at`. */
static size_t line_end(struct slice s, size_t at)
{
    const uint8_t *lf = memchr(s.p + at, '\n', s.n - at);
    return lf ? (size_t)(lf - s.p) + 1 : s.n;
}

static bool line_is_empty(struct slice s, size_t at)
{
    return s.p[at] == '\n' || (s.p[at] == '\r' && s.n - at > 1 && s.p[at + 1] == '\n');
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* RFC 5322 2.2 ftext: 33-126 without the colon; obsolete syntax (4.5.2) has blanks before the colon. */
static bool field_split(struct slice line, size_t first_line_n, struct header_field *field_r)
{
    size_t colon = slice_find(slice_first(line, first_line_n), ':');
    if (colon == first_line_n)
        return false;
    size_t name_n = colon;
    while (name_n > 0 && is_blank(line.p[name_n - 1]))
        name_n--;
    for (size_t i = 0; i < name_n; i++)
        if (line.p[i] < 33 || line.p[i] > 126)
            return false;
    if (name_n == 0)
        return false;
    struct slice value = slice_from(line, colon + 1);
    if (value.n > 0 && value.p[value.n - 1] == '\n')
        value.n--;
    if (value.n > 0 && value.p[value.n - 1] == '\r')
        value.n--;
    while (value.n > 0 && is_blank(value.p[0]))
        value = slice_from(value, 1);
    *field_r = (struct header_field){.name = slice_first(line, name_n), .value = value, .line = line};
    return true;
}

bool header_next(struct slice header, size_t *at, struct header_field *field_r)
{
    while (*at < header.n && !line_is_empty(header, *at)) {
        size_t start = *at;
        size_t first = line_end(header, start), end = first;
        while (end < header.n && is_blank(header.p[end]))
            end = line_end(header, end);
        *at = end;
        if (field_split(slice_make(header.p + start, end - start), first - start, field_r))
            return true;
    }
    return false;
}

size_t header_length(struct slice message)
{
    size_t at = 0;
    while (at < message.n) {
        bool empty = line_is_empty(message, at);
        at = line_end(message, at);
        if (empty)
            break;
    }
    return at;
}

void header_unfold(struct slice value, struct buf *out)
{
    for (size_t i = 0; i < value.n;) {
        size_t end = i;
        while (end < value.n && value.p[end] != '\n' && value.p[end] != 0)
            end++;
        bool crlf = end < value.n && value.p[end] == '\n' && end > i && value.p[end - 1] == '\r';
        buf_append(out, value.p + i, end - i - (crlf ? 1 : 0));
        if (end < value.n && value.p[end] == 0)
            buf_append_byte(out, '?'); /* IMAP cannot carry NUL in a string (RFC 9051 4.3) */
        i = end + 1;
    }
}
