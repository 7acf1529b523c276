/* Modified UTF-7 (RFC 3501 5.1.3): printable US-ASCII stands for itself, "&" is "&-", the rest is UTF-16BE in base64
 * with "," for "/" and no padding, between "&" and "-". */
#include "protocol/imap/imap_text.h"

#include "node/base/err.h"
#include "node/base/utf8.h"

#include <utf8proc.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

struct bits {
    uint32_t value;
    unsigned n;
};

static void bits_put(struct bits *b, struct buf *out, uint32_t unit)
{
    b->value = b->value << 16 | unit;
    b->n += 16;
    while (b->n >= 6) {
        b->n -= 6;
        buf_append_byte(out, (uint8_t)alphabet[b->value >> b->n & 63]);
    }
    b->value &= (1u << b->n) - 1;
}

static void shift_end(struct bits *b, struct buf *out)
{
    if (b->n > 0)
        buf_append_byte(out, (uint8_t)alphabet[b->value << (6 - b->n) & 63]);
    buf_append_byte(out, '-');
    *b = (struct bits){0};
}

void imap_utf7_encode(struct slice s, struct buf *out)
{
    struct bits b = {0};
    bool shifted = false;
    for (size_t i = 0; i < s.n;) {
        int32_t c;
        int n = utf8_step(s.p + i, s.n - i, &c);
        if (n <= 0) {
            c = 0xfffd;
            n = 1;
        }
        i += (size_t)n;
        if (c >= ' ' && c < 127) {
            if (shifted)
                shift_end(&b, out);
            shifted = false;
            buf_append_byte(out, (uint8_t)c);
            if (c == '&')
                buf_append_byte(out, '-');
            continue;
        }
        if (!shifted)
            buf_append_byte(out, '&');
        shifted = true;
        if (c >= 0x10000) {
            bits_put(&b, out, 0xd800 + ((uint32_t)(c - 0x10000) >> 10));
            bits_put(&b, out, 0xdc00 + ((uint32_t)(c - 0x10000) & 0x3ff));
        } else {
            bits_put(&b, out, (uint32_t)c);
        }
    }
    if (shifted)
        shift_end(&b, out);
}

static void put_code(struct buf *out, uint32_t c)
{
    uint8_t *p = buf_reserve(out, 4);
    buf_commit(out, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, p));
}

/* One UTF-16 unit; high holds a high surrogate that waits for its other half. */
static int unit_put(struct buf *out, uint32_t unit, uint32_t *high)
{
    if (*high != 0) {
        if (unit < 0xdc00 || unit > 0xdfff)
            return ERR_INVALID;
        put_code(out, 0x10000 + ((*high - 0xd800) << 10) + (unit - 0xdc00));
        *high = 0;
        return 0;
    }
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return ERR_INVALID;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        *high = unit;
        return 0;
    }
    if (unit >= ' ' && unit < 127)
        return ERR_INVALID; /* printable US-ASCII stands for itself */
    put_code(out, unit);
    return 0;
}

/* From behind "&" to its "-"; *at is left behind the "-". */
static int shifted_decode(struct slice in, size_t *at, struct buf *out)
{
    uint32_t value = 0, high = 0;
    unsigned n = 0;
    for (; *at < in.n && in.p[*at] != '-'; ++*at) {
        const char *place = in.p[*at] ? strchr(alphabet, in.p[*at]) : NULL;
        if (place == NULL)
            return ERR_INVALID;
        value = value << 6 | (uint32_t)(place - alphabet);
        n += 6;
        if (n >= 16) {
            n -= 16;
            if (unit_put(out, value >> n & 0xffff, &high) != 0)
                return ERR_INVALID;
            value &= (1u << n) - 1;
        }
    }
    if (*at == in.n || high != 0 || n >= 6 || value != 0)
        return ERR_INVALID;
    ++*at;
    return 0;
}

int imap_utf7_decode(struct slice in, struct buf *out)
{
    if (!utf8_valid(in))
        return ERR_INVALID;
    for (size_t at = 0; at < in.n;) {
        if (in.p[at] != '&') {
            buf_append_byte(out, in.p[at++]);
            continue;
        }
        at++;
        if (at < in.n && in.p[at] == '-') {
            buf_append_byte(out, '&');
            at++;
        } else if (shifted_decode(in, &at, out) != 0) {
            return ERR_INVALID;
        }
    }
    return 0;
}
