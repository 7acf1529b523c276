/* The stored form of a summary, version 1. Little: a mail of one part takes about 300 octets.
 *
 *   summary   = version(1) envelope part
 *   envelope  = length of the rest; date subject from sender reply-to to cc bcc in-reply-to message-id
 *     date, subject, in-reply-to, message-id: optional strings (raw, unfolded)
 *     from .. bcc: count, then addresses = bits name? route? mailbox host; sender and reply-to 0: as from
 *   part      = bits gap header_n body_n lines type subtype encoding params
 *               [id description] [md5 disposition params languages location] then
 *               multipart: count of parts, parts; message: envelope, part
 *   params    = count, then (name value)*; languages = count, then strings
 *
 * Numbers are LEB128. string = length octets; optional string = 0 for none, or length + 1 and octets. gap is the
 * distance of the header from the parent's body_at (0 at the top); the body follows its header at once. */
#ifndef MIME_RECORD_H
#define MIME_RECORD_H

#include "protocol/mime/summary.h"

enum { MIME_VERSION = 1 };

enum mime_part_bits {
    MIME_PART_KIND = 3,  /* enum mime_kind */
    MIME_PART_NAMED = 4, /* id description follow */
    MIME_PART_EXTRA = 8, /* md5 disposition params languages location follow */
    MIME_PART_BITS = 15,
};
enum mime_kind { MIME_LEAF, MIME_MULTIPART, MIME_MESSAGE };

enum mime_address_bits { MIME_ADDRESS_KIND = 3, MIME_ADDRESS_NAME = 4, MIME_ADDRESS_ROUTE = 8, MIME_ADDRESS_BITS = 15 };

/* A part as read; slices point into the summary. Optional strings have p == NULL when absent. */
struct mime_record {
    enum mime_kind kind;
    uint64_t header_at, header_n, body_at, body_n, lines;
    struct slice type, subtype, encoding, charset;
    uint64_t param_n;
    struct slice params; /* param_n pairs, to be read with mime_read_string */
    struct slice id, description, md5, disposition, location;
    uint64_t disposition_param_n, language_n;
    struct slice disposition_params, languages;
    uint64_t child_n;      /* multipart: >= 1; message: 1 */
    struct slice envelope; /* message */
};

void mime_put_number(struct buf *b, uint64_t v);
void mime_put_string(struct buf *b, struct slice s);
void mime_put_optional(struct buf *b, struct slice s); /* p == NULL: none */
uint64_t mime_read_number(struct reader *r);
struct slice mime_read_string(struct reader *r);
struct slice mime_read_optional(struct reader *r);
/* The next part without its children, which follow in r. parent_at: the parent's body_at. */
void mime_record_read(struct reader *r, uint64_t parent_at, struct mime_record *record_r);
/* Behind the children of record, and theirs. */
void mime_record_skip_children(struct reader *r, const struct mime_record *record);
/* Splits a summary: its envelope, and a reader at its root part. */
struct slice mime_summary_open(struct slice summary, struct reader *root_r);

#endif
