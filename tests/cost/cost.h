/* How the cost of the protocol layer grows with its input. Cost is counted, not timed, so that a loaded machine changes
 * nothing: one for each basic block that runs in node/base and protocol (the compiler puts a call there,
 * -fsanitize-coverage=trace-pc), and one for each 16 octets that the functions of libc touch which move and compare
 * memory (the linker wraps them). Memory is counted too: the most that was allocated at once. */
#ifndef COST_H
#define COST_H

#include "node/base/buf.h"

#include <stdio.h>

struct cost {
    uint64_t steps;
    uint64_t memory; /* octets, at most at once, above what there was before */
};
void cost_begin(void);
struct cost cost_end(void);

/* A kind of input that can be made in any size. */
struct shape {
    const char *name;
    unsigned from, to; /* n is doubled between them */
    /* Appends the input of size n. Not counted. */
    void (*make)(unsigned n, struct buf *out);
    /* Counted; cost_begin and cost_end may be called in it once more, to leave preparations out. */
    void (*run)(struct slice in, unsigned n);
};

/* cost_mime.c, cost_text.c, cost_imap.c, cost_lines.c; each ends with a shape without name. */
extern const struct shape shapes_mime[], shapes_text[], shapes_imap[], shapes_lines[];

/* `text` n times. */
static inline void repeat(struct buf *out, const char *text, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        buf_append_str(out, text);
}

#endif
