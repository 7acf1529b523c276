/* Slows down password guessing: how long a client address must wait before its next try. Any thread. */
#ifndef NODE_THROTTLE_H
#define NODE_THROTTLE_H

#include "node/base/slice.h"

struct throttle;

struct throttle *throttle_new(void);
void throttle_free(struct throttle **t);
/* Milliseconds to wait, 0 for the first few failures; at most 5 s. Times are of the steady clock. */
int64_t throttle_delay_ms(struct throttle *t, struct slice address, int64_t now_ms);
void throttle_failed(struct throttle *t, struct slice address, int64_t now_ms);
void throttle_succeeded(struct throttle *t, struct slice address);

#endif
