/* Compiled without the counting itself. Constructors and threads of others are not expected: one thread. */
#include "tests/cost/cost.h"

#include <malloc.h>
#include <stdlib.h>

enum { OCTETS_A_STEP = 16 };

static uint64_t steps;
static size_t live, live_before, live_most;

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
    steps++;
}

void cost_begin(void)
{
    steps = 0;
    live_before = live_most = live;
}

struct cost cost_end(void)
{
    return (struct cost){steps, live_most - live_before};
}

/* ---- memory that is moved and compared ---- */

static void octets(size_t n)
{
    steps += 1 + n / OCTETS_A_STEP;
}

#define DECLARE(type, name, ...)                                                                                       \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

DECLARE(void *, memcpy, void *to, const void *from, size_t n)
{
    octets(n);
    return __real_memcpy(to, from, n);
}
DECLARE(void *, memmove, void *to, const void *from, size_t n)
{
    octets(n);
    return __real_memmove(to, from, n);
}
DECLARE(void *, memset, void *to, int c, size_t n)
{
    octets(n);
    return __real_memset(to, c, n);
}
DECLARE(int, memcmp, const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;
    size_t same = 0;
    while (same < n && x[same] == y[same])
        same++;
    octets(same);
    return same < n ? x[same] - y[same] : 0;
}
DECLARE(void *, memchr, const void *in, int c, size_t n)
{
    void *at = __real_memchr(in, c, n);
    octets(at ? (size_t)((const char *)at - (const char *)in) : n);
    return at;
}
DECLARE(void *, memrchr, const void *in, int c, size_t n)
{
    void *at = __real_memrchr(in, c, n);
    octets(at ? n - (size_t)((const char *)at - (const char *)in) : n);
    return at;
}
DECLARE(void *, memmem, const void *in, size_t n, const void *what, size_t m)
{
    void *at = __real_memmem(in, n, what, m);
    octets(at ? (size_t)((const char *)at - (const char *)in) + m : n);
    return at;
}
DECLARE(size_t, strlen, const char *s)
{
    size_t n = __real_strlen(s);
    octets(n);
    return n;
}
DECLARE(char *, strchr, const char *s, int c)
{
    char *at = __real_strchr(s, c);
    octets(at ? (size_t)(at - s) : __real_strlen(s));
    return at;
}
DECLARE(char *, strstr, const char *s, const char *what)
{
    char *at = __real_strstr(s, what);
    octets(at ? (size_t)(at - s) : __real_strlen(s));
    return at;
}
DECLARE(int, strcmp, const char *a, const char *b)
{
    size_t same = 0;
    while (a[same] && a[same] == b[same])
        same++;
    octets(same);
    return __real_strcmp(a, b);
}

/* ---- memory that is taken ---- */

static void *taken(void *p)
{
    live += malloc_usable_size(p);
    if (live > live_most)
        live_most = live;
    return p;
}

DECLARE(void *, malloc, size_t n)
{
    steps++;
    return taken(__real_malloc(n));
}
DECLARE(void *, calloc, size_t n, size_t size)
{
    octets(n * size);
    return taken(__real_calloc(n, size));
}
DECLARE(void *, realloc, void *p, size_t n)
{
    size_t was = malloc_usable_size(p);
    octets(was < n ? was : n);
    live -= was;
    return taken(__real_realloc(p, n));
}
DECLARE(void, free, void *p)
{
    steps++;
    live -= malloc_usable_size(p);
    __real_free(p);
}
