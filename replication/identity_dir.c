/* DIR/node (0700) and its files (0600). */
#include "node/base/buf.h"
#include "node/base/hash.h"
#include "node/base/mem.h"
#include "replication/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 64 * 1024 };

int identity_dir_open(const char *data_dir, bool make, struct err_detail *e)
{
    char path[4096];
    if (snprintf(path, sizeof(path), "%s/node", data_dir) >= (int)sizeof(path))
        return err_set(e, ERR_INVALID, "data folder: path too long");
    if (make && mkdir(data_dir, 0700) != 0 && errno != EEXIST)
        return err_set(e, err_from_errno(errno), "%s: %s", data_dir, strerror(errno));
    if (make && mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_set(e, err_from_errno(errno), "%s: %s", path, strerror(errno));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s: %s", path, strerror(errno));
    if (make) { /* the entry of node/ in the data folder must last too */
        int parent = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (parent < 0 || fsync(parent) != 0) {
            int rv = err_set(e, err_from_errno(errno), "%s: %s", data_dir, strerror(errno));
            if (parent >= 0)
                close(parent);
            close(fd);
            return rv;
        }
        close(parent);
    }
    return fd;
}

static int file_fill(int fd, struct slice s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        s = slice_from(s, (size_t)n);
    }
    return fsync(fd);
}

int identity_dir_write(int dir, const char *name, struct slice s, struct err_detail *e)
{
    char tmp[64];
    snprintf(tmp, sizeof(tmp), ".%s.tmp", name);
    unlinkat(dir, tmp, 0); /* left by a crash: its mode may be anything */
    int fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, err_from_errno(errno), "node/%s: %s", name, strerror(errno));
    int rv = file_fill(fd, s);
    int error = errno;
    close(fd);
    if (rv == 0 && (renameat(dir, tmp, dir, name) != 0 || fsync(dir) != 0)) {
        error = errno;
        rv = -1;
    }
    if (rv != 0) {
        unlinkat(dir, tmp, 0);
        return err_set(e, err_from_errno(error), "node/%s: %s", name, strerror(error));
    }
    return 0;
}

int identity_dir_overwrite(int dir, const char *name, struct slice s, struct err_detail *e)
{
    int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, err_from_errno(errno), "node/%s: %s", name, strerror(errno));
    int rv = file_fill(fd, s);
    if (rv == 0 && (ftruncate(fd, (off_t)s.n) != 0 || fsync(fd) != 0))
        rv = -1;
    int error = errno;
    close(fd);
    return rv == 0 ? 0 : err_set(e, err_from_errno(error), "node/%s: %s", name, strerror(error));
}

int identity_dir_read(int dir, const char *name, char **text_r, struct err_detail *e)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, errno == ENOENT ? ERR_NOTFOUND : err_from_errno(errno), "node/%s: %s", name, strerror(errno));
    char *text = mem_alloc(FILE_MAX + 1);
    size_t n = 0;
    ssize_t got;
    while (n < FILE_MAX && (got = read(fd, text + n, FILE_MAX - n)) != 0) {
        if (got < 0 && errno != EINTR)
            break;
        n += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    text[n] = 0;
    if (n == FILE_MAX || memchr(text, 0, n)) {
        mem_free(text);
        return err_set(e, ERR_CORRUPT, "node/%s: not what was written there", name);
    }
    *text_r = text;
    return 0;
}

bool identity_hex_read(struct slice s, uint64_t *v_r)
{
    uint8_t raw[8];
    if (s.n != 16 || hex_decode(s, raw, sizeof(raw)) != 0)
        return false;
    *v_r = get_be64(raw);
    return true;
}
