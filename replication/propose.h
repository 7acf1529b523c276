/* The pure part of propose.c, for tests. */
#ifndef REPLICATION_PROPOSE_H
#define REPLICATION_PROPOSE_H

#include "node/base/mem.h"

enum { PROPOSE_BATCH_MAX = 1024 }; /* commands in one entry */

/* A packed merlion.Command without id and time, and both appended. */
void propose_command_finish(struct slice body, uint64_t node, uint64_t boot, uint64_t seq, int64_t time_ms,
                            struct bytes **out_r);

#endif
