/* Addresses and domains as operators and clients write them, in the one form that the store knows: domains of other
 * scripts as A-labels (RFC 5890), which is also how servers that do not speak SMTPUTF8 write them. Done here and not in
 * the store, as tables of characters differ between versions of a library and the state machine must not. Pure. */
#ifndef NODE_ADDRESS_H
#define NODE_ADDRESS_H

#include "node/base/slice.h"

enum { ADDRESS_TEXT_MAX = 640 };

/* An address, or a domain alone, NUL-terminated in out; cut at the end if it is longer. What is ASCII, or no domain
 * that has A-labels, stays as it is. Returns out. */
const char *address_ascii(struct slice in, char out[ADDRESS_TEXT_MAX]);

#endif
