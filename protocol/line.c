#include "protocol/line.h"

#include "node/base/mem.h"

bool line_has_bare(struct slice line)
{
    return line.n > 0 && (memchr(line.p, '\r', line.n) || memchr(line.p, '\n', line.n));
}

static void held_wipe(struct line_reader *r)
{
    if (r->held.base)
        mem_wipe(r->held.base, r->held.cap);
    buf_clear(&r->held);
    r->taken = false;
}

/* Where in `in` the line's CRLF ends; 0: it does not. */
static size_t end_find(const struct line_reader *r, struct slice in)
{
    struct slice held = buf_slice(&r->held);

    if (held.n > 0 && held.p[held.n - 1] == '\r' && in.p[0] == '\n')
        return 1;
    const uint8_t *crlf = memmem(in.p, in.n, "\r\n", 2);
    return crlf ? (size_t)(crlf - in.p) + 2 : 0;
}

/* Keeps a line's beginning, and of one that is too long its last octet, which may be half a CRLF. */
static void hold(struct line_reader *r, struct slice in)
{
    if (r->overflow || buf_len(&r->held) + in.n > r->max + 1) {
        r->overflow = true;
        held_wipe(r);
        in = slice_from(in, in.n - 1);
    }
    buf_reserve(&r->held, r->max + 2 - buf_len(&r->held)); /* once: growing would leave copies unwiped */
    buf_append_slice(&r->held, in);
}

enum line_status line_read(struct line_reader *r, struct slice in, struct slice *line_r, size_t *used_r)
{
    if (r->taken)
        held_wipe(r);
    *used_r = in.n;
    if (in.n == 0)
        return LINE_MORE;
    size_t end = end_find(r, in);
    if (end == 0) {
        hold(r, in);
        return LINE_MORE;
    }
    *used_r = end;
    size_t held = buf_len(&r->held);
    if (r->overflow || held + end - 2 > r->max) {
        r->overflow = false;
        held_wipe(r);
        return LINE_TOO_LONG;
    }
    if (held == 0) {
        *line_r = slice_make(in.p, end - 2);
        return LINE_READY;
    }
    buf_append(&r->held, in.p, end);
    r->taken = true;
    *line_r = slice_first(buf_slice(&r->held), held + end - 2);
    return LINE_READY;
}

void line_close(struct line_reader *r)
{
    held_wipe(r);
    buf_close(&r->held);
    r->overflow = false;
}
