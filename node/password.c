#include "node/password.h"

#include "node/base/err.h"
#include "node/base/hash.h"
#include "node/base/mem.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>

/* OWASP's parameters of 2023 with the memory halved twice in favour of more logins at once: N = 2^15, r = 8, p = 1. */
enum { LOG_N = 15, R = 8, P = 1, SALT_N = 16, HASH_N = 32, LOG_N_MAX = 20 };

struct parsed {
    unsigned log_n, r, p;
    uint8_t salt[SALT_N], hash[HASH_N];
};

static int derive(struct slice password, const uint8_t salt[SALT_N], unsigned log_n, unsigned r, unsigned p,
                  uint8_t out[HASH_N])
{
    const uint64_t n = (uint64_t)1 << log_n;
    const uint64_t memory_max = 2 * 128 * (n * r + (uint64_t)r * p + 32); /* RFC 7914 needs half of it */
    int ok = EVP_PBE_scrypt((const char *)password.p, password.n, salt, SALT_N, n, r, p, memory_max, out, HASH_N);
    return ok == 1 ? 0 : ERR_NOMEM;
}

static int parse(struct slice encoded, struct parsed *h)
{
    char text[PASSWORD_HASH_MAX], salt[SALT_N * 2 + 1], hash[HASH_N * 2 + 1];
    if (encoded.n >= sizeof text)
        return ERR_INVALID;
    memcpy(text, encoded.p, encoded.n);
    text[encoded.n] = 0;
    if (sscanf(text, "$scrypt$ln=%2u,r=%2u,p=%2u$%32[0-9a-f]$%64[0-9a-f]", &h->log_n, &h->r, &h->p, salt, hash) != 5)
        return ERR_INVALID;
    if (h->log_n < 10 || h->log_n > LOG_N_MAX || h->r < 1 || h->r > 16 || h->p < 1 || h->p > 16)
        return ERR_INVALID;
    if (hex_decode(slice_str(salt), h->salt, SALT_N) || hex_decode(slice_str(hash), h->hash, HASH_N))
        return ERR_INVALID;
    return 0;
}

int password_hash(struct slice password, char out[PASSWORD_HASH_MAX])
{
    if (password.n == 0 || password.n > PASSWORD_MAX)
        return ERR_INVALID;
    uint8_t salt[SALT_N], hash[HASH_N];
    char salt_hex[2 * SALT_N + 1], hash_hex[2 * HASH_N + 1];
    random_bytes(salt, sizeof salt);
    int r = derive(password, salt, LOG_N, R, P, hash);
    if (r)
        return r;
    hex_encode(slice_make(salt, sizeof salt), salt_hex);
    hex_encode(slice_make(hash, sizeof hash), hash_hex);
    snprintf(out, PASSWORD_HASH_MAX, "$scrypt$ln=%d,r=%d,p=%d$%s$%s", LOG_N, R, P, salt_hex, hash_hex);
    mem_wipe(hash, sizeof hash);
    return 0;
}

bool password_verify(struct slice password, struct slice encoded)
{
    struct parsed h = {.log_n = LOG_N, .r = R, .p = P};
    bool known = parse(encoded, &h) == 0 && password.n > 0 && password.n <= PASSWORD_MAX;
    if (!known)
        h = (struct parsed){.log_n = LOG_N, .r = R, .p = P};
    uint8_t got[HASH_N];
    int r = derive(slice_first(password, PASSWORD_MAX), h.salt, h.log_n, h.r, h.p, got);
    bool same = CRYPTO_memcmp(got, h.hash, HASH_N) == 0;
    mem_wipe(got, sizeof got);
    return known && r == 0 && same;
}
