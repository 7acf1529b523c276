/* One tree: its pages, nodes and records, and the list of free pages.
 *
 *   page    number u64, pad u16, flags u16, lower u16, upper u16 (overflow: pages u32), then an offset u16 for each
 * node, in the order of keys, up to lower; nodes lie without gaps from upper to the end, in any order node    low u16,
 * high u16, flags u16, key length u16, key, data; padded to even branch: low, high and flags are the child's page
 * number; the first node's key counts as lowest leaf: low and high are the data's length; flags: data is an overflow
 * page's number, or a tree free    transaction u64 -> n u64, n page numbers u64, descending; room behind them may be
 * left over */
#include "store/pages_impl.h"

#include "node/base/mem.h"

enum { NODE_HEADER = 8, NODE_OVERFLOW = 1, NODE_TREE = 2, KEY_MAX_LMDB = 511 };

struct tree {
    enum tree_kind kind;
    int table;
    const struct db *db;
    struct db counted;
};

struct node {
    unsigned flags;
    uint64_t child; /* branch */
    size_t n;       /* leaf: length of the data, wherever it is */
    struct slice key;
    const uint8_t *data;
};

static int order(const struct tree *t, struct slice a, struct slice b)
{
    if (t->kind != TREE_FREE)
        return slice_cmp(a, b);
    uint64_t x = u64_at(a.p), y = u64_at(b.p);
    return x < y ? -1 : x > y;
}

/* ---- nodes ---- */

/* Bytes of the node at p, of which `room` are in the page; 0: they are not. */
static size_t node_size(const uint8_t *p, size_t room, bool leaf)
{
    if (room < NODE_HEADER)
        return 0;
    size_t n = NODE_HEADER + (size_t)u16_at(p + 6);
    if (leaf)
        n += u16_at(p + 4) & NODE_OVERFLOW ? 8 : u16_at(p) | (size_t)u16_at(p + 2) << 16;
    n += n & 1;
    return n <= room ? n : 0;
}

static struct node node_read(const uint8_t *page, unsigned i)
{
    const uint8_t *p = page + u16_at(page + PAGE_HEADER + 2 * i);
    struct node n = {.flags = u16_at(p + 4), .n = u16_at(p) | (size_t)u16_at(p + 2) << 16};
    n.child = (uint64_t)n.n | (uint64_t)n.flags << 32;
    n.key = slice_make(p + NODE_HEADER, u16_at(p + 6));
    n.data = n.key.p + n.key.n;
    return n;
}

/* The offsets name each node once, and nodes fill the page up to its end. */
static int layout_check(struct walk *w, const uint8_t *p, uint64_t number, unsigned *n_r)
{
    unsigned lower = u16_at(p + 12), upper = u16_at(p + 14), n, chained = 0;
    uint8_t starts[PAGE_SIZE_MAX / 2 / 8];
    bool leaf = u16_at(p + 10) == PAGE_LEAF;
    memset(starts, 0, w->page_size / 16);
    if (lower < PAGE_HEADER || lower > upper || upper > w->page_size || lower % 2 || upper % 2)
        return damage(w, number, "bounds");
    *n_r = n = (lower - PAGE_HEADER) / 2;
    for (unsigned i = 0; i < n; i++) {
        unsigned at = u16_at(p + PAGE_HEADER + 2 * i);
        uint8_t bit = (uint8_t)(1u << at / 2 % 8);
        if (at < upper || at >= w->page_size || at % 2 || starts[at / 16] & bit)
            return damage(w, number, "offset of a node");
        starts[at / 16] |= bit;
    }
    for (size_t at = upper; at < w->page_size; chained++) {
        size_t size = node_size(p + at, w->page_size - at, leaf);
        if (size == 0 || !(starts[at / 16] >> at / 2 % 8 & 1))
            return damage(w, number, "a node");
        at += size;
    }
    return chained == n ? 0 : damage(w, number, "number of nodes");
}

/* ---- records ---- */

static int free_record(struct walk *w, uint64_t page, struct slice key, struct slice value)
{
    uint64_t txn = u64_at(key.p), n, above = w->last + 1;
    if (txn < 1 || txn > w->txn || value.n % 8 || value.n < 8 || (n = u64_at(value.p)) > value.n / 8 - 1)
        return damage(w, page, "record of free pages");
    for (uint64_t i = 1; i <= n; i++) {
        uint64_t freed = u64_at(value.p + 8 * i);
        if (freed >= above)
            return damage(w, page, "order of free pages");
        int rc = page_take(w, above = freed);
        if (rc)
            return rc;
    }
    return 0;
}

static int table_record(struct walk *w, uint64_t page, struct slice key, struct slice value)
{
    struct db db;
    if (value.n != DB_SIZE)
        return damage(w, page, "record of a table");
    db_read(value.p, &db);
    int table = w->c->table(w->c->arg, key);
    if (table < 0 && db.entries > 0)
        return damage(w, page, "records in a table of no known name");
    if (db.flags != 0 || db.pad != 0)
        return damage(w, page, "kind of a table");
    return tree_walk(w, TREE_TABLE, table, &db);
}

