#include "node/base/buf.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <stdarg.h>
#include <stdio.h>

enum { BUF_FIRST = 256, BUF_KEEP = 64 * 1024 };

void buf_init(struct buf *b)
{
    *b = (struct buf){0};
}

void buf_close(struct buf *b)
{
    mem_free(b->base);
    buf_init(b);
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    if (b->base && n <= b->cap - b->end)
        return b->base + b->end;
    size_t live = buf_len(b);
    if (b->start && b->start >= live && n <= b->cap - live) { /* moving costs no more than what was consumed */
        memcpy(b->base, b->base + b->start, live);
    } else {
        ENSURE(n <= SIZE_MAX / 4 && live <= SIZE_MAX / 4);
        size_t cap = b->cap ? b->cap : BUF_FIRST;
        while (cap < live + n)
            cap *= 2;
        uint8_t *base = mem_alloc(cap);
        if (live)
            memcpy(base, b->base + b->start, live);
        mem_free(b->base);
        b->base = base;
        b->cap = cap;
    }
    b->start = 0;
    b->end = live;
    return b->base + b->end;
}

void buf_commit(struct buf *b, size_t n)
{
    ENSURE(n <= b->cap - b->end);
    b->end += n;
}

void buf_append(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    memcpy(buf_reserve(b, n), p, n);
    b->end += n;
}

void buf_append_slice(struct buf *b, struct slice s)
{
    buf_append(b, s.p, s.n);
}

void buf_append_str(struct buf *b, const char *s)
{
    buf_append(b, s, strlen(s));
}

void buf_append_byte(struct buf *b, uint8_t c)
{
    *buf_reserve(b, 1) = c;
    b->end++;
}

void buf_append_u64(struct buf *b, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + v % 10);
    while (v /= 10);
    buf_append(b, digits + at, sizeof digits - at);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    ENSURE(n >= 0);
    uint8_t *at = buf_reserve(b, (size_t)n + 1);
    vsnprintf((char *)at, (size_t)n + 1, format, again);
    va_end(again);
    b->end += (size_t)n;
}

void buf_consume(struct buf *b, size_t n)
{
    ENSURE(n <= buf_len(b));
    b->start += n;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void buf_truncate(struct buf *b, size_t n)
{
    ENSURE(n <= buf_len(b));
    b->end = b->start + n;
}

void buf_clear(struct buf *b)
{
    if (b->cap > BUF_KEEP)
        buf_close(b);
    b->start = b->end = 0;
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    buf_append_byte(b, v);
}

void buf_put_u16(struct buf *b, uint16_t v)
{
    buf_append(b, (uint8_t[]){(uint8_t)v, (uint8_t)(v >> 8)}, 2);
}

void buf_put_u32(struct buf *b, uint32_t v)
{
    uint8_t p[4];
    put_le32(p, v);
    buf_append(b, p, sizeof p);
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    uint8_t p[8];
    put_le64(p, v);
    buf_append(b, p, sizeof p);
}

void buf_put_bytes(struct buf *b, struct slice s)
{
    ENSURE(s.n <= UINT32_MAX);
    buf_put_u32(b, (uint32_t)s.n);
    buf_append_slice(b, s);
}

struct slice read_exact(struct reader *r, size_t n)
{
    if (r->failed || n > r->in.n) {
        r->failed = true;
        return (struct slice){NULL, 0};
    }
    struct slice s = slice_first(r->in, n);
    r->in = slice_from(r->in, n);
    return s;
}

uint8_t read_u8(struct reader *r)
{
    struct slice s = read_exact(r, 1);
    return s.n ? s.p[0] : 0;
}

uint16_t read_u16(struct reader *r)
{
    struct slice s = read_exact(r, 2);
    return (uint16_t)(s.n ? s.p[0] | s.p[1] << 8 : 0);
}

uint32_t read_u32(struct reader *r)
{
    struct slice s = read_exact(r, 4);
    return s.n ? get_le32(s.p) : 0;
}

uint64_t read_u64(struct reader *r)
{
    struct slice s = read_exact(r, 8);
    return s.n ? get_le64(s.p) : 0;
}

struct slice read_bytes(struct reader *r, size_t max)
{
    uint32_t n = read_u32(r);
    if (n > max)
        r->failed = true;
    return read_exact(r, n);
}
