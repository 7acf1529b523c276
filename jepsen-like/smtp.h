/* An SMTP (RFC 5321) and LMTP (RFC 2033) client: one message to one recipient at a time. */
#ifndef MERLION_JEPSEN_SMTP_H
#define MERLION_JEPSEN_SMTP_H

#include "jepsen-like/conn.h"

enum { SMTP_PORT = 25, LMTP_PORT = 24, SUBMISSIONS_PORT = 465 };

struct smtp {
    struct conn c;
    unsigned node;
    bool lmtp;
    struct text line; /* of the last reply */
};

bool smtp_open(struct smtp *s, unsigned node, bool lmtp, unsigned timeout_ms);
/* For submission over TLS (RFC 6409, RFC 8314), authenticated as the user. */
bool smtp_open_submission(struct smtp *s, unsigned node, const char *user, unsigned timeout_ms);
void smtp_close(struct smtp *s);
void smtp_free(struct smtp *s);

/* FAIL: refused, or lost before the message's end was sent: it is nowhere. INFO: lost after the end. The message has
 * CRLF line ends and no line that starts with a dot. */
enum outcome smtp_deliver(struct smtp *s, const char *to, const char *message, size_t n, unsigned timeout_ms);

/* The same from and to whole addresses; NULL ends the list. */
enum outcome smtp_send(struct smtp *s, const char *from, const char *const to[], const char *message, size_t n,
                       unsigned timeout_ms);

#endif
