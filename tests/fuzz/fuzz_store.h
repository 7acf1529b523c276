/* A store in a folder in memory, and nothing synced. */
#ifndef FUZZ_STORE_H
#define FUZZ_STORE_H

#include "store/store.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fuzz_store {
    struct store *store;
    char dir[64];
};

static inline void fuzz_store_open(struct fuzz_store *f)
{
    struct store_options o = {.map_size = 64 << 20, .no_sync = true, .readers_max = 4};
    struct err_detail e;
    snprintf(f->dir, sizeof(f->dir), "%s/merlion-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ENSURE(mkdtemp(f->dir));
    ENSURE(store_open(f->dir, &o, &f->store, &e) == 0);
}

static inline void fuzz_store_close(struct fuzz_store *f)
{
    static const char *const names[] = {"state/data.mdb", "state/lock.mdb", "state/mdb.dat", "state", ""};
    store_close(&f->store);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
        (void)remove(path);
    }
}

#endif
