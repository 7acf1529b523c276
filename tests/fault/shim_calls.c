#include "tests/fault/shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel is called by number, so that nothing here comes back to itself. */
#define EXPORT __attribute__((visibility("default")))

enum { SUBMIT_IOV_MAX = 64, PATH_SIZE = PATH_MAX + 64 };

static long raw(long number, long a, long b, long c, long d, long e, long f)
{
    static long (*next)(long, ...);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "syscall");
    return next(number, a, b, c, d, e, f);
}

static long address(const void *p)
{
    return (long)(intptr_t)p;
}

static bool fd_ours(int fd, char path[PATH_SIZE])
{
    return shim_active() && fd_path(fd, path, PATH_SIZE) && path_ours(path);
}

static bool name_ours(int dir, const char *name, char path[PATH_SIZE])
{
    return shim_active() && name_path(dir, name, path, PATH_SIZE) && path_ours(path);
}

/* ---- writing ---- */

/* at < 0: where the file stands. */
static ssize_t raw_write(int fd, const struct iovec *iov, int n, off_t at)
{
    return at < 0 ? raw(SYS_writev, fd, address(iov), n, 0, 0, 0) : raw(SYS_pwritev, fd, address(iov), n, at, 0, 0);
}

/* The first half, then the end. A file opened with O_DIRECT takes whole blocks only: opened anew, without. */
static _Noreturn void tear(int fd, const struct iovec *iov, int n, off_t at)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (at < 0)
        at = lseek(fd, 0, SEEK_CUR);
    int plain = (int)raw(SYS_openat, AT_FDCWD, address(link), O_WRONLY | O_CLOEXEC, 0, 0, 0);
    size_t left = iov_bytes(iov, n) / 2;
    for (int i = 0; i < n && left && plain >= 0; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        struct iovec half = {iov[i].iov_base, part};
        if (raw_write(plain, &half, 1, at) < 0)
            break;
        at += (off_t)part;
        left -= part;
    }
    shim_die();
}

static ssize_t do_write(int fd, const struct iovec *iov, int n, off_t at)
{
    char path[PATH_SIZE];
    if (!fd_ours(fd, path))
        return raw_write(fd, iov, n, at);
    enum fate fate = point(CALL_WRITE, path);
    if (fate == FATE_FAIL)
        return -1;
    if (fate == FATE_TORN)
        tear(fd, iov, n, at);
    off_t where = at < 0 ? lseek(fd, 0, SEEK_CUR) : at;
    bool durable = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    struct change *c = power_file_begin(fd, where, iov_bytes(iov, n), durable);
    ssize_t done = raw_write(fd, iov, n, at);
    int error = errno;
    power_file_end(c, done > 0, iov, n, done > 0 ? (size_t)done : 0);
    errno = error;
    if (fate == FATE_DIE)
        shim_die();
    return done;
}

EXPORT ssize_t write(int fd, const void *p, size_t n)
{
    struct iovec iov = {(void *)(uintptr_t)p, n};
    return do_write(fd, &iov, 1, -1);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
    return do_write(fd, iov, n, -1);
}

EXPORT ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    struct iovec iov = {(void *)(uintptr_t)p, n};
    return do_write(fd, &iov, 1, at);
}

EXPORT ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    return pwrite(fd, p, n, at);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
    return do_write(fd, iov, n, at);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t at)
{
    return do_write(fd, iov, n, at);
}

/* ---- io_submit ---- */

static int iocb_iov(const struct iocb *cb, struct iovec one[1], const struct iovec **iov_r)
{
    if (cb->aio_lio_opcode == IOCB_CMD_PWRITEV) {
        *iov_r = (const struct iovec *)(uintptr_t)cb->aio_buf;
        return (int)cb->aio_nbytes;
    }
    one[0] = (struct iovec){(void *)(uintptr_t)cb->aio_buf, cb->aio_nbytes};
    *iov_r = one;
    return 1;
}

