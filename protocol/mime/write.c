/* ENVELOPE, BODY and BODYSTRUCTURE from a summary (RFC 9051 7.5.2). */
#include "protocol/mime/summary.h"

#include "protocol/mime/record.h"
#include "node/base/utf8.h"

/* Long strings go as literals: clients have limits on lines. */
enum { QUOTED_MAX = 4096 };

/* ---- strings (RFC 9051 4.3, 9: quoted, literal) ---- */

static bool quoted_fits(struct slice s, bool utf8)
{
    bool eight_bit = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == 0)
            return false;
        eight_bit |= s.p[i] >= 0x80;
    }
    return s.n <= QUOTED_MAX && (!eight_bit || (utf8 && utf8_valid(s)));
}

static void string_write(struct slice s, bool utf8, struct buf *out)
{
    if (!quoted_fits(s, utf8)) {
        buf_append_byte(out, '{');
        buf_append_u64(out, s.n);
        buf_append_str(out, "}\r\n");
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

static void nstring_write(struct slice s, bool utf8, struct buf *out)
{
    if (s.p)
        string_write(s, utf8, out);
    else
        buf_append_str(out, "NIL");
}

/* ---- ENVELOPE ---- */

static void address_tuple(struct slice name, struct slice route, struct slice mailbox, struct slice host, bool utf8,
                          struct buf *out)
{
    buf_append_byte(out, '(');
    nstring_write(name, utf8, out);
    buf_append_byte(out, ' ');
    nstring_write(route, utf8, out);
    buf_append_byte(out, ' ');
    nstring_write(mailbox, utf8, out);
    buf_append_byte(out, ' ');
    nstring_write(host, utf8, out);
    buf_append_byte(out, ')');
}

/* A host of NIL says group, so something has to stand for what a bad address lacks. */
static void address_write(struct reader *r, bool utf8, struct buf *out)
{
    static const struct slice nil = {NULL, 0};
    uint8_t bits = read_u8(r);
    struct slice name = bits & MIME_ADDRESS_NAME ? mime_read_string(r) : nil;
    struct slice route = bits & MIME_ADDRESS_ROUTE ? mime_read_string(r) : nil;
    if ((bits & MIME_ADDRESS_KIND) == 1) {
        address_tuple(nil, nil, name.p ? name : slice_make("", 0), nil, utf8, out);
    } else if ((bits & MIME_ADDRESS_KIND) == 2) {
        address_tuple(nil, nil, nil, nil, utf8, out);
    } else {
        struct slice mailbox = mime_read_string(r), host = mime_read_string(r);
        address_tuple(name, route, mailbox.n ? mailbox : SLICE_LITERAL("MISSING_MAILBOX"),
                      host.n ? host : SLICE_LITERAL("MISSING_DOMAIN"), utf8, out);
    }
}

static void addresses_write(struct reader *r, bool utf8, struct buf *out)
{
    uint64_t n = mime_read_number(r);
    if (n == 0) {
        buf_append_str(out, "NIL");
        return;
    }
    buf_append_byte(out, '(');
    for (uint64_t i = 0; i < n && !r->failed; i++)
        address_write(r, utf8, out);
    buf_append_byte(out, ')');
}

static void envelope_write(struct slice envelope, bool utf8, struct buf *out)
{
    struct reader r = {.in = envelope};
    buf_append_byte(out, '(');
    nstring_write(mime_read_optional(&r), utf8, out);
    buf_append_byte(out, ' ');
    nstring_write(mime_read_optional(&r), utf8, out);
    struct reader from = r;
    for (int i = 0; i < 6; i++) {
        buf_append_byte(out, ' ');
        struct reader here = r;
        bool as_from = (i == 1 || i == 2) && mime_read_number(&here) == 0;
        if (as_from) {
            struct reader again = from;
            addresses_write(&again, utf8, out);
            r = here;
        } else {
            addresses_write(&r, utf8, out);
        }
    }
    buf_append_byte(out, ' ');
    nstring_write(mime_read_optional(&r), utf8, out);
    buf_append_byte(out, ' ');
    nstring_write(mime_read_optional(&r), utf8, out);
    buf_append_byte(out, ')');
}

void mime_envelope_write(struct slice summary, bool utf8, struct buf *out)
{
    struct reader r;
    envelope_write(mime_summary_open(summary, &r), utf8, out);
}

/* ---- BODY and BODYSTRUCTURE ---- */

struct structure_writer {
    struct reader r;
    bool extended, utf8;
    unsigned depth;
    struct buf *out;
};

static void space(struct structure_writer *w)
{
    buf_append_byte(w->out, ' ');
}

/* body-fld-param and body-fld-lang: strings in parentheses, or NIL */
static void strings_write(struct structure_writer *w, struct slice strings, uint64_t n)
{
    if (n == 0) {
        buf_append_str(w->out, "NIL");
        return;
    }
    struct reader r = {.in = strings};
    for (uint64_t i = 0; i < n; i++) {
        buf_append_byte(w->out, i == 0 ? '(' : ' ');
        string_write(mime_read_string(&r), w->utf8, w->out);
    }
    buf_append_byte(w->out, ')');
}

/* body-fld-dsp [SP body-fld-lang [SP body-fld-loc]], after a space */
static void placement_write(struct structure_writer *w, const struct mime_record *p)
{
    space(w);
    if (p->disposition.p) {
        buf_append_byte(w->out, '(');
        string_write(p->disposition, w->utf8, w->out);
        space(w);
        strings_write(w, p->disposition_params, p->disposition_param_n * 2);
        buf_append_byte(w->out, ')');
    } else {
        buf_append_str(w->out, "NIL");
    }
    space(w);
    strings_write(w, p->languages, p->language_n);
    space(w);
    nstring_write(p->location, w->utf8, w->out);
}

static void part_write(struct structure_writer *w, uint64_t parent_at);

/* body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart] */
static void multipart_write(struct structure_writer *w, const struct mime_record *p)
{
    for (uint64_t i = 0; i < p->child_n && !w->r.failed; i++)
        part_write(w, p->body_at);
    space(w);
    string_write(p->subtype, w->utf8, w->out);
    if (!w->extended)
        return;
    space(w);
    strings_write(w, p->params, p->param_n * 2);
    placement_write(w, p);
}

/* body-type-1part: type subtype fields, what text and message have besides, then body-ext-1part */
static void single_write(struct structure_writer *w, const struct mime_record *p)
{
    string_write(p->type, w->utf8, w->out);
    space(w);
    string_write(p->subtype, w->utf8, w->out);
    space(w);
    strings_write(w, p->params, p->param_n * 2);
    space(w);
    nstring_write(p->id, w->utf8, w->out);
    space(w);
    nstring_write(p->description, w->utf8, w->out);
    space(w);
    string_write(p->encoding, w->utf8, w->out);
    space(w);
    buf_append_u64(w->out, p->body_n);
    if (p->kind == MIME_MESSAGE && !w->r.failed) {
        space(w);
        envelope_write(p->envelope, w->utf8, w->out);
        space(w);
        part_write(w, p->body_at);
    }
    if (p->kind == MIME_MESSAGE || slice_eq(p->type, SLICE_LITERAL("text"))) {
        space(w);
        buf_append_u64(w->out, p->lines);
    }
    if (!w->extended)
        return;
    space(w);
    nstring_write(p->md5, w->utf8, w->out);
    placement_write(w, p);
}

static void part_write(struct structure_writer *w, uint64_t parent_at)
{
    struct mime_record p;
    mime_record_read(&w->r, parent_at, &p);
    if (++w->depth > MIME_DEPTH_MAX)
        w->r.failed = true; /* no summary of ours */
    buf_append_byte(w->out, '(');
    if (p.kind == MIME_MULTIPART)
        multipart_write(w, &p);
    else
        single_write(w, &p);
    buf_append_byte(w->out, ')');
    w->depth--;
}

void mime_structure_write(struct slice summary, bool extended, bool utf8, struct buf *out)
{
    struct structure_writer w = {.extended = extended, .utf8 = utf8, .out = out};
    mime_summary_open(summary, &w.r);
    part_write(&w, 0);
}
