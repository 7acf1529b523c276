#include "node/base/uidset.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <stdlib.h>
#include <string.h>

void uid_set_close(struct uid_set *s)
{
    mem_free(s->ranges);
    *s = (struct uid_set){0};
}

/* The first range whose last is >= uid; n when there is none. */
static size_t range_at(const struct uid_set *s, uint64_t uid)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->ranges[mid].last < uid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Replaces ranges [at, at + old) by `with` (n of them, at most 2). */
static void splice(struct uid_set *s, size_t at, size_t old, const struct uid_range *with, size_t n)
{
    if (s->n - old + n > s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4;
        s->ranges = mem_realloc(s->ranges, s->cap * sizeof *s->ranges);
    }
    memmove(s->ranges + at + n, s->ranges + at + old, (s->n - at - old) * sizeof *s->ranges);
    if (n)
        memcpy(s->ranges + at, with, n * sizeof *with);
    s->n = s->n - old + n;
}

void uid_set_add(struct uid_set *s, uint32_t first, uint32_t last)
{
    ENSURE(first > 0 && first <= last);
    if (s->n && first > s->ranges[s->n - 1].last) { /* ascending: the usual case */
        if (first - 1 == s->ranges[s->n - 1].last)
            s->ranges[s->n - 1].last = last;
        else
            splice(s, s->n, 0, &(struct uid_range){first, last}, 1);
        return;
    }
    size_t from = range_at(s, (uint64_t)first - 1), to = from; /* touching ranges merge */
    struct uid_range merged = {first, last};
    while (to < s->n && s->ranges[to].first <= (uint64_t)last + 1) {
        if (s->ranges[to].first < merged.first)
            merged.first = s->ranges[to].first;
        if (s->ranges[to].last > merged.last)
            merged.last = s->ranges[to].last;
        to++;
    }
    splice(s, from, to - from, &merged, 1);
}

static int range_cmp(const void *a, const void *b)
{
    const struct uid_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

void uid_set_add_many(struct uid_set *s, struct uid_range *ranges, size_t n)
{
    struct uid_set both = {0};
    if (n == 0)
        return;
    qsort(ranges, n, sizeof *ranges, range_cmp);
    for (size_t i = 0, j = 0; i < s->n || j < n;) {
        bool ours = j == n || (i < s->n && s->ranges[i].first < ranges[j].first);
        const struct uid_range *r = ours ? &s->ranges[i++] : &ranges[j++];
        uid_set_add(&both, r->first, r->last);
    }
    uid_set_close(s);
    *s = both;
}

void uid_set_remove(struct uid_set *s, uint32_t first, uint32_t last)
{
    ENSURE(first > 0 && first <= last);
    size_t from = range_at(s, first), to = from;
    struct uid_range keep[2];
    size_t n = 0;
    while (to < s->n && s->ranges[to].first <= last) {
        struct uid_range r = s->ranges[to++];
        if (r.first < first)
            keep[n++] = (struct uid_range){r.first, first - 1};
        if (r.last > last)
            keep[n++] = (struct uid_range){last + 1, r.last};
    }
    if (to > from)
        splice(s, from, to - from, keep, n);
}

void uid_set_subtract(struct uid_set *s, const struct uid_set *what)
{
    struct uid_set left = {0};
    if (what->n == 0)
        return;
    for (size_t i = 0, j = 0; i < s->n; i++) {
        struct uid_range r = s->ranges[i];
        uint64_t at = r.first; /* what is before it is decided */
        while (j < what->n && what->ranges[j].last < at)
            j++;
        for (; at <= r.last && j < what->n && what->ranges[j].first <= r.last; j += at <= r.last) {
            if (what->ranges[j].first > at)
                uid_set_add(&left, (uint32_t)at, what->ranges[j].first - 1);
            at = (uint64_t)what->ranges[j].last + 1;
        }
        if (at <= r.last)
            uid_set_add(&left, (uint32_t)at, r.last);
    }
    uid_set_close(s);
    *s = left;
}

bool uid_set_has(const struct uid_set *s, uint32_t uid)
{
    size_t at = range_at(s, uid);
    return at < s->n && s->ranges[at].first <= uid;
}

uint64_t uid_set_count(const struct uid_set *s)
{
    uint64_t count = 0;
    for (size_t i = 0; i < s->n; i++)
        count += (uint64_t)s->ranges[i].last - s->ranges[i].first + 1;
    return count;
}

uint32_t uid_set_at(const struct uid_set *s, uint64_t n)
{
    if (n == 0)
        return 0;
    for (size_t i = 0; i < s->n; i++) {
        uint64_t here = (uint64_t)s->ranges[i].last - s->ranges[i].first + 1;
        if (n <= here)
            return (uint32_t)(s->ranges[i].first + (n - 1));
        n -= here;
    }
    return 0;
}

uint64_t uid_set_rank(const struct uid_set *s, uint32_t uid)
{
    uint64_t rank = 0;
    for (size_t i = 0; i < s->n && s->ranges[i].first <= uid; i++)
        rank += (uint64_t)(uid < s->ranges[i].last ? uid : s->ranges[i].last) - s->ranges[i].first + 1;
    return rank;
}

void uid_set_copy(struct uid_set *to, const struct uid_set *from)
{
    to->n = 0;
    for (size_t i = 0; i < from->n; i++)
        uid_set_add(to, from->ranges[i].first, from->ranges[i].last);
}