/* libraft submits one write at a time. */
static long do_submit(long context, long n, struct iocb **list)
{
    char path[PATH_SIZE];
    struct iovec one[1];
    const struct iovec *iov;
    bool write = n == 1 && (list[0]->aio_lio_opcode == IOCB_CMD_PWRITEV || list[0]->aio_lio_opcode == IOCB_CMD_PWRITE);
    if (!write || !fd_ours((int)list[0]->aio_fildes, path))
        return raw(SYS_io_submit, context, n, address(list), 0, 0, 0);
    int fd = (int)list[0]->aio_fildes, iov_n = iocb_iov(list[0], one, &iov);
    enum fate fate = point(CALL_SUBMIT, path);
    if (fate == FATE_FAIL)
        return -1;
    if (fate == FATE_TORN)
        tear(fd, iov, iov_n, list[0]->aio_offset);
    struct change *c = power_file_begin(fd, list[0]->aio_offset, iov_bytes(iov, iov_n), true);
    long done = raw(SYS_io_submit, context, n, address(list), 0, 0, 0);
    int error = errno;
    power_file_end(c, done == 1, iov, iov_n, iov_bytes(iov, iov_n));
    errno = error;
    if (fate == FATE_DIE)
        shim_die();
    return done;
}

EXPORT long syscall(long number, ...)
{
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_io_submit && shim_active())
        return do_submit(a[0], a[1], (struct iocb **)(uintptr_t)a[2]);
    return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- durable, longer, shorter ---- */

/* The data folder itself too. */
static bool folder_ours(int fd, char path[PATH_SIZE])
{
    if (!shim_active() || !fd_path(fd, path, PATH_SIZE - 1))
        return false;
    strcat(path, "/");
    bool ours = path_ours(path);
    path[strlen(path) - 1] = 0;
    return ours;
}

static int do_sync(int fd, long number)
{
    char path[PATH_SIZE];
    if (!folder_ours(fd, path))
        return (int)raw(number, fd, 0, 0, 0, 0, 0);
    enum fate fate = point(CALL_SYNC, path);
    if (fate == FATE_FAIL)
        return -1;
    uint64_t mark = power_sync_begin();
    int rc = control->lie ? 0 : (int)raw(number, fd, 0, 0, 0, 0, 0);
    if (rc == 0 && !control->lie)
        power_sync_end(fd, mark);
    if (fate == FATE_DIE)
        shim_die();
    return rc;
}

EXPORT int fsync(int fd)
{
    return do_sync(fd, SYS_fsync);
}

EXPORT int fdatasync(int fd)
{
    return do_sync(fd, SYS_fdatasync);
}

/* Truncates to `size`, or (call is CALL_ALLOCATE) has space made for at..at+size. Like a kernel call: -1 and errno. */
static int do_resize(enum call call, int fd, int mode, off_t at, off_t size)
{
    char path[PATH_SIZE];
    bool ours = fd_ours(fd, path);
    enum fate fate = ours ? point(call, path) : FATE_GO;
    if (fate == FATE_FAIL)
        return -1;
    struct stat st;
    struct change *c = NULL;
    if (ours && fstat(fd, &st) == 0) {
        bool cut = call == CALL_TRUNCATE && size < st.st_size;
        c = power_file_begin(fd, cut ? size : st.st_size, cut ? (size_t)(st.st_size - size) : 0, false);
    }
    int rc = (int)(call == CALL_TRUNCATE ? raw(SYS_ftruncate, fd, size, 0, 0, 0, 0)
                                         : raw(SYS_fallocate, fd, mode, at, size, 0, 0));
    int error = errno;
    power_file_end(c, rc == 0, NULL, 0, 0);
    errno = error;
    if (fate == FATE_DIE)
        shim_die();
    return rc;
}

EXPORT int ftruncate(int fd, off_t size)
{
    return do_resize(CALL_TRUNCATE, fd, 0, 0, size);
}

EXPORT int ftruncate64(int fd, off64_t size)
{
    return do_resize(CALL_TRUNCATE, fd, 0, 0, size);
}

EXPORT int fallocate(int fd, int mode, off_t at, off_t n)
{
    return do_resize(CALL_ALLOCATE, fd, mode, at, n);
}

EXPORT int fallocate64(int fd, int mode, off64_t at, off64_t n)
{
    return do_resize(CALL_ALLOCATE, fd, mode, at, n);
}

EXPORT int posix_fallocate(int fd, off_t at, off_t n)
{
    return do_resize(CALL_ALLOCATE, fd, 0, at, n) == 0 ? 0 : errno;
}

EXPORT int posix_fallocate64(int fd, off64_t at, off64_t n)
{
    return posix_fallocate(fd, at, n);
}

/* ---- names ---- */

