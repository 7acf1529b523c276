/* Header fields that we add to a message (RFC 5321 4.4, RFC 6409 8), and what we look for in the ones it has. Pure. */
#ifndef SMTP_TRACE_H
#define SMTP_TRACE_H

#include "protocol/session.h"

enum { SMTP_ID_MAX = 48 };

struct smtp_trace {
    const struct session_peer *peer;
    const char *helo; /* as the client said it */
    const char *with; /* "ESMTPS", … (RFC 3848, RFC 6531 4.3) */
    const char *id;
    const char *for_only; /* the recipient when there is exactly one, else NULL; left out when it is not ASCII: the
                             message would need SMTPUTF8 for it from here on (RFC 6531) */
    int64_t now_ms;
};

/* The protocol's name for the with clause. */
struct smtp_with {
    bool lmtp, extended, utf8, tls, auth;
};
void smtp_with_name(const struct smtp_with *w, char name_r[16]);

/* Each appends a whole field, its CRLF included. */
void smtp_return_path_write(const char *sender, struct buf *out);
void smtp_received_write(const struct smtp_trace *t, struct buf *out);
void smtp_date_field_write(int64_t now_ms, struct buf *out);
/* host: right of the "@"; the left side is made of the time and random bits. */
void smtp_message_id_write(int64_t now_ms, const char *host, struct buf *out);

/* RFC 5322 3.3 date-time, in UTC. */
void smtp_date_write(int64_t ms, struct buf *out);

struct smtp_header_facts {
    unsigned received; /* Received: fields */
    bool date, message_id;
};
void smtp_header_look(struct slice message, struct smtp_header_facts *f_r);

#endif
