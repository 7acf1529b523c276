/* Sorted, disjoint, non-adjacent ranges of UIDs: the form in which sets of messages travel everywhere. */
#ifndef BASE_UIDSET_H
#define BASE_UIDSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uid_range {
    uint32_t first, last; /* both in; first <= last; first > 0 */
};

struct uid_set {
    struct uid_range *ranges;
    size_t n, cap;
};

void uid_set_close(struct uid_set *s); /* all zero is an empty set */
/* Keeps the invariant, whatever the order of adding; appending in ascending order is O(1). */
void uid_set_add(struct uid_set *s, uint32_t first, uint32_t last);
/* Ranges in any order, overlapping or not; sorts them in place. Adding them one by one would move what is behind each.
 */
void uid_set_add_many(struct uid_set *s, struct uid_range *ranges, size_t n);
void uid_set_remove(struct uid_set *s, uint32_t first, uint32_t last);
/* All of what at once: linear in both, where removing range by range would move the rest each time. */
void uid_set_subtract(struct uid_set *s, const struct uid_set *what);
bool uid_set_has(const struct uid_set *s, uint32_t uid);
uint64_t uid_set_count(const struct uid_set *s);
/* The n-th UID in it, from 1; 0 when there are fewer. */
uint32_t uid_set_at(const struct uid_set *s, uint64_t n);
/* How many UIDs in it are <= uid: the sequence number of uid when uid is in it. */
uint64_t uid_set_rank(const struct uid_set *s, uint32_t uid);
void uid_set_copy(struct uid_set *to, const struct uid_set *from);

#endif
