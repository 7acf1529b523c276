/* Whole messages: parsed, described, searched. */
#include "protocol/mime/address.h"
#include "protocol/mime/date.h"
#include "protocol/mime/param.h"
#include "protocol/mime/summary.h"
#include "protocol/mime/text.h"
#include "tests/cost/cost.h"

enum { MANY = 512000, SOME = 64000, PARTS = 1024 };

/* ---- what is done with a message ---- */

static void summary(struct slice in, unsigned n)
{
    struct buf out = {0};
    (void)n;
    mime_summary_build(in, &out);
    buf_close(&out);
}

static bool leaf(void *arg, const struct mime_part *p)
{
    *(uint64_t *)arg += p->body_n;
    return true;
}

/* All that FETCH and SEARCH ask; the summary is there already. */
static void questions(struct slice in, unsigned n)
{
    struct buf made = {0}, out = {0};
    uint64_t total = 0;
    (void)n;
    mime_summary_build(in, &made);
    struct slice s = buf_slice(&made);
    struct text_needle *needle = text_needle_new(SLICE_LITERAL("not there"));
    cost_begin();
    (void)mime_summary_check(s);
    mime_envelope_write(s, true, &out);
    mime_structure_write(s, true, true, &out);
    mime_part_each(s, leaf, &total);
    for (int f = MIME_FROM; f <= MIME_IN_REPLY_TO; f++)
        mime_summary_field(s, (enum mime_field)f, &out);
    text_search_message(in, s, needle, true);
    text_search_header(in, SLICE_LITERAL("subject"), needle);
    text_needle_free(&needle);
    buf_close(&made);
    buf_close(&out);
}

static void headers_walk(struct slice in, unsigned n)
{
    struct header_field f;
    (void)n;
    for (size_t at = 0; header_next(in, &at, &f);)
        continue;
    (void)header_length(in);
}

/* ---- shapes: header ---- */

#define SHAPE_REPEAT(function, before, text, after)                                                                    \
    static void function(unsigned n, struct buf *out)                                                                  \
    {                                                                                                                  \
        buf_append_str(out, before);                                                                                   \
        repeat(out, text, n);                                                                                          \
        buf_append_str(out, after);                                                                                    \
    }

SHAPE_REPEAT(headers, "", "X-A: b\r\n", "\r\nbody\r\n")
SHAPE_REPEAT(headers_known, "", "Subject: b\r\n", "\r\nbody\r\n")
SHAPE_REPEAT(headers_lf, "", "A: b\n", "\nbody\n")
SHAPE_REPEAT(headers_empty_names, "", ":\r\n", "\r\n")
SHAPE_REPEAT(no_headers, "", "x\r\n", "\r\n")
SHAPE_REPEAT(folded, "Subject: a", "\r\n b", "\r\n\r\n")
SHAPE_REPEAT(blanks, "Subject: ", " ", "\r\n\r\n")
SHAPE_REPEAT(cr, "Subject: ", "\r", "\r\n\r\n")
SHAPE_REPEAT(lf, "", "\n", "")
SHAPE_REPEAT(content_types, "", "Content-Type: a\r\n", "\r\n")
SHAPE_REPEAT(references, "References: ", "<a@b.test> ", "\r\n\r\n")

SHAPE_REPEAT(to_many, "To: ", "a@b.test, ", "\r\n\r\n")
SHAPE_REPEAT(to_each, "", "To: \"A B\" <a@b.test>\r\n", "\r\n")
SHAPE_REPEAT(groups, "To: ", "g: a@b, c@d; ", "\r\n\r\n")
SHAPE_REPEAT(groups_open, "To: ", "g:", "\r\n\r\n")
SHAPE_REPEAT(comments_open, "To: ", "(", "\r\n\r\n")
SHAPE_REPEAT(comments, "To: ", "(a)", " a@b\r\n\r\n")
SHAPE_REPEAT(angles, "To: ", "<", "\r\n\r\n")
SHAPE_REPEAT(angles_closed, "To: ", "<a>", "\r\n\r\n")
SHAPE_REPEAT(quotes, "To: ", "\"", "\r\n\r\n")
SHAPE_REPEAT(quote_open, "To: ", "\"a\\", "\r\n\r\n")
SHAPE_REPEAT(ats, "To: ", "@", "\r\n\r\n")
SHAPE_REPEAT(routes, "To: <", "@a,", ":b@c>\r\n\r\n")
SHAPE_REPEAT(commas, "To: ", ",", "\r\n\r\n")
SHAPE_REPEAT(dots, "To: ", "a.", "@b\r\n\r\n")
SHAPE_REPEAT(phrase, "To: ", "word ", "<a@b>\r\n\r\n")
SHAPE_REPEAT(brackets, "To: a@", "[", "\r\n\r\n")

