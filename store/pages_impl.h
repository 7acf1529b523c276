/* Between pages.c and pages_tree.c. The layout is LMDB's, in the byte order of the machine that wrote it. */
#ifndef STORE_PAGES_IMPL_H
#define STORE_PAGES_IMPL_H

#include "node/base/buf.h"
#include "store/pages.h"

enum {
    PAGE_HEADER = 16,
    PAGE_SIZE_MIN = 512,
    PAGE_SIZE_MAX = 32768,
    PAGE_BRANCH = 1,
    PAGE_LEAF = 2,
    PAGE_OVERFLOW = 4,
    PAGE_META = 8,
    DEPTH_MAX = 32,            /* LMDB's cursors go no deeper */
    LEVELS_MAX = 2 * DEPTH_MAX /* a table's tree below the tree of tables */
};

/* A tree's record: in the meta page, or the value of its name. */
enum { DB_SIZE = 48 };
struct db {
    uint32_t pad;
    uint16_t flags, depth;
    uint64_t branches, leaves, overflows, entries, root;
};
static const uint64_t ROOT_NONE = UINT64_MAX;

enum tree_kind { TREE_FREE, TREE_TABLES, TREE_TABLE };

struct walk {
    const struct pages_check *c;
    struct err_detail *e;
    int fd;
    unsigned page_size;
    uint64_t last, txn, file_pages;
    uint8_t *seen; /* a bit a page */
    uint64_t done; /* pages seen */
    uint64_t stepped;
    uint8_t *level[LEVELS_MAX]; /* a page for each level of the walk */
    unsigned levels;            /* in use */
    struct buf value;           /* of an overflow record */
};

int damage(struct walk *w, uint64_t page, const char *what);
/* n bytes at a place of the file. */
int bytes_read(struct walk *w, uint8_t *out, size_t n, uint64_t at, uint64_t page);
/* The page belongs to what is being read, and to nothing else. */
int page_take(struct walk *w, uint64_t page);
void db_read(const uint8_t *p, struct db *db_r);
int tree_walk(struct walk *w, enum tree_kind kind, int table, const struct db *db);

static inline uint16_t u16_at(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t u32_at(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t u64_at(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

#endif
