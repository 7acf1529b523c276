/* Sets of messages: from what the client wrote to UIDs, and walking them with their sequence numbers. */
#ifndef IMAP_SET_H
#define IMAP_SET_H

#include "node/base/uidset.h"
#include "protocol/imap/imap_args.h"

/* Adds to out the UIDs of map that set names, by UID or by sequence number. saved is what "$" stands for.
 * false: a sequence number that does not exist (RFC 9051 section 9, seq-number). */
bool imap_set_resolve(const struct imap_set *set, bool uid, const struct uid_set *map, const struct uid_set *saved,
                      struct uid_set *out);
void imap_set_intersect(const struct uid_set *a, const struct uid_set *b, struct uid_set *out);

/* Walks the UIDs that are in both sets, ascending, with their sequence numbers in map. Linear in ranges over the whole
 * walk. The sets must not change meanwhile. */
struct imap_cursor {
    const struct uid_set *map, *want;
    size_t i, j;
    uint64_t before; /* UIDs in ranges of map before i */
    uint32_t uid;    /* result; 0 before the first */
    uint32_t seq;
};
void imap_cursor_init(struct imap_cursor *c, const struct uid_set *map, const struct uid_set *want);
bool imap_cursor_next(struct imap_cursor *c);

#endif
