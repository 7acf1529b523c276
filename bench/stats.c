#include "bench/stats.h"

#include <stdlib.h>
#include <string.h>

#include "bench/load.h"

static void reserve(struct stats *s, size_t more)
{
    if (s->count + more <= s->room)
        return;
    s->room = 2 * s->room + more;
    if (!(s->ms = realloc(s->ms, s->room * sizeof *s->ms)))
        load_fail("out of memory");
}

void stats_add(struct stats *s, double seconds)
{
    reserve(s, 1);
    s->ms[s->count++] = (float)(seconds * 1e3);
}

void stats_join(struct stats *s, const struct stats *from)
{
    reserve(s, from->count);
    if (from->count > 0)
        memcpy(s->ms + s->count, from->ms, from->count * sizeof *s->ms);
    s->count += from->count;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void stats_sort(struct stats *s)
{
    if (s->count > 0)
        qsort(s->ms, s->count, sizeof *s->ms, compare);
}

double stats_percentile(const struct stats *s, double part)
{
    if (s->count == 0)
        return 0;
    size_t at = (size_t)(part * (double)s->count);
    return (double)s->ms[at < s->count ? at : s->count - 1];
}

void stats_close(struct stats *s)
{
    free(s->ms);
    *s = (struct stats){0};
}
