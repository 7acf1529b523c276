#include "protocol/smtp/dsn.h"

#include "node/base/utf8.h"
#include "protocol/mime/text.h"
#include "protocol/smtp/trace.h"
#include "protocol/smtp/xtext.h"

#include <stdio.h>

enum {
    FOLD_AT = 76,         /* columns of a folded line */
    WORD_MAX = 900,       /* a word without blanks is broken there (RFC 5322 2.1.1: lines of at most 998) */
    REPLY_MAX = 2048,     /* octets of a reply that go along */
    MESSAGE_ID_MAX = 250, /* of the original */
};

/* What is the same for all recipients. */
struct writer {
    const struct dsn *dsn;
    struct buf *out;
    bool full;           /* the whole original goes along */
    bool eight_original; /* what goes along of it has octets above 127 */
    char boundary[192];
};

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return false;
    return true;
}

/* ---- text that others wrote ---- */

/* On one line, printable; octets above 127 only as valid UTF-8 and when the notice may hold it. */
static void text_put(const struct writer *w, struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.n;) {
        int32_t code = 0;
        int step = utf8_step(text.p + i, text.n - i, &code);
        bool plain = step > 0 && code >= ' ' && (code < 0x7f || (code >= 0xa0 && w->dsn->utf8));
        size_t n = step > 0 ? (size_t)step : 1;

        if (plain)
            buf_append(out, text.p + i, n);
        else
            buf_append_byte(out, code == '\t' || code == '\r' || code == '\n' ? ' ' : '?');
        i += n;
    }
}

/* Blanks become line ends where a line would grow past FOLD_AT. column: where text begins. */
static void folded_put(struct slice text, size_t column, const char *indent, struct buf *out)
{
    text = slice_trim(text);
    while (text.n > 0) {
        struct slice word = slice_first(text, slice_find(text, ' '));
        if (word.n > WORD_MAX)
            word.n = WORD_MAX;
        /* Never inside of a character. */
        while (word.n > 1 && word.n < text.n && (text.p[word.n] & 0xc0) == 0x80)
            word.n--;
        buf_append_slice(out, word);
        column += word.n;
        bool broken = word.n < text.n && text.p[word.n] != ' ';
        text = slice_trim(slice_from(text, word.n));
        if (text.n == 0)
            break;
        if (broken || column + 1 + slice_find(text, ' ') > FOLD_AT) {
            buf_printf(out, "\r\n%s", indent);
            column = strlen(indent);
        } else {
            buf_append_byte(out, ' ');
            column++;
        }
    }
}

static void field_put(const struct writer *w, const char *name, struct slice value)
{
    struct buf text = {0};

    text_put(w, value, &text);
    buf_printf(w->out, "%s: ", name);
    folded_put(buf_slice(&text), strlen(name) + 2, "\t", w->out);
    buf_append_str(w->out, "\r\n");
    buf_close(&text);
}

static void date_put(const struct writer *w, const char *name, int64_t ms)
{
    if (ms == 0)
        return;
    buf_printf(w->out, "%s: ", name);
    smtp_date_write(ms, w->out);
    buf_append_str(w->out, "\r\n");
}

static void address_put(const struct writer *w, struct slice address)
{
    buf_append_byte(w->out, '<');
    text_put(w, address, w->out);
    buf_append_byte(w->out, '>');
}

/* ---- header ---- */

static bool has_action(const struct dsn *d, enum dsn_action action)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->recipients[i].action == action)
            return true;
    return false;
}

static const char *subject_of(const struct dsn *d)
{
    if (has_action(d, DSN_FAILED))
        return "Undelivered mail: returned to sender";
    if (has_action(d, DSN_DELAYED))
        return "Delayed mail: still being tried";
    return "Delivery report";
}

/* The original's Message-ID, for threads (RFC 3834 3.1.5); only one that is surely harmless. */
static void reference_put(const struct writer *w)
{
    struct slice header = slice_first(w->dsn->original, header_length(w->dsn->original));
    struct header_field field;
    struct buf id = {0};
    size_t at = 0;

    while (header_next(header, &at, &field)) {
        if (!slice_ieq(field.name, SLICE_LITERAL("Message-ID")))
            continue;
        header_unfold(field.value, &id);
        break;
    }
    struct slice s = slice_trim(buf_slice(&id));
    bool fine = s.n > 2 && s.n <= MESSAGE_ID_MAX && s.p[0] == '<' && slice_find(s, '>') == s.n - 1;
    for (size_t i = 0; i < s.n; i++)
        fine = fine && s.p[i] > ' ' && s.p[i] < 0x7f;
    if (fine)
        buf_printf(w->out, "In-Reply-To: %.*s\r\nReferences: %.*s\r\n", (int)s.n, (const char *)s.p, (int)s.n,
                   (const char *)s.p);
    buf_close(&id);
}

