/* The one source of randomness of a history (xoshiro256**, seeded by splitmix64), and the history's hash. */
#include "tests/sim/kernel.h"

#include "node/base/err.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

static uint64_t state[4];
static uint64_t hash;
bool sim_trace_on;
bool sim_inside;

static uint64_t rotate(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void sim_random_init(uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        state[i] = mix(seed += 0x9e3779b97f4a7c15u);
    hash = 0;
    sim_inside = true;
    /* LMDB takes megabytes of zeros for each environment and touches few of them: by a map of its own, always. */
    mallopt(M_MMAP_THRESHOLD, 512 << 10);
}

uint64_t sim_random(void)
{
    uint64_t result = rotate(state[1] * 5, 7) * 9;
    uint64_t t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 45);
    return result;
}

uint64_t sim_below(uint64_t n)
{
    ENSURE(n > 0);
    return (uint64_t)((unsigned __int128)sim_random() * n >> 64);
}

bool sim_chance(unsigned ppm)
{
    return ppm && sim_below(1000000) < ppm;
}

static void fill(void *p, size_t n)
{
    uint8_t *at = p;
    while (n) {
        uint64_t v = sim_random();
        size_t part = n < sizeof v ? n : sizeof v;
        memcpy(at, &v, part);
        at += part;
        n -= part;
    }
}

ssize_t __real_getrandom(void *p, size_t n, unsigned flags);
ssize_t __wrap_getrandom(void *p, size_t n, unsigned flags);
ssize_t __wrap_getrandom(void *p, size_t n, unsigned flags)
{
    if (!sim_inside)
        return __real_getrandom(p, n, flags);
    fill(p, n);
    return (ssize_t)n;
}

int __real_RAND_bytes(unsigned char *p, int n);
int __wrap_RAND_bytes(unsigned char *p, int n);
int __wrap_RAND_bytes(unsigned char *p, int n)
{
    if (!sim_inside)
        return __real_RAND_bytes(p, n);
    fill(p, (size_t)n);
    return 1;
}

/* ---- the history's hash ---- */

void sim_trace_mix(uint64_t a, uint64_t b)
{
    hash = (rotate(hash, 23) ^ a) * 0x9e3779b97f4a7c15u;
    hash = (rotate(hash, 29) ^ b) * 0xd6e8feb86659fd93u;
}

uint64_t sim_trace_hash(void)
{
    return mix(hash);
}

static void text_mix(const char *s)
{
    size_t n = strlen(s);
    sim_trace_mix(n, '"');
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = 0;
        memcpy(&v, s + i, n - i < 8 ? n - i : 8);
        sim_trace_mix(v, i);
    }
}

/* Formatting costs more than all else that a quiet history does: the arguments themselves are mixed in. Knows %d %i %u
 * %x %X %c with h, l, ll, j, z; %s; %.*s; widths and flags. */
static void arguments_mix(const char *f, va_list ap)
{
    for (f = strchr(f, '%'); f; f = strchr(f, '%')) {
        int longs = 0, precision = -1;
        for (f++; *f && strchr("-+ #0123456789.hlzj*", *f); f++) {
            longs += *f == 'l' || *f == 'z' || *f == 'j';
            if (*f == '*')
                precision = va_arg(ap, int);
        }
        switch (*f++) {
        case '%':
            break;
        case 's': {
            const char *s = va_arg(ap, const char *);
            char part[512];
            if (precision >= 0)
                snprintf(part, sizeof part, "%.*s", precision, s);
            text_mix(precision >= 0 ? part : s);
            break;
        }
        case 'd':
        case 'i':
        case 'u':
        case 'x':
        case 'X':
        case 'c':
            sim_trace_mix(longs ? va_arg(ap, unsigned long) : va_arg(ap, unsigned), 'u');
            break;
        default:
            err_panic(__FILE__, __LINE__, "sim_trace: a conversion that is not known here");
        }
    }
}

static void trace_print(const char *format, va_list ap)
{
    int64_t t = sim_now_us();
    fprintf(stderr, "[%3lld.%06lld %u %-12s] ", (long long)(t / SIM_S), (long long)(t % SIM_S),
            sim_host_index(sim_host_now()), co_now ? co_now->name : "-");
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
}

void sim_trace(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    sim_trace_mix((uint64_t)sim_now_us(), sim_host_index(sim_host_now()));
    arguments_mix(format, ap);
    va_end(ap);
    if (!sim_trace_on)
        return;
    va_start(ap, format);
    trace_print(format, ap);
    va_end(ap);
}
