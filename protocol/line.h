/* Command lines for protocols whose lines end with CRLF and nothing else (SMTP, POP3). Whatever the splits of the
 * input, at most max octets are kept; of a longer line only its end is looked for. One owner, one thread. */
#ifndef PROTOCOL_LINE_H
#define PROTOCOL_LINE_H

#include "node/base/buf.h"

struct line_reader { /* all zero, then max set, is an empty one */
    struct buf held; /* a line that is not complete yet */
    size_t max;      /* octets of a line, CRLF not counted */
    bool overflow;   /* the line under way is too long: dropped */
    bool taken;      /* held is the line that was handed out last */
};

enum line_status {
    LINE_MORE,     /* all input was taken, no line is complete */
    LINE_READY,    /* *line_r: without its CRLF, valid until the next call and while the input is */
    LINE_TOO_LONG, /* a line ended that was over max */
};

/* Takes at most one line; *used_r: octets of in that were taken. */
enum line_status line_read(struct line_reader *r, struct slice in, struct slice *line_r, size_t *used_r);
/* Wipes (a line may hold a password) and frees. Also forgets a line under way. */
void line_close(struct line_reader *r);

/* Does it hold a CR or LF that is not part of a CRLF? (For a line: any at all.) */
bool line_has_bare(struct slice line);

#endif
