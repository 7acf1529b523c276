/* The writer: takes all appends that wait, writes them in one go, syncs once, puts them into the index, answers. The
 * next group forms meanwhile. */
#include "store/blob_log.h"

#include "node/base/clock.h"
#include "node/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    GROUP_MAX = 1024,
    GROUP_BYTES = 32 << 20,
    IOV_EACH = 3,          /* header, payload, padding */
    BACKLOG_MAX = 1 << 18, /* rows in memory while LMDB cannot be written; then appends are refused */
};

enum verdict { WRITE, THERE, TWICE, REFUSED };

struct item {
    struct blob_append *append;
    struct record_header header;
    enum verdict verdict;
    uint64_t offset;
    uint8_t raw[RECORD_HEADER_SIZE];
};

struct group {
    struct item item[GROUP_MAX];
    size_t n;
    uint64_t bytes; /* to be written */
    bool moves;     /* and all of them moves: the reserve is there for those */
    struct blob_table names;
};

static struct blob_move *move_of(struct blob_append *a)
{
    return a->home ? NULL : container_of(a, struct blob_move, append);
}

/* ---- the group ---- */

static bool row_lease(void *arg, struct blob_row *row)
{
    int64_t now = *(const int64_t *)arg;
    if (!row->place.segment || row->place.time_ms >= now)
        return false;
    row->place.time_ms = now;
    return true;
}

static enum verdict judge_move(struct blob_log *b, struct blob_move *m, struct item *it)
{
    struct blob_row row;
    it->append->status = index_get(&b->index, &it->header.hash, &row);
    if (it->append->status)
        return REFUSED;
    it->header.time_ms = row.place.time_ms;
    return blob_place_eq(&row.place, &m->from) ? WRITE : THERE;
}

static enum verdict judge(struct blob_log *b, struct group *g, struct item *it)
{
    struct blob_append *a = it->append;
    const struct bytes *r = a->record;
    struct blob_row row;
    a->status = r->n < RECORD_HEADER_SIZE ? ERR_PROTOCOL : record_header_parse(r->p, &it->header);
    if (!a->status && record_length(&it->header) != r->n)
        a->status = ERR_PROTOCOL;
    if (a->status)
        return REFUSED;
    bool twice = blob_table_get(&g->names, &it->header.hash) != NULL;
    if (move_of(a))
        return twice ? TWICE : judge_move(b, move_of(a), it);
    int64_t now = it->header.time_ms = b->o.now_ms();
    a->status = index_update(&b->index, &it->header.hash, row_lease, &now);
    if (!a->status)
        a->status = index_get(&b->index, &it->header.hash, &row);
    if (a->status)
        return REFUSED;
    return twice ? TWICE : row.place.segment ? THERE : WRITE;
}

static bool fits(const struct blob_log *b, const struct group *g, uint64_t length)
{
    uint64_t end = b->active ? atomic_load(&b->active->end) + g->bytes : 0;
    return b->active && (end + length <= b->o.segment_bytes || end == SEGMENT_HEADER_SIZE);
}

static int roll(struct blob_log *b)
{
    uint32_t number = segments_last(&b->segments) + 1;
    struct segment *next;
    int err = segment_create(&b->segments, number, b->o.segment_bytes, &next);
    if (err) {
        log_event(err == ERR_NOSPACE ? LOG_WARN : LOG_ERROR, "segment not made", LOG_U("segment", number),
                  LOG_E("why", err));
        return err == ERR_NOSPACE ? err : ERR_IO;
    }
    if (b->active) /* gives back what was reserved past its end */
        if (ftruncate(b->active->fd, (off_t)atomic_load(&b->active->end)) != 0)
            log_event(LOG_WARN, "space of a full segment not given back", LOG_U("segment", b->active->number));
    segment_release(&b->segments, &b->active);
    b->active = next;
    index_position_set(&b->index, (struct blob_position){number, SEGMENT_HEADER_SIZE});
    return 0;
}

static int space_check(struct blob_log *b, const struct group *g)
{
    struct statvfs fs;
    if (index_backlog(&b->index) > BACKLOG_MAX)
        return ERR_NOSPACE;
    if (fstatvfs(b->segments.dir_fd, &fs) != 0)
        return 0;
    uint64_t reserve = g->moves ? 0 : b->o.reserve_bytes;
    return (uint64_t)fs.f_bavail * fs.f_frsize >= reserve + g->bytes ? 0 : ERR_NOSPACE;
}

