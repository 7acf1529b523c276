/* Password hashes: scrypt (RFC 7914) through OpenSSL, as text "$scrypt$ln=15,r=8,p=1$SALT$HASH" (salt and hash in
 * hexadecimal). */
#ifndef NODE_PASSWORD_H
#define NODE_PASSWORD_H

#include "node/base/slice.h"

enum { PASSWORD_MAX = 1024, PASSWORD_HASH_MAX = 160 };

/* Takes tens of milliseconds and 32 MiB: never on a loop. 0, or ERR_INVALID (empty or too long). */
int password_hash(struct slice password, char out[PASSWORD_HASH_MAX]);
/* Constant time in the password; the same work for an `encoded` that is empty or unreadable (then false), so that an
 * unknown user answers like a wrong password. */
bool password_verify(struct slice password, struct slice encoded);

#endif
