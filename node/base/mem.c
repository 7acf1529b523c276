#include "node/base/mem.h"

#include "node/base/err.h"
#include "node/base/log.h"

#include <stdlib.h>
#include <unistd.h>

enum { EXIT_LACKING = 70 }; /* EX_SOFTWARE, as for failing storage: start again */

/* Without asking for more memory to do it. */
_Noreturn void mem_lacking(size_t n)
{
    log_without_memory("out of memory", "octets", n);
    _exit(EXIT_LACKING);
}

void *mem_alloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p)
        mem_lacking(n);
    return p;
}

void *mem_zalloc(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p)
        mem_lacking(n);
    return p;
}

void *mem_realloc(void *p, size_t n)
{
    p = realloc(p, n ? n : 1);
    if (!p)
        mem_lacking(n);
    return p;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(slice_str(s));
}

char *mem_strndup(struct slice s)
{
    char *p = mem_alloc(s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

void mem_free(void *p)
{
    free(p);
}

void mem_wipe(void *p, size_t n)
{
    if (n)
        explicit_bzero(p, n);
}

struct bytes *bytes_new(size_t n)
{
    ENSURE(n <= SIZE_MAX - sizeof(struct bytes));
    struct bytes *b = mem_alloc(sizeof *b + n);
    atomic_init(&b->refs, 1);
    b->n = n;
    return b;
}

struct bytes *bytes_copy(struct slice s)
{
    struct bytes *b = bytes_new(s.n);
    if (s.n)
        memcpy(b->p, s.p, s.n);
    return b;
}

struct bytes *bytes_ref(struct bytes *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void bytes_unref(struct bytes **b)
{
    struct bytes *p = *b;
    *b = NULL;
    if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        mem_free(p);
}

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    _Alignas(16) uint8_t p[];
};
enum { ARENA_BLOCK = 4096 - 64 };

void *arena_alloc(struct arena *a, size_t n)
{
    ENSURE(n <= SIZE_MAX / 2);
    n = (n + 15) & ~(size_t)15;
    struct arena_block *b = a->block;
    if (!b || n > b->cap - b->used) {
        size_t cap = n > ARENA_BLOCK ? n : ARENA_BLOCK;
        b = mem_alloc(sizeof *b + cap);
        b->used = 0;
        b->cap = cap;
        b->next = a->block;
        a->block = b;
    }
    void *p = b->p + b->used;
    b->used += n;
    a->total += n;
    return memset(p, 0, n);
}

struct slice arena_copy(struct arena *a, struct slice s)
{
    uint8_t *p = arena_alloc(a, s.n);
    if (s.n)
        memcpy(p, s.p, s.n);
    return (struct slice){p, s.n};
}

char *arena_str(struct arena *a, struct slice s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return p;
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = NULL;
    for (struct arena_block *b = a->block, *next; b; b = next) {
        next = b->next;
        if (!keep && b->cap == ARENA_BLOCK)
            keep = b;
        else
            mem_free(b);
    }
    if (keep) {
        keep->next = NULL;
        keep->used = 0;
    }
    a->block = keep;
    a->total = 0;
}

void arena_close(struct arena *a)
{
    arena_reset(a);
    mem_free(a->block);
    *a = (struct arena){0};
}
