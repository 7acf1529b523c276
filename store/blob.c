#include "store/blob_log.h"

#include "node/base/clock.h"
#include "node/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const uint64_t segment_bytes_default = (uint64_t)256 << 20;
static const uint64_t reserve_default = (uint64_t)64 << 20;
static const int64_t lease_default = (int64_t)2 * 3600 * 1000;

/* ---- life ---- */

static int folder_make(const char *dir, const char *name, bool no_sync, char *out, size_t out_n, struct err_detail *e)
{
    int n = snprintf(out, out_n, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= out_n)
        return err_set(e, ERR_INVALID, "path too long: %s/%s", dir, name);
    if (mkdir(out, 0700) != 0) {
        if (errno == EEXIST)
            return 0;
        return err_set(e, err_from_errno(errno), "make %s: %s", out, strerror(errno));
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && (no_sync || fsync(fd) == 0);
    if (fd >= 0)
        close(fd);
    return ok ? 0 : err_set(e, ERR_IO, "sync %s: %s", dir, strerror(errno));
}

static void options_fill(struct blob_options *o)
{
    if (!o->segment_bytes)
        o->segment_bytes = segment_bytes_default;
    if (!o->lease_ms)
        o->lease_ms = lease_default;
    if (!o->reserve_bytes)
        o->reserve_bytes = reserve_default;
    if (!o->now_ms)
        o->now_ms = clock_wall_ms;
}

static void destroy(struct blob_log **b)
{
    blob_writer_stop(*b);
    segment_release(&(*b)->segments, &(*b)->active);
    index_close(&(*b)->index);
    segments_close(&(*b)->segments);
    pthread_mutex_destroy(&(*b)->lock);
    pthread_cond_destroy(&(*b)->work);
    pthread_cond_destroy(&(*b)->moved);
    mem_free((*b)->use);
    mem_free(*b);
    *b = NULL;
}

static int active_hold(struct blob_log *b, struct err_detail *e)
{
    uint32_t last = segments_last(&b->segments);
    int err = last ? segment_hold(&b->segments, last, &b->active) : 0;
    return err ? err_set(e, err, "segment %u cannot be opened", last) : 0;
}

int blob_open(const char *dir, const struct blob_options *o, struct blob_log **b_r, struct err_detail *e)
{
    char bodies[4096], local[4096];
    int err = folder_make(dir, "bodies", o && o->no_sync, bodies, sizeof bodies, e);
    if (!err)
        err = folder_make(dir, "local", o && o->no_sync, local, sizeof local, e);
    if (err)
        return err;
    struct blob_log *b = mem_zalloc(sizeof *b);
    if (o)
        b->o = *o;
    options_fill(&b->o);
    b->tail = &b->head;
    list_init(&b->under_way);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->work, NULL);
    pthread_cond_init(&b->moved, NULL);
    err = segments_open(&b->segments, bodies, b->o.no_sync, e);
    int index_err =
        index_open(&b->index, local, b->o.no_sync, segments_last(&b->segments) != 0, b->o.now_ms(), err ? NULL : e);
    if (!err)
        err = index_err;
    if (!err)
        err = blob_recover(b, e);
    if (!err)
        err = active_hold(b, e);
    if (err) {
        destroy(&b);
        return err;
    }
    if (b->index.crashed_ms)
        b->collect_from_ms = b->index.crashed_ms + b->o.lease_ms;
    index_start(&b->index);
    blob_writer_start(b);
    *b_r = b;
    return 0;
}

void blob_close(struct blob_log **b)
{
    if (*b)
        destroy(b);
}

void blob_append(struct blob_log *b, struct blob_append *a)
{
    ENSURE(a->home && a->task.run);
    blob_writer_queue(b, a);
}

bool blob_failed(struct blob_log *b)
{
    return atomic_load(&b->failed) || atomic_load(&b->index.failed);
}

/* ---- reading ---- */

struct damage {
    const struct blob_place *place;
    bool done;
};

static bool row_damaged(void *arg, struct blob_row *row)
{
    struct damage *d = arg;
    if (!row->place.segment || !blob_place_eq(&row->place, d->place))
        return false; /* appended anew or moved meanwhile */
    row->place = (struct blob_place){0};
    row->missing = true;
    d->done = true;
    return true;
}

void blob_damaged(struct blob_log *b, const struct body_hash *hash, const struct blob_place *place)
{
    struct damage d = {place, false};
    if (index_update(&b->index, hash, row_damaged, &d) || !d.done)
        return;
    char name[2 * BODY_HASH_SIZE + 1];
    hex_encode(slice_make(hash->b, BODY_HASH_SIZE), name);
    log_event(LOG_ERROR, "body damaged", LOG_S("hash", name), LOG_U("segment", place->segment),
              LOG_U("offset", place->offset));
    atomic_fetch_add(&b->corrupt, 1);
}

int blob_place_read(struct blob_log *b, const struct body_hash *hash, const struct blob_place *place,
                    struct bytes **record_r)
{
    struct segment *s;
    struct body_hash found;
    uint64_t size;
    int err = segment_hold(&b->segments, place->segment, &s);
    if (err)
        return err;
    /* The length comes from our own index, but a damaged page of that must not allocate gigabytes. */
    uint64_t end = atomic_load(&s->end);
    err = place->offset > end || place->length > end - place->offset ? ERR_CORRUPT : 0;
    struct bytes *record = NULL;
    if (!err) {
        record = bytes_new(place->length);
        err = file_read(s->fd, record->p, record->n, place->offset);
    }
    segment_release(&b->segments, &s);
    if (!err && (blob_record_check(bytes_slice(record), &found, &size) || !body_hash_eq(&found, hash)))
        err = ERR_CORRUPT;
    if (err)
        bytes_unref(&record);
    else
        *record_r = record;
    return err;
}

