/* Search in whole messages. Text parts are decoded in portions, so that memory stays small and the cost linear. HTML is
 * searched as it is written: tags and all. */
#include "protocol/mime/charset.h"
#include "protocol/mime/match.h"
#include "protocol/mime/record.h"
#include "protocol/mime/transfer.h"

enum { PORTION = 16 * 1024 };

static void match_header(struct slice header, struct text_match *m)
{
    struct header_field f;
    struct buf line = {0}, text = {0};
    for (size_t at = 0; !m->found && header_next(header, &at, &f);) {
        buf_clear(&line);
        buf_clear(&text);
        buf_append_slice(&text, f.name);
        buf_append_str(&text, ": ");
        header_unfold(f.value, &line);
        text_decode_words(buf_slice(&line), &text);
        text_match_feed(m, buf_slice(&text));
        text_match_break(m);
    }
    buf_close(&line);
    buf_close(&text);
}

/* Unknown charsets are searched as UTF-8: at least their ASCII is found. */
static void match_body(struct slice body, const struct mime_record *p, struct text_match *m)
{
    struct transfer transfer;
    struct charset charset;
    if (charset_open(&charset, p->charset))
        charset_open(&charset, SLICE_LITERAL("utf-8"));
    transfer_open(&transfer, p->encoding);
    struct buf octets = {0}, text = {0};
    for (bool last = false; !last && !m->found;) {
        struct slice in = slice_first(body, PORTION);
        body = slice_from(body, in.n);
        last = body.n == 0;
        buf_clear(&octets);
        buf_clear(&text);
        transfer_feed(&transfer, in, &octets);
        if (last)
            transfer_end(&transfer, &octets);
        charset_feed(&charset, buf_slice(&octets), &text);
        if (last)
            charset_end(&charset, &text);
        text_match_feed(m, buf_slice(&text));
    }
    text_match_break(m);
    buf_close(&octets);
    buf_close(&text);
    transfer_close(&transfer);
    charset_close(&charset);
}

/* What of [at, at + n) lies in the message: the summary may be another message's. */
static struct slice range(struct slice message, uint64_t at, uint64_t n)
{
    return at >= message.n ? slice_make(NULL, 0) : slice_first(slice_from(message, (size_t)at), (size_t)n);
}

static void match_part(struct slice message, struct reader *r, uint64_t parent_at, unsigned depth, bool header,
                       struct text_match *m)
{
    struct mime_record p;
    mime_record_read(r, parent_at, &p);
    if (r->failed || m->found || depth > MIME_DEPTH_MAX)
        return;
    if (header)
        match_header(range(message, p.header_at, p.header_n), m);
    if (p.kind == MIME_LEAF && slice_eq(p.type, SLICE_LITERAL("text")))
        match_body(range(message, p.body_at, p.body_n), &p, m);
    for (uint64_t i = 0; i < p.child_n && !m->found && !r->failed; i++)
        match_part(message, r, p.body_at, depth + 1, p.kind == MIME_MESSAGE, m);
}

bool text_search_message(struct slice message, struct slice summary, const struct text_needle *n, bool with_header)
{
    struct text_match m;
    struct reader r;
    text_match_begin(&m, n);
    mime_summary_open(summary, &r);
    match_part(message, &r, 0, 1, with_header, &m);
    return m.found;
}

bool text_search_header(struct slice header, struct slice name, const struct text_needle *n)
{
    struct header_field f;
    struct buf line = {0}, text = {0};
    bool found = false;
    for (size_t at = 0; !found && header_next(header, &at, &f);) {
        if (!slice_ieq(f.name, name))
            continue;
        buf_clear(&line);
        buf_clear(&text);
        header_unfold(f.value, &line);
        text_decode_words(buf_slice(&line), &text);
        found = text_needle_in(n, buf_slice(&text));
    }
    buf_close(&line);
    buf_close(&text);
    return found;
}
