#include "store/blob_log.h"

#include "node/base/log.h"

#include <stdio.h>
#include <unistd.h>

/* What is found damaged counts only when a whole record follows; until then it may be the torn tail. */
struct pending {
    struct body_hash *hash;
    uint64_t *offset;
    size_t n, cap;
    uint64_t gaps;
};

static void pending_add(struct pending *p, const struct scan_item *item)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 16;
        p->hash = mem_realloc(p->hash, p->cap * sizeof *p->hash);
        p->offset = mem_realloc(p->offset, p->cap * sizeof *p->offset);
    }
    p->hash[p->n] = item->header.hash;
    p->offset[p->n++] = item->offset;
}

static bool row_place(void *arg, struct blob_row *row)
{
    row->place = *(const struct blob_place *)arg;
    row->missing = false;
    return true;
}

static bool row_missing(void *arg, struct blob_row *row)
{
    (void)arg;
    if (row->place.segment || row->missing)
        return false;
    row->missing = true;
    return true;
}

static int pending_note(struct blob_log *b, uint32_t segment, struct pending *p)
{
    int err = 0;
    for (size_t i = 0; i < p->n && !err; i++) {
        char name[2 * BODY_HASH_SIZE + 1];
        hex_encode(slice_make(p->hash[i].b, BODY_HASH_SIZE), name);
        log_event(LOG_ERROR, "body damaged", LOG_S("hash", name), LOG_U("segment", segment),
                  LOG_U("offset", p->offset[i]));
        err = index_update(&b->index, &p->hash[i], row_missing, NULL);
    }
    if (p->gaps) {
        log_event(LOG_ERROR, "segment damaged, names of bodies lost", LOG_U("segment", segment),
                  LOG_U("gaps", p->gaps));
        atomic_store(&b->index.recheck, true);
    }
    atomic_fetch_add(&b->corrupt, p->n + p->gaps);
    p->n = 0;
    p->gaps = 0;
    return err;
}

static int replay_one(struct blob_log *b, uint32_t segment, const struct scan_item *item)
{
    struct blob_place place = {segment, (uint32_t)record_length(&item->header), item->offset, item->header.time_ms};
    return index_update(&b->index, &item->header.hash, row_place, &place);
}

/* *end_r: behind the last whole record. */
static int replay(struct blob_log *b, struct segment *s, uint64_t from, bool last, uint64_t *end_r)
{
    struct scan scan = {s->fd, from, atomic_load(&s->end), true};
    struct scan_item item;
    struct pending pending = {0};
    enum scan_kind kind;
    int err = 0;
    *end_r = from;
    while (!err && (kind = scan_next(&scan, &item)) != SCAN_END) {
        if (kind == SCAN_DAMAGED)
            pending_add(&pending, &item);
        if (kind == SCAN_GAP)
            pending.gaps++;
        if (kind != SCAN_WHOLE)
            continue;
        *end_r = item.next;
        err = pending_note(b, s->number, &pending);
        if (!err)
            err = replay_one(b, s->number, &item);
    }
    if (!last && !err) /* a full segment was synced to its end: no tail of it can be torn */
        err = pending_note(b, s->number, &pending);
    mem_free(pending.hash);
    mem_free(pending.offset);
    return err;
}

static int tail_cut(struct blob_log *b, struct segment *s, uint64_t end, struct err_detail *e)
{
    uint64_t was = atomic_load(&s->end);
    if (was == end)
        return 0;
    log_event(LOG_WARN, "torn tail cut off", LOG_U("segment", s->number), LOG_U("from", end),
              LOG_I("bytes", was - end));
    if (ftruncate(s->fd, (off_t)end) != 0 || (!b->o.no_sync && fsync(s->fd) != 0))
        return err_set(e, ERR_IO, "cutting the torn tail of segment %u failed", s->number);
    atomic_store(&s->end, end);
    return 0;
}

/* The segment's own header. *gone_r: the file was being made when the node died, has nothing in it, and is removed.
 * Records have checks of their own, so a damaged header of the segment does not keep them from being found. */
static int head_check(struct blob_log *b, struct segment *s, bool last, bool *gone_r, struct err_detail *e)
{
    int err = segment_header_check(s->fd, s->number);
    *gone_r = err == ERR_CORRUPT && last && atomic_load(&s->end) <= SEGMENT_HEADER_SIZE;
    if (err == ERR_VERSION)
        return err_set(e, err, "segment %u in %s was made by a newer version", s->number, b->segments.dir);
    if (*gone_r)
        segment_remove(&b->segments, s->number);
    else if (err)
        log_event(LOG_ERROR, "segment header damaged", LOG_U("segment", s->number));
    return 0;
}

/* One segment from the position on. */
static int recover_one(struct blob_log *b, struct segment *s, uint64_t from, bool last, struct err_detail *e)
{
    uint64_t end;
    bool gone;
    int err = head_check(b, s, last, &gone, e);
    if (err || gone)
        return err;
    if (from > atomic_load(&s->end)) { /* lost bytes that were synced: reading will find which bodies they were */
        log_event(LOG_ERROR, "segment is shorter than it was", LOG_U("segment", s->number));
        atomic_store(&b->index.recheck, true);
        from = record_padded(atomic_load(&s->end));
    }
    err = replay(b, s, from, last, &end);
    if (err)
        return err_set(e, err, "replaying segment %u failed", s->number);
    if (last && (err = tail_cut(b, s, end, e)) != 0)
        return err;
    index_position_set(&b->index, (struct blob_position){s->number, atomic_load(&s->end)});
    err = index_flush(&b->index);
    return err ? err_set(e, err, "index of bodies cannot be written") : 0;
}

int blob_recover(struct blob_log *b, struct err_detail *e)
{
    struct blob_position p = index_position(&b->index);
    uint32_t last = segments_last(&b->segments);
    uint32_t number = segments_next(&b->segments, p.segment ? p.segment : 1);
    for (; number; number = segments_next(&b->segments, number + 1)) {
        struct segment *s;
        int err = segment_hold(&b->segments, number, &s);
        if (err)
            return err_set(e, err, "segment %u in %s cannot be opened", number, b->segments.dir);
        err = recover_one(b, s, number == p.segment ? p.offset : SEGMENT_HEADER_SIZE, number == last, e);
        segment_release(&b->segments, &s);
        if (err)
            return err;
    }
    return 0;
}
