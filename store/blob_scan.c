#include "store/blob_segment.h"

#include "node/base/buf.h"

#include <errno.h>
#include <unistd.h>

enum { SEARCH_STEP = 64 * 1024 };

int file_read(int fd, void *out, size_t n, uint64_t offset)
{
    uint8_t *p = out;
    while (n) {
        ssize_t got = pread(fd, p, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return ERR_CORRUPT;
        p += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

/* Is there a whole header at the offset, of a record that ends within the segment? */
static bool header_at(const struct scan *s, uint64_t offset, struct record_header *h_r)
{
    uint8_t raw[RECORD_HEADER_SIZE];
    return s->end - offset >= sizeof raw && !file_read(s->fd, raw, sizeof raw, offset) &&
           !record_header_parse(raw, h_r) && s->end - offset >= record_length(h_r);
}

static struct bytes *record_at(const struct scan *s, uint64_t offset, const struct record_header *h)
{
    struct bytes *record = bytes_new((size_t)record_length(h));
    if (file_read(s->fd, record->p, record->n, offset))
        bytes_unref(&record);
    return record;
}

static bool payload_ok(const struct scan *s, uint64_t offset, const struct record_header *h)
{
    struct bytes *record = record_at(s, offset, h);
    bool ok = record && checksum64(slice_from(bytes_slice(record), RECORD_HEADER_SIZE)) == h->checksum;
    bytes_unref(&record);
    return ok;
}

/* After a lost header the walk may be inside a payload, which a sender chose: bytes that look like a record count only
 * when they are one down to the SHA-256, for then it does no harm to believe them. */
static bool record_proven(const struct scan *s, uint64_t offset)
{
    struct record_header h;
    if (!header_at(s, offset, &h))
        return false;
    struct bytes *record = record_at(s, offset, &h), *body = NULL;
    bool ok = record && !blob_decode(bytes_slice(record), true, &body);
    bytes_unref(&record);
    bytes_unref(&body);
    return ok;
}

static uint64_t next_proven(const struct scan *s, uint64_t offset)
{
    uint8_t *chunk = mem_alloc(SEARCH_STEP);
    for (; offset < s->end; offset += SEARCH_STEP) {
        size_t n = s->end - offset < SEARCH_STEP ? (size_t)(s->end - offset) : SEARCH_STEP;
        if (file_read(s->fd, chunk, n, offset))
            continue;
        for (size_t i = 0; i + 4 <= n; i += RECORD_ALIGN) {
            if (get_le32(chunk + i) == RECORD_MAGIC && record_proven(s, offset + i)) {
                mem_free(chunk);
                return offset + i;
            }
        }
    }
    mem_free(chunk);
    return s->end;
}

enum scan_kind scan_next(struct scan *s, struct scan_item *item_r)
{
    if (s->offset >= s->end)
        return SCAN_END;
    enum scan_kind kind = SCAN_WHOLE;
    item_r->offset = s->offset;
    if (!header_at(s, s->offset, &item_r->header)) {
        kind = SCAN_GAP;
        item_r->next = next_proven(s, s->offset + RECORD_ALIGN);
    } else {
        item_r->next = s->offset + record_padded(record_length(&item_r->header));
        if (s->payloads && !payload_ok(s, s->offset, &item_r->header))
            kind = SCAN_DAMAGED;
    }
    s->offset = item_r->next;
    return kind;
}
