/* What the parts of a scrub share: one pass over one view, findings logged and counted. One thread. */
#ifndef STORE_SCRUB_H
#define STORE_SCRUB_H

#include "store/env.h"

struct scrub {
    struct store_view *v;
    struct buf scratch;
    struct sum128 digest;
    uint64_t references; /* sum over what refers to bodies minus sum over contents: must be 0 */
    uint64_t accounts, mailboxes, named, messages, bodies, body_bytes;
    uint64_t expected_marks, expected_expunges;
    unsigned findings;
};
void scrub_expect(struct scrub *c, bool holds, const char *what, uint64_t id);
void scrub_finding(struct scrub *c, const char *what, uint64_t id);
/* One reference to a body of that size, as a number to add up. */
uint64_t scrub_reference(struct scrub *c, const struct body_hash *hash, uint64_t size);
uint64_t scrub_count(struct scrub *c, enum table t); /* records */

/* scrub_queue.c */
void scrub_queue(struct scrub *c);

#endif
