/* Who watches a long reading of files. */
#ifndef STORE_WATCH_H
#define STORE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct store_watch {
    void *arg;
    bool (*step)(void *arg, uint64_t pages, uint64_t total); /* now and then; false: stop */
};

#endif
