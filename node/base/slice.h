/* Borrowed bytes: pointer and length. The owner and how long it stays valid are said by whoever hands one out. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *p; /* may be NULL when n is 0 */
    size_t n;
};

#define SLICE_LITERAL(s) ((struct slice){(const uint8_t *)("" s), sizeof(s) - 1})

static inline struct slice slice_make(const void *p, size_t n)
{
    return (struct slice){p, n};
}

static inline struct slice slice_str(const char *s)
{
    return (struct slice){(const uint8_t *)s, s ? strlen(s) : 0};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* The bytes from `from` on; empty when there are none. */
static inline struct slice slice_from(struct slice s, size_t from)
{
    return from >= s.n ? (struct slice){s.p ? s.p + s.n : NULL, 0} : (struct slice){s.p + from, s.n - from};
}

static inline struct slice slice_first(struct slice s, size_t n)
{
    return (struct slice){s.p, n < s.n ? n : s.n};
}

/* Byte order: shorter first when one is the other's prefix. */
int slice_cmp(struct slice a, struct slice b);
/* ASCII case only; bytes above 127 compare as they are. */
bool slice_ieq(struct slice a, struct slice b);
bool slice_istarts(struct slice s, struct slice prefix);
/* Position of byte c, or s.n. */
size_t slice_find(struct slice s, uint8_t c);
struct slice slice_trim(struct slice s); /* spaces and tabs, both ends */
/* Decimal digits only, the whole slice, at most max. Returns 0, or ERR_INVALID. */
int slice_u64(struct slice s, uint64_t max, uint64_t *out_r);

#endif
