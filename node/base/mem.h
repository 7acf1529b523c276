/* Heap: allocations of ours never return NULL; running out of memory ends the process, which restarts and rejoins. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "node/base/slice.h"

#include <stdatomic.h>

void *mem_alloc(size_t n);  /* uninitialised */
void *mem_zalloc(size_t n); /* zeroed */
void *mem_realloc(void *p, size_t n);
char *mem_strdup(const char *s);
char *mem_strndup(struct slice s); /* adds a NUL */
void mem_free(void *p);
/* A library could not allocate n octets (0: not known): says so and ends the process. */
_Noreturn void mem_lacking(size_t n);
/* For secrets: not elided by the compiler. */
void mem_wipe(void *p, size_t n);

/* Immutable bytes shared between threads by counting references. Fill them before the first share. */
struct bytes {
    _Atomic uint32_t refs;
    size_t n;
    uint8_t p[];
};
struct bytes *bytes_new(size_t n); /* one reference, contents uninitialised */
struct bytes *bytes_copy(struct slice s);
struct bytes *bytes_ref(struct bytes *b);
void bytes_unref(struct bytes **b); /* NULL is fine; nulls the caller's pointer */
static inline struct slice bytes_slice(const struct bytes *b)
{
    return b ? (struct slice){b->p, b->n} : (struct slice){NULL, 0};
}

/* An arena: many small allocations, freed together. One thread. All zero is an empty one. */
struct arena_block;
struct arena {
    struct arena_block *block;
    size_t total; /* bytes handed out since the last reset */
};
void *arena_alloc(struct arena *a, size_t n); /* 16-byte aligned, zeroed */
struct slice arena_copy(struct arena *a, struct slice s);
char *arena_str(struct arena *a, struct slice s); /* adds a NUL */
void arena_reset(struct arena *a);                /* frees all but one block */
void arena_close(struct arena *a);

#endif
