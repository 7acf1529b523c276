#include "replication/mark.h"

#include "node/base/buf.h"
#include "node/base/hash.h"
#include "node/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MARK_MAGIC = 0x4b524d4d /* "MMRK" */, MARK_VERSION = 1 };

static void slot_encode(const struct mark *m, uint8_t out[MARK_BYTES])
{
    put_le32(out, MARK_MAGIC);
    put_le32(out + 4, MARK_VERSION);
    put_le64(out + 8, m->sequence);
    put_le64(out + 16, m->index);
    put_le64(out + 24, m->term);
    put_le64(out + 32, checksum64(slice_make(out, 32)));
}

static int slot_write(struct mark *m)
{
    uint8_t b[MARK_BYTES];
    m->sequence++;
    slot_encode(m, b);
    off_t at = (off_t)(m->sequence % 2) * MARK_SLOT;
    ssize_t n = pwrite(m->fd, b, sizeof b, at);
    if (n != (ssize_t)sizeof b)
        return n < 0 ? err_from_errno(errno) : ERR_IO;
    atomic_store(&m->dirty, true);
    return 0;
}

static bool slot_read(struct mark *m, int slot)
{
    uint8_t b[MARK_BYTES];
    if (pread(m->fd, b, sizeof b, (off_t)slot * MARK_SLOT) != (ssize_t)sizeof b)
        return false;
    if (get_le32(b) != MARK_MAGIC || get_le32(b + 4) != MARK_VERSION ||
        get_le64(b + 32) != checksum64(slice_make(b, 32)))
        return false;
    if (get_le64(b + 8) >= m->sequence) {
        m->sequence = get_le64(b + 8);
        m->index = get_le64(b + 16);
        m->term = get_le64(b + 24);
    }
    return true;
}

/* Zeroes: what a power cut leaves between making the file and its first sync. */
static bool slots_blank(const struct mark *m)
{
    uint8_t b[MARK_BYTES];
    for (int i = 0; i < 2; i++) {
        if (pread(m->fd, b, sizeof b, (off_t)i * MARK_SLOT) != (ssize_t)sizeof b)
            return false;
        for (size_t k = 0; k < sizeof b; k++)
            if (b[k] != 0)
                return false;
    }
    return true;
}

static int directory_sync(const char *path)
{
    char *copy = mem_strdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mem_free(copy);
    if (fd < 0)
        return err_from_errno(errno);
    int rc = fsync(fd) == 0 ? 0 : err_from_errno(errno);
    close(fd);
    return rc;
}

static int slots_make(struct mark *m)
{
    if (ftruncate(m->fd, 2 * MARK_SLOT) != 0)
        return err_from_errno(errno);
    for (int i = 0; i < 2; i++) {
        int rc = slot_write(m);
        if (rc != 0)
            return rc;
    }
    return mark_sync(m);
}

/* Under another name first: a mark that is there is whole, wherever the process dies. */
static int mark_make(struct mark *m, const char *path)
{
    struct buf name = {0};
    mark_close(m);
    m->fresh = true;
    buf_append_str(&name, path);
    buf_append_str(&name, ".new");
    buf_append_byte(&name, 0);
    const char *made = (const char *)buf_slice(&name).p;
    m->fd = open(made, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = m->fd >= 0 ? slots_make(m) : err_from_errno(errno);
    if (rc == 0)
        rc = rename(made, path) == 0 ? directory_sync(path) : err_from_errno(errno);
    buf_close(&name);
    return rc;
}

/* Is this what a making leaves that was interrupted, so that nothing was acknowledged yet? Shorter than its slots, or
 * blank: files of earlier builds, which were made in place. */
static bool half_made(const struct mark *m)
{
    struct stat st;
    return fstat(m->fd, &st) == 0 && (st.st_size < 2 * MARK_SLOT || slots_blank(m));
}

int mark_open(struct mark *m, const char *path, struct err_detail *e)
{
    *m = (struct mark){.fd = -1};
    m->fd = open(path, O_RDWR | O_CLOEXEC);
    if (m->fd < 0 && errno != ENOENT)
        return err_set(e, err_from_errno(errno), "open %s: %s", path, strerror(errno));
    int rc = 0;
    if (m->fd < 0 || half_made(m)) {
        rc = mark_make(m, path);
    } else {
        bool a = slot_read(m, 0), b = slot_read(m, 1);
        if (!a && !b)
            rc = ERR_CORRUPT;
    }
    if (rc != 0) {
        mark_close(m);
        return err_set(e, rc, "%s: %s", path, err_text(rc));
    }
    return 0;
}

void mark_close(struct mark *m)
{
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}

int mark_raise(struct mark *m, uint64_t index, uint64_t term)
{
    m->index = index;
    m->term = term;
    return slot_write(m);
}

int mark_lower(struct mark *m, uint64_t index, uint64_t term)
{
    m->index = index;
    m->term = term;
    int rc = slot_write(m);
    /* The other slot must not win after a torn write of this one: both say the same before the log is cut. */
    if (rc == 0)
        rc = slot_write(m);
    return rc ? rc : mark_sync(m);
}

int mark_sync(struct mark *m)
{
    if (m->fd < 0 || !atomic_exchange(&m->dirty, false))
        return 0;
    return fdatasync(m->fd) == 0 ? 0 : ERR_IO;
}
