/* Freeing space. A pass over the index counts the live bytes of each full segment; the sparsest is then copied out, and
 * removed when the index has durably forgotten it. A body is live when the state refers to it, or while its lease
 * lasts. */
#include "store/blob_log.h"

#include "node/base/log.h"

#include <stdlib.h>

enum { PLACES_CHUNK = 512, MOVE_CHUNK = 64, MOVE_BYTES = 8 << 20 };

struct segment_use {
    uint32_t number;
    uint64_t live;
};

struct collector {
    struct blob_log *b;
    bool (*is_live)(void *arg, const struct body_hash *hash);
    void *arg;
    int64_t now;
};

static bool leased(const struct collector *c, const struct blob_place *p)
{
    return c->now - p->time_ms < c->b->o.lease_ms;
}

static bool live(const struct collector *c, const struct body_hash *hash, const struct blob_place *p)
{
    return leased(c, p) || c->is_live(c->arg, hash);
}

/* ---- counting ---- */

static struct segment_use *use_of(struct blob_log *b, uint32_t number)
{
    size_t from = 0, to = b->use_n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (b->use[mid].number < number)
            from = mid + 1;
        else
            to = mid;
    }
    return from < b->use_n && b->use[from].number == number ? &b->use[from] : NULL;
}

/* Calls each for all rows that LMDB has. A read transaction never lasts longer than a chunk. */
static void places_each(struct collector *c,
                        void (*each)(struct collector *c, const struct body_hash *hash, const struct blob_place *place,
                                     uint32_t number),
                        uint32_t number)
{
    struct body_hash *hash = mem_alloc(PLACES_CHUNK * sizeof *hash), after;
    struct blob_place *place = mem_alloc(PLACES_CHUNK * sizeof *place);
    size_t n = index_places(&c->b->index, NULL, hash, place, PLACES_CHUNK);
    while (n) {
        for (size_t i = 0; i < n; i++)
            each(c, &hash[i], &place[i], number);
        after = hash[n - 1];
        n = index_places(&c->b->index, &after, hash, place, PLACES_CHUNK);
    }
    mem_free(hash);
    mem_free(place);
}

static void count_one(struct collector *c, const struct body_hash *hash, const struct blob_place *place,
                      uint32_t number)
{
    (void)number;
    struct segment_use *u = use_of(c->b, place->segment);
    if (u && live(c, hash, place))
        u->live += record_padded(place->length);
}

/* Only segments whose every record is in LMDB: those before the position. */
static bool count(struct collector *c)
{
    struct blob_log *b = c->b;
    if (index_flush(&b->index))
        return false;
    uint32_t before = index_position(&b->index).segment;
    size_t cap = 0;
    b->use_n = 0;
    for (uint32_t n = segments_next(&b->segments, 1); n && n < before; n = segments_next(&b->segments, n + 1)) {
        if (b->use_n == cap) {
            cap = cap ? cap * 2 : 64;
            b->use = mem_realloc(b->use, cap * sizeof *b->use);
        }
        b->use[b->use_n++] = (struct segment_use){n, 0};
    }
    places_each(c, count_one, 0);
    return b->use_n > 0 && index_flush(&b->index) == 0;
}

static uint64_t size_of(struct blob_log *b, uint32_t number)
{
    struct segment *s;
    if (segment_hold(&b->segments, number, &s))
        return 0;
    uint64_t size = atomic_load(&s->end);
    segment_release(&b->segments, &s);
    return size;
}

/* Takes the segment with the least live bytes off the list; 0 when none is less than half live. */
static uint32_t sparsest(struct blob_log *b)
{
    struct segment_use *best = NULL;
    for (size_t i = 0; i < b->use_n; i++) {
        struct segment_use *u = &b->use[i];
        if ((!best || u->live < best->live) && u->live < size_of(b, u->number) / 2)
            best = u;
    }
    if (!best)
        return 0;
    uint32_t number = best->number;
    memmove(best, best + 1, (size_t)(b->use + b->use_n - (best + 1)) * sizeof *best);
    b->use_n--;
    return number;
}

/* ---- copying out ---- */

struct moves {
    struct blob_move move[MOVE_CHUNK];
    size_t n;
    uint64_t bytes;
    int err;
};

