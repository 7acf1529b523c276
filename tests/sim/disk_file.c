/* Files' contents: each write keeps what it replaced until a sync, so that a power cut can put it back. */
#include "tests/sim/disk.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS_MAX = 4096 };

/* Bytes [at, at + n) were written, or cut off (n = 0) or added by a change of size. */
struct disk_write {
    struct disk_write *next;
    uint64_t step;
    off_t at, size; /* size before */
    size_t n, old_n;
    uint8_t old[]; /* what was at `at` */
};

static struct disk_node **nodes;
static size_t nodes_n, nodes_cap;
static struct disk_node *fds[FDS_MAX];
static int fds_top; /* all that are set are below */

/* ---- nodes ---- */

struct disk_node *disk_node(const char *path)
{
    unsigned host = disk_host_of(path);
    if (host == 0)
        return NULL;
    for (size_t i = 0; i < nodes_n; i++) {
        if (nodes[i]->host == host && strcmp(nodes[i]->path, path) == 0)
            return nodes[i];
    }
    if (nodes_n == nodes_cap) {
        nodes_cap = nodes_cap ? nodes_cap * 2 : 64;
        nodes = mem_realloc(nodes, nodes_cap * sizeof *nodes);
    }
    struct disk_node *n = mem_zalloc(sizeof *n);
    n->path = mem_strdup(path);
    n->host = host;
    n->last = &n->first;
    nodes[nodes_n++] = n;
    return n;
}

void disk_nodes_move(const char *from, const char *to)
{
    disk_lmdb_move(from, to);
    for (size_t i = 0; i < nodes_n; i++)
        disk_path_move(&nodes[i]->path, from, to);
}

static void write_drop(struct disk_node *n)
{
    struct disk_write *w = n->first;
    n->first = w->next;
    if (!n->first)
        n->last = &n->first;
    mem_free(w);
}

void disk_nodes_drop(const char *path)
{
    disk_lmdb_drop(path);
    for (size_t i = 0; i < nodes_n;) {
        struct disk_node *n = nodes[i];
        if (!disk_path_under(n->path, path)) {
            i++;
            continue;
        }
        for (int fd = 0; fd < fds_top; fd++) {
            if (fds[fd] == n)
                fds[fd] = NULL;
        }
        while (n->first)
            write_drop(n);
        nodes[i] = nodes[--nodes_n];
        mem_free(n->path);
        mem_free(n);
    }
}

struct disk_node *disk_fd(int fd)
{
    return fd >= 0 && fd < FDS_MAX ? fds[fd] : NULL;
}

void disk_fd_set(int fd, struct disk_node *n)
{
    ENSURE(fd < FDS_MAX || !n);
    if (fd >= 0 && fd < FDS_MAX)
        fds[fd] = n;
    if (n && fd >= fds_top)
        fds_top = fd + 1;
}

/* ---- writes ---- */

static int fail(int error)
{
    errno = error;
    return -1;
}

/* Before [at, at + n) is written, or the size becomes `at` (n = 0). */
static void write_note(struct disk_node *node, int fd, off_t at, size_t n)
{
    struct stat st;
    ENSURE(fstat(fd, &st) == 0);
    off_t end = n ? at + (off_t)n : st.st_size;
    end = end < st.st_size ? end : st.st_size;
    size_t old_n = end > at ? (size_t)(end - at) : 0;
    struct disk_write *w = mem_alloc(sizeof *w + old_n);
    *w = (struct disk_write){.step = disk_step(), .at = at, .size = st.st_size, .n = n, .old_n = old_n};
    ENSURE(old_n == 0 || pread(fd, w->old, old_n, at) == (ssize_t)old_n);
    *node->last = w;
    node->last = &w->next;
}

/* 0, or why [at, at + n) cannot be written. */
static int write_check(const struct disk_node *node, int fd, off_t at, size_t n)
{
    struct stat st;
    if (disk_error(node->host))
        return EIO;
    if (disk_faults(node->host)->full && fstat(fd, &st) == 0 && at + (off_t)n > st.st_size)
        return ENOSPC;
    return 0;
}

static ssize_t written(const struct disk_node *node, ssize_t rc)
{
    int error = errno;
    if (node)
        disk_point(node->host);
    errno = error;
    return rc;
}

ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at)
{
    struct disk_node *node = disk_fd(fd);
    int error = node ? write_check(node, fd, at, n) : 0;
    if (error)
        return fail(error);
    if (node && n)
        write_note(node, fd, at, n);
    return written(node, __real_pwrite(fd, p, n, at));
}

ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    struct disk_node *node = disk_fd(fd);
    off_t at = node ? lseek(fd, 0, SEEK_CUR) : 0;
    int error = node ? write_check(node, fd, at, n) : 0;
    if (error)
        return fail(error);
    if (node && n)
        write_note(node, fd, at, n);
    return written(node, __real_write(fd, p, n));
}