/* Takes from the list what goes into one sync. Starts a new segment when the first to be written does not fit. */
static struct task *group_take(struct blob_log *b, struct group *g, struct task *list, int *err_r)
{
    g->n = 0;
    g->bytes = 0;
    g->moves = true;
    *err_r = 0;
    while (list && g->n < GROUP_MAX && g->bytes < GROUP_BYTES) {
        struct item *it = &g->item[g->n];
        it->append = container_of(list, struct blob_append, task);
        it->verdict = judge(b, g, it);
        if (it->verdict == WRITE) {
            uint64_t length = record_padded(it->append->record->n);
            bool full = !fits(b, g, length);
            if (full && g->bytes)
                break;
            g->moves = g->moves && move_of(it->append);
            uint64_t before = g->bytes;
            g->bytes += length;
            if (full && (*err_r = space_check(b, g)) == 0)
                *err_r = roll(b);
            it->offset = *err_r ? 0 : atomic_load(&b->active->end) + before;
            blob_table_put(&g->names, &it->header.hash, &(struct blob_row){0});
        }
        g->n++;
        list = list->next;
        if (*err_r)
            break;
    }
    return list;
}

/* ---- writing ---- */

static int write_failed(int value)
{
    return value == ENOSPC || value == EDQUOT || value == EFBIG ? ERR_NOSPACE : ERR_IO;
}

static int iov_write(int fd, struct iovec *iov, int n, uint64_t offset)
{
    while (n) {
        ssize_t done = pwritev(fd, iov, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? write_failed(errno) : ERR_NOSPACE;
        offset += (uint64_t)done;
        size_t left = (size_t)done;
        while (n && left >= iov->iov_len) {
            left -= iov->iov_len;
            iov++;
            n--;
        }
        if (left) {
            iov->iov_base = (uint8_t *)iov->iov_base + left;
            iov->iov_len -= left;
        }
    }
    return 0;
}

static int group_write(struct blob_log *b, struct group *g)
{
    static const uint8_t zeros[RECORD_ALIGN];
    struct iovec iov[IOV_MAX];
    uint64_t offset = atomic_load(&b->active->end), bytes = 0;
    int n = 0, err = 0;
    for (size_t i = 0; i < g->n && !err; i++) {
        struct item *it = &g->item[i];
        if (it->verdict != WRITE)
            continue;
        struct bytes *r = it->append->record;
        record_header_write(&it->header, it->raw);
        iov[n++] = (struct iovec){it->raw, RECORD_HEADER_SIZE};
        iov[n++] = (struct iovec){r->p + RECORD_HEADER_SIZE, r->n - RECORD_HEADER_SIZE};
        iov[n++] = (struct iovec){(void *)(uintptr_t)zeros, (size_t)(record_padded(r->n) - r->n)};
        bytes += record_padded(r->n);
        if (n + IOV_EACH > IOV_MAX) {
            err = iov_write(b->active->fd, iov, n, offset);
            offset += bytes;
            bytes = 0;
            n = 0;
        }
    }
    return err ? err : iov_write(b->active->fd, iov, n, offset);
}

/* Records of this size on average leave the page cache once they are on disk: the cache is for the many small bodies, and taking
 * fresh pages for every large one doubled the kernel's time for a 1 MB delivery (docs/measured.md). */
enum { CACHE_DROP_RECORD = 256 * 1024 };

static void cache_drop(const struct blob_log *b, const struct group *g, uint64_t at)
{
    if (g->n > 0 && g->bytes / g->n >= CACHE_DROP_RECORD)
        posix_fadvise(b->active->fd, (off_t)at, (off_t)g->bytes, POSIX_FADV_DONTNEED);
}

static int group_sync(struct blob_log *b, struct group *g)
{
    uint64_t end = atomic_load(&b->active->end);
    int err = group_write(b, g);
    if (!err && !b->o.no_sync) {
        atomic_fetch_add(&b->syncs, 1);
        if (fdatasync(b->active->fd) != 0)
            err = ERR_IO; /* the kernel may have dropped what it could not write: nothing can be said of it any more */
    }
    /* What of it reached the file must not lie behind records of later groups, or be replayed. */
    if (err == ERR_NOSPACE && ftruncate(b->active->fd, (off_t)end) != 0)
        err = ERR_IO;
    if (!err) {
        atomic_store(&b->active->end, end + g->bytes);
        cache_drop(b, g, end);
    }
    return err;
}

/* ---- answering ---- */

struct publish {
    struct blob_place place;
    const struct blob_place *from;
};

static bool row_publish(void *arg, struct blob_row *row)
{
    struct publish *p = arg;
    if (p->from && !blob_place_eq(&row->place, p->from))
        return false;
    int64_t leased = p->from ? row->place.time_ms : 0;
    row->place = p->place;
    if (leased > row->place.time_ms) /* touched while it was being moved */
        row->place.time_ms = leased;
    row->missing = false;
    return true;
}

static int group_publish(struct blob_log *b, struct group *g)
{
    int err = 0;
    for (size_t i = 0; i < g->n && !err; i++) {
        struct item *it = &g->item[i];
        if (it->verdict != WRITE)
            continue;
        struct blob_move *m = move_of(it->append);
        struct publish p = {{b->active->number, (uint32_t)it->append->record->n, it->offset, it->header.time_ms},
                            m ? &m->from : NULL};
        err = index_update(&b->index, &it->header.hash, row_publish, &p);
        if (!m)
            atomic_fetch_add(&b->appends, 1);
    }
    if (!err)
        index_position_set(&b->index, (struct blob_position){b->active->number, atomic_load(&b->active->end)});
    return err;
}

/* After it is in the index, so that a reader who asks the index, then here, then the index again overlooks nothing. */
static void landed(struct blob_log *b, struct group *g)
{
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < g->n; i++)
        list_remove(&g->item[i].append->under_way);
    pthread_mutex_unlock(&b->lock);
}

