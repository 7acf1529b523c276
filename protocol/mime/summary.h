/* A message parsed once, by the node that takes it in: the MIME tree with offsets, and the header fields that ENVELOPE
 * and SEARCH want. Stored beside the body in every replica as opaque bytes; first byte is a version, older versions
 * stay readable; golden-byte tests hold the layout.
 *
 * RFC 5322, 2045-2047, 2231, 2183, 2557; RFC 9051 7.5.2 for what is made of it. Input may be anything: every limit is
 * named, what is over a limit is kept as opaque text, never an error. */
#ifndef MIME_SUMMARY_H
#define MIME_SUMMARY_H

#include "node/base/buf.h"

enum {
    MIME_DEPTH_MAX = 50, /* nesting of multipart and message/rfc822 */
    MIME_PARTS_MAX = 1000,
    MIME_PARAMS_MAX = 64,       /* a part */
    MIME_ADDRESSES_MAX = 10000, /* a message, over all its address fields */
    MIME_SUMMARY_MAX = 1 << 20, /* bytes; over it the deepest detail is left out */
};

/* Appends the summary of message to out. Pure; any thread; cost linear in the input. */
void mime_summary_build(struct slice message, struct buf *out);

/* 0 or ERR_PROTOCOL for bytes that are no summary. Everything below wants a valid one: of another it makes nonsense,
 * but reads inside of it only, in bounded time and stack. */
int mime_summary_check(struct slice summary);

/* RFC 9051 7.5.2 ENVELOPE, BODY and BODYSTRUCTURE, ready to send: literals and quoted strings chosen here.
 * utf8: the client enabled UTF8=ACCEPT or IMAP4rev2 and gets UTF-8 in quoted strings as is. */
void mime_envelope_write(struct slice summary, bool utf8, struct buf *out);
void mime_structure_write(struct slice summary, bool extended, bool utf8, struct buf *out);

/* Where a section lies in the message (compare with the body's length before slicing: only the summary is checked). For
 * a part that is not message/rfc822, header_* is its MIME header. */
struct mime_part {
    uint64_t header_at, header_n; /* with the empty line that ends it */
    uint64_t body_at, body_n;
    bool is_message; /* message/rfc822 or message/global: the embedded message's own header and text are below */
    bool is_multipart;
    uint64_t inner_header_at, inner_header_n, inner_body_at, inner_body_n; /* is_message only */
    struct slice type, subtype, charset, encoding; /* lower case, as in the summary; point into it */
    /* charset: empty when the part names none. encoding: "7bit" when it names none. */
};
/* path: part numbers from 1 (RFC 9051 6.4.5.1); n == 0 is the whole message. 0 or ERR_NOTFOUND. */
int mime_part_find(struct slice summary, const uint32_t *path, size_t n, struct mime_part *part_r);
/* Calls each for every leaf part in order (and the message itself when it is a leaf), for search and BINARY. */
void mime_part_each(struct slice summary, bool (*each)(void *arg, const struct mime_part *part), void *arg);

/* The sent date of Date:, ms since the epoch, UTC, and its local calendar day as days since the epoch (SENTON
 * disregards time and zone). false when there is none. */
bool mime_summary_date(struct slice summary, int64_t *ms_r, int32_t *day_r);
enum mime_field {
    MIME_FROM,
    MIME_SENDER,
    MIME_REPLY_TO,
    MIME_TO,
    MIME_CC,
    MIME_BCC,
    MIME_SUBJECT,
    MIME_MESSAGE_ID,
    MIME_IN_REPLY_TO
};
/* The decoded (RFC 2047) UTF-8 text of a field, appended to out; false when the message has no such field. Address
 * fields come as "Name <mailbox@host>, other@host"; 8-bit text without a charset is handed through as it is. */
bool mime_summary_field(struct slice summary, enum mime_field field, struct buf *out);

#endif
