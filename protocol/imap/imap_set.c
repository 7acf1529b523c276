#include "protocol/imap/imap_set.h"

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
    bool ok = true;
    for (size_t i = 0; i < set->n && ok; i++) {
        uint32_t first = set->spans[i].first ? set->spans[i].first : top;
        uint32_t last = set->spans[i].last ? set->spans[i].last : top;
        if (first > last) {
            uint32_t swap = first;
            first = last;
            last = swap;
        }
        if (!uid) {
            ok = first > 0 && last <= count;
            first = ok ? uid_set_at(map, first) : 0;
            last = ok ? uid_set_at(map, last) : 0;
        }
        if (ok && last > 0)
            uid_set_add(&want, first > 0 ? first : 1, last);
    }
    if (ok)
        imap_set_intersect(map, &want, out);
    uid_set_close(&want);
    return ok;
}
