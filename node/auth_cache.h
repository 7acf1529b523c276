/* Remembers passwords that scrypt confirmed a moment ago, so that a mail client that opens ten connections pays once.
 * What is kept is a keyed hash (HMAC-SHA-256 under a key of this process) of account, stored hash and password: it ends
 * with the process, and a changed password or lock does not match any more. Any thread. */
#ifndef NODE_AUTH_CACHE_H
#define NODE_AUTH_CACHE_H

#include "node/base/slice.h"

struct auth_cache;

struct auth_cache *auth_cache_new(void);
void auth_cache_free(struct auth_cache **c);
bool auth_cache_has(struct auth_cache *c, uint64_t account, struct slice encoded, struct slice password,
                    int64_t now_ms);
void auth_cache_add(struct auth_cache *c, uint64_t account, struct slice encoded, struct slice password,
                    int64_t now_ms);

#endif
