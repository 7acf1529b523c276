/* Names and checksums of bytes. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "node/base/slice.h"

enum { BODY_HASH_SIZE = 32 };
/* SHA-256 of a message as stored: a body's name everywhere. */
struct body_hash {
    uint8_t b[BODY_HASH_SIZE];
};
struct body_hash body_hash_of(struct slice body);
static inline bool body_hash_eq(const struct body_hash *a, const struct body_hash *b)
{
    return memcmp(a->b, b->b, BODY_HASH_SIZE) == 0;
}
void hex_encode(struct slice in, char *out); /* 2n characters and a NUL */
int hex_decode(struct slice in, uint8_t *out, size_t out_n);
/* XXH3 64 bits: detects damage, not malice. */
uint64_t checksum64(struct slice s);
/* XXH3 128 bits, for digests of state. */
struct sum128 {
    uint64_t lo, hi;
};
struct sum128 checksum128(struct slice a);
void random_bytes(void *p, size_t n); /* from the kernel; never fails (ends the process) */

#endif
