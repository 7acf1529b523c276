/* A growing byte buffer with a consumed front: append at the end, consume from the start. Allocation failure aborts
 * the process (the node restarts and rejoins), so that every append is safe to ignore. One owner, one thread. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "node/base/slice.h"

struct buf {
    uint8_t *base;
    size_t start, end, cap; /* live bytes are [start, end) */
};

void buf_init(struct buf *b);  /* all zero is initialised too */
void buf_close(struct buf *b); /* frees; usable again as after init */

static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}
/* The live bytes; valid until the next call that changes b. */
static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->base ? b->base + b->start : NULL, b->end - b->start};
}

/* Room for n more bytes at the end, never NULL; write there, then buf_commit what was written. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
void buf_append(struct buf *b, const void *p, size_t n);
void buf_append_slice(struct buf *b, struct slice s);
void buf_append_str(struct buf *b, const char *s);
void buf_append_byte(struct buf *b, uint8_t c);
void buf_append_u64(struct buf *b, uint64_t v); /* decimal */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t n); /* n <= buf_len */
void buf_truncate(struct buf *b, size_t n); /* keeps the first n bytes */
/* Drops what is in it; keeps the memory unless it has grown past 64 KiB. */
void buf_clear(struct buf *b);

/* Fixed-width little-endian, for what lasts or travels. */
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
/* u32 length, then the bytes. */
void buf_put_bytes(struct buf *b, struct slice s);

/* Reads what buf_put_* wrote, with a sticky error: check `failed` once at the end. Getters return 0 or empty
 * after a failure. Slices point into the input. */
struct reader {
    struct slice in;
    bool failed;
};
uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
struct slice read_exact(struct reader *r, size_t n);
struct slice read_bytes(struct reader *r, size_t max);

static inline void put_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline void put_le64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline uint32_t get_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t get_le64(const uint8_t *p)
{
    return (uint64_t)get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}
/* Big-endian, for keys that sort by number. */
static inline void put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}
static inline void put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}
static inline uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}
static inline uint64_t get_be64(const uint8_t *p)
{
    return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

#endif
