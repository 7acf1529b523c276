#include "protocol/smtp/xtext.h"

#include "node/base/err.h"
#include "node/base/utf8.h"

int smtp_notify_parse(struct slice value, uint32_t *notify_r)
{
    static const char *const names[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
    uint32_t notify = 0;

    for (;;) {
        struct slice word = slice_first(value, slice_find(value, ','));
        uint32_t bit = 0;
        for (uint32_t i = 0; i < 4; i++)
            if (slice_ieq(word, slice_str(names[i])))
                bit = 1u << i;
        if (bit == 0 || (notify & bit))
            return ERR_INVALID;
        notify |= bit;
        if (word.n == value.n)
            break;
        value = slice_from(value, word.n + 1);
    }
    if ((notify & SMTP_NOTIFY_NEVER) && notify != SMTP_NOTIFY_NEVER)
        return ERR_INVALID;
    *notify_r = notify;
    return 0;
}

void smtp_notify_write(uint32_t notify, struct buf *out)
{
    const char *comma = "";

    if (notify & SMTP_NOTIFY_NEVER) {
        buf_append_str(out, "NEVER");
        return;
    }
    if (notify & SMTP_NOTIFY_SUCCESS) {
        buf_append_str(out, "SUCCESS");
        comma = ",";
    }
    if (notify & SMTP_NOTIFY_FAILURE) {
        buf_printf(out, "%sFAILURE", comma);
        comma = ",";
    }
    if (notify & SMTP_NOTIFY_DELAY)
        buf_printf(out, "%sDELAY", comma);
}

/* ---- xtext = *( xchar / "+" 2HEXDIG ), capitals ---- */

static int hex(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_xchar(uint8_t c)
{
    return c > ' ' && c < 0x7f && c != '+' && c != '=';
}

/* RFC 3461 4.4 wants printable ASCII in ENVID; we hold ORCPT to it as well. */
static int xtext_decode(struct slice in, struct buf *out)
{
    for (size_t i = 0; i < in.n; i++) {
        int c = in.p[i];
        if (c == '+') {
            if (in.n - i < 3 || hex(in.p[i + 1]) < 0 || hex(in.p[i + 2]) < 0)
                return ERR_INVALID;
            c = hex(in.p[i + 1]) * 16 + hex(in.p[i + 2]);
            if (c < ' ' || c >= 0x7f)
                return ERR_INVALID;
            i += 2;
        } else if (!is_xchar(in.p[i])) {
            return ERR_INVALID;
        }
        buf_append_byte(out, (uint8_t)c);
    }
    return 0;
}

void smtp_xtext_write(struct slice plain, struct buf *out)
{
    for (size_t i = 0; i < plain.n; i++) {
        if (is_xchar(plain.p[i]))
            buf_append_byte(out, plain.p[i]);
        else
            buf_printf(out, "+%02X", plain.p[i]);
    }
}

int smtp_envid_parse(struct slice value, struct buf *out)
{
    size_t before = buf_len(out);

    if (value.n == 0 || value.n > SMTP_ENVID_MAX || xtext_decode(value, out) != 0) {
        buf_truncate(out, before);
        return ERR_INVALID;
    }
    return 0;
}

/* ---- "utf-8" addresses: QCHAR, raw UTF-8 or "\x{HEX}" ---- */

static bool is_qchar(uint8_t c)
{
    return is_xchar(c) && c != '\\';
}

static void utf8_put(uint32_t c, struct buf *out)
{
    if (c < 0x80) {
        buf_append_byte(out, (uint8_t)c);
    } else if (c < 0x800) {
        buf_append_byte(out, (uint8_t)(0xc0 | c >> 6));
        buf_append_byte(out, (uint8_t)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        buf_append_byte(out, (uint8_t)(0xe0 | c >> 12));
        buf_append_byte(out, (uint8_t)(0x80 | (c >> 6 & 63)));
        buf_append_byte(out, (uint8_t)(0x80 | (c & 63)));
    } else {
        buf_append_byte(out, (uint8_t)(0xf0 | c >> 18));
        buf_append_byte(out, (uint8_t)(0x80 | (c >> 12 & 63)));
        buf_append_byte(out, (uint8_t)(0x80 | (c >> 6 & 63)));
        buf_append_byte(out, (uint8_t)(0x80 | (c & 63)));
    }
}

/* "\x{" 2*6HEXDIG "}". Returns its octets, 0: malformed. */
static size_t embedded_take(struct slice in, struct buf *out)
{
    uint32_t c = 0;
    size_t i = 3;

    if (in.n < 6 || memcmp(in.p, "\\x{", 3) != 0)
        return 0;
    for (; i < in.n && i < 9 && hex(in.p[i]) >= 0; i++)
        c = c * 16 + (uint32_t)hex(in.p[i]);
    if (i < 5 || i >= in.n || in.p[i] != '}')
        return 0;
    if (c < ' ' || (c >= 0x7f && c < 0xa0) || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    utf8_put(c, out);
    return i + 1;
}

static int utf8_decode(struct slice in, bool raw, struct buf *out)
{
    if (!utf8_valid(in))
        return ERR_INVALID;
    for (size_t i = 0; i < in.n;) {
        if (in.p[i] == '\\') {
            size_t n = embedded_take(slice_from(in, i), out);
            if (n == 0)
                return ERR_INVALID;
            i += n;
            continue;
        }
        /* C1 controls are C2 80 to C2 9F. */
        bool c1 = in.p[i] == 0xc2 && i + 1 < in.n && in.p[i + 1] < 0xa0;
        if (c1 || (in.p[i] < 0x80 ? !is_qchar(in.p[i]) : !raw))
            return ERR_INVALID;
        buf_append_byte(out, in.p[i++]);
    }
    return 0;
}

static void utf8_encode(struct slice in, bool raw, struct buf *out)
{
    int32_t code = 0;

    for (size_t i = 0; i < in.n;) {
        int n = utf8_step(in.p + i, in.n - i, &code);
        ENSURE(n > 0); /* the caller looked */
        if (code < 0x80 ? is_qchar((uint8_t)code) : raw)
            buf_append(out, in.p + i, (size_t)n);
        else
            buf_printf(out, "\\x{%02X}", (unsigned)code);
        i += (size_t)n;
    }
}

/* addr-type ";" …: an atom (RFC 3461 4.2). Returns the octets before the semicolon, 0: malformed. */
static size_t type_length(struct slice s)
{
    size_t n = slice_find(s, ';');

    for (size_t i = 0; i < n; i++) {
        uint8_t c = s.p[i], low = c | 0x20;
        if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && c != '-')
            return 0;
    }
    return n < s.n && n <= 20 ? n : 0;
}

static bool type_is_utf8(struct slice s, size_t n)
{
    return slice_ieq(slice_first(s, n), SLICE_LITERAL("utf-8"));
}

int smtp_orcpt_parse(struct slice value, bool utf8, struct buf *out)
{
    size_t before = buf_len(out), n = type_length(value);
    struct slice address = slice_from(value, n + 1);

    if (n == 0 || address.n == 0 || value.n > SMTP_ORCPT_MAX)
        return ERR_INVALID;
    buf_append(out, value.p, n + 1);
    int rv = type_is_utf8(value, n) ? utf8_decode(address, utf8, out) : xtext_decode(address, out);
    if (rv != 0)
        buf_truncate(out, before);
    return rv;
}

bool smtp_orcpt_write(struct slice plain, bool utf8, struct buf *out)
{
    size_t n = type_length(plain);
    struct slice address = slice_from(plain, n + 1);

    if (n == 0 || address.n == 0 || (type_is_utf8(plain, n) && !utf8_valid(address)))
        return false;
    buf_append(out, plain.p, n + 1);
    if (type_is_utf8(plain, n))
        utf8_encode(address, utf8, out);
    else
        smtp_xtext_write(address, out);
    return true;
}