/* Where the index says that it is. ERR_NOTFOUND when the index knows no place. */
static int record_indexed(struct blob_log *b, const struct body_hash *hash, struct bytes **record_r,
                          struct blob_place *place_r)
{
    struct blob_row row, again;
    int err = index_get(&b->index, hash, &row);
    while (!err && row.place.segment) {
        err = blob_place_read(b, hash, &row.place, record_r);
        *place_r = row.place;
        if (err != ERR_NOTFOUND && err != ERR_CORRUPT)
            return err;
        /* The collector may have moved it between the look-up and the read. */
        err = index_get(&b->index, hash, &again);
        if (!err && again.place.segment && blob_place_eq(&row.place, &again.place)) {
            blob_damaged(b, hash, &row.place);
            return ERR_CORRUPT;
        }
        row = again;
    }
    return err ? err : ERR_NOTFOUND;
}

static int record_find(struct blob_log *b, const struct body_hash *hash, struct bytes **record_r,
                       struct blob_place *place_r)
{
    int err = record_indexed(b, hash, record_r, place_r);
    if (err != ERR_NOTFOUND)
        return err;
    *place_r = (struct blob_place){0};
    *record_r = blob_writer_record(b, hash);
    return *record_r ? 0 : record_indexed(b, hash, record_r, place_r);
}

int blob_record_read(struct blob_log *b, const struct body_hash *hash, struct bytes **record_r)
{
    struct bytes *record;
    struct record_header h;
    struct blob_place place;
    int err = record_find(b, hash, &record, &place);
    if (err)
        return err;
    ENSURE(record_header_parse(record->p, &h) == 0);
    h.time_ms = 0;
    record_header_write(&h, record->p);
    *record_r = record;
    return 0;
}

int blob_read(struct blob_log *b, const struct body_hash *hash, struct bytes **body_r)
{
    struct bytes *record;
    struct blob_place place;
    int err = record_find(b, hash, &record, &place);
    if (err)
        return err;
    err = blob_decode(bytes_slice(record), false, body_r);
    if (err) /* it was appended like that */
        blob_damaged(b, hash, &place);
    bytes_unref(&record);
    return err;
}

bool blob_has(struct blob_log *b, const struct body_hash *hash)
{
    struct blob_row row;
    return index_get(&b->index, hash, &row) == 0 && row.place.segment;
}

struct touch {
    int64_t now;
    bool found;
};

static bool row_touch(void *arg, struct blob_row *row)
{
    struct touch *t = arg;
    t->found = row->place.segment != 0;
    if (!t->found || row->place.time_ms >= t->now)
        return false;
    row->place.time_ms = t->now;
    return true;
}

int blob_touch(struct blob_log *b, const struct body_hash *hash)
{
    struct touch t = {b->o.now_ms(), false};
    int err = index_update(&b->index, hash, row_touch, &t);
    return err ? err : t.found ? 0 : ERR_NOTFOUND;
}

/* ---- missing ---- */

static bool row_miss(void *arg, struct blob_row *row)
{
    (void)arg;
    if (row->place.segment || row->missing)
        return false;
    row->missing = true;
    return true;
}

static bool row_drop(void *arg, struct blob_row *row)
{
    (void)arg;
    bool was = row->missing;
    row->missing = false;
    return was;
}

void blob_missing_add(struct blob_log *b, const struct body_hash *hash)
{
    if (index_update(&b->index, hash, row_miss, NULL))
        atomic_store(&b->index.recheck, true);
}

void blob_missing_drop(struct blob_log *b, const struct body_hash *hash)
{
    (void)index_update(&b->index, hash, row_drop, NULL); /* else it stays noted, and is dropped again */
}

uint64_t blob_missing_count(struct blob_log *b)
{
    return atomic_load(&b->index.missing_n);
}

size_t blob_missing_list(struct blob_log *b, const struct body_hash *after, struct body_hash *out, size_t max)
{
    return index_missing_list(&b->index, after, out, max);
}

bool blob_recheck_needed(struct blob_log *b)
{
    return atomic_load(&b->index.recheck);
}

void blob_recheck_done(struct blob_log *b)
{
    /* What it noted has to be durable before the wish for it goes. */
    if (index_flush(&b->index) == 0) {
        atomic_store(&b->index.recheck, false);
        index_flush(&b->index);
    }
}

int blob_index_flush(struct blob_log *b)
{
    return index_flush(&b->index);
}

void blob_stats(struct blob_log *b, struct blob_stats *st_r)
{
    struct statvfs fs;
    *st_r = (struct blob_stats){
        .bodies = atomic_load(&b->index.bodies_n),
        .appends = atomic_load(&b->appends),
        .syncs = atomic_load(&b->syncs),
        .corrupt = atomic_load(&b->corrupt),
    };
    segments_total(&b->segments, &st_r->segments, &st_r->bytes);
    if (fstatvfs(b->segments.dir_fd, &fs) == 0)
        st_r->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    pthread_mutex_lock(&b->lock);
    int64_t since = b->writing_since ? b->writing_since : b->queue_since;
    pthread_mutex_unlock(&b->lock);
    if (since)
        st_r->oldest_write_ms = clock_steady_ms() - since;
}
