/* A session's write as a packed merlion.Command, and its packed merlion.Result back. */
#ifndef NODE_COMMAND_H
#define NODE_COMMAND_H

#include "protocol/backend.h"

struct Merlion__Enqueue;

struct command_body {
    const struct body_hash *hash;
    uint64_t size;
    struct slice summary;
    struct slice record; /* empty: sent ahead */
};

/* bodies: one for each of w->messages. enqueue: of a delivery with recipients elsewhere (command_queue.h), else NULL.
 * *out_r is mem_free'd by the caller. Without id and time: replication adds them. */
size_t command_pack(const struct write *w, const struct command_body *bodies, struct Merlion__Enqueue *enqueue,
                    uint8_t **out_r);
/* Fills w's results; *id_r: what was made, a mailbox or an item of the queue (0: none). Returns the command's own
 * status, or ERR_PROTOCOL. */
int command_result(struct slice result, struct write *w, uint64_t *id_r);

#endif
