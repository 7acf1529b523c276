/* Preloaded into maild: CLOCK_REALTIME, time, gettimeofday, fsync, fdatasync and durable writes as the file in
 * $JEPSEN_SHIM says. */
#include "jepsen-like/shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const struct shim *shim;

__attribute__((constructor)) static void shim_map(void)
{
    const char *path = getenv(SHIM_ENV);
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *p = mmap(NULL, sizeof *shim, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (p != MAP_FAILED)
        shim = p;
}

static int64_t shifted(int64_t real)
{
    for (;;) {
        uint64_t before = atomic_load(&shim->version);
        int64_t ns = real + shim->offset_ns + (int64_t)((__int128)(real - shim->base_ns) * shim->ppm / 1000000);
        atomic_thread_fence(memory_order_acquire);
        if (!(before & 1) && atomic_load(&shim->version) == before)
            return ns;
    }
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    int r = (int)syscall(SYS_clock_gettime, id, t);
    if (r || !shim || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
        return r;
    int64_t ns = shifted((int64_t)t->tv_sec * 1000000000 + t->tv_nsec);
    t->tv_sec = ns / 1000000000;
    t->tv_nsec = ns % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    int r = clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return r;
}

time_t time(time_t *t_r)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t_r)
        *t_r = now.tv_sec;
    return now.tv_sec;
}

static int sync_file(long number, int fd)
{
    if (shim && shim->sync_fails) {
        errno = EIO;
        return -1;
    }
    return shim && shim->sync_lies ? 0 : (int)syscall(number, fd);
}

int fsync(int fd)
{
    return sync_file(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_file(SYS_fdatasync, fd);
}

/* ---- durable without a sync: LMDB's O_DSYNC, and RWF_DSYNC of libraft's writes, which reach the kernel by number ----
 */

static int open_at(int dir, const char *name, int flags, mode_t mode)
{
    if (shim && shim->sync_lies)
        flags &= ~(O_SYNC | O_DSYNC);
    return (int)syscall(SYS_openat, dir, name, flags, mode);
}

#define MODE_TAKE(flags, mode)                                                                                         \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list args;                                                                                                  \
        va_start(args, flags);                                                                                         \
        mode = va_arg(args, mode_t);                                                                                   \
        va_end(args);                                                                                                  \
    }

int open(const char *name, int flags, ...)
{
    MODE_TAKE(flags, mode)
    return open_at(AT_FDCWD, name, flags, mode);
}

int open64(const char *name, int flags, ...)
{
    MODE_TAKE(flags, mode)
    return open_at(AT_FDCWD, name, flags, mode);
}

int openat(int dir, const char *name, int flags, ...)
{
    MODE_TAKE(flags, mode)
    return open_at(dir, name, flags, mode);
}

int openat64(int dir, const char *name, int flags, ...)
{
    MODE_TAKE(flags, mode)
    return open_at(dir, name, flags, mode);
}

long syscall(long number, ...)
{
    static long (*next)(long, ...);
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "syscall");
    if (number == SYS_io_submit && shim && shim->sync_lies)
        for (long i = 0; i < a[1]; i++)
            ((struct iocb **)(intptr_t)a[2])[i]->aio_rw_flags &= ~(unsigned)RWF_DSYNC;
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
