#include "store/blob_segment.h"

#include "node/base/buf.h"
#include "node/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_MAX_FILES = 256, NAME_SIZE = 24 };

static void name_of(uint32_t number, char *out)
{
    snprintf(out, NAME_SIZE, "%08u.seg", number);
}

static bool number_of(const char *name, uint32_t *number_r)
{
    char *rest;
    errno = 0;
    unsigned long v = strtoul(name, &rest, 10);
    char again[NAME_SIZE];
    if (errno || v == 0 || v > UINT32_MAX - 1)
        return false;
    name_of((uint32_t)v, again);
    *number_r = (uint32_t)v;
    return strcmp(again, name) == 0;
}

static struct segment *add(struct segment_set *set, uint32_t number, int fd, uint64_t end)
{
    if (set->n == set->cap) {
        set->cap = set->cap ? set->cap * 2 : 16;
        set->items = mem_realloc(set->items, set->cap * sizeof(*set->items));
    }
    struct segment *s = mem_zalloc(sizeof *s);
    s->number = number;
    s->fd = fd;
    atomic_init(&s->end, end);
    size_t i = set->n++;
    for (; i > 0 && set->items[i - 1]->number > number; i--)
        set->items[i] = set->items[i - 1];
    set->items[i] = s;
    return s;
}

int segments_open(struct segment_set *set, const char *dir, bool no_sync, struct err_detail *e)
{
    *set = (struct segment_set){.dir = mem_strdup(dir), .no_sync = no_sync};
    pthread_mutex_init(&set->lock, NULL);
    set->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (set->dir_fd < 0)
        return err_set(e, err_from_errno(errno), "open %s: %s", dir, strerror(errno));
    DIR *d = opendir(dir);
    if (!d)
        return err_set(e, err_from_errno(errno), "read %s: %s", dir, strerror(errno));
    int err = 0;
    struct dirent *entry;
    while (!err && (errno = 0, entry = readdir(d))) {
        uint32_t number;
        struct stat st;
        if (!number_of(entry->d_name, &number))
            continue;
        if (fstatat(set->dir_fd, entry->d_name, &st, 0) != 0)
            err = err_set(e, err_from_errno(errno), "stat %s/%s: %s", dir, entry->d_name, strerror(errno));
        else
            add(set, number, -1, (uint64_t)st.st_size);
    }
    if (!err && errno)
        err = err_set(e, err_from_errno(errno), "read %s: %s", dir, strerror(errno));
    closedir(d);
    return err;
}

void segments_close(struct segment_set *set)
{
    if (!set->dir)
        return;
    for (size_t i = 0; i < set->n; i++) {
        ENSURE(set->items[i]->refs == 0);
        if (set->items[i]->fd >= 0)
            close(set->items[i]->fd);
        mem_free(set->items[i]);
    }
    if (set->dir_fd >= 0)
        close(set->dir_fd);
    mem_free(set->items);
    mem_free(set->dir);
    pthread_mutex_destroy(&set->lock);
    *set = (struct segment_set){0};
}

