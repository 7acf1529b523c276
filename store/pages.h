/* Is an LMDB file whole? LMDB trusts its pages: damaged ones make it crash, loop, miss keys, or write over pages that
 * are in use, and it has no checksums. This reads a file of its format (data version 1, as all of 0.9) page by page,
 * believing nothing, and never through LMDB or a map: no bytes of the file can crash it or keep it from ending.
 *
 * Checked: both meta pages; every tree (numbers, kinds and layout of pages, order of keys within the bounds that
 * branches give, depth, counts); overflow pages; the list of free pages; and that each page of the file belongs to
 * exactly one of these. What lies in the records is the caller's to check: a damaged byte of a key that keeps the
 * order, or of a value, goes unnoticed here. */
#ifndef STORE_PAGES_H
#define STORE_PAGES_H

#include "node/base/err.h"
#include "node/base/slice.h"
#include "store/watch.h"

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

struct pages_check {
    void *arg;
    /* The number of the table of that name; negative: no such one may have records. */
    int (*table)(void *arg, struct slice name);
    /* Each record, in the order of keys within a table; slices are valid during the call. false: it is damaged. */
    bool (*record)(void *arg, int table, struct slice key, struct slice value);
    const struct store_watch *watch; /* may be NULL; stopped: ERR_CANCELED */
    /* false: nobody has the file open; its newest snapshot is read. true: it is in use, and the caller holds a read
     * transaction of that number (mdb_txn_id), so that the pages of its snapshot stay. */
    bool live;
    uint64_t txn;
};

/* 0; ERR_CORRUPT with what and where in e; ERR_CANCELED; ERR_STALE (live: the snapshot's meta page was written over
 * before it was read: take a new one); ERR_IO when it cannot be told. A read that keeps failing with EIO is damage. Any
 * thread; memory: a bit for each page, and the largest record. */
int pages_check(int fd, const struct pages_check *c, struct err_detail *e);

/* The same for an environment; these set live and txn, and try again themselves. */
int pages_check_env(MDB_env *env, struct pages_check *c, struct err_detail *e);
/* live: another process has it open, maybe. A missing file is ERR_CORRUPT. */
int pages_check_folder(const char *path, bool live, struct pages_check *c, struct err_detail *e);

#endif
