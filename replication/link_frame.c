#include "replication/link_frame.h"

#include <stdio.h>

/* Offsets in the header. The length counts what follows it. */
enum { AT_TYPE = 4, AT_FLAGS = 5, AT_ZERO = 6, AT_REQUEST = 8, LENGTH_BYTES = 4 };
static const uint8_t MAGIC[4] = {'M', 'R', 'L', 'N'};

int link_frame_parse(struct slice in, size_t max, struct link_frame *f_r, size_t *size_r)
{
    *size_r = LINK_FRAME_HEADER;
    if (in.n < LENGTH_BYTES)
        return LINK_FRAME_MORE;
    uint32_t length = get_le32(in.p);
    if (length < LINK_FRAME_HEADER - LENGTH_BYTES)
        return ERR_PROTOCOL;
    if (length > max - LENGTH_BYTES)
        return ERR_TOOBIG;
    *size_r = (size_t)length + LENGTH_BYTES;
    if (in.n > AT_FLAGS && in.p[AT_FLAGS] != 0)
        return ERR_PROTOCOL;
    if (in.n < LINK_FRAME_HEADER)
        return LINK_FRAME_MORE;
    if (in.p[AT_ZERO] != 0 || in.p[AT_ZERO + 1] != 0)
        return ERR_PROTOCOL;
    if (in.n < *size_r)
        return LINK_FRAME_MORE;
    f_r->type = in.p[AT_TYPE];
    f_r->request = get_le64(in.p + AT_REQUEST);
    f_r->payload = slice_make(in.p + LINK_FRAME_HEADER, *size_r - LINK_FRAME_HEADER);
    return 0;
}

void link_frame_header(uint8_t out[LINK_FRAME_HEADER], uint8_t type, uint64_t request, size_t payload_n)
{
    ENSURE(payload_n <= LINK_FRAME_MAX - LINK_FRAME_HEADER);
    memset(out, 0, LINK_FRAME_HEADER);
    put_le32(out, (uint32_t)(payload_n + LINK_FRAME_HEADER - LENGTH_BYTES));
    out[AT_TYPE] = type;
    put_le64(out + AT_REQUEST, request);
}

void link_greeting_encode(const struct link_greeting *g, struct buf *out)
{
    buf_append(out, MAGIC, sizeof(MAGIC));
    buf_put_u16(out, g->version_min);
    buf_put_u16(out, g->version_max);
    buf_put_u8(out, (uint8_t)g->hello.class);
    buf_put_u8(out, 0);
    buf_put_u16(out, 0);
    buf_put_u32(out, (uint32_t)g->status);
    buf_put_u64(out, g->cluster_id);
    buf_put_u64(out, g->hello.node_id);
    buf_put_u64(out, g->hello.instance);
    buf_put_u32(out, g->hello.format_max);
    buf_put_u32(out, g->dead_ms);
    buf_put_bytes(out, slice_str(g->hello.version));
    buf_put_bytes(out, slice_str(g->why));
}

/* Printable text only: it ends up in logs. */
static void text_take(struct reader *r, char *out, size_t n)
{
    struct slice s = read_bytes(r, n - 1);
    for (size_t i = 0; i < s.n; i++)
        out[i] = s.p[i] >= ' ' && s.p[i] < 127 ? (char)s.p[i] : '?';
    out[s.n] = 0;
}

int link_greeting_decode(struct slice in, struct link_greeting *g_r)
{
    struct reader r = {.in = in};
    *g_r = (struct link_greeting){0};
    if (!slice_eq(read_exact(&r, sizeof(MAGIC)), slice_make(MAGIC, sizeof(MAGIC))))
        return ERR_PROTOCOL;
    g_r->version_min = read_u16(&r);
    g_r->version_max = read_u16(&r);
    uint8_t class = read_u8(&r);
    g_r->hello.class = class;
    read_exact(&r, 3);
    g_r->status = (int32_t)read_u32(&r);
    g_r->cluster_id = read_u64(&r);
    g_r->hello.node_id = read_u64(&r);
    g_r->hello.instance = read_u64(&r);
    g_r->hello.format_max = read_u32(&r);
    g_r->dead_ms = read_u32(&r);
    text_take(&r, g_r->hello.version, sizeof(g_r->hello.version));
    text_take(&r, g_r->why, sizeof(g_r->why));
    if (r.failed || (class != LINK_CONTROL && class != LINK_BULK) || g_r->status > 0)
        return ERR_PROTOCOL;
    return 0;
}

/* Read at both ends: what an operator can do about it. */
const char *link_refusal_text(int status)
{
    switch (status) {
    case ERR_DENIED:
        return "it was removed from the cluster: join again under a new name (mailctl member add, maild join)";
    case ERR_CONFLICT:
        return "another node joined with its token: make a new one with mailctl member add, and join with that";
    case ERR_STALE:
        return "its join token expired: make a new one with mailctl member add, and join with that";
    case ERR_VERSION:
        return "its build is too old for the cluster's format: install the cluster's version";
    default:
        return "refused";
    }
}
