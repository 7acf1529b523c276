/* Folders' contents: what was made, renamed or removed and whose folder was not synced since can be undone. What is
 * removed lies in the trash meanwhile. Changes are undone from the newest on: file systems keep their order. */
#include "tests/sim/disk.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum change_kind { MADE, FOLDER_MADE, RENAMED, REMOVED, FOLDER_REMOVED };
static const char *const kind_text[] = {"making", "making folder", "renaming to", "removing", "removing folder"};
struct change {
    struct change *next;
    enum change_kind kind;
    unsigned host;
    uint64_t step;
    char *path, *from; /* from: renamed */
    char *trash;       /* what was there before; may be NULL */
    bool lonely;       /* syncing the file that was made does not make its name durable */
};

enum { LONELY_EVERY = 8 };
static struct change *changes, **changes_last = &changes;

static void change_add(enum change_kind kind, const char *path, const char *from, char *trash)
{
    struct change *c = mem_alloc(sizeof *c);
    *c = (struct change){.kind = kind, .host = disk_host_of(path), .step = disk_step(), .trash = trash};
    c->path = mem_strdup(path);
    c->from = from ? mem_strdup(from) : NULL;
    c->lonely = sim_below(LONELY_EVERY) == 0;
    *changes_last = c;
    changes_last = &c->next;
    disk_point(c->host);
}

static void change_free(struct change *c)
{
    mem_free(c->path);
    mem_free(c->from);
    mem_free(c->trash);
    mem_free(c);
}

static void changes_rebuild(struct change *list)
{
    changes = list;
    changes_last = &changes;
    while (*changes_last)
        changes_last = &(*changes_last)->next;
}

/* Those for which `gone` says so are over. */
static void changes_end(bool (*gone)(const struct change *c, const void *arg), const void *arg)
{
    struct change *kept = NULL, **last = &kept;
    for (struct change *c = changes, *next; c; c = next) {
        next = c->next;
        c->next = NULL;
        if (gone(c, arg)) {
            if (c->trash) {
                __real_unlink(c->trash);
                disk_nodes_drop(c->trash);
            }
            change_free(c);
        } else {
            *last = c;
            last = &c->next;
        }
    }
    changes_rebuild(kept);
}

static void names_move(const char *from, const char *to)
{
    disk_nodes_move(from, to);
    for (struct change *c = changes; c; c = c->next) {
        disk_path_move(&c->path, from, to);
        if (c->from)
            disk_path_move(&c->from, from, to);
    }
}

void disk_name_made(const char *path)
{
    if (disk_host_of(path))
        change_add(MADE, path, NULL, NULL);
}

/* ---- syncs ---- */

struct synced {
    const char *folder;
    uint64_t step;
};

static bool is_synced(const struct change *c, const void *arg)
{
    const struct synced *s = arg;
    size_t n = strlen(s->folder);
    return c->step < s->step && strncmp(c->path, s->folder, n) == 0 && c->path[n] == '/' &&
           !strchr(c->path + n + 1, '/');
}

/* What was done in a folder that is gone for good. */
static bool is_below(const struct change *c, const void *arg)
{
    const struct change *gone = arg;
    return c->step < gone->step && c != gone && disk_path_under(c->path, gone->path) &&
           strcmp(c->path, gone->path) != 0;
}

void disk_names_synced(const char *folder, uint64_t step)
{
    struct synced s = {folder, step};
    for (struct change *c = changes; c; c = c->next) {
        if (c->kind == FOLDER_REMOVED && is_synced(c, &s))
            changes_end(is_below, c);
    }
    if (changes)
        changes_end(is_synced, &s);
}

static bool is_made(const struct change *c, const void *arg)
{
    return c->kind == MADE && !c->lonely && strcmp(c->path, arg) == 0;
}

void disk_name_synced(const char *path)
{
    if (changes)
        changes_end(is_made, path);
}

static bool is_host(const struct change *c, const void *arg)
{
    return c->host == *(const unsigned *)arg;
}

