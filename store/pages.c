/* The file as a whole: meta pages, and that nothing is left over. */
#include "store/pages_impl.h"

#include "node/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_TRIES = 3, META_SIZE = 136, META_VERSION = 1, INTEGER_KEY = 8, STEP_PAGES = 1024, AHEAD_BYTES = 128 << 10 };
static const uint32_t meta_magic = 0xBEEFC0DE;
/* Pages that were taken and given back before they were ever written lie behind the file's end. */
static const uint64_t unwritten_max = 1 << 16;

struct meta {
    uint64_t last, txn;
    struct db free, tables;
};

int damage(struct walk *w, uint64_t page, const char *what)
{
    return err_set(w->e, ERR_CORRUPT, "page %llu: %s", (unsigned long long)page, what);
}

/* One read that fails may be anything; what cannot be read again and again is gone. */
int bytes_read(struct walk *w, uint8_t *out, size_t n, uint64_t at, uint64_t page)
{
    size_t have = 0;
    for (unsigned tries = 0; have < n;) {
        ssize_t got = pread(w->fd, out + have, n - have, (off_t)(at + have));
        if (got > 0)
            have += (size_t)got;
        else if (got == 0)
            return damage(w, page, "behind the end of the file");
        else if (errno != EINTR && errno != EIO)
            return err_set(w->e, ERR_IO, "read: %s", strerror(errno));
        else if (errno == EIO && ++tries == READ_TRIES)
            return damage(w, page, "cannot be read");
    }
    return 0;
}

int page_take(struct walk *w, uint64_t page)
{
    if (page < 2 || page > w->last)
        return damage(w, page, "no such page");
    uint8_t bit = (uint8_t)(1u << page % 8);
    if (w->seen[page / 8] & bit)
        return damage(w, page, "used twice");
    w->seen[page / 8] |= bit;
    w->done++;
    const struct store_watch *watch = w->c->watch;
    if (watch && w->done - w->stepped >= STEP_PAGES) {
        w->stepped = w->done;
        if (!watch->step(watch->arg, w->done, w->last + 1))
            return err_set(w->e, ERR_CANCELED, "stopped");
    }
    return 0;
}

void db_read(const uint8_t *p, struct db *db_r)
{
    *db_r = (struct db){.pad = u32_at(p),
                        .flags = u16_at(p + 4),
                        .depth = u16_at(p + 6),
                        .branches = u64_at(p + 8),
                        .leaves = u64_at(p + 16),
                        .overflows = u64_at(p + 24),
                        .entries = u64_at(p + 32),
                        .root = u64_at(p + 40)};
}

/* ---- meta pages: page header, magic u32, version u32, address u64, map size u64, the free list's tree and the tree of
 * tables, last page u64, transaction u64. The page size is in the first tree's pad. ---- */

static int meta_read(struct walk *w, unsigned slot, struct meta *m_r)
{
    uint8_t raw[PAGE_HEADER + META_SIZE];
    const uint8_t *p = raw + PAGE_HEADER;
    int rc = bytes_read(w, raw, sizeof raw, (uint64_t)slot * w->page_size, slot);
    if (rc)
        return rc;
    if (u64_at(raw) != slot || u16_at(raw + 10) != PAGE_META || u32_at(p) != meta_magic)
        return damage(w, slot, "no meta page");
    if (u32_at(p + 4) != META_VERSION)
        return damage(w, slot, "a meta page of another version");
    db_read(p + 24, &m_r->free);
    db_read(p + 72, &m_r->tables);
    m_r->last = u64_at(p + 120);
    m_r->txn = u64_at(p + 128);
    unsigned size = m_r->free.pad;
    if (slot == 0 && (size < PAGE_SIZE_MIN || size > PAGE_SIZE_MAX || (size & (size - 1))))
        return damage(w, slot, "no size of pages");
    if (slot == 0)
        w->page_size = size;
    if (m_r->free.flags != INTEGER_KEY || m_r->tables.flags != 0 || m_r->tables.pad != 0 || size != w->page_size)
        return damage(w, slot, "a meta page that LMDB did not write");
    return 0;
}

/* LMDB writes the meta pages in turn, and takes the newer one; a new file has two of transaction 0. */
static int meta_newest(struct walk *w, const struct meta m[2], const struct meta **m_r)
{
    unsigned newer = m[1].txn > m[0].txn;
    bool fresh = m[0].txn == 0 && m[1].txn == 0;
    if (!fresh && (m[newer].txn != m[!newer].txn + 1 || m[newer].txn % 2 != newer))
        return damage(w, newer, "transactions out of turn");
    *m_r = &m[newer];
    return 0;
}

static int meta_choose(struct walk *w, struct meta *m_r)
{
    struct meta m[2];
    const struct meta *chosen = &m[w->c->txn % 2];
    int rc = meta_read(w, 0, &m[0]);
    if (rc == 0)
        rc = meta_read(w, 1, &m[1]);
    if (rc == 0 && !w->c->live)
        rc = meta_newest(w, m, &chosen);
    if (rc == 0 && w->c->live && chosen->txn != w->c->txn)
        rc = err_set(w->e, ERR_STALE, "written over");
    if (rc == 0)
        *m_r = *chosen;
    return rc;
}

/* ---- the whole ---- */

/* Sorted trees lie scattered in the file: what fits into memory is fetched in its own order. */
static void read_ahead(const struct walk *w)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    off_t end = (off_t)(w->file_pages * w->page_size);
    if (w->c->live || pages <= 0 || size <= 0 || end > (off_t)pages * size / 2)
        return;
    for (off_t at = 0; at < end; at += AHEAD_BYTES) /* Linux takes no more than that at a time */
        (void)posix_fadvise(w->fd, at, AHEAD_BYTES, POSIX_FADV_WILLNEED);
}

static int whole(struct walk *w, const struct meta *m)
{
    int rc = tree_walk(w, TREE_TABLES, -1, &m->tables);
    if (rc == 0)
        rc = tree_walk(w, TREE_FREE, -1, &m->free);
    if (rc == 0 && w->done + 2 != w->last + 1)
        rc = damage(w, w->last, "pages before it belong to nothing");
    return rc;
}

int pages_check(int fd, const struct pages_check *c, struct err_detail *e)
{
    struct walk w = {.c = c, .e = e, .fd = fd};
    struct meta m;
    struct stat st;
    int rc = meta_choose(&w, &m);
    if (rc)
        return rc;
    if (fstat(fd, &st))
        return err_set(e, err_from_errno(errno), "%s", strerror(errno));
    w.file_pages = (uint64_t)st.st_size / w.page_size;
    w.last = m.last;
    w.txn = m.txn;
    if (m.last < 1 || m.last > 2 * w.file_pages + unwritten_max)
        return damage(&w, m.txn % 2, "more pages than the file can have");
    read_ahead(&w);
    w.seen = mem_zalloc(w.last / 8 + 1);
    rc = whole(&w, &m);
    for (unsigned i = 0; i < LEVELS_MAX; i++)
        mem_free(w.level[i]);
    mem_free(w.seen);
    buf_close(&w.value);
    return rc;
}
