/* Background upkeep of one node: frees the space of bodies that nobody refers to any more. A thread of its own, so that
 * it never stands before a client's work. */
#ifndef NODE_JANITOR_H
#define NODE_JANITOR_H

#include "node/backend.h"

struct janitor;

struct janitor *janitor_start(struct services *s);
void janitor_stop(struct janitor **j);

#endif
