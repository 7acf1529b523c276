/* All mail of a user as one node tells it by IMAP, and what POP3 shows of it. */
#ifndef MERLION_JEPSEN_DUMP_H
#define MERLION_JEPSEN_DUMP_H

#include "jepsen-like/message.h"
#include "jepsen-like/util.h"

struct dump_message {
    char mailbox[64];
    uint64_t uid, id;
    char group[MESSAGE_GROUP_MAX]; /* empty: damaged, or none of ours */
    char *head;                    /* then: how it begins, else NULL */
};

struct dump {
    struct dump_message *messages; /* by mailbox as listed, then by UID */
    size_t n;
    char (*mailboxes)[64];
    size_t mailbox_n;
    struct text told; /* what must be the same on all nodes, bodies as sums */
};

/* Tries for some seconds. Returns whether the node told everything. */
bool dump_make(struct dump *d, unsigned node, const char *user);
void dump_free(struct dump *d);

#endif