static void answer(struct blob_log *b, struct blob_append *a)
{
    if (a->home) {
        task_post(a->home, &a->task);
        return;
    }
    pthread_mutex_lock(&b->lock);
    b->moves--;
    pthread_cond_broadcast(&b->moved);
    pthread_mutex_unlock(&b->lock);
}

static void writing_ended(struct blob_log *b)
{
    pthread_mutex_lock(&b->lock);
    b->writing_since = 0;
    pthread_mutex_unlock(&b->lock);
}

static struct task *group_run(struct blob_log *b, struct group *g, struct task *list)
{
    int err;
    struct task *rest = group_take(b, g, list, &err);
    if (blob_failed(b))
        err = ERR_IO;
    if (g->bytes && !err)
        err = space_check(b, g);
    if (g->bytes && !err)
        err = group_sync(b, g);
    if (g->bytes && !err)
        err = group_publish(b, g);
    if (err && err != ERR_NOSPACE && !atomic_exchange(&b->failed, true))
        log_event(LOG_ERROR, "bodies cannot be written any more", LOG_E("why", err));
    landed(b, g);
    if (!rest)
        writing_ended(b); /* before anybody is answered, and may ask */
    for (size_t i = 0; i < g->n; i++) {
        struct item *it = &g->item[i];
        if (it->verdict == WRITE || it->verdict == TWICE)
            it->append->status = err;
        else if (err == ERR_IO)
            it->append->status = ERR_IO;
        answer(b, it->append);
    }
    blob_table_clear(&g->names);
    return rest;
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct blob_log *b = arg;
    pthread_setname_np(pthread_self(), "blob-writer");
    struct group *g = mem_zalloc(sizeof *g);
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (!b->head && !b->stop)
            pthread_cond_wait(&b->work, &b->lock);
        if (!b->head)
            break;
        struct task *list = b->head;
        b->head = NULL;
        b->tail = &b->head;
        b->writing_since = b->queue_since;
        b->queue_since = 0;
        pthread_mutex_unlock(&b->lock);
        while (list)
            list = group_run(b, g, list);
        pthread_mutex_lock(&b->lock);
    }
    pthread_mutex_unlock(&b->lock);
    mem_free(g);
    return NULL;
}

void blob_writer_queue(struct blob_log *b, struct blob_append *a)
{
    a->status = 0;
    a->task.next = NULL;
    pthread_mutex_lock(&b->lock);
    if (!b->head) {
        b->queue_since = clock_steady_ms();
        pthread_cond_signal(&b->work);
    }
    *b->tail = &a->task;
    b->tail = &a->task.next;
    list_append(&b->under_way, &a->under_way);
    b->moves += !a->home;
    pthread_mutex_unlock(&b->lock);
}

struct bytes *blob_writer_record(struct blob_log *b, const struct body_hash *hash)
{
    struct bytes *found = NULL;
    struct record_header h;
    pthread_mutex_lock(&b->lock);
    LIST_EACH(it, tmp, &b->under_way)
    {
        const struct bytes *r = container_of(it, struct blob_append, under_way)->record;
        if (r->n < RECORD_HEADER_SIZE || record_header_parse(r->p, &h) || !body_hash_eq(&h.hash, hash))
            continue;
        found = bytes_copy(slice_make(r->p, r->n));
        break;
    }
    pthread_mutex_unlock(&b->lock);
    return found;
}

void blob_writer_start(struct blob_log *b)
{
    ENSURE(pthread_create(&b->thread, NULL, run, b) == 0);
    b->started = true;
}

void blob_writer_stop(struct blob_log *b)
{
    if (!b->started)
        return;
    pthread_mutex_lock(&b->lock);
    b->stop = true;
    pthread_cond_signal(&b->work);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    b->started = false;
}
