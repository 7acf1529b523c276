#include "node/base/log.h"
#include "store/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The swap, and what a crash after each step leaves:
 *
 *   0  state, state.incoming without mark     the copy is dropped
 *   1  mark written                           the copy is dropped: nothing was swapped
 *   2  state → state.old                      no state: state.incoming with its mark takes the place
 *   3  state.incoming → state                 state.old is dropped */
static const char mark_name[] = "complete", damaged_name[] = "state.damaged";

char *store_files_path(const char *dir, const char *name)
{
    size_t n = strlen(dir) + strlen(name) + 2;
    char *path = mem_alloc(n);
    snprintf(path, n, "%s/%s", dir, name);
    return path;
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

int store_files_sync(const char *path, struct err_detail *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) ? err_set(e, ERR_IO, "sync %s: %s", path, strerror(errno)) : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

void store_files_remove(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *f; (f = readdir(d));)
        if (strcmp(f->d_name, ".") && strcmp(f->d_name, ".."))
            unlinkat(dirfd(d), f->d_name, 0);
    closedir(d);
    if (rmdir(path))
        log_event(LOG_WARN, "folder not removed", LOG_S("path", path), LOG_S("why", strerror(errno)));
}

int store_files_mark(const char *dir, struct err_detail *e)
{
    char *incoming = store_files_path(dir, "state.incoming");
    char *mark = store_files_path(incoming, mark_name);
    int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int rc = fd < 0 || fsync(fd) ? err_set(e, ERR_IO, "write %s: %s", mark, strerror(errno)) : 0;
    if (fd >= 0)
        close(fd);
    if (rc == 0)
        rc = store_files_sync(incoming, e);
    mem_free(mark);
    mem_free(incoming);
    return rc;
}

static int move(const char *dir, const char *from, const char *to, struct err_detail *e)
{
    char *a = store_files_path(dir, from), *b = store_files_path(dir, to);
    int rc = rename(a, b) ? err_set(e, ERR_IO, "rename %s to %s: %s", a, b, strerror(errno)) : store_files_sync(dir, e);
    mem_free(a);
    mem_free(b);
    return rc;
}

static void drop(const char *dir, const char *name)
{
    char *path = store_files_path(dir, name);
    store_files_remove(path);
    mem_free(path);
}

bool store_files_has(const char *dir, const char *name)
{
    char *path = store_files_path(dir, name);
    bool is = exists(path);
    mem_free(path);
    return is;
}

static void mark_drop(const char *dir)
{
    char *mark = store_files_path(dir, "state/complete");
    unlink(mark);
    mem_free(mark);
}

int store_files_swap(const char *dir, struct err_detail *e)
{
    drop(dir, "state.old");
    int rc = move(dir, "state", "state.old", e);
    if (rc == 0)
        rc = move(dir, "state.incoming", "state", e);
    if (rc)
        return rc;
    mark_drop(dir);
    drop(dir, "state.old");
    return 0;
}

/* One rename: a crash before it finds the damage again, one behind it finds no state. */
int store_set_aside(const char *dir, struct err_detail *e)
{
    drop(dir, damaged_name);
    return move(dir, "state", damaged_name, e);
}

bool store_is_aside(const char *dir)
{
    return store_files_has(dir, damaged_name);
}

void store_aside_remove(const char *dir)
{
    drop(dir, damaged_name);
}

int store_files_recover(const char *dir, struct err_detail *e)
{
    if (mkdir(dir, 0700) && errno != EEXIST)
        return err_set(e, ERR_IO, "make folder %s: %s", dir, strerror(errno));
    int rc = 0;
    if (!store_files_has(dir, "state")) {
        if (store_files_has(dir, "state.incoming/complete"))
            rc = move(dir, "state.incoming", "state", e);
        else if (store_files_has(dir, "state.old"))
            rc = move(dir, "state.old", "state", e);
    }
    if (rc)
        return rc;
    mark_drop(dir);
    drop(dir, "state.incoming");
    drop(dir, "state.old");
    return 0;
}