static void moves_run(struct blob_log *b, struct moves *m)
{
    for (size_t i = 0; i < m->n; i++)
        blob_writer_queue(b, &m->move[i].append);
    pthread_mutex_lock(&b->lock);
    while (b->moves)
        pthread_cond_wait(&b->moved, &b->lock);
    pthread_mutex_unlock(&b->lock);
    for (size_t i = 0; i < m->n; i++) {
        if (m->move[i].append.status)
            m->err = m->move[i].append.status;
        bytes_unref(&m->move[i].append.record);
    }
    m->n = 0;
    m->bytes = 0;
}

static void move_add(struct blob_log *b, struct moves *m, const struct body_hash *hash, const struct blob_place *place)
{
    struct bytes *record;
    int err = blob_place_read(b, hash, place, &record);
    if (err == ERR_CORRUPT) {
        blob_damaged(b, hash, place);
        return;
    }
    if (err) {
        m->err = err;
        return;
    }
    m->move[m->n++] = (struct blob_move){.append.record = record, .hash = *hash, .from = *place};
    m->bytes += record->n;
    if (m->n == MOVE_CHUNK || m->bytes >= MOVE_BYTES)
        moves_run(b, m);
}

struct drop {
    const struct collector *c;
    const struct blob_place *place;
    bool kept;
};

static bool row_drop(void *arg, struct blob_row *row)
{
    struct drop *d = arg;
    if (!blob_place_eq(&row->place, d->place))
        return false;
    d->kept = leased(d->c, &row->place); /* touched since it was judged */
    if (!d->kept)
        row->place = (struct blob_place){0};
    return !d->kept;
}

static void record_handle(struct collector *c, struct moves *m, uint32_t number, const struct scan_item *item)
{
    struct blob_row row;
    m->err = index_get(&c->b->index, &item->header.hash, &row);
    if (m->err || row.place.segment != number || row.place.offset != item->offset)
        return;
    struct drop d = {c, &row.place, true};
    if (!live(c, &item->header.hash, &row.place))
        m->err = index_update(&c->b->index, &item->header.hash, row_drop, &d);
    if (!m->err && d.kept)
        move_add(c->b, m, &item->header.hash, &row.place);
}

/* A header that can no longer be read: its body is known by the index alone. */
static void lost_one(struct collector *c, const struct body_hash *hash, const struct blob_place *place, uint32_t number)
{
    struct blob_row row;
    if (place->segment != number || index_get(&c->b->index, hash, &row) || !blob_place_eq(&row.place, place))
        return;
    struct drop d = {c, place, true};
    if (!live(c, hash, place))
        (void)index_update(&c->b->index, hash, row_drop, &d);
    if (d.kept)
        blob_damaged(c->b, hash, place);
}

static uint64_t collect_one(struct collector *c, uint32_t number)
{
    struct blob_log *b = c->b;
    struct segment *s;
    if (segment_hold(&b->segments, number, &s))
        return 0;
    struct scan scan = {s->fd, SEGMENT_HEADER_SIZE, atomic_load(&s->end), false};
    struct scan_item item;
    struct moves *m = mem_zalloc(sizeof *m);
    bool gaps = false;
    enum scan_kind kind;
    while (!m->err && (kind = scan_next(&scan, &item)) != SCAN_END) {
        gaps |= kind == SCAN_GAP;
        if (kind == SCAN_WHOLE)
            record_handle(c, m, number, &item);
    }
    int err = m->err; /* before the last moves, so that those are waited for in any case */
    moves_run(b, m);
    err = err ? err : m->err;
    mem_free(m);
    segment_release(&b->segments, &s);
    if (!err && gaps)
        err = index_flush(&b->index);
    if (!err && gaps)
        places_each(c, lost_one, number);
    /* Only now nothing durable points into it. */
    if (!err)
        err = index_flush(&b->index);
    if (err) {
        log_event(LOG_WARN, "segment not freed", LOG_U("segment", number), LOG_E("why", err));
        return 0;
    }
    return segment_remove(&b->segments, number);
}

uint64_t blob_collect(struct blob_log *b, bool (*is_live)(void *arg, const struct body_hash *hash), void *arg)
{
    struct collector c = {b, is_live, arg, b->o.now_ms()};
    if (c.now < b->collect_from_ms || atomic_load(&b->failed))
        return 0;
    bool counted = false;
    for (;;) {
        uint32_t number = sparsest(b);
        if (!number && (counted || !count(&c)))
            return 0;
        if (!number) {
            counted = true;
            continue;
        }
        uint64_t freed = collect_one(&c, number);
        if (freed)
            return freed;
    }
}
