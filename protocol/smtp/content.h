/* A message on its way in by DATA (RFC 5321 4.1.1.4, 4.5.2) or BDAT (RFC 3030): unstuffs dots, finds the end, and holds
 * to the rule that only CRLF ends a line (RFC 5321 2.3.8). A bare CR or LF never ends a line or the message: it is a
 * fault, and the message is refused after its real end. That is what keeps "<LF>.<CRLF>" and its kin from smuggling a
 * second message past a server that reads them otherwise.
 *
 * A line may be longer than the 998 octets of RFC 5322 2.1.1: such mail exists, and storing it harms nobody.
 * After a fault the rest is read and dropped. One owner, one thread; input may be split anywhere. */
#ifndef SMTP_CONTENT_H
#define SMTP_CONTENT_H

#include "node/base/buf.h"

enum smtp_fault {
    SMTP_FAULT_BARE = 1,   /* a CR or LF that is not part of a CRLF */
    SMTP_FAULT_NUL = 2,    /* a NUL octet */
    SMTP_FAULT_TOOBIG = 4, /* more than max octets */
};

enum smtp_content_state {
    CONTENT_LINE_START, /* after CRLF, or at the very start */
    CONTENT_DOT,        /* a dot at the start of a line */
    CONTENT_DOT_CR,     /* and a CR after it */
    CONTENT_LINE,
    CONTENT_CR, /* a CR in a line */
};

struct smtp_content {
    struct buf body; /* the message; empty after a fault */
    size_t max;      /* octets of it */
    bool binary;     /* BODY=BINARYMIME: any octets (BDAT only) */
    bool eight;      /* octets above 127 were met */
    unsigned faults; /* SMTP_FAULT_* */
    enum smtp_content_state state;
};

void smtp_content_begin(struct smtp_content *c, size_t max, bool binary);
void smtp_content_close(struct smtp_content *c);

/* DATA: returns the octets consumed, all of them unless *end_r says that the final dot was met. */
size_t smtp_content_data(struct smtp_content *c, struct slice in, bool *end_r);

/* BDAT: takes all of it. */
void smtp_content_chunk(struct smtp_content *c, struct slice in);
/* After the last chunk: a CR at the very end is bare. */
void smtp_content_chunk_end(struct smtp_content *c);

#endif