ssize_t __real_pwritev(int fd, const struct iovec *iov, int n, off_t at);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t at);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
    struct disk_node *node = disk_fd(fd);
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    int error = node ? write_check(node, fd, at, total) : 0;
    if (error)
        return fail(error);
    if (node && total)
        write_note(node, fd, at, total);
    return written(node, __real_pwritev(fd, iov, n, at));
}

int __wrap_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size)
{
    struct disk_node *node = disk_fd(fd);
    struct stat st;
    if (node && disk_error(node->host))
        return fail(EIO);
    if (node && fstat(fd, &st) == 0 && size < st.st_size)
        write_note(node, fd, size, 0);
    else if (node)
        write_note(node, fd, st.st_size, 0);
    return (int)written(node, __real_ftruncate(fd, size));
}

/* Reserves nothing: a tmpfs would fill the pages. */
int __real_fallocate(int fd, int mode, off_t at, off_t n);
int __wrap_fallocate(int fd, int mode, off_t at, off_t n);
int __wrap_fallocate(int fd, int mode, off_t at, off_t n)
{
    struct disk_node *node = disk_fd(fd);
    if (!node)
        return __real_fallocate(fd, mode, at, n);
    return disk_faults(node->host)->full ? fail(ENOSPC) : 0;
}

int __wrap_posix_fadvise(int fd, off_t at, off_t n, int advice);
int __wrap_posix_fadvise(int fd, off_t at, off_t n, int advice)
{
    (void)fd, (void)at, (void)n, (void)advice;
    return 0;
}

/* ---- syncs ---- */

/* What is written while the sync is under way may miss it. The file may be gone meanwhile, or the host dead. */
static int sync_file(int fd)
{
    struct disk_node *node = disk_fd(fd);
    if (!node)
        return 0;
    uint64_t step = disk_step();
    disk_point(node->host);
    sim_sleep(disk_sync_us(node->host));
    node = disk_fd(fd);
    if (!node)
        return 0;
    if (disk_error(node->host))
        return fail(EIO);
    while (node->first && node->first->step < step)
        write_drop(node);
    disk_name_synced(node->path);
    disk_names_synced(node->path, step);
    disk_point(node->host);
    return 0;
}

int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    return sync_file(fd);
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    return sync_file(fd);
}

/* ---- crash ---- */

static struct disk_write *newest(const struct disk_node *n)
{
    struct disk_write *w = n->first;
    while (w && w->next)
        w = w->next;
    return w;
}

/* Puts back what lies behind the first `kept` bytes of it. */
static void write_undo(int fd, const struct disk_write *w, size_t kept)
{
    off_t size = w->size;
    if (kept && w->at + (off_t)kept > size)
        size = w->at + (off_t)kept;
    if (w->old_n > kept)
        ENSURE(__real_pwrite(fd, w->old + kept, w->old_n - kept, w->at + (off_t)kept) == (long)(w->old_n - kept));
    ENSURE(__real_ftruncate(fd, size) == 0);
}

static void power_cut(struct disk_node *n)
{
    size_t count = 0, keep = 0;
    for (struct disk_write *w = n->first; w; w = w->next)
        count++;
    bool torn = sim_chance(disk_faults(n->host)->torn_ppm);
    if (torn)
        keep = sim_below(count + 1);
    sim_trace("disk %u loses %zu of %zu writes to %s", n->host, count - keep, count, strrchr(n->path, '/') + 1);
    int fd = __real_open(n->path, O_RDWR | O_CLOEXEC);
    for (; fd >= 0 && count > keep; count--) {
        struct disk_write *w = newest(n);
        bool part = torn && count == keep + 1 && w->n;
        write_undo(fd, w, part ? sim_below(w->n) : 0);
        n->last = &n->first;
        while (*n->last != w)
            n->last = &(*n->last)->next;
        *n->last = NULL;
        mem_free(w);
    }
    if (fd >= 0)
        __real_close(fd);
    while (n->first)
        write_drop(n);
}

void disk_files_crash(unsigned host, bool power)
{
    for (int fd = 0; fd < fds_top; fd++) {
        if (fds[fd] && fds[fd]->host == host) {
            fds[fd] = NULL;
            __real_close(fd);
        }
    }
    for (size_t i = 0; power && i < nodes_n; i++) {
        if (nodes[i]->host == host && nodes[i]->first)
            power_cut(nodes[i]);
    }
}
