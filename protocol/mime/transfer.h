/* Content-Transfer-Encoding (RFC 2045 6) undone in portions. All zero is one for 7bit, 8bit and binary. */
#ifndef MIME_TRANSFER_H
#define MIME_TRANSFER_H

#include "node/base/buf.h"

enum transfer_kind { TRANSFER_PLAIN, TRANSFER_BASE64, TRANSFER_QUOTED_PRINTABLE };

struct transfer {
    enum transfer_kind kind;
    uint32_t bits;     /* base64: collected */
    unsigned count;    /* base64: characters in bits */
    unsigned state;    /* quoted-printable: enum in transfer.c */
    uint8_t digit;     /* quoted-printable: after "=X" */
    struct buf blanks; /* quoted-printable: dropped at a line's end, so held back */
};

/* encoding: lower case, as in the summary; what is unknown is plain. */
void transfer_open(struct transfer *t, struct slice encoding);
void transfer_feed(struct transfer *t, struct slice in, struct buf *out);
/* The input is over: writes what is left. */
void transfer_end(struct transfer *t, struct buf *out);
void transfer_close(struct transfer *t);

#endif
