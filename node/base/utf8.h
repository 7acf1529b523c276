/* UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "node/base/buf.h"

enum { UTF8_INCOMPLETE = 0, UTF8_INVALID = -1 };

/* Length of the character that p starts with and its code point; UTF8_INCOMPLETE when the n bytes are a valid beginning
 * of one; UTF8_INVALID otherwise. n > 0. */
int utf8_step(const uint8_t *p, size_t n, int32_t *code_r);
bool utf8_valid(struct slice s);
void utf8_append_replacement(struct buf *out); /* U+FFFD */

#endif
