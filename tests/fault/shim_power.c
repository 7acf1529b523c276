#include "tests/fault/shim.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct file {
    struct file *next;
    dev_t dev;
    ino_t ino;
    int fd; /* for undoing: lives on when the file is renamed or removed */
    unsigned changes;
};

/* A change of bytes (file != NULL) or of names. */
struct change {
    struct change *older;
    uint64_t sequence;
    /* bytes */
    struct file *file;
    off_t at;
    bool durable; /* of itself (O_DSYNC): kept for its order among those that are not */
    off_t size_before;
    uint8_t *before, *after;
    size_t before_n, after_n;
    /* names: the folder is held open, its own name may change */
    enum call call;
    int dir, to_dir;
    char name[NAME_MAX + 1], to[NAME_MAX + 1];
    dev_t parent_dev;
    ino_t parent_ino;
    bool kept; /* what was removed or replaced has a name in the attic */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct change *newest; /* a list, back in time */
static struct file *files;
static uint64_t sequence;
static int attic = -1;

/* ---- raw calls, unseen by the points ---- */

static long raw(long number, long a, long b, long c, long d, long e)
{
    long rc;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(rc)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return rc;
}

static int raw_open(int dir, const char *name, int flags)
{
    return (int)raw(SYS_openat, dir, (long)(intptr_t)name, flags | O_CLOEXEC, 0, 0);
}

static void raw_rename(int dir, const char *name, int to_dir, const char *to)
{
    raw(SYS_renameat, dir, (long)(intptr_t)name, to_dir, (long)(intptr_t)to, 0);
}

static void raw_unlink(int dir, const char *name, int flags)
{
    raw(SYS_unlinkat, dir, (long)(intptr_t)name, flags, 0, 0);
}

static void raw_write(int fd, const uint8_t *p, size_t n, off_t at)
{
    while (n) {
        long done = raw(SYS_pwrite64, fd, (long)(intptr_t)p, (long)n, at, 0);
        if (done <= 0)
            return;
        p += done;
        n -= (size_t)done;
        at += done;
    }
}

/* ---- files ---- */

static struct file *file_of(int fd)
{
    struct stat st;
    char link[64];
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return NULL;
    for (struct file *f = files; f; f = f->next)
        if (f->dev == st.st_dev && f->ino == st.st_ino)
            return f;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    struct file *f = calloc(1, sizeof *f);
    *f = (struct file){files, st.st_dev, st.st_ino, raw_open(AT_FDCWD, link, O_RDWR), 0};
    files = f;
    return f;
}

static void attic_name(uint64_t n, char out[32])
{
    snprintf(out, 32, "%llu", (unsigned long long)n);
}

/* Beside the data folder, on the same file system. */
static void attic_open(void)
{
    const char *path = getenv("FAULT_ATTIC");
    if (attic < 0 && path)
        attic = raw_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
}

static void change_free(struct change *c)
{
    char name[32];
    attic_name(c->sequence, name);
    if (c->kept)
        raw_unlink(attic, name, 0);
    if (c->file)
        c->file->changes--;
    if (c->dir >= 0)
        close(c->dir);
    if (c->to_dir >= 0)
        close(c->to_dir);
    free(c->before);
    free(c->after);
    free(c);
}

static struct change *change_new(void)
{
    struct change *c = calloc(1, sizeof *c);
    c->dir = c->to_dir = -1;
    c->sequence = ++sequence;
    return c;
}

static void finish(struct change *c, bool done)
{
    if (done) {
        c->older = newest;
        newest = c;
    } else {
        change_free(c);
    }
    pthread_mutex_unlock(&lock);
}

struct change *power_file_begin(int fd, off_t at, size_t n, bool durable)
{
    if (!control->record)
        return NULL;
    pthread_mutex_lock(&lock);
    struct file *f = file_of(fd);
    struct stat st;
    durable = durable && !control->lie;
    if (!f || fstat(fd, &st) || (durable && f->changes == 0)) {
        pthread_mutex_unlock(&lock);
        return NULL;
    }
    struct change *c = change_new();
    c->file = f;
    f->changes++;
    c->at = at;
    c->durable = durable;
    c->size_before = st.st_size;
    c->before = malloc(n + 1);
    long got = raw(SYS_pread64, f->fd, (long)(intptr_t)c->before, (long)n, at, 0);
    c->before_n = got > 0 ? (size_t)got : 0;
    return c;
}

void power_file_end(struct change *c, bool done, const struct iovec *iov, int iov_n, size_t written)
{
    if (!c)
        return;
    c->after = malloc(written + 1);
    for (int i = 0; i < iov_n && c->after_n < written; i++) {
        size_t part = iov[i].iov_len < written - c->after_n ? iov[i].iov_len : written - c->after_n;
        memcpy(c->after + c->after_n, iov[i].iov_base, part);
        c->after_n += part;
    }
    finish(c, done);
}

/* ---- names ---- */

static int folder_open(int dir, const char *name, char last[NAME_MAX + 1])
{
    char path[PATH_MAX];
    const char *slash = strrchr(name, '/');
    snprintf(last, NAME_MAX + 1, "%s", slash ? slash + 1 : name);
    snprintf(path, sizeof path, "%.*s", slash ? (int)(slash - name) : 1, slash ? name : ".");
    return raw_open(dir, path, O_RDONLY | O_DIRECTORY);
}

struct change *power_name_begin(enum call call, int dir, const char *name, int to_dir, const char *to)
{
    if (!control->record)
        return NULL;
    pthread_mutex_lock(&lock);
    attic_open();
    struct change *c = change_new();
    struct stat st = {0};
    char aside[32];
    c->call = call;
    c->dir = folder_open(dir, name, c->name);
    if (to)
        c->to_dir = folder_open(to_dir, to, c->to);
    fstat(to ? c->to_dir : c->dir, &st);
    c->parent_dev = st.st_dev;
    c->parent_ino = st.st_ino;
    attic_name(c->sequence, aside);
    if (call == CALL_UNLINK || call == CALL_RENAME)
        c->kept = linkat(to ? c->to_dir : c->dir, to ? c->to : c->name, attic, aside, 0) == 0;
    return c;
}

void power_name_end(struct change *c, bool done)
{
    if (c)
        finish(c, done);
}

/* ---- syncs ---- */

uint64_t power_sync_begin(void)
{
    if (!control->record)
        return 0;
    pthread_mutex_lock(&lock);
    uint64_t mark = sequence;
    pthread_mutex_unlock(&lock);
    return mark;
}

static bool covers(const struct stat *st, const struct change *c)
{
    if (c->file)
        return c->file->dev == st->st_dev && c->file->ino == st->st_ino;
    return c->parent_dev == st->st_dev && c->parent_ino == st->st_ino;
}

void power_sync_end(int fd, uint64_t mark)
{
    struct stat st;
    if (!control->record || fstat(fd, &st))
        return;
    pthread_mutex_lock(&lock);
    for (struct change **p = &newest; *p;) {
        struct change *c = *p;
        if (c->sequence <= mark && covers(&st, c)) {
            *p = c->older;
            change_free(c);
        } else {
            p = &c->older;
        }
    }
    pthread_mutex_unlock(&lock);
}

/* ---- the cut ---- */

static void undo_names(const struct change *c)
{
    char aside[32];
    attic_name(c->sequence, aside);
    switch (c->call) {
    case CALL_CREATE:
        raw_unlink(c->dir, c->name, 0);
        break;
    case CALL_MKDIR:
        raw_unlink(c->dir, c->name, AT_REMOVEDIR);
        break;
    case CALL_RMDIR:
        raw(SYS_mkdirat, c->dir, (long)(intptr_t)c->name, 0700, 0, 0);
        break;
    case CALL_UNLINK:
        raw_rename(attic, aside, c->dir, c->name);
        break;
    case CALL_RENAME:
        raw_rename(c->to_dir, c->to, c->dir, c->name);
        if (c->kept)
            raw_rename(attic, aside, c->to_dir, c->to);
        break;
    default:
        break;
    }
}

static void undo_bytes(const struct change *c)
{
    raw_write(c->file->fd, c->before, c->before_n, c->at);
    raw(SYS_ftruncate, c->file->fd, c->size_before, 0, 0, 0);
}

static uint64_t dice(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* The list turned around: oldest first. */
static struct change *turn(void)
{
    struct change *oldest = NULL;
    while (newest) {
        struct change *c = newest;
        newest = c->older;
        c->older = oldest;
        oldest = c;
    }
    return oldest;
}

/* Names come back in order, as journals of file systems do it: those up to some moment survive. Bytes come in any
 * order. */
static unsigned undo(uint64_t seed)
{
    unsigned gone = 0;
    uint64_t state = seed, oldest = newest ? newest->sequence : 0;
    for (struct change *c = newest; c; c = c->older)
        oldest = c->sequence;
    uint64_t names_until = seed && newest ? oldest + dice(&state) % (newest->sequence - oldest + 2) : 0;
    for (struct change *c = newest; c; c = c->older) {
        gone += c->file || c->sequence >= names_until;
        if (c->file)
            undo_bytes(c);
        else if (c->sequence >= names_until)
            undo_names(c);
    }
    for (struct change *c = turn(); c; c = c->older)
        if (c->file && (c->durable || (seed && dice(&state) % 2))) {
            raw_write(c->file->fd, c->after, c->after_n, c->at);
            gone--;
        }
    return gone;
}

/* Not malloc, nor anything that locks: this is the child of a process with threads. */
static bool thread_stopped(pid_t pid, const char *thread)
{
    char text[512];
    snprintf(text, sizeof text, "/proc/%d/task/%s/stat", (int)pid, thread);
    int fd = raw_open(AT_FDCWD, text, O_RDONLY);
    long n = fd < 0 ? -1 : raw(SYS_read, fd, (long)(intptr_t)text, sizeof text - 1, 0, 0);
    raw(SYS_close, fd, 0, 0, 0, 0);
    if (n <= 0)
        return true; /* it ended */
    text[n] = 0;
    const char *name_end = strrchr(text, ')');
    return !name_end || strchr("TtZX", name_end[2]);
}

static bool all_stopped(pid_t pid)
{
    static char rows[16384];
    bool stopped = true;
    snprintf(rows, sizeof rows, "/proc/%d/task", (int)pid);
    int fd = raw_open(AT_FDCWD, rows, O_RDONLY | O_DIRECTORY);
    for (long n; (n = raw(SYS_getdents64, fd, (long)(intptr_t)rows, sizeof rows, 0, 0)) > 0;)
        for (long at = 0; at < n;) {
            struct dirent64 *row = (struct dirent64 *)(void *)(rows + at);
            stopped = stopped && (row->d_name[0] == '.' || thread_stopped(pid, row->d_name));
            at += row->d_reclen;
        }
    raw(SYS_close, fd, 0, 0, 0, 0);
    return stopped;
}

/* In a child: stops the process, undoes, and ends it. Its sockets and locks are not held any longer than by itself. */
static _Noreturn void end_from_outside(pid_t pid, uint64_t seed)
{
    raw(SYS_kill, pid, SIGSTOP, 0, 0, 0);
    for (unsigned i = 0; i < 50000 && !all_stopped(pid); i++)
        raw(SYS_nanosleep, (long)(intptr_t) & (struct timespec){0, 100000}, 0, 0, 0, 0);
    unsigned gone = undo(seed);
    size_t n = strlen(control->last);
    snprintf(control->last + n, sizeof control->last - n, ", %u changes gone", gone);
    raw(SYS_close_range, 0, UINT32_MAX, 0, 0, 0);
    raw(SYS_kill, pid, SIGKILL, 0, 0, 0);
    raw(SYS_exit_group, 0, 0, 0, 0, 0);
    for (;;)
        continue;
}

/* Nothing of the process may run while its files go back in time: it would read them (LMDB is a mapping), and tell
 * clients what it found there. */
_Noreturn void power_die(uint64_t seed)
{
    pid_t pid = getpid();
    if (!control->record)
        shim_die();
    pthread_mutex_lock(&lock); /* no change is under way */
    if (raw(SYS_fork, 0, 0, 0, 0, 0) == 0)
        end_from_outside(pid, seed);
    for (;;)
        pause();
}
