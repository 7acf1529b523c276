/* Case-insensitive search in a stream of UTF-8: text is folded character by character (RFC 5051: case folding, then
 * compatibility decomposition) and run through Knuth-Morris-Pratt, so that the cost is linear whatever the key. */
#ifndef MIME_MATCH_H
#define MIME_MATCH_H

#include "protocol/mime/text.h"

struct text_match {
    const struct text_needle *needle;
    size_t at; /* octets of the needle that the text ends with */
    bool found;
    uint8_t part[4]; /* beginning of a character */
    size_t part_n;
};

void text_match_begin(struct text_match *m, const struct text_needle *n);
/* Any portions. Returns found, after which more need not be fed. */
bool text_match_feed(struct text_match *m, struct slice in);
/* Forgets what it has of a needle: the next text is not joined to the last. */
void text_match_break(struct text_match *m);

#endif
