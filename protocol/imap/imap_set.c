#include "protocol/imap/imap_set.h"

#include <stdlib.h>

void imap_cursor_init(struct imap_cursor *c, const struct uid_set *map, const struct uid_set *want)
{
    *c = (struct imap_cursor){.map = map, .want = want};
}

bool imap_cursor_next(struct imap_cursor *c)
{
    uint64_t next = (uint64_t)c->uid + 1;
    for (;;) {
        while (c->i < c->map->n && c->map->ranges[c->i].last < next) {
            c->before += (uint64_t)c->map->ranges[c->i].last - c->map->ranges[c->i].first + 1;
            c->i++;
        }
        while (c->j < c->want->n && c->want->ranges[c->j].last < next)
            c->j++;
        if (c->i == c->map->n || c->j == c->want->n)
            return false;
        struct uid_range m = c->map->ranges[c->i], w = c->want->ranges[c->j];
        uint64_t low = next;
        if (low < m.first)
            low = m.first;
        if (low < w.first)
            low = w.first;
        if (low <= m.last && low <= w.last) {
            c->uid = (uint32_t)low;
            c->seq = (uint32_t)(c->before + (low - m.first) + 1);
            return true;
        }
        next = low;
    }
}

void imap_set_intersect(const struct uid_set *a, const struct uid_set *b, struct uid_set *out)
{
    for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
        struct uid_range x = a->ranges[i], y = b->ranges[j];
        uint32_t first = x.first > y.first ? x.first : y.first, last = x.last < y.last ? x.last : y.last;
        if (first <= last)
            uid_set_add(out, first, last);
        if (x.last < y.last)
            i++;
        else
            j++;
    }
}

static int span_cmp(const void *a, const void *b)
{
    const struct imap_span *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* What the spans name, as one set of numbers: sorted first, as adding to the middle of a set moves all behind it. */
static void spans_gather(const struct imap_set *set, uint32_t top, struct uid_set *out)
{
    struct imap_span *spans = mem_alloc(set->n * sizeof *spans);
    for (size_t i = 0; i < set->n; i++) {
        uint32_t first = set->spans[i].first ? set->spans[i].first : top;
        uint32_t last = set->spans[i].last ? set->spans[i].last : top;
        spans[i] = first <= last ? (struct imap_span){first, last} : (struct imap_span){last, first};
    }
    qsort(spans, set->n, sizeof *spans, span_cmp);
    for (size_t i = 0; i < set->n; i++)
        if (spans[i].last > 0) /* "*" of an empty mailbox */
            uid_set_add(out, spans[i].first > 0 ? spans[i].first : 1, spans[i].last);
    mem_free(spans);
}

/* The UIDs that have these sequence numbers, in one walk over both. */
static void numbers_resolve(const struct uid_set *numbers, const struct uid_set *map, struct uid_set *out)
{
    uint64_t before = 0; /* UIDs in ranges of map before i */
    for (size_t i = 0, j = 0; i < map->n && j < numbers->n;) {
        struct uid_range m = map->ranges[i], want = numbers->ranges[j];
        uint64_t here = (uint64_t)m.last - m.first + 1;
        uint64_t low = want.first > before ? want.first - before : 1, high = want.last - before;
        if (low <= here && want.last > before)
            uid_set_add(out, (uint32_t)(m.first + low - 1), (uint32_t)(m.first + (high < here ? high : here) - 1));
        if (want.last <= before + here) {
            j++;
        } else {
            before += here;
            i++;
        }
    }
}

bool imap_set_resolve(const struct imap_set *set, bool uid, const struct uid_set *map, const struct uid_set *saved,
                      struct uid_set *out)
{
    if (set->saved) {
        imap_set_intersect(map, saved, out);
        return true;
    }
    struct uid_set want = {0};
    uint64_t count = uid_set_count(map);
    uint32_t top = uid ? (map->n ? map->ranges[map->n - 1].last : 0) : (uint32_t)count;
    spans_gather(set, top, &want);
    bool ok = uid || (want.n > 0 && want.ranges[want.n - 1].last <= count);
    if (ok && uid)
        imap_set_intersect(map, &want, out);
    else if (ok)
        numbers_resolve(&want, map, out);
    uid_set_close(&want);
    return ok;
}
