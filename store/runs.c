#include "store/state.h"

/* The UIDs that a mailbox has, as ranges, RUNS_MAX a record, under the first UID of the record: SELECT reads these
 * alone, and a change rewrites one record, however fragmented the mailbox. */

static void runs_put(struct store *s, uint64_t mailbox, const struct uid_range *ranges, size_t n)
{
    struct key k;
    struct buf *b = batch_value(s);
    record_runs_write(b, ranges, n);
    batch_put(s, TABLE_RUNS, key_uid(&k, mailbox, ranges[0].first), buf_slice(b));
}

/* The record that holds uid, or would: the last one that starts at or before it. */
static bool runs_at(struct store *s, uint64_t mailbox, uint32_t uid, struct uid_range *ranges, size_t *n_r)
{
    struct key k;
    struct slice key, v;
    /* The key after (mailbox, uid), also when uid is the largest. */
    struct slice after = key_uid(&k, uid == UINT32_MAX ? mailbox + 1 : mailbox, uid + 1);
    if (!batch_before(s, TABLE_RUNS, after, &key, &v) || get_be64(key.p) != mailbox)
        return false;
    if (record_runs_read(v, ranges, n_r))
        return true;
    batch_fail(s, ERR_CORRUPT, "runs", 0);
    return false;
}

void batch_runs_append(struct store *s, uint64_t mailbox, uint32_t first, uint32_t last)
{
    struct uid_range ranges[RUNS_MAX];
    struct uid_range added = {first, last};
    size_t n = 0;
    if (!runs_at(s, mailbox, UINT32_MAX, ranges, &n)) {
        runs_put(s, mailbox, &added, 1);
        return;
    }
    if (ranges[n - 1].last + 1 == first) {
        ranges[n - 1].last = last;
        runs_put(s, mailbox, ranges, n);
    } else if (n < RUNS_MAX) {
        ranges[n] = added;
        runs_put(s, mailbox, ranges, n + 1);
    } else {
        runs_put(s, mailbox, &added, 1);
    }
}

/* Writes the ranges that a record has now, in two records when they are too many. */
static void runs_replace(struct store *s, uint64_t mailbox, uint32_t old_first, const struct uid_set *set)
{
    struct key k;
    if (set->n == 0 || set->ranges[0].first != old_first)
        batch_del(s, TABLE_RUNS, key_uid(&k, mailbox, old_first));
    if (set->n == 0)
        return;
    size_t left = set->n > RUNS_MAX ? set->n / 2 : set->n;
    runs_put(s, mailbox, set->ranges, left);
    if (left < set->n)
        runs_put(s, mailbox, set->ranges + left, set->n - left);
}

/* From the back, so that each step finds its record by the last UID left to remove. */
void batch_runs_remove(struct store *s, uint64_t mailbox, uint32_t first, uint32_t last)
{
    struct uid_range ranges[RUNS_MAX];
    size_t n = 0;
    while (runs_at(s, mailbox, last, ranges, &n)) {
        struct uid_set set = {0};
        uint32_t start = ranges[0].first;
        for (size_t i = 0; i < n; i++)
            uid_set_add(&set, ranges[i].first, ranges[i].last);
        uid_set_remove(&set, first, last);
        runs_replace(s, mailbox, start, &set);
        uid_set_close(&set);
        if (start <= first)
            return;
        last = start - 1;
    }
}
