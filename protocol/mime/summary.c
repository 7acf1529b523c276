/* Questions to a stored summary: sections, the sent date, decoded fields. */
#include "protocol/mime/summary.h"

#include "node/base/err.h"
#include "protocol/mime/date.h"
#include "protocol/mime/record.h"
#include "protocol/mime/text.h"

static void part_fill(const struct mime_record *p, struct reader children, struct mime_part *part_r)
{
    *part_r = (struct mime_part){.header_at = p->header_at,
                                 .header_n = p->header_n,
                                 .body_at = p->body_at,
                                 .body_n = p->body_n,
                                 .is_message = p->kind == MIME_MESSAGE,
                                 .is_multipart = p->kind == MIME_MULTIPART,
                                 .type = p->type,
                                 .subtype = p->subtype,
                                 .charset = p->charset,
                                 .encoding = p->encoding};
    if (p->kind != MIME_MESSAGE)
        return;
    struct mime_record inner;
    mime_record_read(&children, p->body_at, &inner);
    part_r->inner_header_at = inner.header_at;
    part_r->inner_header_n = inner.header_n;
    part_r->inner_body_at = inner.body_at;
    part_r->inner_body_n = inner.body_n;
}

/* From p (its children are next in r) to its part `number`. A message's own parts are those of its multipart; a message
 * that is none has its body as part 1 (RFC 9051 6.4.5.1). */
static bool step(struct reader *r, struct mime_record *p, bool is_top, uint32_t number)
{
    if (!is_top && p->kind == MIME_MESSAGE) {
        uint64_t at = p->body_at;
        mime_record_read(r, at, p);
        is_top = true;
    }
    if (p->kind != MIME_MULTIPART)
        return is_top && number == 1;
    if (number == 0 || number > p->child_n)
        return false;
    uint64_t at = p->body_at;
    mime_record_read(r, at, p);
    for (; number > 1 && !r->failed; number--) {
        mime_record_skip_children(r, p);
        mime_record_read(r, at, p);
    }
    return true;
}

int mime_part_find(struct slice summary, const uint32_t *path, size_t n, struct mime_part *part_r)
{
    struct reader r;
    struct mime_record p;
    mime_summary_open(summary, &r);
    mime_record_read(&r, 0, &p);
    for (size_t i = 0; i < n && !r.failed; i++)
        if (!step(&r, &p, i == 0, path[i]))
            return ERR_NOTFOUND;
    if (r.failed)
        return ERR_NOTFOUND;
    part_fill(&p, r, part_r);
    return 0;
}

static bool each_below(struct reader *r, uint64_t parent_at, unsigned depth,
                       bool (*each)(void *arg, const struct mime_part *part), void *arg)
{
    struct mime_record p;
    mime_record_read(r, parent_at, &p);
    if (r->failed || depth > MIME_DEPTH_MAX)
        return false;
    if (p.kind == MIME_LEAF) {
        struct mime_part part;
        part_fill(&p, *r, &part);
        return each(arg, &part);
    }
    for (uint64_t i = 0; i < p.child_n; i++)
        if (!each_below(r, p.body_at, depth + 1, each, arg))
            return false;
    return true;
}

void mime_part_each(struct slice summary, bool (*each)(void *arg, const struct mime_part *part), void *arg)
{
    struct reader r;
    mime_summary_open(summary, &r);
    each_below(&r, 0, 1, each, arg);
}

bool mime_summary_date(struct slice summary, int64_t *ms_r, int32_t *day_r)
{
    struct reader r;
    struct reader envelope = {.in = mime_summary_open(summary, &r)};
    struct mime_date date;
    if (!mime_date_parse(mime_read_optional(&envelope), &date))
        return false;
    *ms_r = date.ms;
    *day_r = date.local_day;
    return true;
}

/* One address as a person reads it: Name <mailbox@host>, or Group: ... ; */
static void address_text(struct reader *r, bool *first, struct buf *out)
{
    uint8_t bits = read_u8(r);
    unsigned kind = bits & MIME_ADDRESS_KIND;
    struct slice name = bits & MIME_ADDRESS_NAME ? mime_read_string(r) : slice_make(NULL, 0);
    if (bits & MIME_ADDRESS_ROUTE)
        mime_read_string(r);
    if (kind == 2) {
        buf_append_byte(out, ';');
        return;
    }
    if (!*first)
        buf_append_str(out, ", ");
    *first = kind == 1; /* no comma behind a group's colon */
    text_decode_words(name, out);
    if (kind == 1) {
        buf_append_str(out, ": ");
        return;
    }
    struct slice mailbox = mime_read_string(r), host = mime_read_string(r);
    buf_append_str(out, name.n > 0 ? " <" : "");
    buf_append_slice(out, mailbox);
    buf_append_str(out, host.n > 0 ? "@" : "");
    buf_append_slice(out, host);
    buf_append_str(out, name.n > 0 ? ">" : "");
}

static bool addresses_text(struct reader *r, bool wanted, struct buf *out)
{
    uint64_t n = mime_read_number(r);
    struct buf none = {0};
    bool first = true;
    for (uint64_t i = 0; i < n && !r->failed; i++) {
        address_text(r, &first, wanted ? out : &none);
        buf_clear(&none);
    }
    buf_close(&none);
    return wanted && n > 0;
}

bool mime_summary_field(struct slice summary, enum mime_field field, struct buf *out)
{
    struct reader root;
    struct reader r = {.in = mime_summary_open(summary, &root)};
    mime_read_optional(&r);
    struct slice text = mime_read_optional(&r); /* Subject */
    if (field != MIME_SUBJECT) {
        static const enum mime_field lists[] = {MIME_FROM, MIME_SENDER, MIME_REPLY_TO, MIME_TO, MIME_CC, MIME_BCC};
        for (size_t i = 0; i < 6; i++) {
            bool found = addresses_text(&r, lists[i] == field, out);
            if (lists[i] == field)
                return found;
        }
        text = mime_read_optional(&r); /* In-Reply-To */
        if (field == MIME_MESSAGE_ID)
            text = mime_read_optional(&r);
    }
    if (text.p)
        text_decode_words(text, out);
    return text.p != NULL;
}
