/* The parameters of RFC 3461: xtext (section 4), and address forms of ORCPT, with UTF-8 (RFC 6533 3). Pure. */
#ifndef SMTP_XTEXT_H
#define SMTP_XTEXT_H

#include "node/base/buf.h"

enum {
    SMTP_ENVID_MAX = 100, /* octets as sent (RFC 3461 4.4) */
    SMTP_ORCPT_MAX = 500, /* octets as sent (RFC 3461 4.2) */
};

/* NOTIFY (RFC 3461 4.1). */
enum smtp_notify {
    SMTP_NOTIFY_NEVER = 1,
    SMTP_NOTIFY_SUCCESS = 2,
    SMTP_NOTIFY_FAILURE = 4,
    SMTP_NOTIFY_DELAY = 8,
};
/* "NEVER", or a list of the others. 0 or ERR_INVALID. */
int smtp_notify_parse(struct slice value, uint32_t *notify_r);
void smtp_notify_write(uint32_t notify, struct buf *out);

/* Appends the plain form of ENVID. 0, or ERR_INVALID: malformed, too long, or not printable ASCII inside. */
int smtp_envid_parse(struct slice value, struct buf *out);
/* Appends the plain form of ORCPT, "rfc822;a b@example.org" or "utf-8;…" in UTF-8. utf8: the transaction said SMTPUTF8,
 * raw octets above 127 are fine. 0 or ERR_INVALID. */
int smtp_orcpt_parse(struct slice value, bool utf8, struct buf *out);

void smtp_xtext_write(struct slice plain, struct buf *out);
/* From its plain form; utf8: raw UTF-8 may be sent. false, and nothing is written: it is none. */
bool smtp_orcpt_write(struct slice plain, bool utf8, struct buf *out);

#endif