void disk_names_forget(unsigned host)
{
    changes_end(is_host, &host);
}

/* ---- crash ---- */

static void undo(const struct change *c)
{
    switch (c->kind) {
    case MADE:
        __real_unlink(c->path);
        disk_nodes_drop(c->path);
        break;
    case FOLDER_MADE:
        disk_tree_remove(c->path);
        break;
    case RENAMED:
        ENSURE(__real_rename(c->path, c->from) == 0);
        names_move(c->path, c->from);
        break;
    case FOLDER_REMOVED:
        ENSURE(__real_mkdir(c->path, 0700) == 0);
        break;
    case REMOVED:
        break;
    }
    if (c->trash) {
        ENSURE(__real_rename(c->trash, c->path) == 0);
        disk_nodes_move(c->trash, c->path);
    }
}

static struct change *newest_of(unsigned host)
{
    struct change *found = NULL;
    for (struct change *c = changes; c; c = c->next) {
        if (c->host == host)
            found = c;
    }
    return found;
}

void disk_names_crash(unsigned host, bool power)
{
    size_t n = 0;
    if (!power)
        return;
    for (const struct change *c = changes; c; c = c->next)
        n += c->host == host;
    size_t keep = n && sim_below(3) == 0 ? sim_below(n + 1) : 0;
    for (; n > keep; n--) {
        struct change *c = newest_of(host), **at = &changes;
        while (*at != c)
            at = &(*at)->next;
        *at = c->next;
        changes_rebuild(changes);
        sim_trace("disk %u takes back %s %s", host, kind_text[c->kind], strrchr(c->path, '/') + 1);
        undo(c);
        change_free(c);
    }
    disk_names_forget(host);
}

/* ---- calls ---- */

static int fail(int error)
{
    errno = error;
    return -1;
}

/* The absolute path; false: not one of ours. */
static bool path_at(int dir, const char *name, char *out, size_t n)
{
    const struct disk_node *folder = disk_fd(dir);
    int len = name[0] == '/' ? snprintf(out, n, "%s", name)
              : folder       ? snprintf(out, n, "%s/%s", folder->path, name)
                             : -1;
    return len >= 0 && len < (int)n && disk_host_of(out) != 0;
}

static int open_path(const char *path, int flags, mode_t mode)
{
    bool is = access(path, F_OK) == 0, makes = flags & O_CREAT && !is;
    if (makes && disk_faults(disk_host_of(path))->full)
        return fail(ENOSPC);
    if ((flags & O_ACCMODE) == O_WRONLY) /* what is written over is read first */
        flags = (flags & ~O_ACCMODE) | O_RDWR;
    ENSURE(!(flags & O_APPEND));
    int fd = __real_open(path, flags & ~O_TRUNC, mode);
    if (fd < 0)
        return fd;
    disk_fd_set(fd, disk_node(path));
    if (is && flags & O_TRUNC && ftruncate(fd, 0) != 0) { /* a write like others */
        int error = errno;
        close(fd);
        return fail(error);
    }
    if (makes)
        change_add(MADE, path, NULL, NULL);
    return fd;
}

int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return disk_host_of(path) ? open_path(path, flags, mode) : __real_open(path, flags, mode);
}

int __real_openat(int dir, const char *name, int flags, ...);
int __wrap_openat(int dir, const char *name, int flags, ...);
int __wrap_openat(int dir, const char *name, int flags, ...)
{
    char path[600];
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return path_at(dir, name, path, sizeof path) ? open_path(path, flags, mode) : __real_openat(dir, name, flags, mode);
}

int __wrap_close(int fd);
int __wrap_close(int fd)
{
    disk_fd_set(fd, NULL);
    return __real_close(fd);
}

DIR *__wrap_opendir(const char *path);
DIR *__wrap_opendir(const char *path)
{
    DIR *d = __real_opendir(path);
    if (d)
        disk_fd_set(dirfd(d), disk_node(path));
    return d;
}

