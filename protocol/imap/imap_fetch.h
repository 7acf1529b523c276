/* What FETCH asks for, and the pieces of messages that BODY[…] and BINARY[…] name (RFC 9051 6.4.5). */
#ifndef IMAP_FETCH_H
#define IMAP_FETCH_H

#include "protocol/imap/imap.h"

enum { FETCH_PATH_MAX = 60, FETCH_ITEMS_MAX = 100 };

enum fetch_kind {
    FETCH_FLAGS,
    FETCH_UID,
    FETCH_INTERNALDATE,
    FETCH_SIZE,
    FETCH_MODSEQ,
    FETCH_EMAILID,
    FETCH_THREADID,
    FETCH_ENVELOPE, /* from here on the summary is needed */
    FETCH_BODY,
    FETCH_BODYSTRUCTURE,
    FETCH_SECTION, /* from here on the body */
    FETCH_BINARY,
    FETCH_BINARY_SIZE,
};
enum fetch_section { SECTION_ALL, SECTION_HEADER, SECTION_FIELDS, SECTION_FIELDS_NOT, SECTION_TEXT, SECTION_MIME };

struct fetch_item {
    enum fetch_kind kind;
    struct slice name; /* as it is answered */
    enum fetch_section section;
    uint32_t *path;
    size_t path_n;
    struct slice *fields;
    size_t field_n;
    bool partial;
    uint64_t from, count;
};

struct fetch {
    struct imap_set set;
    struct fetch_item items[FETCH_ITEMS_MAX];
    size_t n;
    bool need_summary, need_body;
    bool sets_seen;
    bool changed_only; /* CHANGEDSINCE (RFC 7162 3.1.4) */
    uint64_t changed_since;
};
/* Adds an item when it is not there already. */
void fetch_item_add(struct fetch *f, enum fetch_kind kind);

/* The bytes that a section item names, in *data_r: a part of body, or built in `built`. 0; ERR_NOTFOUND: there is no
 * such part (NIL); ERR_INVALID: a transfer encoding that is not known (RFC 3516 4.3). The summary's offsets are checked
 * against the body. */
int fetch_section_get(const struct fetch_item *item, struct slice summary, struct slice body, struct buf *built,
                      struct slice *data_r);

#endif
