/* What every part of the test needs: time, random numbers, memory and texts that grow. It links nothing of Merlion,
 * so that a fault of the server's own code cannot hide itself. */
#ifndef MERLION_JEPSEN_UTIL_H
#define MERLION_JEPSEN_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/* Steady clock of this machine: the one order of all events. */
uint64_t now_ns(void);
void sleep_ms(unsigned ms);

/* The test itself cannot go on: says why and ends the process with 2; children die with it. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line for people on standard error, with the seconds since the start. Any thread. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

void *xrealloc(void *p, size_t n);
void *xzalloc(size_t n);
char *xstrdup(const char *s);

/* splitmix64: small and the same everywhere. */
struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *r);
unsigned rng_below(struct rng *r, unsigned n); /* n > 0 */

/* Whether the name is one of those in the list, which has commas between them. */
bool name_in(const char *name, const char *list);

uint64_t fnv64(uint64_t h, const void *bytes, size_t n);
#define FNV64_START UINT64_C(0xcbf29ce484222325)

/* Bytes with a NUL after them. */
struct text {
    char *p;
    size_t n, room;
};
void text_append(struct text *t, const void *bytes, size_t n);
void text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_clear(struct text *t);
void text_free(struct text *t);

#endif
