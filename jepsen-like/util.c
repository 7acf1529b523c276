#include "jepsen-like/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

void fail(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fputs("jepsen-like: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    fflush(NULL);
    _Exit(2);
}

void say(const char *format, ...)
{
    static uint64_t start;
    uint64_t zero = 0, now = now_ns();
    char line[1000];
    va_list ap;
    __atomic_compare_exchange_n(&start, &zero, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    fprintf(stderr, "%7.2f %s\n", (double)(now - __atomic_load_n(&start, __ATOMIC_SEQ_CST)) / 1e9, line);
}

void *xrealloc(void *p, size_t n)
{
    if (!(p = realloc(p, n ? n : 1)))
        fail("out of memory");
    return p;
}

void *xzalloc(size_t n)
{
    void *p = xrealloc(NULL, n);
    memset(p, 0, n);
    return p;
}

char *xstrdup(const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(xrealloc(NULL, n), s, n);
}

uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

unsigned rng_below(struct rng *r, unsigned n)
{
    return (unsigned)((rng_next(r) >> 32) % n);
}

bool name_in(const char *name, const char *list)
{
    size_t n = strlen(name);
    for (const char *p = list; *p; p += p[0] == ',') {
        size_t k = strcspn(p, ",");
        if (k == n && memcmp(p, name, n) == 0)
            return true;
        p += k;
    }
    return false;
}

uint64_t fnv64(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

static void text_room(struct text *t, size_t more)
{
    if (t->n + more + 1 <= t->room)
        return;
    t->room = (t->n + more + 1) * 2;
    t->p = xrealloc(t->p, t->room);
}

void text_append(struct text *t, const void *bytes, size_t n)
{
    text_room(t, n);
    if (n)
        memcpy(t->p + t->n, bytes, n);
    t->n += n;
    t->p[t->n] = 0;
}

void text_printf(struct text *t, const char *format, ...)
{
    char *p = NULL;
    va_list ap;
    va_start(ap, format);
    int n = vasprintf(&p, format, ap);
    va_end(ap);
    if (n < 0)
        fail("out of memory");
    text_append(t, p, (size_t)n);
    free(p);
}

void text_clear(struct text *t)
{
    text_append(t, "", 0);
    t->n = 0;
    t->p[0] = 0;
}

void text_free(struct text *t)
{
    free(t->p);
    *t = (struct text){NULL, 0, 0};
}
