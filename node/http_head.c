#include "node/http_head.h"

static struct slice line_take(struct slice *s)
{
    size_t n = slice_find(*s, '\n');
    struct slice line = slice_first(*s, n);
    *s = slice_from(*s, n + 1);
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

static bool token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 127 || strchr("\"(),/:;<=>?@[\\]{}", s.p[i]))
            return false;
    return s.n > 0;
}

/* RFC 9112 3: method SP request-target SP HTTP-version. Returns a status. */
static int request_line(struct slice line, struct http_head *r)
{
    size_t at = slice_find(line, ' ');
    struct slice method = slice_first(line, at), rest = slice_from(line, at + 1);
    at = slice_find(rest, ' ');
    struct slice target = slice_first(rest, at), version = slice_from(rest, at + 1);
    if (!token(method) || target.n == 0 || version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0)
        return 400;
    if (memcmp(version.p, "HTTP/1.", 7) != 0)
        return 505;
    if (version.p[7] != '0' && version.p[7] != '1')
        return 400;
    r->keep = version.p[7] == '1';
    r->head = slice_eq(method, SLICE_LITERAL("HEAD"));
    if (!r->head && !slice_eq(method, SLICE_LITERAL("GET")))
        return 405;
    if (slice_istarts(target, SLICE_LITERAL("http://"))) { /* absolute form */
        target = slice_from(target, 7);
        target = slice_from(target, slice_find(target, '/'));
        if (target.n == 0)
            target = SLICE_LITERAL("/");
    }
    if (target.p[0] != '/')
        return 400;
    for (size_t i = 0; i < target.n; i++)
        if (target.p[i] <= ' ' || target.p[i] >= 127)
            return 400;
    r->path = slice_first(target, slice_find(target, '?'));
    return 200;
}

static int header_field(struct slice line, struct http_head *r, unsigned *hosts)
{
    size_t colon = slice_find(line, ':');
    struct slice name = slice_first(line, colon), value = slice_trim(slice_from(line, colon + 1));
    if (colon == line.n || !token(name))
        return 400; /* obs-fold comes here too */
    for (size_t i = 0; i < value.n; i++)
        if ((value.p[i] < ' ' && value.p[i] != '\t') || value.p[i] == 127)
            return 400;
    if (slice_ieq(name, SLICE_LITERAL("Host")))
        ++*hosts;
    else if (slice_ieq(name, SLICE_LITERAL("Connection")))
        r->keep =
            slice_ieq(value, SLICE_LITERAL("keep-alive")) || (r->keep && !slice_ieq(value, SLICE_LITERAL("close")));
    else if (slice_ieq(name, SLICE_LITERAL("Transfer-Encoding")) ||
             (slice_ieq(name, SLICE_LITERAL("Content-Length")) && !slice_eq(value, SLICE_LITERAL("0"))))
        return 400; /* bodies have no place here */
    return 200;
}

static int fields_parse(struct slice head, struct http_head *r)
{
    int status = request_line(line_take(&head), r);
    bool one_one = r->keep;
    unsigned hosts = 0;
    while (status == 200 && head.n > 0) {
        struct slice line = line_take(&head);
        if (line.n == 0)
            break;
        status = header_field(line, r, &hosts);
    }
    if (status == 200 && (hosts > 1 || (one_one && hosts != 1)))
        status = 400; /* RFC 9112 3.2 */
    if (status != 200)
        r->keep = false;
    return status;
}

/* Length of the head with its empty line, or 0. */
static size_t head_length(struct slice in)
{
    for (size_t i = 0; i + 1 < in.n; i++) {
        if (in.p[i] != '\n')
            continue;
        if (in.p[i + 1] == '\n')
            return i + 2;
        if (i + 2 < in.n && in.p[i + 1] == '\r' && in.p[i + 2] == '\n')
            return i + 3;
    }
    return 0;
}

int http_head_parse(struct slice in, struct http_head *h_r, size_t *used_r)
{
    *h_r = (struct http_head){0};
    *used_r = head_length(slice_first(in, HTTP_HEAD_MAX));
    if (*used_r > 0)
        return fields_parse(slice_first(in, *used_r), h_r);
    return in.n < HTTP_HEAD_MAX ? HTTP_HEAD_MORE : 431;
}
