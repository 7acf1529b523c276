/* The disks of all hosts: their folders, faults, and what a crash does to them. What was written is at once in real
 * files under a tmpfs; what was not synced can be undone (disk_file.c, disk_name.c, disk_lmdb.c, log.c). Nothing of a
 * dead life writes again, so that the next one goes on in the same files. */
#include "tests/sim/disk.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SYNC_MIN_US = 40,
    SYNC_CALM_US = 400,
    SLOW_EVERY = 16,
    SLOW_TIMES = 16,
    STALL_MIN_MS = 1000,
    STALL_MAX_MS = 4000
};

static char root[400], dirs[SIM_HOSTS_MAX][420];
static struct sim_disk_faults faults[SIM_HOSTS_MAX];
static uint64_t steps, trash;
static struct watch {
    unsigned left;
    sim_fn *fn;
    void *arg;
} watches[SIM_HOSTS_MAX];

uint64_t disk_step(void)
{
    return ++steps;
}

/* ---- faults ---- */

const struct sim_disk_faults *disk_faults(unsigned host)
{
    return &faults[host];
}

void sim_disk_faults(struct sim_host *h, const struct sim_disk_faults *f)
{
    unsigned host = sim_host_index(h);
    faults[host] = f ? *f : (struct sim_disk_faults){0};
}

void sim_disk_watch(struct sim_host *h, unsigned n, sim_fn *fn, void *arg)
{
    watches[sim_host_index(h)] = (struct watch){n, fn, arg};
}

void disk_point(unsigned host)
{
    struct watch *w = &watches[host];
    if (w->left == 0 || --w->left > 0)
        return;
    sim_trace("disk %u: now", host);
    w->fn(w->arg);
}

int64_t disk_sync_us(unsigned host)
{
    const struct sim_disk_faults *f = &faults[host];
    unsigned most = f->sync_max_us > SYNC_MIN_US ? f->sync_max_us : SYNC_CALM_US;
    if (sim_below(SLOW_EVERY) == 0)
        most *= 1 + (unsigned)sim_below(SLOW_TIMES);
    if (sim_chance(f->stall_ppm))
        return (int64_t)sim_between(STALL_MIN_MS, STALL_MAX_MS) * SIM_MS;
    return (int64_t)sim_between(SYNC_MIN_US, most);
}

bool disk_error(unsigned host)
{
    bool fails = sim_chance(faults[host].error_ppm);
    sim_counts.disk_errors += fails;
    if (fails)
        sim_trace("disk %u error", host);
    return fails;
}

/* ---- paths ---- */

unsigned disk_host_of(const char *path)
{
    size_t n = strlen(root);
    if (n == 0 || strncmp(path, root, n) != 0 || path[n] != '/' || path[n + 1] != 'h')
        return 0;
    unsigned host = (unsigned)(path[n + 2] - '0');
    return host < SIM_HOSTS_MAX && (path[n + 3] == '/' || path[n + 3] == 0) ? host : 0;
}

char *disk_trash_path(void)
{
    char path[440];
    snprintf(path, sizeof path, "%s/trash/%llu", root, (unsigned long long)++trash);
    return mem_strdup(path);
}

bool disk_path_under(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == 0 || path[n] == '/');
}

void disk_path_move(char **path, const char *from, const char *to)
{
    if (!disk_path_under(*path, from))
        return;
    size_t n = strlen(to), rest = strlen(*path + strlen(from)) + 1;
    char *moved = mem_alloc(n + rest);
    memcpy(moved, to, n);
    memcpy(moved + n, *path + strlen(from), rest);
    mem_free(*path);
    *path = moved;
}

/* ---- folders ---- */

static void root_make(const char *path)
{
    if (__real_mkdir(path, 0700) != 0)
        err_panic(__FILE__, __LINE__, path);
}

