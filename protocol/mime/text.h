/* Text of messages as people mean it: headers unfolded and decoded, bodies decoded from their transfer encoding and
 * charset to UTF-8, and substring search that ignores case (RFC 9051 6.4.4; i;unicode-casemap, RFC 5051, by utf8proc).
 */
#ifndef MIME_TEXT_H
#define MIME_TEXT_H

#include "node/base/buf.h"

/* A search key made ready once. */
struct text_needle;
/* key: UTF-8 (the session converts other charsets with text_to_utf8 first). Empty matches everything. */
struct text_needle *text_needle_new(struct slice key);
void text_needle_free(struct text_needle **n);
/* haystack: UTF-8, invalid bytes are replaced. */
bool text_needle_in(const struct text_needle *n, struct slice haystack);

/* Charset by its MIME name to UTF-8 (iconv); bytes that do not convert become U+FFFD. ERR_NOTFOUND: unknown charset. */
int text_to_utf8(struct slice charset, struct slice in, struct buf *out);
/* RFC 2047 words in an unfolded header value; unknown charsets stay as they are. */
void text_decode_words(struct slice in, struct buf *out);
void text_decode_base64(struct slice in, struct buf *out); /* skips what is not base64 */
void text_decode_quoted_printable(struct slice in, struct buf *out);

/* Header access in a raw header block (RFC 5322 2.2). Name and raw value (folded, without leading blanks and the final
 * CRLF) of the next field; advances at. false at the end, that is at an empty line too. Lines that are no field are
 * skipped. line is the whole field with CRLF. A lone LF ends a line here as CRLF does. */
struct header_field {
    struct slice name, value, line;
};
bool header_next(struct slice header, size_t *at, struct header_field *field_r);
/* Length of the header of a message, the empty line included; the whole length when no empty line is there. */
size_t header_length(struct slice message);
/* A raw field value on one line (RFC 5322 2.2.3: only the line ends go); NUL becomes '?'. Appended to out. */
void header_unfold(struct slice value, struct buf *out);

/* Whole-message search: is the needle in the decoded text of any text part (BODY), or there or in the decoded header
 * (TEXT)? Pure; any thread. summary is that message's. */
bool text_search_message(struct slice message, struct slice summary, const struct text_needle *n, bool with_header);
/* HEADER field key: decoded value of any field of that name holds the needle (an empty needle: the field is there). */
bool text_search_header(struct slice header, struct slice name, const struct text_needle *n);

#endif
