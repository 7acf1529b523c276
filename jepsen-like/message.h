/* Messages that tell who they are and whether they are whole. */
#ifndef MERLION_JEPSEN_MESSAGE_H
#define MERLION_JEPSEN_MESSAGE_H

#include "jepsen-like/util.h"

enum { MESSAGE_GROUP_MAX = 16 };

/* The message GROUP-ID with a body of random size, in CRLF lines. */
void message_make(struct text *out, const char *group, uint64_t id, struct rng *r);

/* Which one it is. Returns false when it is none of ours or its body is not as it was made. Headers in front of ours
 * are ignored. */
bool message_parse(const char *bytes, size_t n, char group_r[MESSAGE_GROUP_MAX], uint64_t *id_r);

/* The same from the header line alone. */
bool message_header_parse(const char *text, char group_r[MESSAGE_GROUP_MAX], uint64_t *id_r);

#endif
