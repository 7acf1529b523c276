/* Preloaded into maild: CLOCK_REALTIME, time, gettimeofday, fsync and fdatasync as the file in $JEPSEN_SHIM says. */
#include "jepsen-like/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
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
    return (int)syscall(number, fd);
}

int fsync(int fd)
{
    return sync_file(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_file(SYS_fdatasync, fd);
}
