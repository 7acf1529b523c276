#include "node/base/hash.h"

#include "node/base/err.h"

#include <openssl/evp.h>
#include <sys/random.h>
#include <xxhash.h>

struct body_hash body_hash_of(struct slice body)
{
    struct body_hash h;
    ENSURE(EVP_Digest(body.p ? body.p : (const uint8_t *)"", body.n, h.b, NULL, EVP_sha256(), NULL) == 1);
    return h;
}

void hex_encode(struct slice in, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < in.n; i++) {
        out[2 * i] = digits[in.p[i] >> 4];
        out[2 * i + 1] = digits[in.p[i] & 15];
    }
    out[2 * in.n] = 0;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_decode(struct slice in, uint8_t *out, size_t out_n)
{
    if (in.n != 2 * out_n)
        return ERR_INVALID;
    for (size_t i = 0; i < out_n; i++) {
        int high = hex_value(in.p[2 * i]), low = hex_value(in.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return ERR_INVALID;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

uint64_t checksum64(struct slice s)
{
    return XXH3_64bits(s.p, s.n);
}

struct sum128 checksum128(struct slice a)
{
    XXH128_hash_t h = XXH3_128bits(a.p, a.n);
    return (struct sum128){.lo = h.low64, .hi = h.high64};
}

void random_bytes(void *p, size_t n)
{
    uint8_t *at = p;
    while (n) {
        size_t part = n < 256 ? n : 256; /* never interrupted or short up to 256 */
        ENSURE(getrandom(at, part, 0) == (ssize_t)part);
        at += part;
        n -= part;
    }
}
