/* The head of an HTTP/1.x request (RFC 9112), as far as GET and HEAD without a body need it. Pure. */
#ifndef NODE_HTTP_HEAD_H
#define NODE_HTTP_HEAD_H

#include "node/base/slice.h"

enum {
    HTTP_HEAD_MAX = 8192, /* octets, the empty line included */
    HTTP_HEAD_MORE = 0,
};

struct http_head {
    bool head;         /* HEAD; else GET */
    bool keep;         /* the connection may live on after the answer; false unless the status is 200 */
    struct slice path; /* without query; points into the input */
};

/* Returns HTTP_HEAD_MORE when no head is complete yet, else the status to answer: 200, or why not. *used_r: octets of
 * the head; 0 for HTTP_HEAD_MORE and when it is too long (431). Empty lines before a request are the caller's. */
int http_head_parse(struct slice in, struct http_head *h_r, size_t *used_r);

#endif