int __wrap_closedir(DIR *d);
int __wrap_closedir(DIR *d)
{
    disk_fd_set(dirfd(d), NULL);
    return __real_closedir(d);
}

int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode)
{
    unsigned host = disk_host_of(path);
    if (host && disk_faults(host)->full && access(path, F_OK) != 0)
        return fail(ENOSPC);
    int rc = __real_mkdir(path, mode);
    if (rc == 0 && host)
        change_add(FOLDER_MADE, path, NULL, NULL);
    return rc;
}

int __wrap_rmdir(const char *path);
int __wrap_rmdir(const char *path)
{
    int rc = __real_rmdir(path);
    if (rc == 0 && disk_host_of(path)) {
        disk_lmdb_drop(path);
        change_add(FOLDER_REMOVED, path, NULL, NULL);
    }
    return rc;
}

/* Out of the way, if it is there. */
static char *to_trash(const char *path)
{
    char *trash = disk_trash_path();
    if (__real_rename(path, trash) != 0) {
        mem_free(trash);
        return NULL;
    }
    disk_nodes_move(path, trash);
    return trash;
}

static int unlink_path(const char *path)
{
    disk_node(path);
    char *trash = to_trash(path);
    if (!trash)
        return -1;
    change_add(REMOVED, path, NULL, trash);
    return 0;
}

int __wrap_unlink(const char *path);
int __wrap_unlink(const char *path)
{
    return disk_host_of(path) ? unlink_path(path) : __real_unlink(path);
}

int __real_unlinkat(int dir, const char *name, int flags);
int __wrap_unlinkat(int dir, const char *name, int flags);
int __wrap_unlinkat(int dir, const char *name, int flags)
{
    char path[600];
    if (!path_at(dir, name, path, sizeof path))
        return __real_unlinkat(dir, name, flags);
    return flags & AT_REMOVEDIR ? __wrap_rmdir(path) : unlink_path(path);
}

static int rename_path(const char *from, const char *to)
{
    struct stat st;
    if (disk_error(disk_host_of(from)))
        return fail(EIO);
    bool over = stat(to, &st) == 0 && !S_ISDIR(st.st_mode);
    char *trash = over && access(from, F_OK) == 0 ? to_trash(to) : NULL;
    int rc = __real_rename(from, to);
    if (rc != 0) {
        mem_free(trash);
        return rc;
    }
    names_move(from, to);
    change_add(RENAMED, to, from, trash);
    return 0;
}

int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    return disk_host_of(from) ? rename_path(from, to) : __real_rename(from, to);
}

int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    char a[600], b[600];
    if (!path_at(from_dir, from, a, sizeof a) || !path_at(to_dir, to, b, sizeof b))
        return __real_renameat(from_dir, from, to_dir, to);
    return rename_path(a, b);
}

/* ---- space ---- */

enum { BLOCK = 4096, BLOCKS_FREE = 1 << 26 };

static int space(unsigned host, struct statvfs *s)
{
    *s = (struct statvfs){.f_bsize = BLOCK, .f_frsize = BLOCK, .f_blocks = BLOCKS_FREE};
    s->f_bfree = s->f_bavail = disk_faults(host)->full ? 0 : BLOCKS_FREE;
    return 0;
}

int __real_statvfs(const char *path, struct statvfs *s);
int __wrap_statvfs(const char *path, struct statvfs *s);
int __wrap_statvfs(const char *path, struct statvfs *s)
{
    unsigned host = disk_host_of(path);
    return host ? space(host, s) : __real_statvfs(path, s);
}

int __real_fstatvfs(int fd, struct statvfs *s);
int __wrap_fstatvfs(int fd, struct statvfs *s);
int __wrap_fstatvfs(int fd, struct statvfs *s)
{
    const struct disk_node *n = disk_fd(fd);
    return n ? space(n->host, s) : __real_fstatvfs(fd, s);
}
