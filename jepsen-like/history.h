/* What the clients did and saw. Kept in memory for the checks, written to a file at the end. Any thread. */
#ifndef MERLION_JEPSEN_HISTORY_H
#define MERLION_JEPSEN_HISTORY_H

#include "jepsen-like/conn.h"

enum op_kind {
    OP_DELIVER,   /* key: id */
    OP_READ,      /* register. key: register, a: value, b: MODSEQ */
    OP_WRITE,     /* a: new value */
    OP_CAS,       /* a: expected, b: new, c: 1 when it took effect */
    OP_MOVE,      /* key: token */
    OP_COPY,      /* key: token, a: UID of the copy */
    OP_EXPUNGE,   /* key: token, a: UID of the copy */
    OP_STATUS,    /* key: account, a: UIDNEXT, b: HIGHESTMODSEQ, c: UIDVALIDITY */
    OP_WATCH,     /* a session's view compared. a: messages */
    OP_POP3_LIST, /* a: messages */
    OP_POP3_QUIT, /* a: deleted */
    OP_CREATE,    /* key: name, a: UIDVALIDITY seen */
    OP_DELETE,
    OP_RENAME,
    OP_LIST,   /* a: mailboxes */
    OP_SUBMIT, /* key: id, a: 1 when for a local mailbox too */
    OP_KINDS
};

struct op {
    uint64_t start, end; /* now_ns() */
    uint32_t process;
    uint8_t node, kind, outcome;
    uint64_t key;
    int64_t a, b, c;
};

void history_add(const struct op *op);

/* How many so far, and how many messages that were acknowledged. */
size_t history_count(void);
size_t history_delivered(void);

/* Once no client runs any more. */
const struct op *history_ops(size_t *n_r);
void history_write(const char *path);
const char *history_kind_name(enum op_kind kind);
void history_free(void);

#endif