SHAPE_REPEAT(params, "Content-Type: text/plain", "; a=b", "\r\n\r\n")
SHAPE_REPEAT(params_quoted, "Content-Type: text/plain; a=\"", "\\\"", "\r\n\r\n")
SHAPE_REPEAT(params_empty, "Content-Disposition: a", ";", "\r\n\r\n")
SHAPE_REPEAT(languages, "Content-Language: ", "en, ", "\r\n\r\n")
SHAPE_REPEAT(type_comments, "Content-Type: ", "(a", "\r\n\r\n")
SHAPE_REPEAT(date_comments, "Date: 1 Jan 2020 ", "(a) ", "00:00:00\r\n\r\n")

static void params_sections(unsigned n, struct buf *out)
{
    buf_append_str(out, "Content-Disposition: a");
    for (unsigned i = n; i > 0; i--)
        buf_printf(out, "; name*%u*=%%41", i - 1);
    buf_append_str(out, "\r\n\r\n");
}

static void params_different(unsigned n, struct buf *out)
{
    buf_append_str(out, "Content-Type: text/plain");
    for (unsigned i = 0; i < n; i++)
        buf_printf(out, "; p%u=v", i);
    buf_append_str(out, "\r\n\r\n");
}

/* ---- shapes: parts ---- */

#define MULTIPART "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
SHAPE_REPEAT(parts, MULTIPART, "--b\r\n\r\nx\r\n", "--b--\r\n")
SHAPE_REPEAT(
    parts_headers, MULTIPART,
    "--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41\r\n",
    "--b--\r\n")
SHAPE_REPEAT(parts_unended, MULTIPART, "--b\r\n", "")
SHAPE_REPEAT(parts_messages, "Content-Type: multipart/digest; boundary=b\r\n\r\n",
             "--b\r\n\r\nSubject: a\r\nTo: a@b\r\n\r\nx\r\n", "--b--\r\n")
SHAPE_REPEAT(closing_lines, MULTIPART "--b\r\n\r\n", "--b--\r\n", "")
SHAPE_REPEAT(dashes, MULTIPART "--b\r\n\r\n", "--\r\n", "")
SHAPE_REPEAT(dash_line, MULTIPART, "-", "\r\n")
SHAPE_REPEAT(messages_nested, "", "Content-Type: message/rfc822\r\n\r\n", "")
SHAPE_REPEAT(body_lf, MULTIPART "--b\r\n\r\n", "x\n", "")
SHAPE_REPEAT(body_text, "\r\n", "some text that is not found\r\n", "")

static void nested(unsigned n, struct buf *out)
{
    for (unsigned i = 0; i < n; i++)
        buf_printf(out, "Content-Type: multipart/mixed; boundary=b%06u\r\n\r\n--b%06u\r\n", i, i);
    for (unsigned i = n; i > 0; i--)
        buf_printf(out, "--b%06u--\r\n", i - 1);
}

/* Each boundary is the beginning of the next one, and all lines begin with the longest. */
static void nested_prefixes(unsigned n, struct buf *out)
{
    for (unsigned i = 1; i <= 40; i++) {
        buf_append_str(out, "Content-Type: multipart/mixed; boundary=");
        repeat(out, "a", i);
        buf_append_str(out, "\r\n\r\n--");
        repeat(out, "a", i);
        buf_append_str(out, "\r\n");
    }
    buf_append_str(out, "\r\n");
    repeat(out, "--a\r\n", n);
}

/* A long boundary that every line begins with, but for its end. */
static void boundary_long(unsigned n, struct buf *out)
{
    buf_append_str(out, "Content-Type: multipart/mixed; boundary=");
    repeat(out, "a", n);
    buf_append_str(out, "\r\n\r\n--");
    repeat(out, "a", n);
    buf_append_str(out, "\r\n\r\n");
    repeat(out, "--aaaa\r\n", n);
}

