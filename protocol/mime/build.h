/* Making a summary: the tree while a message is scanned. Inside protocol/mime only.
 *
 *   build.c    scans lines, knows boundaries, opens and closes parts
 *   content.c  reads a part's header fields into a node
 *   encode.c   writes the tree down (record.h) */
#ifndef MIME_BUILD_H
#define MIME_BUILD_H

#include "node/base/mem.h"
#include "protocol/mime/param.h"
#include "protocol/mime/record.h"

enum {
    MIME_NODE_FIXED = 320,   /* octets of a record without what is charged to the budget, at most */
    MIME_TOKEN_MAX = 64,     /* type, subtype, encoding; longer ones are unknown types (RFC 6838 4.2: 127 in all) */
    MIME_STRING_MAX = 65536, /* any other string is cut there */
    MIME_BUDGET = MIME_SUMMARY_MAX - MIME_PARTS_MAX * MIME_NODE_FIXED - MIME_NODE_FIXED,
};

struct mime_node {
    uint32_t first_child, last_child, next; /* positions in builder.nodes; 0: none (the root is nobody's child) */
    unsigned depth;                         /* root: 1 */
    enum mime_kind kind;
    uint32_t child_n;
    size_t header_at, header_n, body_at, body_n;
    uint64_t lines; /* while open: number of lines before the body */
    struct slice type, subtype, encoding;
    struct slice boundary;                              /* multipart */
    struct slice params, disposition_params, languages; /* encoded, counts below */
    uint32_t param_n, disposition_param_n, language_n;
    struct slice id, description, md5, disposition, location; /* p == NULL: none */
    struct slice envelope; /* encoded; root, and the message of a message/rfc822 part */
};

struct mime_builder {
    struct slice message;
    struct arena arena;
    struct mime_node *nodes; /* moves when one is added */
    uint32_t n, cap;
    size_t budget;           /* octets of detail that may still be kept */
    unsigned addresses_left; /* of MIME_ADDRESSES_MAX */
};

/* Reads the header of node: what it is, and its envelope when it is a message's. in_digest: no type means message. */
void mime_content_read(struct mime_builder *b, struct mime_node *node, bool is_message, bool in_digest);
/* Makes the node an opaque part of this type. */
void mime_content_reset(struct mime_node *node, const char *type, const char *subtype);
void mime_encode(const struct mime_builder *b, struct buf *out);

#endif
