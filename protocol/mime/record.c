#include "protocol/mime/record.h"

#include "node/base/err.h"

enum { MIME_OFFSET_MAX_BITS = 48 }; /* a sum of a few stays far from overflow */

/* ---- numbers and strings ---- */

void mime_put_number(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_append_byte(b, (uint8_t)(v | 0x80));
    buf_append_byte(b, (uint8_t)v);
}

void mime_put_string(struct buf *b, struct slice s)
{
    mime_put_number(b, s.n);
    buf_append_slice(b, s);
}

void mime_put_optional(struct buf *b, struct slice s)
{
    mime_put_number(b, s.p ? (uint64_t)s.n + 1 : 0);
    if (s.p)
        buf_append_slice(b, s);
}

uint64_t mime_read_number(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        uint8_t c = read_u8(r);
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return r->failed ? 0 : v;
    }
    r->failed = true;
    return 0;
}

static struct slice read_length(struct reader *r, uint64_t n)
{
    if (r->failed || n > r->in.n) {
        r->failed = true;
        return slice_make("", 0);
    }
    struct slice s = read_exact(r, (size_t)n);
    return s.p ? s : slice_make("", 0);
}

struct slice mime_read_string(struct reader *r)
{
    return read_length(r, mime_read_number(r));
}

struct slice mime_read_optional(struct reader *r)
{
    uint64_t n = mime_read_number(r);
    return n == 0 ? slice_make(NULL, 0) : read_length(r, n - 1);
}

/* ---- a part ---- */

static struct slice read_strings(struct reader *r, uint64_t n)
{
    struct slice from = r->in;
    for (uint64_t i = 0; i < n && !r->failed; i++)
        mime_read_string(r);
    return r->failed ? slice_make(NULL, 0) : slice_first(from, from.n - r->in.n);
}

/* count, then that many pairs. */
static struct slice read_params(struct reader *r, uint64_t *n_r)
{
    *n_r = mime_read_number(r);
    if (*n_r > MIME_PARAMS_MAX) {
        r->failed = true;
        *n_r = 0;
    }
    return read_strings(r, *n_r * 2);
}

static uint64_t read_offset(struct reader *r)
{
    uint64_t v = mime_read_number(r);
    if (v >> MIME_OFFSET_MAX_BITS)
        r->failed = true;
    return r->failed ? 0 : v;
}

static struct slice charset_of(struct slice params, uint64_t n)
{
    struct reader r = {.in = params};
    for (uint64_t i = 0; i < n; i++) {
        struct slice name = mime_read_string(&r), value = mime_read_string(&r);
        if (slice_eq(name, SLICE_LITERAL("charset")))
            return value;
    }
    return slice_make("", 0);
}

static void read_extra(struct reader *r, struct mime_record *p)
{
    p->md5 = mime_read_optional(r);
    p->disposition = mime_read_optional(r);
    p->disposition_params = read_params(r, &p->disposition_param_n);
    p->language_n = mime_read_number(r);
    if (p->language_n > MIME_PARAMS_MAX) {
        r->failed = true;
        p->language_n = 0;
    }
    p->languages = read_strings(r, p->language_n);
    p->location = mime_read_optional(r);
}

static void read_count(struct reader *r, struct mime_record *p)
{
    if (p->kind == MIME_MULTIPART) {
        p->child_n = mime_read_number(r);
        if (p->child_n == 0 || p->child_n > MIME_PARTS_MAX)
            r->failed = true;
    } else if (p->kind == MIME_MESSAGE) {
        p->child_n = 1;
        p->envelope = mime_read_string(r);
    }
    if (r->failed)
        p->child_n = 0;
}

void mime_record_read(struct reader *r, uint64_t parent_at, struct mime_record *p)
{
    *p = (struct mime_record){0};
    uint8_t bits = read_u8(r);
    if (bits > MIME_PART_BITS || (bits & MIME_PART_KIND) > MIME_MESSAGE)
        r->failed = true;
    p->kind = r->failed ? MIME_LEAF : (enum mime_kind)(bits & MIME_PART_KIND);
    p->header_at = parent_at + read_offset(r);
    p->header_n = read_offset(r);
    p->body_at = p->header_at + p->header_n;
    p->body_n = read_offset(r);
    p->lines = mime_read_number(r);
    p->type = mime_read_string(r);
    p->subtype = mime_read_string(r);
    p->encoding = mime_read_string(r);
    p->params = read_params(r, &p->param_n);
    p->charset = charset_of(p->params, p->param_n);
    if (bits & MIME_PART_NAMED) {
        p->id = mime_read_optional(r);
        p->description = mime_read_optional(r);
    }
    if (bits & MIME_PART_EXTRA)
        read_extra(r, p);
    read_count(r, p);
}

/* One number that says how many parts are still to come is all the state that is needed: parts lie in pre-order. */
void mime_record_skip_children(struct reader *r, const struct mime_record *record)
{
    struct mime_record child;
    for (uint64_t left = record->child_n; left > 0 && !r->failed; left--) {
        mime_record_read(r, 0, &child);
        left += child.child_n;
    }
}

struct slice mime_summary_open(struct slice summary, struct reader *root_r)
{
    *root_r = (struct reader){.in = summary};
    if (read_u8(root_r) != MIME_VERSION)
        root_r->failed = true;
    return mime_read_string(root_r);
}

/* ---- check ---- */

static void check_addresses(struct reader *r)
{
    uint64_t n = mime_read_number(r);
    for (uint64_t i = 0; i < n && !r->failed; i++) {
        uint8_t bits = read_u8(r);
        if (bits > MIME_ADDRESS_BITS || (bits & MIME_ADDRESS_KIND) > 2)
            r->failed = true;
        if (bits & MIME_ADDRESS_NAME)
            mime_read_string(r);
        if (bits & MIME_ADDRESS_ROUTE)
            mime_read_string(r);
        if ((bits & MIME_ADDRESS_KIND) == 0) {
            mime_read_string(r);
            mime_read_string(r);
        }
    }
}

static bool envelope_fits(struct slice envelope)
{
    struct reader r = {.in = envelope};
    mime_read_optional(&r);
    mime_read_optional(&r);
    for (int i = 0; i < 6; i++)
        check_addresses(&r);
    mime_read_optional(&r);
    mime_read_optional(&r);
    return !r.failed && r.in.n == 0;
}

static void check_parts(struct reader *r, uint64_t parent_at, unsigned depth, unsigned *parts)
{
    struct mime_record p;
    mime_record_read(r, parent_at, &p);
    if (depth > MIME_DEPTH_MAX || ++*parts > MIME_PARTS_MAX || (p.kind == MIME_MESSAGE && !envelope_fits(p.envelope)))
        r->failed = true;
    for (uint64_t i = 0; i < p.child_n && !r->failed; i++)
        check_parts(r, p.body_at, depth + 1, parts);
}

int mime_summary_check(struct slice summary)
{
    struct reader r;
    struct slice envelope = mime_summary_open(summary, &r);
    if (summary.n > MIME_SUMMARY_MAX || r.failed || !envelope_fits(envelope))
        return ERR_PROTOCOL;
    unsigned parts = 0;
    check_parts(&r, 0, 1, &parts);
    return r.failed || r.in.n > 0 ? ERR_PROTOCOL : 0;
}