void sim_disk_init(const char *folder)
{
    char path[440];
    ENSURE(strlen(folder) < sizeof root);
    snprintf(root, sizeof root, "%s", folder);
    snprintf(path, sizeof path, "%s/trash", root);
    root_make(path);
    for (unsigned i = 0; i < SIM_HOSTS_MAX; i++)
        snprintf(dirs[i], sizeof dirs[i], "%s/h%u", root, i);
}

const char *sim_disk_dir(struct sim_host *h)
{
    unsigned host = sim_host_index(h);
    if (access(dirs[host], F_OK) != 0)
        root_make(dirs[host]);
    return dirs[host];
}

void disk_tree_remove(const char *path)
{
    char below[600];
    DIR *d = __real_opendir(path);
    for (struct dirent *f = d ? readdir(d) : NULL; f; f = readdir(d)) {
        if (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0)
            continue;
        ENSURE(snprintf(below, sizeof below, "%s/%s", path, f->d_name) < (int)sizeof below);
        if (f->d_type == DT_DIR)
            disk_tree_remove(below);
        else
            __real_unlink(below);
    }
    if (d)
        __real_closedir(d);
    __real_rmdir(path);
    disk_nodes_drop(path);
}

void sim_disk_wipe(struct sim_host *h)
{
    unsigned host = sim_host_index(h);
    disk_tree_remove(dirs[host]);
    disk_names_forget(host);
    disk_lmdb_forget(host);
    log_wipe(host);
    sim_trace("disk %u new", host);
}

/* ---- crash ---- */

void sim_disk_crash(struct sim_host *h, bool power)
{
    unsigned host = sim_host_index(h);
    watches[host].left = 0;
    disk_lmdb_crash(host, power);
    disk_files_crash(host, power);
    disk_names_crash(host, power);
}

/* ---- damage ---- */

static bool byte_flip(const char *path, off_t from)
{
    struct stat st;
    uint8_t b;
    int fd = __real_open(path, O_RDWR | O_CLOEXEC);
    bool done = fd >= 0 && fstat(fd, &st) == 0 && st.st_size > from;
    if (done) {
        off_t at = from + (off_t)sim_below((uint64_t)(st.st_size - from));
        done = pread(fd, &b, 1, at) == 1;
        b ^= (uint8_t)(1u << sim_below(8));
        done = done && __real_pwrite(fd, &b, 1, at) == 1;
    }
    if (fd >= 0)
        __real_close(fd);
    return done;
}

static bool segment_flip(unsigned host)
{
    enum { SEGMENT_HEADER = 32, NAMES_MAX = 64 };
    char folder[440], path[700], names[NAMES_MAX][32];
    unsigned n = 0;
    snprintf(folder, sizeof folder, "%s/bodies", dirs[host]);
    DIR *d = __real_opendir(folder);
    for (struct dirent *f = d ? readdir(d) : NULL; f && n < NAMES_MAX; f = readdir(d)) {
        size_t len = strlen(f->d_name);
        if (len > 4 && len < sizeof names[0] && strcmp(f->d_name + len - 4, ".seg") == 0)
            memcpy(names[n++], f->d_name, len + 1);
    }
    if (d)
        __real_closedir(d);
    if (n == 0)
        return false;
    snprintf(path, sizeof path, "%s/%s", folder, names[sim_below(n)]);
    return byte_flip(path, SEGMENT_HEADER);
}

bool sim_disk_flip(struct sim_host *h, enum sim_disk_part part)
{
    static const char *const names[] = {"log", "state", "index of bodies", "bodies"};
    unsigned host = sim_host_index(h);
    bool done = part == SIM_DISK_LOG     ? log_flip(host)
                : part == SIM_DISK_STATE ? disk_lmdb_flip(host, "state")
                : part == SIM_DISK_INDEX ? disk_lmdb_flip(host, "local")
                                         : segment_flip(host);
    sim_counts.flips += done;
    if (done)
        sim_trace("disk %u damaged: %s", host, names[part]);
    return done;
}
