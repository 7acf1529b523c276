/* Frames and hellos of a link as bytes: pure, no socket. Little-endian. */
#ifndef REPLICATION_LINK_FRAME_H
#define REPLICATION_LINK_FRAME_H

#include "replication/link.h"

struct link_frame {
    uint8_t type;
    uint64_t request;
    struct slice payload; /* points into the input */
};
enum {
    LINK_FRAME_MORE = 1,   /* not all there yet */
    LINK_HELLO_MAX = 1024, /* limit of the first frame each way, header included */
};
/* The frame at the start of in. 0: it is whole, *size_r bytes long. LINK_FRAME_MORE: *size_r bytes are needed at least.
 * ERR_TOOBIG: longer than max (header included). ERR_PROTOCOL: impossible header; both are told as soon as those bytes
 * are there. */
int link_frame_parse(struct slice in, size_t max, struct link_frame *f_r, size_t *size_r);
void link_frame_header(uint8_t out[LINK_FRAME_HEADER], uint8_t type, uint64_t request, size_t payload_n);

/* Hello: "MRLN", u16 version min, u16 max, u8 class, u8 0, u16 0, i32 status (0: welcome; else refused, and why),
 * u64 cluster, u64 node, u64 instance, u32 format max, u32 dead_ms, u32 length + build version, u32 length + why.
 * What a later version adds comes after it and is skipped. */
struct link_greeting {
    uint16_t version_min, version_max;
    int32_t status;
    uint64_t cluster_id;
    uint32_t dead_ms;
    struct link_hello hello;
    char why[160];
};
void link_greeting_encode(const struct link_greeting *g, struct buf *out);
int link_greeting_decode(struct slice in, struct link_greeting *g_r);

/* Why a hello is not taken, for people at both ends. */
const char *link_refusal_text(int status);

#endif
