#include "protocol/mime/transfer.h"

#include "protocol/mime/text.h"

/* ---- base64 (RFC 2045 6.8): what is not of its alphabet is skipped; '=' ends a run, another may follow ---- */

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* 2 or 3 characters without the rest of their four make 1 or 2 octets. */
static void base64_flush(struct transfer *t, struct buf *out)
{
    if (t->count >= 2)
        buf_append_byte(out, (uint8_t)(t->bits >> (t->count * 6 - 8)));
    if (t->count == 3)
        buf_append_byte(out, (uint8_t)(t->bits >> 2));
    t->count = 0;
    t->bits = 0;
}

static void base64_feed(struct transfer *t, struct slice in, struct buf *out)
{
    uint8_t *to = buf_reserve(out, in.n / 4 * 3 + 3);
    size_t n = 0;
    for (size_t i = 0; i < in.n; i++) {
        int v = base64_value(in.p[i]);
        if (v >= 0) {
            t->bits = t->bits << 6 | (uint32_t)v;
            if (++t->count < 4)
                continue;
            to[n++] = (uint8_t)(t->bits >> 16);
            to[n++] = (uint8_t)(t->bits >> 8);
            to[n++] = (uint8_t)t->bits;
            t->count = 0;
            t->bits = 0;
        } else if (in.p[i] == '=') {
            buf_commit(out, n);
            base64_flush(t, out);
            to = buf_reserve(out, (in.n - i) / 4 * 3 + 3);
            n = 0;
        }
    }
    buf_commit(out, n);
}

/* ---- quoted-printable (RFC 2045 6.7) ----
 *
 *   TEXT ──'='──► EQUALS ──hex──► DIGIT ──hex──► TEXT (an octet)
 *                   ├─blank──► EQUALS_BLANK ─┐
 *                   └─CR─────► EQUALS_CR ◄───┘ ──LF──► TEXT (soft line break)
 * Anything else after '=' is kept as it is written. */

enum { QP_TEXT, QP_EQUALS, QP_DIGIT, QP_EQUALS_BLANK, QP_EQUALS_CR };

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void blanks_flush(struct transfer *t, struct buf *out)
{
    buf_append_slice(out, buf_slice(&t->blanks));
    buf_clear(&t->blanks);
}

static void qp_text(struct transfer *t, uint8_t c, struct buf *out)
{
    t->state = QP_TEXT;
    if (c == ' ' || c == '\t') {
        buf_append_byte(&t->blanks, c);
        return;
    }
    if (c == '\r' || c == '\n')
        buf_clear(&t->blanks);
    else if (buf_len(&t->blanks) > 0)
        blanks_flush(t, out);
    if (c == '=')
        t->state = QP_EQUALS;
    else
        buf_append_byte(out, c);
}

static void qp_octet(struct transfer *t, uint8_t c, struct buf *out)
{
    switch (t->state) {
    case QP_EQUALS:
        if (hex_value(c) >= 0) {
            t->digit = c;
            t->state = QP_DIGIT;
            return;
        }
        /* fall through */
    case QP_EQUALS_BLANK:
        if (c == ' ' || c == '\t') {
            buf_append_byte(&t->blanks, c);
            t->state = QP_EQUALS_BLANK;
        } else if (c == '\r') {
            buf_clear(&t->blanks);
            t->state = QP_EQUALS_CR;
        } else if (c == '\n') {
            buf_clear(&t->blanks);
            t->state = QP_TEXT;
        } else {
            buf_append_byte(out, '=');
            qp_text(t, c, out);
        }
        return;
    case QP_DIGIT:
        t->state = QP_TEXT;
        if (hex_value(c) >= 0) {
            buf_append_byte(out, (uint8_t)(hex_value(t->digit) << 4 | hex_value(c)));
            return;
        }
        buf_append_byte(out, '=');
        buf_append_byte(out, t->digit);
        qp_text(t, c, out);
        return;
    case QP_EQUALS_CR:
        t->state = QP_TEXT;
        if (c == '\n')
            return;
        /* fall through */
    default:
        qp_text(t, c, out);
    }
}

static void qp_feed(struct transfer *t, struct slice in, struct buf *out)
{
    for (size_t i = 0; i < in.n; i++)
        qp_octet(t, in.p[i], out);
}

static void qp_end(struct transfer *t, struct buf *out)
{
    if (t->state == QP_DIGIT) {
        buf_append_byte(out, '=');
        buf_append_byte(out, t->digit);
    }
    buf_clear(&t->blanks);
    t->state = QP_TEXT;
}

/* ---- either ---- */

void transfer_open(struct transfer *t, struct slice encoding)
{
    *t = (struct transfer){.kind = TRANSFER_PLAIN};
    if (slice_ieq(encoding, SLICE_LITERAL("base64")))
        t->kind = TRANSFER_BASE64;
    else if (slice_ieq(encoding, SLICE_LITERAL("quoted-printable")))
        t->kind = TRANSFER_QUOTED_PRINTABLE;
}

void transfer_feed(struct transfer *t, struct slice in, struct buf *out)
{
    if (t->kind == TRANSFER_BASE64)
        base64_feed(t, in, out);
    else if (t->kind == TRANSFER_QUOTED_PRINTABLE)
        qp_feed(t, in, out);
    else
        buf_append_slice(out, in);
}

void transfer_end(struct transfer *t, struct buf *out)
{
    if (t->kind == TRANSFER_BASE64)
        base64_flush(t, out);
    else if (t->kind == TRANSFER_QUOTED_PRINTABLE)
        qp_end(t, out);
}

void transfer_close(struct transfer *t)
{
    buf_close(&t->blanks);
}

static void decode_whole(enum transfer_kind kind, struct slice in, struct buf *out)
{
    struct transfer t = {.kind = kind};
    transfer_feed(&t, in, out);
    transfer_end(&t, out);
    transfer_close(&t);
}

void text_decode_base64(struct slice in, struct buf *out)
{
    decode_whole(TRANSFER_BASE64, in, out);
}

void text_decode_quoted_printable(struct slice in, struct buf *out)
{
    decode_whole(TRANSFER_QUOTED_PRINTABLE, in, out);
}
