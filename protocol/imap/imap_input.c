#include "protocol/imap/imap_input.h"

#include "node/base/err.h"

static void tail_add(struct imap_input *in, struct slice s)
{
    if (s.n >= IMAP_TAIL_MAX) {
        memcpy(in->tail, s.p + s.n - IMAP_TAIL_MAX, IMAP_TAIL_MAX);
        in->tail_n = IMAP_TAIL_MAX;
        return;
    }
    size_t keep = in->tail_n < IMAP_TAIL_MAX - s.n ? in->tail_n : IMAP_TAIL_MAX - s.n;
    memmove(in->tail, in->tail + in->tail_n - keep, keep);
    memcpy(in->tail + keep, s.p, s.n);
    in->tail_n = keep + s.n;
}

static void text_add(struct imap_input *in, struct slice s)
{
    tail_add(in, s);
    size_t room = in->text_max > in->text_n ? in->text_max - in->text_n : 0;
    if (in->refused == NULL && memchr(s.p, 0, s.n) != NULL)
        in->refused = "BAD NUL is not allowed";
    if (s.n > room && in->refused == NULL)
        in->refused = "BAD Command line is too long";
    buf_append_slice(&in->line, slice_first(s, room)); /* of a refused one the tag is wanted */
    in->text_n += s.n;
}

/* literal = "{" number64 ["+"] "}" CRLF; literal8 = "~{" … at the end of the line. */
static bool literal_find(struct imap_input *in)
{
    size_t n = in->tail_n;
    const uint8_t *t = in->tail;
    if (n > 0 && t[n - 1] == '\n')
        n--;
    if (n > 0 && t[n - 1] == '\r')
        n--;
    if (n == 0 || t[n - 1] != '}')
        return false;
    size_t end = n - 1;
    in->literal_sync = !(end > 0 && (t[end - 1] == '+' || t[end - 1] == '-'));
    if (!in->literal_sync)
        end--;
    size_t start = end;
    while (start > 0 && t[start - 1] >= '0' && t[start - 1] <= '9')
        start--;
    if (start == end || start == 0 || t[start - 1] != '{')
        return false;
    in->literal_binary = start > 1 && t[start - 2] == '~';
    if (slice_u64(slice_make(t + start, end - start), INT64_MAX, &in->literal_size) != 0) {
        in->refused = "BAD Literal size is out of range";
        in->literal_size = INT64_MAX;
    }
    return true;
}

static void literal_start(struct imap_input *in, enum imap_input_state state)
{
    in->left = in->literal_size;
    in->tail_n = 0;
    in->state = in->left > 0 ? state : IMAP_IN_LINE;
}

static enum imap_event line_end(struct imap_input *in)
{
    if (in->raw || !literal_find(in)) {
        in->state = IMAP_IN_READY;
        return IMAP_COMMAND;
    }
    if (in->refused == NULL) {
        in->state = IMAP_IN_DECIDE;
        return IMAP_LITERAL;
    }
    return imap_input_literal_refuse(in, in->refused) ? IMAP_COMMAND : IMAP_NEED_MORE;
}

static void literal_add(struct imap_input *in, struct slice s)
{
    if (in->state != IMAP_IN_DISCARD && !in->literal_binary && memchr(s.p, 0, s.n) != NULL) {
        in->refused = "BAD NUL is not allowed in a literal";
        in->state = IMAP_IN_DISCARD;
    }
    if (in->state == IMAP_IN_INLINE) {
        buf_append_slice(&in->line, s);
        in->inline_n += s.n;
    } else if (in->state == IMAP_IN_BODY) {
        struct bytes *b = in->bodies[in->body_n - 1].bytes;
        memcpy(b->p + (b->n - in->left), s.p, s.n);
    }
    in->left -= s.n;
    if (in->left == 0)
        in->state = IMAP_IN_LINE;
}

size_t imap_input_feed(struct imap_input *in, struct slice bytes, enum imap_event *event_r)
{
    size_t used = 0;
    *event_r = IMAP_NEED_MORE;
    while (used < bytes.n && *event_r == IMAP_NEED_MORE) {
        struct slice rest = slice_from(bytes, used);
        if (in->state == IMAP_IN_DECIDE || in->state == IMAP_IN_READY)
            break;
        if (in->state == IMAP_IN_LINE) {
            size_t lf = slice_find(rest, '\n');
            rest = slice_first(rest, lf < rest.n ? lf + 1 : rest.n);
            bool ended = lf < rest.n;
            text_add(in, rest);
            if (ended)
                *event_r = line_end(in);
        } else {
            rest = slice_first(rest, in->left < rest.n ? (size_t)in->left : rest.n);
            literal_add(in, rest);
        }
        used += rest.n;
    }
    return used;
}

struct slice imap_input_text(const struct imap_input *in)
{
    struct slice s = buf_slice(&in->line);
    if (s.n > 0 && s.p[s.n - 1] == '\n')
        s.n--;
    if (s.n > 0 && s.p[s.n - 1] == '\r')
        s.n--;
    return s;
}

void imap_input_literal_inline(struct imap_input *in)
{
    literal_start(in, IMAP_IN_INLINE);
}

void imap_input_literal_body(struct imap_input *in)
{
    ENSURE(in->body_n < IMAP_BODIES_MAX);
    if (in->bodies == NULL)
        in->bodies = mem_zalloc(IMAP_BODIES_MAX * sizeof *in->bodies);
    in->bodies[in->body_n++] = (struct imap_body){buf_len(&in->line), bytes_new((size_t)in->literal_size)};
    literal_start(in, IMAP_IN_BODY);
}

bool imap_input_literal_refuse(struct imap_input *in, const char *why)
{
    in->refused = why;
    if (in->literal_sync) {
        in->state = IMAP_IN_READY;
        return true;
    }
    literal_start(in, IMAP_IN_DISCARD);
    return false;
}

static void bodies_free(struct imap_input *in)
{
    for (size_t i = 0; i < in->body_n; i++)
        bytes_unref(&in->bodies[i].bytes);
    mem_free(in->bodies);
    in->bodies = NULL;
    in->body_n = 0;
}

void imap_input_reset(struct imap_input *in)
{
    bodies_free(in);
    if (in->line.cap > 4096)
        buf_close(&in->line);
    buf_clear(&in->line);
    in->state = IMAP_IN_LINE;
    in->text_n = in->inline_n = in->tail_n = 0;
    in->refused = NULL;
}

void imap_input_close(struct imap_input *in)
{
    bodies_free(in);
    buf_close(&in->line);
}
