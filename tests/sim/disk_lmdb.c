/* LMDB without its syncs, which take simulated time instead. With MDB_NOMETASYNC the meta page of the last commit is
 * durable only when the next one syncs its pages, or mdb_env_sync does: a power cut takes that commit back, by putting
 * both meta pages back as they were before. (LMDB writes over no page that the commit before still needs.) With
 * MDB_NOSYNC nothing is durable before mdb_env_sync. */
#include "tests/sim/disk.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Address space is what a map costs here; nothing in a simulation fills it. */
enum { PAGE = 4096, METAS = 2 * PAGE, READERS_MAX = 126 };
static const size_t map_max = (size_t)64 << 20;

struct env {
    struct env *next;
    MDB_env *env; /* NULL: closed, or of an earlier life */
    char *path;   /* of its folder */
    unsigned host, flags;
    MDB_txn *txn;         /* the one that writes */
    bool fresh;           /* nothing of it was synced yet */
    bool loose;           /* the last commit's meta page may be lost: */
    uint8_t metas[METAS]; /* both, before it */
    const void *view;     /* both, as they are in the file */
};

static struct env *envs;

static struct env *env_of(const MDB_env *env)
{
    for (struct env *e = envs; e; e = e->next) {
        if (e->env == env)
            return e;
    }
    return NULL;
}

static void view_drop(struct env *e)
{
    if (e->view)
        munmap((void *)(uintptr_t)e->view, METAS);
    e->view = NULL;
}

static char *file_path(const struct env *e, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", e->path, name);
    return mem_strdup(path);
}

/* Folders are renamed while they are open, and after. */
void disk_lmdb_move(const char *from, const char *to)
{
    for (struct env *e = envs; e; e = e->next)
        disk_path_move(&e->path, from, to);
}

void disk_lmdb_drop(const char *folder)
{
    for (struct env **at = &envs; *at;) {
        struct env *e = *at;
        bool gone = disk_path_under(e->path, folder);
        if (gone && !e->env) {
            *at = e->next;
            view_drop(e);
            mem_free(e->path);
            mem_free(e);
            continue;
        }
        if (gone) /* still read from */
            e->path[0] = 0;
        at = &e->next;
    }
}

/* ---- opening ---- */

static const void *view_make(MDB_env *env)
{
    int fd;
    ENSURE(mdb_env_get_fd(env, &fd) == 0);
    void *p = mmap(NULL, METAS, PROT_READ, MAP_SHARED, fd, 0);
    ENSURE(p != MAP_FAILED);
    return p;
}

int __real_mdb_env_set_mapsize(MDB_env *env, size_t size);
int __wrap_mdb_env_set_mapsize(MDB_env *env, size_t size);
int __wrap_mdb_env_set_mapsize(MDB_env *env, size_t size)
{
    return __real_mdb_env_set_mapsize(env, size < map_max ? size : map_max);
}

int __real_mdb_env_set_maxreaders(MDB_env *env, unsigned readers);
int __wrap_mdb_env_set_maxreaders(MDB_env *env, unsigned readers);
int __wrap_mdb_env_set_maxreaders(MDB_env *env, unsigned readers)
{
    return __real_mdb_env_set_maxreaders(env, readers < READERS_MAX ? readers : READERS_MAX);
}

int __real_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode);
int __wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode);
int __wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode)
{
    unsigned host = disk_host_of(path);
    if (host == 0)
        return __real_mdb_env_open(env, path, flags, mode);
    char file[600];
    struct stat st;
    snprintf(file, sizeof file, "%s/data.mdb", path);
    bool is = stat(file, &st) == 0;
    if (disk_faults(host)->full && !is)
        return ENOSPC;
    struct env *e = NULL;
    for (struct env *it = envs; it; it = it->next)
        e = !it->env && strcmp(it->path, path) == 0 ? it : e;
    /* Written through the map: a system call less for each page, and the same pages in the same order. */
    int rc = __real_mdb_env_open(env, path, flags | MDB_NOSYNC | MDB_WRITEMAP, mode);
    if (!is && access(file, F_OK) == 0)
        disk_name_made(file);
    if (rc != 0)
        return rc;
    if (!e) {
        e = mem_zalloc(sizeof *e);
        e->path = mem_strdup(path);
        e->host = host;
        e->next = envs;
        envs = e;
    }
    view_drop(e);
    e->view = view_make(env);
    e->env = env;
    e->flags = flags;
    e->fresh = e->fresh || !is || st.st_size == 0;
    return 0;
}

void __real_mdb_env_close(MDB_env *env);
void __wrap_mdb_env_close(MDB_env *env);
void __wrap_mdb_env_close(MDB_env *env)
{
    struct env *e = env_of(env);
    if (e) {
        view_drop(e);
        e->env = NULL;
        e->txn = NULL;
    }
    __real_mdb_env_close(env);
}

/* ---- transactions ---- */

int __real_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn);
int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn);
int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn)
{
    struct env *e = flags & MDB_RDONLY ? NULL : env_of(env);
    /* LMDB's own lock would hold up the one real thread that there is. */
    ENSURE(!e || !e->txn);
    int rc = __real_mdb_txn_begin(env, parent, flags, txn);
    if (rc == 0 && e)
        e->txn = *txn;
    return rc;
}

