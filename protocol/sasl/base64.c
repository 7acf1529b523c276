#include "protocol/sasl/sasl.h"

#include "node/base/err.h"

static const char alphabet[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct slice in, struct buf *out)
{
    size_t n = (in.n + 2) / 3 * 4;
    uint8_t *to = buf_reserve(out, n);
    size_t i = 0;

    for (; in.n - i >= 3; i += 3) {
        uint32_t v = (uint32_t)in.p[i] << 16 | (uint32_t)in.p[i + 1] << 8 | in.p[i + 2];
        *to++ = (uint8_t)alphabet[v >> 18];
        *to++ = (uint8_t)alphabet[v >> 12 & 63];
        *to++ = (uint8_t)alphabet[v >> 6 & 63];
        *to++ = (uint8_t)alphabet[v & 63];
    }
    if (in.n - i > 0) {
        bool two = in.n - i == 2;
        uint32_t v = (uint32_t)in.p[i] << 16 | (two ? (uint32_t)in.p[i + 1] << 8 : 0);
        *to++ = (uint8_t)alphabet[v >> 18];
        *to++ = (uint8_t)alphabet[v >> 12 & 63];
        *to++ = two ? (uint8_t)alphabet[v >> 6 & 63] : '=';
        *to++ = '=';
    }
    buf_commit(out, n);
}

/* 0..63, or -1. */
static int value_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One group of four; n significant characters of it (2, 3 or 4). Returns false for anything but canonical base64. */
static bool group_decode(const uint8_t *p, size_t n, uint8_t *to)
{
    uint32_t v = 0;

    for (size_t i = 0; i < 4; i++) {
        int d = i < n ? value_of(p[i]) : 0;
        if (d < 0)
            return false;
        v = v << 6 | (uint32_t)d;
    }
    if ((n == 2 && (v & 0xffff) != 0) || (n == 3 && (v & 0xff) != 0))
        return false;
    to[0] = (uint8_t)(v >> 16);
    to[1] = (uint8_t)(v >> 8);
    to[2] = (uint8_t)v;
    return true;
}

int base64_decode(struct slice in, size_t max, struct buf *out)
{
    if (in.n == 0)
        return 0;
    if (in.n % 4 != 0)
        return ERR_INVALID;
    size_t padding = in.p[in.n - 1] != '=' ? 0 : in.p[in.n - 2] != '=' ? 1 : 2;
    size_t n = in.n / 4 * 3 - padding;
    if (n > max)
        return ERR_TOOBIG;
    uint8_t *to = buf_reserve(out, n + 2);
    for (size_t i = 0; i < in.n; i += 4, to += 3) {
        bool last = i + 4 == in.n;
        if (!group_decode(in.p + i, last ? 4 - padding : 4, to))
            return ERR_INVALID;
    }
    buf_commit(out, n);
    return 0;
}