static int overflow_read(struct walk *w, struct tree *t, const struct node *n, struct slice *value_r)
{
    uint64_t first = u64_at(n->data), needed = (PAGE_HEADER - 1 + (uint64_t)n->n) / w->page_size + 1;
    uint8_t head[PAGE_HEADER];
    if (first >= w->file_pages || needed > w->file_pages - first)
        return damage(w, first, "no such page");
    int rc = bytes_read(w, head, sizeof head, first * w->page_size, first);
    if (rc)
        return rc;
    uint64_t pages = u32_at(head + 12);
    if (u64_at(head) != first || u16_at(head + 10) != PAGE_OVERFLOW || pages < needed || pages > w->last)
        return damage(w, first, "overflow page");
    for (uint64_t i = 0; i < pages; i++)
        if ((rc = page_take(w, first + i)))
            return rc;
    t->counted.overflows += pages;
    buf_clear(&w->value);
    rc = bytes_read(w, buf_reserve(&w->value, n->n ? n->n : 1), n->n, first * w->page_size + PAGE_HEADER, first);
    if (rc)
        return rc;
    buf_commit(&w->value, n->n);
    *value_r = buf_slice(&w->value);
    return 0;
}

static int record_check(struct walk *w, struct tree *t, uint64_t page, const struct node *n)
{
    struct slice value = slice_make(n->data, n->n);
    bool overflow = n->flags == NODE_OVERFLOW;
    t->counted.entries++;
    if (n->flags != (t->kind == TREE_TABLES ? NODE_TREE : 0) && !(overflow && t->kind != TREE_TABLES))
        return damage(w, page, "kind of a node");
    int rc = overflow ? overflow_read(w, t, n, &value) : 0;
    if (rc)
        return rc;
    if (t->kind == TREE_FREE)
        return free_record(w, page, n->key, value);
    if (t->kind == TREE_TABLES)
        return table_record(w, page, n->key, value);
    return w->c->record(w->c->arg, t->table, n->key, value) ? 0 : damage(w, page, "a record");
}

/* ---- pages ---- */

/* Where keys of a page may lie: low <= key < high. NULL: no bound. */
struct bounds {
    const struct slice *low, *high;
};

static int key_check(struct walk *w, const struct tree *t, uint64_t page, struct slice key, const struct slice *before,
                     const struct bounds *b)
{
    if (t->kind == TREE_FREE ? key.n != 8 : key.n == 0 || key.n > KEY_MAX_LMDB)
        return damage(w, page, "length of a key");
    if ((before && order(t, *before, key) >= 0) || (b->low && order(t, key, *b->low) < 0) ||
        (b->high && order(t, key, *b->high) >= 0))
        return damage(w, page, "order of keys");
    return 0;
}

static int page_walk(struct walk *w, struct tree *t, uint64_t number, unsigned depth, struct bounds b);

static int leaf_walk(struct walk *w, struct tree *t, const uint8_t *p, uint64_t number, unsigned n, struct bounds b)
{
    struct slice before;
    int rc = n ? 0 : damage(w, number, "an empty leaf");
    t->counted.leaves++;
    for (unsigned i = 0; i < n && rc == 0; i++) {
        struct node node = node_read(p, i);
        rc = key_check(w, t, number, node.key, i ? &before : NULL, &b);
        if (rc == 0)
            rc = record_check(w, t, number, &node);
        before = node.key;
    }
    return rc;
}

static int branch_walk(struct walk *w, struct tree *t, const uint8_t *p, uint64_t number, unsigned n, unsigned depth,
                       struct bounds b)
{
    /* While LMDB rearranges its list of free pages, a branch of that may have a single child. */
    int rc = n >= (t->kind == TREE_FREE ? 1 : 2) ? 0 : damage(w, number, "a branch without children");
    struct node node, next = {.n = 0};
    t->counted.branches++;
    if (rc == 0)
        next = node_read(p, 0);
    for (unsigned i = 0; i < n && rc == 0; i++) {
        struct bounds inner = b;
        node = next;
        if (i > 0)
            inner.low = &node.key;
        if (i + 1 < n) {
            next = node_read(p, i + 1);
            rc = key_check(w, t, number, next.key, i > 0 ? &node.key : NULL, &b);
            inner.high = &next.key;
        }
        if (rc == 0)
            rc = page_walk(w, t, node.child, depth + 1, inner);
    }
    return rc;
}

static int page_walk(struct walk *w, struct tree *t, uint64_t number, unsigned depth, struct bounds b)
{
    unsigned n = 0;
    int rc = w->levels < LEVELS_MAX ? page_take(w, number) : damage(w, number, "too deep");
    if (rc)
        return rc;
    uint8_t **level = &w->level[w->levels++];
    if (!*level)
        *level = mem_alloc(w->page_size);
    const uint8_t *p = *level;
    bool leaf = depth == t->db->depth;
    rc = bytes_read(w, *level, w->page_size, number * w->page_size, number);
    if (rc == 0 && (u64_at(p) != number || u16_at(p + 10) != (leaf ? PAGE_LEAF : PAGE_BRANCH)))
        rc = damage(w, number, leaf ? "no leaf" : "no branch");
    if (rc == 0)
        rc = layout_check(w, p, number, &n);
    if (rc == 0)
        rc = leaf ? leaf_walk(w, t, p, number, n, b) : branch_walk(w, t, p, number, n, depth, b);
    w->levels--;
    return rc;
}

int tree_walk(struct walk *w, enum tree_kind kind, int table, const struct db *db)
{
    struct tree t = {.kind = kind, .table = table, .db = db};
    const struct db *c = &t.counted;
    bool empty = db->root == ROOT_NONE;
    if (db->depth > DEPTH_MAX || (db->depth == 0) != empty)
        return damage(w, empty ? 0 : db->root, "depth of a tree");
    int rc = empty ? 0 : page_walk(w, &t, db->root, 1, (struct bounds){NULL, NULL});
    if (rc == 0 && (c->branches != db->branches || c->leaves != db->leaves || c->overflows != db->overflows ||
                    c->entries != db->entries))
        rc = damage(w, empty ? 0 : db->root, "counts of a tree");
    return rc;
}
