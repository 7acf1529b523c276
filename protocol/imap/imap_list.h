/* Shared by LIST and STATUS. */
#ifndef IMAP_LIST_H
#define IMAP_LIST_H

#include "protocol/imap/imap.h"

enum imap_status_item {
    STATUS_MESSAGES = 1,
    STATUS_RECENT = 2,
    STATUS_UIDNEXT = 4,
    STATUS_UIDVALIDITY = 8,
    STATUS_UNSEEN = 16,
    STATUS_DELETED = 32,
    STATUS_SIZE = 64,
    STATUS_MODSEQ = 128,
    STATUS_MAILBOXID = 256,
    STATUS_APPENDLIMIT = 512,
};
bool imap_status_items_parse(struct imap *im, struct imap_args *a, uint32_t *items_r); /* "(" item … ")" */
void imap_status_write(struct imap *im, uint32_t items, const struct mailbox_info *box);

enum special_use imap_special_use_parse(struct slice name); /* without the backslash; USE_NONE: unknown */

#endif
