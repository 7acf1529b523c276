#include "node/base/utf8.h"

static bool is_tail(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

/* RFC 3629 4: the second byte's range depends on the first one. */
static bool second_fits(uint8_t first, uint8_t second)
{
    switch (first) {
    case 0xe0:
        return second >= 0xa0 && second <= 0xbf;
    case 0xed:
        return second >= 0x80 && second <= 0x9f;
    case 0xf0:
        return second >= 0x90 && second <= 0xbf;
    case 0xf4:
        return second >= 0x80 && second <= 0x8f;
    default:
        return is_tail(second);
    }
}

int utf8_step(const uint8_t *p, size_t n, int32_t *code_r)
{
    uint8_t c = p[0];
    if (c < 0x80) {
        *code_r = c;
        return 1;
    }
    if (c < 0xc2 || c > 0xf4)
        return UTF8_INVALID;
    int length = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    int32_t code = c & (0x7f >> length);
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= n)
            return UTF8_INCOMPLETE;
        if (i == 1 ? !second_fits(c, p[1]) : !is_tail(p[i]))
            return UTF8_INVALID;
        code = code << 6 | (p[i] & 0x3f);
    }
    *code_r = code;
    return length;
}

bool utf8_valid(struct slice s)
{
    for (size_t i = 0; i < s.n;) {
        int32_t code;
        int step = utf8_step(s.p + i, s.n - i, &code);
        if (step <= 0)
            return false;
        i += (size_t)step;
    }
    return true;
}

void utf8_append_replacement(struct buf *out)
{
    buf_append(out, "\xef\xbf\xbd", 3);
}