static int do_open(int dir, const char *name, int flags, mode_t mode)
{
    char path[PATH_SIZE];
    if (!name_ours(dir, name, path))
        return (int)raw(SYS_openat, dir, address(name), flags, mode, 0, 0);
    struct stat st;
    bool there = stat(path, &st) == 0, creates = (flags & O_CREAT) && !there;
    enum fate fate = point(creates ? CALL_CREATE : CALL_OPEN, path);
    if (fate == FATE_FAIL)
        return -1;
    int old = there && (flags & O_TRUNC) && st.st_size ? (int)raw(SYS_openat, dir, address(name), O_RDWR, 0, 0, 0) : -1;
    struct change *c = creates    ? power_name_begin(CALL_CREATE, dir, name, -1, NULL)
                       : old >= 0 ? power_file_begin(old, 0, (size_t)st.st_size, false)
                                  : NULL;
    int fd = (int)raw(SYS_openat, dir, address(name), flags, mode, 0, 0);
    int error = errno;
    if (creates)
        power_name_end(c, fd >= 0);
    else
        power_file_end(c, fd >= 0, NULL, 0, 0);
    if (old >= 0)
        close(old);
    errno = error;
    if (fate == FATE_DIE)
        shim_die();
    return fd;
}

#define MODE_TAKE(flags, mode)                                                                                         \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list args;                                                                                                  \
        va_start(args, flags);                                                                                         \
        mode = va_arg(args, mode_t);                                                                                   \
        va_end(args);                                                                                                  \
    }

EXPORT int open(const char *name, int flags, ...)
{
    MODE_TAKE(flags, mode)
    return do_open(AT_FDCWD, name, flags, mode);
}

EXPORT int open64(const char *name, int flags, ...)
{
    MODE_TAKE(flags, mode)
    return do_open(AT_FDCWD, name, flags, mode);
}

EXPORT int openat(int dir, const char *name, int flags, ...)
{
    MODE_TAKE(flags, mode)
    return do_open(dir, name, flags, mode);
}

EXPORT int openat64(int dir, const char *name, int flags, ...)
{
    MODE_TAKE(flags, mode)
    return do_open(dir, name, flags, mode);
}

/* What fortified programs call. */
int __open_2(const char *name, int flags);
int __open64_2(const char *name, int flags);

EXPORT int __open_2(const char *name, int flags)
{
    return do_open(AT_FDCWD, name, flags, 0);
}

EXPORT int __open64_2(const char *name, int flags)
{
    return do_open(AT_FDCWD, name, flags, 0);
}

struct naming {
    enum call call;
    int dir;
    const char *name;
    int to_dir;
    const char *to;
};

static int do_naming(struct naming n, long number, long a, long b, long c, long d)
{
    char path[PATH_SIZE];
    if (!name_ours(n.dir, n.name, path))
        return (int)raw(number, a, b, c, d, 0, 0);
    enum fate fate = point(n.call, path);
    if (fate == FATE_FAIL)
        return -1;
    struct change *change = power_name_begin(n.call, n.dir, n.name, n.to_dir, n.to);
    int rc = (int)raw(number, a, b, c, d, 0, 0);
    int error = errno;
    power_name_end(change, rc == 0);
    errno = error;
    if (fate == FATE_DIE)
        shim_die();
    return rc;
}

EXPORT int renameat(int dir, const char *name, int to_dir, const char *to)
{
    return do_naming((struct naming){CALL_RENAME, dir, name, to_dir, to}, SYS_renameat, dir, address(name), to_dir,
                     address(to));
}

EXPORT int rename(const char *name, const char *to)
{
    return renameat(AT_FDCWD, name, AT_FDCWD, to);
}

EXPORT int unlinkat(int dir, const char *name, int flags)
{
    enum call call = flags & AT_REMOVEDIR ? CALL_RMDIR : CALL_UNLINK;
    return do_naming((struct naming){call, dir, name, -1, NULL}, SYS_unlinkat, dir, address(name), flags, 0);
}

EXPORT int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

EXPORT int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

EXPORT int mkdir(const char *name, mode_t mode)
{
    return do_naming((struct naming){CALL_MKDIR, AT_FDCWD, name, -1, NULL}, SYS_mkdirat, AT_FDCWD, address(name),
                     (long)mode, 0);
}

/* ---- connections ---- */

EXPORT int accept4(int fd, struct sockaddr *restrict a, socklen_t *restrict n, int flags)
{
    if (shim_active() && point(CALL_ACCEPT, "") == FATE_FAIL)
        return -1;
    return (int)raw(SYS_accept4, fd, address(a), address(n), flags, 0, 0);
}

EXPORT int accept(int fd, struct sockaddr *restrict a, socklen_t *restrict n)
{
    return accept4(fd, a, n, 0);
}
