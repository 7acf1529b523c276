/* A set of mailbox names for the length of a command: each is noted once, and found in constant time. */
#ifndef IMAP_NAMES_H
#define IMAP_NAMES_H

#include "node/base/mem.h"

struct imap_name {
    struct slice text;
    bool taken;
};

struct imap_names { /* all zero, then arena set, is an empty one; its memory goes with the arena */
    struct arena *arena;
    struct imap_name *items; /* in the order in which they were noted */
    size_t n, cap;
    uint32_t *slots; /* 2 * cap, at the name's hash or behind it: place in items + 1; 0: free */
};

/* Copies the name, unless it is there already. */
void imap_names_note(struct imap_names *s, struct slice name);
/* Was it noted and not taken yet? It is taken now. */
bool imap_names_take(struct imap_names *s, struct slice name);

#endif