void __real_mdb_txn_abort(MDB_txn *txn);
void __wrap_mdb_txn_abort(MDB_txn *txn);
void __wrap_mdb_txn_abort(MDB_txn *txn)
{
    struct env *e = txn ? env_of(mdb_txn_env(txn)) : NULL;
    if (e && e->txn == txn)
        e->txn = NULL;
    __real_mdb_txn_abort(txn);
}

static void synced(struct env *e)
{
    char *path = file_path(e, "data.mdb");
    e->fresh = e->loose = false;
    disk_name_synced(path);
    mem_free(path);
}

static int commit_refused(const struct env *e)
{
    if (disk_error(e->host))
        return EIO;
    return disk_faults(e->host)->full && sim_below(2) ? ENOSPC : 0; /* it may find free pages */
}

int __real_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn)
{
    struct env *e = env_of(mdb_txn_env(txn));
    if (!e || e->txn != txn)
        return __real_mdb_txn_commit(txn);
    int refused = commit_refused(e);
    if (refused) {
        __wrap_mdb_txn_abort(txn);
        return refused;
    }
    if (!(e->flags & MDB_NOSYNC)) {
        disk_point(e->host);
        sim_sleep(disk_sync_us(e->host));
        synced(e); /* and the commit before with these pages */
        memcpy(e->metas, e->view, METAS);
    }
    e->txn = NULL;
    int rc = __real_mdb_txn_commit(txn);
    if (rc != 0 || e->flags & MDB_NOSYNC)
        return rc;
    e->loose = true;
    disk_point(e->host);
    if (!(e->flags & MDB_NOMETASYNC)) {
        sim_sleep(disk_sync_us(e->host));
        e->loose = false;
    }
    return 0;
}

int __real_mdb_env_sync(MDB_env *env, int force);
int __wrap_mdb_env_sync(MDB_env *env, int force);
int __wrap_mdb_env_sync(MDB_env *env, int force)
{
    struct env *e = env_of(env);
    if (!e)
        return __real_mdb_env_sync(env, force);
    if (disk_error(e->host))
        return EIO;
    disk_point(e->host);
    sim_sleep(disk_sync_us(e->host));
    synced(e);
    return 0;
}

/* ---- crash ---- */

static void power_cut(struct env *e)
{
    char *path = file_path(e, "data.mdb");
    int fd = __real_open(path, O_RDWR | O_CLOEXEC);
    bool back = fd >= 0 && e->loose && sim_below(2), cut = fd >= 0 && e->fresh && sim_below(3);
    if (back || cut)
        sim_trace("disk %u loses %s of %s", e->host, back ? "the last commit" : "pages", strrchr(e->path, '/') + 1);
    if (back)
        ENSURE(__real_pwrite(fd, e->metas, METAS, 0) == METAS);
    if (cut) { /* the file is as long as the map; what was written ends at its first hole */
        off_t end = lseek(fd, 0, SEEK_HOLE);
        ENSURE(end >= 0 && __real_ftruncate(fd, (off_t)sim_below((uint64_t)end / PAGE + 1) * PAGE) == 0);
    }
    if (fd >= 0)
        __real_close(fd);
    mem_free(path);
    e->fresh = e->loose = false;
}

/* The lock file is made anew by who comes next: in the old one the dead still hold locks. */
void disk_lmdb_crash(unsigned host, bool power)
{
    for (struct env *e = envs; e; e = e->next) {
        if (e->host != host)
            continue;
        char *lock = file_path(e, "lock.mdb");
        if (e->env)
            __real_unlink(lock);
        mem_free(lock);
        e->env = NULL;
        e->txn = NULL;
        if (power)
            power_cut(e);
    }
}

void disk_lmdb_forget(unsigned host)
{
    for (struct env **at = &envs; *at;) {
        struct env *e = *at;
        if (e->host == host) {
            *at = e->next;
            view_drop(e);
            mem_free(e->path);
            mem_free(e);
        } else {
            at = &e->next;
        }
    }
}

/* ---- damage ---- */

/* A bit anywhere in what was written; the file is as long as the map. Nobody has it open: LMDB would jump anywhere. */
bool disk_lmdb_flip(unsigned host, const char *folder)
{
    char path[620];
    uint8_t b;
    snprintf(path, sizeof path, "%s/%s/data.mdb", sim_disk_dir(sim_host(host)), folder);
    int fd = __real_open(path, O_RDWR | O_CLOEXEC);
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_HOLE) : 0, at = 0;
    bool done = end > 0;
    if (done) {
        at = (off_t)sim_below((uint64_t)end);
        if (sim_chance(500000)) /* where pages keep their own affairs */
            at = at / PAGE * PAGE + (off_t)sim_below(48);
        done = pread(fd, &b, 1, at) == 1;
        b ^= (uint8_t)(1u << sim_below(8));
        done = done && __real_pwrite(fd, &b, 1, at) == 1;
    }
    if (fd >= 0)
        __real_close(fd);
    return done;
}
