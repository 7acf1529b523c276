/* What goes into the queue, as part of a packed merlion.Command. Everything is allocated in the arena. */
#ifndef NODE_COMMAND_QUEUE_H
#define NODE_COMMAND_QUEUE_H

#include "protocol/backend.h"
#include "store/command.pb-c.h"
#include "store/queue.h"

/* Groups recipients by destination into e's legs. */
void command_legs_pack(struct arena *a, const struct foreign_recipient *recipients, size_t n, Merlion__Enqueue *e);
/* Of a WRITE_DELIVER with foreign recipients. The caller sets expires_ms. */
Merlion__Enqueue *command_enqueue_pack(struct arena *a, const struct write *w);
/* Who delivers it at once. */
void command_lease_set(struct arena *a, Merlion__Enqueue *e, uint64_t node, uint64_t boot, int64_t until_ms);

#endif
