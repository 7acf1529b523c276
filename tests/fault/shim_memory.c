#include "tests/fault/shim.h"

#include <errno.h>
#include <stdlib.h>

/* Allocations that fail, the libraries' own too. The C library's allocator keeps its memory; only what is asked of it
 * is counted. Before the shim has started (and while it does) everything is given. */
#define EXPORT __attribute__((visibility("default")))

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static bool lacks(const char *name)
{
    if (!shim_active() || !(control->calls & 1u << CALL_MEMORY) || point(CALL_MEMORY, name) != FATE_FAIL)
        return false;
    errno = ENOMEM;
    return true;
}

EXPORT void *malloc(size_t n)
{
    return lacks("malloc") ? NULL : __libc_malloc(n);
}

EXPORT void *calloc(size_t n, size_t size)
{
    return lacks("calloc") ? NULL : __libc_calloc(n, size);
}

EXPORT void *realloc(void *p, size_t n)
{
    return lacks("realloc") ? NULL : __libc_realloc(p, n);
}