/* ---- single values ---- */

static bool address_count(void *arg, const struct mime_address *a)
{
    *(size_t *)arg += a->mailbox.n;
    return true;
}

static void value(struct slice in, unsigned n)
{
    struct arena arena = {0};
    struct mime_value v;
    struct slice tokens[16];
    struct mime_date date;
    struct buf out = {0};
    size_t total = 0;
    (void)n;
    in = slice_from(in, slice_find(in, ' ') + 1);
    mime_value_parse(in, &arena, &v);
    (void)mime_tokens_parse(in, tokens, 16);
    (void)mime_date_parse(in, &date);
    mime_address_each(in, address_count, &total);
    header_unfold(in, &out);
    buf_close(&out);
    arena_close(&arena);
}

const struct shape shapes_mime[] = {
    {"headers", 1000, MANY, headers, summary},
    {"headers: questions", 1000, MANY, headers, questions},
    {"headers: walk", 1000, MANY, headers, headers_walk},
    {"headers, known", 1000, MANY, headers_known, summary},
    {"headers, known: questions", 1000, MANY, headers_known, questions},
    {"headers, LF", 1000, MANY, headers_lf, summary},
    {"headers without names", 1000, MANY, headers_empty_names, questions},
    {"lines that are no headers", 1000, MANY, no_headers, questions},
    {"folded", 1000, MANY, folded, questions},
    {"folded: walk", 1000, MANY, folded, headers_walk},
    {"blanks", 1000, MANY, blanks, questions},
    {"CR", 1000, MANY, cr, questions},
    {"LF", 1000, MANY, lf, questions},
    {"content types", 1000, SOME, content_types, summary},
    {"references", 1000, SOME, references, questions},
    {"addresses of a header", 1000, MANY, to_many, summary},
    {"addresses of a header: questions", 1000, MANY, to_many, questions},
    {"address headers", 1000, SOME, to_each, questions},
    {"groups", 1000, SOME, groups, questions},
    {"groups, open", 1000, SOME, groups_open, questions},
    {"comments, open", 1000, MANY, comments_open, value},
    {"comments", 1000, SOME, comments, value},
    {"angles", 1000, SOME, angles, value},
    {"angles, closed", 1000, SOME, angles_closed, questions},
    {"quotes", 1000, SOME, quotes, value},
    {"quote, open", 1000, SOME, quote_open, value},
    {"ats", 1000, SOME, ats, value},
    {"routes", 1000, SOME, routes, questions},
    {"commas", 1000, SOME, commas, value},
    {"dots", 1000, SOME, dots, questions},
    {"phrase", 1000, SOME, phrase, questions},
    {"brackets", 1000, SOME, brackets, value},
    {"parameters", 1000, SOME, params, value},
    {"parameters, different", 1000, SOME, params_different, value},
    {"parameters, RFC 2231", 1000, SOME, params_sections, value},
    {"parameters, quoted", 1000, SOME, params_quoted, value},
    {"parameters, empty", 1000, SOME, params_empty, value},
    {"languages", 1000, SOME, languages, summary},
    {"type in comments", 1000, SOME, type_comments, value},
    {"date in comments", 1000, SOME, date_comments, value},
    {"parts", 1000, SOME, parts, summary},
    {"parts: questions", 16, PARTS, parts, questions},
    {"parts with headers: questions", 16, PARTS, parts_headers, questions},
    {"parts without end", 1000, SOME, parts_unended, questions},
    {"parts, digest", 16, PARTS, parts_messages, questions},
    {"closing lines", 1000, SOME, closing_lines, questions},
    {"dashes", 1000, SOME, dashes, summary},
    {"dash line", 1000, SOME, dash_line, summary},
    {"nested", 1000, SOME, nested, summary},
    {"nested: questions", 25, SOME, nested, questions},
    {"nested messages", 1000, SOME, messages_nested, questions},
    {"nested boundaries, prefixes", 1000, SOME, nested_prefixes, summary},
    {"boundary, long", 1000, SOME, boundary_long, summary},
    {"body, LF", 1000, SOME, body_lf, questions},
    {"body", 1000, SOME, body_text, questions},
    {0},
};
