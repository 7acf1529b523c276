/* Address lists (RFC 5322 3.4, 4.4, RFC 6532): what an unfolded From:, To: ... says. Anything is taken: what is wrong
 * is read as well as can be, in time linear in the input. */
#ifndef MIME_ADDRESS_H
#define MIME_ADDRESS_H

#include "node/base/buf.h"

enum mime_address_kind { MIME_ADDRESS_MAILBOX, MIME_ADDRESS_GROUP, MIME_ADDRESS_GROUP_END };

/* Slices live during the call of each. Empty stands for absent. Quoting and comments are removed, RFC 2047 words kept.
 * A missing local part or domain leaves mailbox or host empty. */
struct mime_address {
    enum mime_address_kind kind;
    struct slice name;  /* of the person (or its comment, "a@b (Name)"), or of the group */
    struct slice route; /* obsolete "@a,@b" */
    struct slice mailbox, host;
};

/* Stops when each returns false. Groups do not nest and are always ended, unless each stopped. */
void mime_address_each(struct slice value, bool (*each)(void *arg, const struct mime_address *a), void *arg);

#endif
