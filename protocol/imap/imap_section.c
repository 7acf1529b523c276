#include "protocol/imap/imap_fetch.h"

#include "protocol/mime/summary.h"
#include "protocol/mime/text.h"

static struct slice piece(struct slice body, uint64_t at, uint64_t n)
{
    if (at > body.n)
        at = body.n;
    return slice_make(body.p + at, (size_t)(n < body.n - at ? n : body.n - at));
}

static bool is_listed(const struct fetch_item *item, struct slice name)
{
    for (size_t i = 0; i < item->field_n; i++)
        if (slice_ieq(item->fields[i], name))
            return true;
    return false;
}

/* HEADER.FIELDS and HEADER.FIELDS.NOT: the fields with their line ends, and the empty line. */
static struct slice fields_pick(const struct fetch_item *item, struct slice header, struct buf *built)
{
    struct header_field f;
    for (size_t at = 0; header_next(header, &at, &f);)
        if (is_listed(item, f.name) == (item->section == SECTION_FIELDS))
            buf_append_slice(built, f.line);
    buf_append_str(built, "\r\n");
    return buf_slice(built);
}

static int message_header_text(const struct fetch_item *item, const struct mime_part *part, struct slice body,
                               struct slice *header_r, struct slice *text_r)
{
    if (item->path_n == 0) {
        size_t n = header_length(body);
        *header_r = slice_first(body, n);
        *text_r = slice_from(body, n);
        return 0;
    }
    if (!part->is_message)
        return ERR_NOTFOUND;
    *header_r = piece(body, part->inner_header_at, part->inner_header_n);
    *text_r = piece(body, part->inner_body_at, part->inner_body_n);
    return 0;
}

static int section_whole(const struct fetch_item *item, const struct mime_part *part, struct slice body,
                         struct buf *built, struct slice *data_r)
{
    struct slice header, text;
    if (item->section == SECTION_ALL) {
        *data_r = item->path_n == 0 ? body : piece(body, part->body_at, part->body_n);
        return 0;
    }
    if (item->section == SECTION_MIME) {
        *data_r = piece(body, part->header_at, part->header_n);
        return 0;
    }
    int status = message_header_text(item, part, body, &header, &text);
    if (status != 0)
        return status;
    *data_r = item->section == SECTION_TEXT     ? text
              : item->section == SECTION_HEADER ? header
                                                : fields_pick(item, header, built);
    return 0;
}

/* BINARY: the part out of its transfer encoding. */
static int section_decoded(const struct fetch_item *item, const struct mime_part *part, struct slice body,
                           struct buf *built, struct slice *data_r)
{
    static const char *const identity[] = {"", "7bit", "8bit", "binary"};
    *data_r = item->path_n == 0 ? body : piece(body, part->body_at, part->body_n);
    if (item->path_n == 0 || part->is_multipart || part->is_message)
        return 0;
    for (size_t i = 0; i < sizeof identity / sizeof *identity; i++)
        if (slice_ieq(part->encoding, slice_str(identity[i])))
            return 0;
    if (slice_ieq(part->encoding, SLICE_LITERAL("base64")))
        text_decode_base64(*data_r, built);
    else if (slice_ieq(part->encoding, SLICE_LITERAL("quoted-printable")))
        text_decode_quoted_printable(*data_r, built);
    else
        return ERR_INVALID;
    *data_r = buf_slice(built);
    return 0;
}

int fetch_section_get(const struct fetch_item *item, struct slice summary, struct slice body, struct buf *built,
                      struct slice *data_r)
{
    struct mime_part part = {0};
    if (item->path_n > 0 && mime_part_find(summary, item->path, item->path_n, &part) != 0)
        return ERR_NOTFOUND;
    int status = item->kind == FETCH_SECTION ? section_whole(item, &part, body, built, data_r)
                                             : section_decoded(item, &part, body, built, data_r);
    if (status == 0 && item->partial)
        *data_r = piece(*data_r, item->from, item->count);
    return status;
}