static void header_put(const struct writer *w)
{
    const struct dsn *d = w->dsn;
    struct buf *out = w->out;

    smtp_date_field_write(d->now_ms, out);
    buf_append_str(out, "From: Mail Delivery System ");
    address_put(w, d->from);
    buf_append_str(out, "\r\nTo: ");
    address_put(w, d->to);
    buf_printf(out, "\r\nSubject: %s\r\nMessage-ID: <", subject_of(d));
    text_put(w, slice_str(d->message_id), out);
    buf_append_str(out, ">\r\n");
    reference_put(w);
    buf_append_str(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    if (d->utf8 || w->eight_original)
        buf_append_str(out, "Content-Transfer-Encoding: 8bit\r\n");
    buf_printf(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n\r\n",
               w->boundary);
}

static void part_begin(const struct writer *w, const char *type, bool eight)
{
    buf_printf(w->out, "--%s\r\nContent-Type: %s\r\n", w->boundary, type);
    if (eight)
        buf_append_str(w->out, "Content-Transfer-Encoding: 8bit\r\n");
    buf_append_str(w->out, "\r\n");
}

/* ---- for people ---- */

static const struct {
    const char *action, *status, *heading; /* status: when none is given, a notice must have one */
} actions[] = {
    [DSN_FAILED] = {"failed", "5.0.0", "Your message could not be delivered to:"},
    [DSN_DELAYED] = {"delayed", "4.0.0",
                     "Your message could not be delivered yet, and is still being tried. You need not send "
                     "it again.\r\nIt waits for:"},
    [DSN_DELIVERED] = {"delivered", "2.0.0", "Your message was delivered to:"},
    [DSN_RELAYED] = {"relayed", "2.0.0", "Your message was passed on to a server that sends no delivery reports, for:"},
    [DSN_EXPANDED] = {"expanded", "2.0.0", "Your message was passed on to the members of:"},
};
enum { ACTION_N = sizeof(actions) / sizeof(actions[0]) };

static void person_recipient_put(const struct writer *w, const struct dsn_recipient *r)
{
    struct buf text = {0};

    buf_append_str(w->out, "\r\n  ");
    address_put(w, r->address);
    buf_append_str(w->out, "\r\n");
    if (r->host.n > 0) {
        text_put(w, r->host, &text);
        buf_append_str(&text, r->code ? " said: " : ": ");
    }
    if (r->code)
        buf_printf(&text, "%d ", r->code);
    text_put(w, slice_first(r->reply, REPLY_MAX), &text);
    if (buf_len(&text) > 0) {
        buf_append_str(w->out, "    ");
        folded_put(buf_slice(&text), 4, "    ", w->out);
        buf_append_str(w->out, "\r\n");
    }
    if (r->action == DSN_DELAYED && r->will_retry_until_ms) {
        buf_append_str(w->out, "    It is tried until ");
        smtp_date_write(r->will_retry_until_ms, w->out);
        buf_append_str(w->out, ".\r\n");
    }
    buf_close(&text);
}

static void person_part_put(const struct writer *w)
{
    const struct dsn *d = w->dsn;

    part_begin(w, d->utf8 ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii", d->utf8);
    buf_append_str(w->out, "This is the mail system at ");
    text_put(w, d->reporting, w->out);
    buf_append_str(w->out, ".\r\n");
    for (size_t action = 0; action < ACTION_N; action++) {
        if (!has_action(d, (enum dsn_action)action))
            continue;
        buf_printf(w->out, "\r\n%s\r\n", actions[action].heading);
        for (size_t i = 0; i < d->n; i++)
            if (d->recipients[i].action == action)
                person_recipient_put(w, &d->recipients[i]);
    }
    buf_printf(w->out, "\r\n%s attached.\r\n\r\n", w->full ? "The message is" : "The header of the message is");
}

/* ---- message/delivery-status (RFC 3464 2) ---- */

/* "rfc822; a@b", or "utf-8; …" as the notice can hold it (RFC 6533 3). */
static void typed_address_put(const struct writer *w, const char *name, struct slice typed)
{
    struct buf text = {0};
    bool raw = w->dsn->utf8 || !slice_istarts(typed, SLICE_LITERAL("utf-8;"));

    if (raw || !smtp_orcpt_write(typed, false, &text))
        buf_append_slice(&text, typed);
    field_put(w, name, buf_slice(&text));
    buf_close(&text);
}

static void final_recipient_put(const struct writer *w, struct slice address)
{
    struct buf typed = {0};

    buf_append_str(&typed, is_ascii(address) ? "rfc822;" : "utf-8;");
    buf_append_slice(&typed, address);
    typed_address_put(w, "Final-Recipient", buf_slice(&typed));
    buf_close(&typed);
}

static void named_put(const struct writer *w, const char *name, const char *type, int code, struct slice value)
{
    struct buf text = {0};

    buf_printf(&text, "%s; ", type);
    if (code)
        buf_printf(&text, "%d ", code);
    buf_append_slice(&text, value);
    field_put(w, name, buf_slice(&text));
    buf_close(&text);
}

static void status_recipient_put(const struct writer *w, const struct dsn_recipient *r)
{
    buf_append_str(w->out, "\r\n");
    if (r->orcpt.n > 0)
        typed_address_put(w, "Original-Recipient", r->orcpt);
    final_recipient_put(w, r->address);
    buf_printf(w->out, "Action: %s\r\n", actions[r->action].action);
    struct slice status = slice_make(r->enhanced, strnlen(r->enhanced, sizeof(r->enhanced)));
    field_put(w, "Status", status.n > 0 ? status : slice_str(actions[r->action].status));
    if (r->host.n > 0)
        named_put(w, "Remote-MTA", "dns", 0, r->host);
    struct slice reply = slice_first(r->reply, REPLY_MAX);
    if (r->code)
        named_put(w, "Diagnostic-Code", "smtp", r->code, reply);
    else if (reply.n > 0)
        named_put(w, "Diagnostic-Code", "x-merlion", 0, reply);
    date_put(w, "Last-Attempt-Date", r->last_attempt_ms);
    if (r->action == DSN_DELAYED)
        date_put(w, "Will-Retry-Until", r->will_retry_until_ms);
}

static void status_part_put(const struct writer *w)
{
    const struct dsn *d = w->dsn;

    part_begin(w, d->utf8 ? "message/global-delivery-status" : "message/delivery-status", d->utf8);
    named_put(w, "Reporting-MTA", "dns", 0, d->reporting);
    if (d->envid.n > 0)
        field_put(w, "Original-Envelope-Id", d->envid);
    date_put(w, "Arrival-Date", d->arrival_ms);
    for (size_t i = 0; i < d->n; i++)
        status_recipient_put(w, &d->recipients[i]);
    buf_append_str(w->out, "\r\n");
}

/* ---- the original ---- */

static struct slice original_header(const struct dsn *d)
{
    return slice_first(d->original, header_length(d->original));
}

/* A header that came as BINARYMIME may have any octets: its lines end with CRLF here. */
static void header_lines_put(struct slice header, struct buf *out)
{
    for (size_t i = 0; i < header.n; i++) {
        bool crlf = header.p[i] == '\r' && i + 1 < header.n && header.p[i + 1] == '\n';
        if (crlf || header.p[i] == '\n' || header.p[i] == '\r')
            buf_append_str(out, "\r\n");
        else
            buf_append_byte(out, header.p[i] ? header.p[i] : '?');
        i += crlf;
    }
}

/* Has it a NUL, CR or LF that message/rfc822 could only hold as binary? */
static bool is_binary(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool cr = i > 0 && s.p[i - 1] == '\r';
        if (s.p[i] == '\0' || cr != (s.p[i] == '\n'))
            return true;
    }
    return s.n > 0 && s.p[s.n - 1] == '\r';
}

static void original_part_put(const struct writer *w)
{
    static const char *const types[2][2] = {{"text/rfc822-headers", "message/global-headers"},
                                            {"message/rfc822", "message/global"}};
    const struct dsn *d = w->dsn;

    part_begin(w, types[w->full][d->utf8], w->eight_original);
    if (w->full)
        buf_append_slice(w->out, d->original);
    else
        header_lines_put(original_header(d), w->out);
}

/* The message id is unique, but the original may hold what we wrote before. */
static void boundary_make(struct writer *w)
{
    for (unsigned try = 0;; try++) {
        int n = snprintf(w->boundary, sizeof(w->boundary), "=_%u_", try);
        for (const char *p = w->dsn->message_id; *p; p++) {
            bool plain = (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '.';
            if (plain && n < 69) /* RFC 2046 5.1.1: at most 70 */
                w->boundary[n++] = *p;
        }
        w->boundary[n] = '\0';
        if (w->dsn->original.n == 0 || !memmem(w->dsn->original.p, w->dsn->original.n, w->boundary, (size_t)n))
            return;
    }
}

void dsn_write(const struct dsn *d, struct buf *out)
{
    struct writer w = {.dsn = d, .out = out};

    /* RFC 3461 4.3: RET is about failures only. */
    w.full = d->full && d->original.n <= d->full_max && has_action(d, DSN_FAILED) && !is_binary(d->original);
    w.eight_original = !is_ascii(w.full ? d->original : original_header(d));
    boundary_make(&w);
    header_put(&w);
    person_part_put(&w);
    status_part_put(&w);
    original_part_put(&w);
    buf_printf(out, "\r\n--%s--\r\n", w.boundary);
}