/* Position of the first number >= the given one. */
static size_t lower(const struct segment_set *set, uint32_t number)
{
    size_t from = 0, to = set->n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (set->items[mid]->number < number)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

uint32_t segments_last(struct segment_set *set)
{
    pthread_mutex_lock(&set->lock);
    uint32_t number = set->n ? set->items[set->n - 1]->number : 0;
    pthread_mutex_unlock(&set->lock);
    return number;
}

uint32_t segments_next(struct segment_set *set, uint32_t from)
{
    pthread_mutex_lock(&set->lock);
    size_t i = lower(set, from);
    uint32_t number = i < set->n ? set->items[i]->number : 0;
    pthread_mutex_unlock(&set->lock);
    return number;
}

void segments_total(struct segment_set *set, uint64_t *n_r, uint64_t *bytes_r)
{
    pthread_mutex_lock(&set->lock);
    *n_r = set->n;
    *bytes_r = 0;
    for (size_t i = 0; i < set->n; i++)
        *bytes_r += atomic_load(&set->items[i]->end);
    pthread_mutex_unlock(&set->lock);
}

static void close_some(struct segment_set *set)
{
    for (size_t tried = 0; set->open > OPEN_MAX_FILES && tried < set->n; tried++) {
        struct segment *s = set->items[set->sweep++ % set->n];
        if (s->refs || s->fd < 0)
            continue;
        close(s->fd);
        s->fd = -1;
        set->open--;
    }
}

int segment_hold(struct segment_set *set, uint32_t number, struct segment **s_r)
{
    int err = ERR_NOTFOUND;
    pthread_mutex_lock(&set->lock);
    size_t i = lower(set, number);
    if (i < set->n && set->items[i]->number == number) {
        struct segment *s = set->items[i];
        err = 0;
        if (s->fd < 0) {
            char name[NAME_SIZE];
            name_of(number, name);
            s->fd = openat(set->dir_fd, name, O_RDWR | O_CLOEXEC);
            err = s->fd < 0 ? err_from_errno(errno) : 0;
            set->open += s->fd >= 0;
        }
        if (!err) {
            s->refs++;
            *s_r = s;
            close_some(set);
        }
    }
    pthread_mutex_unlock(&set->lock);
    return err;
}

static void segment_free(struct segment_set *set, struct segment *s)
{
    if (s->fd >= 0) {
        close(s->fd);
        set->open--;
    }
    mem_free(s);
}

void segment_release(struct segment_set *set, struct segment **s)
{
    if (!*s)
        return;
    pthread_mutex_lock(&set->lock);
    if (--(*s)->refs == 0 && (*s)->removed)
        segment_free(set, *s);
    pthread_mutex_unlock(&set->lock);
    *s = NULL;
}

static int file_prepare(const struct segment_set *set, int fd, uint32_t number, uint64_t bytes)
{
    /* Reserved blocks lie past the end of the file, so a crash leaves no zeros to be told from records. Where there is
     * no room for all of it, or the file system cannot reserve, the writes themselves will tell. */
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) != 0 && errno == ENOSPC && ftruncate(fd, 0) != 0)
        return err_from_errno(errno);
    uint8_t header[SEGMENT_HEADER_SIZE] = {0};
    put_le32(header, SEGMENT_MAGIC);
    put_le32(header + 4, SEGMENT_VERSION);
    put_le64(header + 8, number);
    put_le64(header + 24, checksum64(slice_make(header, 24)));
    errno = 0;
    if (pwrite(fd, header, sizeof header, 0) != (ssize_t)sizeof header)
        return errno && errno != EFBIG ? err_from_errno(errno) : ERR_NOSPACE;
    if (!set->no_sync && (fsync(fd) != 0 || fsync(set->dir_fd) != 0))
        return ERR_IO;
    return 0;
}

int segment_create(struct segment_set *set, uint32_t number, uint64_t bytes, struct segment **s_r)
{
    char name[NAME_SIZE];
    name_of(number, name);
    int fd = openat(set->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_from_errno(errno);
    int err = file_prepare(set, fd, number, bytes);
    if (err) {
        close(fd);
        unlinkat(set->dir_fd, name, 0);
        return err;
    }
    pthread_mutex_lock(&set->lock);
    struct segment *s = add(set, number, fd, SEGMENT_HEADER_SIZE);
    s->refs = 1;
    set->open++;
    close_some(set);
    pthread_mutex_unlock(&set->lock);
    *s_r = s;
    return 0;
}

uint64_t segment_remove(struct segment_set *set, uint32_t number)
{
    uint64_t freed = 0;
    char name[NAME_SIZE];
    name_of(number, name);
    if (unlinkat(set->dir_fd, name, 0) != 0) {
        log_event(LOG_WARN, "segment not removed", LOG_S("file", name), LOG_S("why", strerror(errno)));
        return 0;
    }
    pthread_mutex_lock(&set->lock);
    size_t i = lower(set, number);
    if (i < set->n && set->items[i]->number == number) {
        struct segment *s = set->items[i];
        freed = atomic_load(&s->end);
        memmove(&set->items[i], &set->items[i + 1], (set->n - i - 1) * sizeof(*set->items));
        set->n--;
        s->removed = true;
        if (!s->refs)
            segment_free(set, s);
    }
    pthread_mutex_unlock(&set->lock);
    return freed;
}

int segment_header_check(int fd, uint32_t number)
{
    uint8_t header[SEGMENT_HEADER_SIZE];
    if (file_read(fd, header, sizeof header, 0) || get_le32(header) != SEGMENT_MAGIC ||
        get_le64(header + 24) != checksum64(slice_make(header, 24)) || get_le64(header + 8) != number)
        return ERR_CORRUPT;
    return get_le32(header + 4) == SEGMENT_VERSION ? 0 : ERR_VERSION;
}
