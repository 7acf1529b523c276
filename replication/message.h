/* Raft's messages on the wire: payload of LINK_RAFT frames. Little-endian, every length checked: libraft's own decoder
 * trusts its peers, this one does not.
 *
 *   u8 wire version (1), u8 type, u8 libraft's version of the struct, u8 flags, then by type:
 *   REQUEST_VOTE           u64 term, candidate, last index, last term      flags: 1 disrupt leader, 2 pre-vote
 *   REQUEST_VOTE_RESULT    u64 term, u16 features, u16 capacity            flags: 1 granted, 2 pre-vote
 *   APPEND_ENTRIES         u64 term, prev index, prev term, commit, u32 n, n × {u64 term, u8 type, u32 length, bytes}
 *   APPEND_ENTRIES_RESULT  u64 term, rejected, last index, u16 features, u16 capacity
 *   INSTALL_SNAPSHOT       u64 term, last index, last term, configuration index, u32 + configuration, u32 + data
 *   TIMEOUT_NOW            u64 term, last index, last term
 * The sender is not in it: it is the node that the link's certificate names. */
#ifndef REPLICATION_MESSAGE_H
#define REPLICATION_MESSAGE_H

#include "node/base/buf.h"
#include "node/base/err.h"

#include <raft.h>

enum {
    MESSAGE_WIRE_VERSION = 1,
    MESSAGE_ENTRIES_MAX = 65536,                  /* of one AppendEntries */
    MESSAGE_ENTRY_MAX = 4 * 1024 * 1024 + 65536,  /* bytes; below a raft_uv segment (8 MB) */
    MESSAGE_CHUNK_MAX = 4 * 1024 * 1024 + 131072, /* bytes of entries handed to libraft, or sent, at once */
    MESSAGE_SERVERS_MAX = 64,
    MESSAGE_ADDRESS_MAX = 256,
    MESSAGE_SNAPSHOT_MAX = 4096, /* snapshots are descriptors */
};

/* Appends the encoding of m. AppendEntries: only entries [first, first + n) of it, as a message of its own. */
int message_encode(const struct raft_message *m, unsigned first, unsigned n, struct buf *out);
/* How many entries from `first` on fit MESSAGE_CHUNK_MAX (at least one, when there are any). */
unsigned message_chunk(const struct raft_append_entries *a, unsigned first);

/* What one payload became: more than one when an AppendEntries was split, so that
 *   - every RAFT_CHANGE is the first entry of its message (libraft records a wrong index for it otherwise), and
 *   - no message is larger than MESSAGE_CHUNK_MAX (a raft_uv segment must hold an append). */
struct message_list {
    struct raft_message *items; /* server_id and server_address are the caller's to set */
    unsigned n;
};
/* 0, or ERR_PROTOCOL (nothing is allocated then). Memory inside the messages is raft_malloc's, as libraft wants to own
 * it. */
int message_decode(struct slice in, struct message_list *l_r);
/* Frees what message i still owns: for messages that are not given to libraft. */
void message_discard(struct raft_message *m);
/* Frees the array alone. */
void message_list_free(struct message_list *l);

/* Is this an encoded raft_configuration that raft_configuration_decode can be trusted with? */
bool message_configuration_check(struct slice in);

#endif
