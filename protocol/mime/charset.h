/* Charsets of mail to UTF-8, in portions. Only names of charsets that occur in mail are let through to iconv: its own
 * have suffixes and pseudo charsets that nobody outside should reach. */
#ifndef MIME_CHARSET_H
#define MIME_CHARSET_H

#include "node/base/buf.h"

#include <iconv.h>

enum { CHARSET_NAME_MAX = 40 };

struct charset {
    bool is_utf8;
    iconv_t iconv; /* unless is_utf8 */
    struct buf in; /* not converted yet: the beginning of a character */
};

/* name: as in MIME, any case; us-ascii is read as UTF-8. 0 or ERR_NOTFOUND. */
int charset_open(struct charset *c, struct slice name);
void charset_feed(struct charset *c, struct slice in, struct buf *out);
/* The text is over: an incomplete character becomes U+FFFD, shift states go. Usable again. */
void charset_end(struct charset *c, struct buf *out);
void charset_close(struct charset *c);

#endif
