#include "protocol/imap/imap_text.h"

#include "node/base/err.h"
#include "node/base/utf8.h"

#include <stdlib.h>
#include <utf8proc.h>

int imap_pattern_read(struct arena *a, bool utf8, struct slice in, struct slice *pattern_r)
{
    struct buf b = {0};
    int status = in.n > 4 * IMAP_NAME_MAX ? ERR_INVALID : 0;
    if (status == 0 && utf8 && !utf8_valid(in))
        status = ERR_INVALID;
    else if (status == 0 && utf8)
        buf_append_slice(&b, in);
    else if (status == 0)
        status = imap_utf7_decode(in, &b);
    utf8proc_uint8_t *nfc = NULL;
    if (status == 0) {
        struct slice s = buf_slice(&b);
        utf8proc_ssize_t n = utf8proc_map(s.n ? s.p : (const uint8_t *)"", (utf8proc_ssize_t)s.n, &nfc,
                                          UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (n == UTF8PROC_ERROR_NOMEM) /* the name is not to blame */
            mem_lacking(0);
        if (n < 0)
            status = ERR_INVALID;
        else
            *pattern_r = arena_copy(a, slice_make(nfc, (size_t)n));
    }
    free(nfc); /* utf8proc's own malloc */
    buf_close(&b);
    return status;
}

int imap_name_read(struct arena *a, bool utf8, struct slice in, struct slice *name_r)
{
    int status = imap_pattern_read(a, utf8, in, name_r);
    if (status != 0)
        return status;
    if (name_r->n == 0 || name_r->n > IMAP_NAME_MAX)
        return ERR_INVALID;
    for (size_t i = 0; i < name_r->n; i++)
        if (name_r->p[i] < ' ' || name_r->p[i] == 127)
            return ERR_INVALID;
    struct slice inbox = SLICE_LITERAL("INBOX");
    if (slice_ieq(*name_r, inbox))
        *name_r = inbox;
    /* The first level of a child of INBOX is INBOX in any case too (RFC 9051 5.1). */
    if (name_r->n > inbox.n && name_r->p[inbox.n] == '/' && slice_istarts(*name_r, inbox)) {
        uint8_t *p = arena_alloc(a, name_r->n);
        memcpy(p, inbox.p, inbox.n);
        memcpy(p + inbox.n, name_r->p + inbox.n, name_r->n - inbox.n);
        name_r->p = p;
    }
    return 0;
}

void imap_write_name(struct buf *out, bool utf8, struct slice name)
{
    if (utf8) {
        imap_write_string(out, true, name);
        return;
    }
    struct buf b = {0};
    imap_utf7_encode(name, &b);
    imap_write_string(out, false, buf_slice(&b));
    buf_close(&b);
}

static bool is_quotable(struct slice s, bool utf8)
{
    if (s.n > 4096)
        return false;
    bool high = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == 0 || s.p[i] == '\r' || s.p[i] == '\n')
            return false;
        high |= s.p[i] >= 128;
    }
    return !high || (utf8 && utf8_valid(s));
}

void imap_write_string(struct buf *out, bool utf8, struct slice s)
{
    if (!is_quotable(s, utf8)) {
        buf_printf(out, "{%zu}\r\n", s.n);
        buf_append_slice(out, s);
        return;
    }
    buf_append_byte(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, s.p[i]);
    }
    buf_append_byte(out, '"');
}

void imap_write_set(struct buf *out, const struct uid_set *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (i > 0)
            buf_append_byte(out, ',');
        buf_append_u64(out, s->ranges[i].first);
        if (s->ranges[i].last == s->ranges[i].first)
            continue;
        buf_append_byte(out, ':');
        buf_append_u64(out, s->ranges[i].last);
    }
}

/* Iterative, with one place to come back to for each kind of wildcard: "%" may be stretched up to the next '/', "*"
 * any time. Linear memory, at worst pattern times name in time; both are limited. */
static bool match_from(struct slice p, struct slice s)
{
    size_t i = 0, j = 0;
    size_t star = SIZE_MAX, star_j = 0, percent = SIZE_MAX, percent_j = 0;
    for (;;) {
        if (i < p.n && p.p[i] == '*') {
            star = ++i;
            star_j = j;
            percent = SIZE_MAX;
            continue;
        }
        if (i < p.n && p.p[i] == '%') {
            percent = ++i;
            percent_j = j;
            continue;
        }
        if (i == p.n && j == s.n)
            return true;
        if (i < p.n && j < s.n && p.p[i] == s.p[j]) {
            i++;
            j++;
        } else if (percent != SIZE_MAX && percent_j < s.n && s.p[percent_j] != '/') {
            i = percent;
            j = ++percent_j;
        } else if (star != SIZE_MAX && star_j < s.n) {
            i = star;
            j = ++star_j;
            percent = SIZE_MAX;
        } else {
            return false;
        }
    }
}

bool imap_match(struct slice pattern, struct slice name)
{
    if (match_from(pattern, name))
        return true;
    /* INBOX matches in any case. */
    struct slice inbox = SLICE_LITERAL("INBOX");
    if (!slice_eq(name, inbox) || pattern.n > 2 * IMAP_NAME_MAX)
        return false;
    uint8_t upper[2 * IMAP_NAME_MAX];
    for (size_t i = 0; i < pattern.n; i++)
        upper[i] = pattern.p[i] >= 'a' && pattern.p[i] <= 'z' ? (uint8_t)(pattern.p[i] - 32) : pattern.p[i];
    return match_from(slice_make(upper, pattern.n), name);
}
