/* How IMAP writes names, strings, dates and sets. Pure. */
#ifndef IMAP_TEXT_H
#define IMAP_TEXT_H

#include "node/base/uidset.h"
#include "protocol/imap/imap_args.h"

/* Modified UTF-7 of mailbox names (RFC 3501 5.1.3). Decoding: 0, or ERR_INVALID for what no encoder makes (8-bit octets
 * that are valid UTF-8 are let through: clients send them). */
void imap_utf7_encode(struct slice utf8, struct buf *out);
int imap_utf7_decode(struct slice in, struct buf *out);

enum { IMAP_NAME_MAX = 1000 }; /* octets of a mailbox name in UTF-8 */
/* A mailbox name as the client wrote it to the form that the backend wants: UTF-8, NFC, INBOX in capitals. utf8:
 * IMAP4rev2 was enabled (names are UTF-8), else modified UTF-7. 0, or ERR_INVALID (malformed, controls, over
 * IMAP_NAME_MAX). *name_r is in the arena. */
int imap_name_read(struct arena *a, bool utf8, struct slice in, struct slice *name_r);
/* Same without the rules for a whole name: for LIST patterns and references. */
int imap_pattern_read(struct arena *a, bool utf8, struct slice in, struct slice *pattern_r);
void imap_write_name(struct buf *out, bool utf8, struct slice name);

/* string: quoted when it can be, else a literal. utf8: 8-bit text may be quoted. */
void imap_write_string(struct buf *out, bool utf8, struct slice s);
void imap_write_set(struct buf *out, const struct uid_set *s); /* "1:3,7" */
void imap_write_date_time(struct buf *out, int64_t ms);        /* quoted, in UTC */
int32_t imap_day_of_ms(int64_t ms);                            /* days since the epoch, UTC */

/* LIST wildcards (RFC 9051 6.3.9): "*" matches anything, "%" anything but '/'. INBOX in any case. */
bool imap_match(struct slice pattern, struct slice name);

#endif
