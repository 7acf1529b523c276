/* Between disk*.c and log*.c. Paths are absolute. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "tests/sim/sim.h"

/* ---- disk.c ---- */
const struct sim_disk_faults *disk_faults(unsigned host);
int64_t disk_sync_us(unsigned host);     /* how long the next sync takes */
void disk_point(unsigned host);          /* a step: the host may crash in here, and this not return */
bool disk_error(unsigned host);          /* this write or sync fails with EIO */
unsigned disk_host_of(const char *path); /* whose folder it lies in; 0: nobody's */
char *disk_trash_path(void);             /* a new one; mem_free */
void disk_tree_remove(const char *path);
/* Path becomes `to` if it is `from` or lies below it. */
void disk_path_move(char **path, const char *from, const char *to);
bool disk_path_under(const char *path, const char *folder);
uint64_t disk_step(void); /* numbers writes and changes of names, in order */

/* ---- disk_file.c: what was written to files and not synced ---- */

/* A file or folder; the same one under another name. */
struct disk_node {
    char *path;
    unsigned host;
    struct disk_write *first, **last; /* not synced, oldest first */
};
struct disk_node *disk_node(const char *path);          /* made when not known yet; NULL: nobody's */
void disk_nodes_move(const char *from, const char *to); /* and what lies below */
void disk_nodes_drop(const char *path);                 /* and what lies below; open ones are nobody's from then on */
void disk_files_crash(unsigned host, bool power);
struct disk_node *disk_fd(int fd);
void disk_fd_set(int fd, struct disk_node *n);

/* ---- disk_name.c: what was done to folders and not synced ---- */
void disk_name_made(const char *path);
/* The file was synced: nearly every file system makes its name durable, too. */
void disk_name_synced(const char *path);
/* All changes in the folder up to that step are durable. */
void disk_names_synced(const char *folder, uint64_t step);
void disk_names_crash(unsigned host, bool power);
void disk_names_forget(unsigned host);

/* ---- disk_lmdb.c ---- */
void disk_lmdb_crash(unsigned host, bool power);
void disk_lmdb_forget(unsigned host);
void disk_lmdb_move(const char *from, const char *to);
void disk_lmdb_drop(const char *folder);                /* it is gone */
bool disk_lmdb_flip(unsigned host, const char *folder); /* nobody has it open */

/* ---- log.c ---- */
void log_wipe(unsigned host);
bool log_flip(unsigned host);

/* ---- the kernel's own: the calls of all objects are led to disk_*.c (disk.cmake) ---- */
int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_mkdir(const char *path, unsigned mode);
int __real_rmdir(const char *path);
int __real_ftruncate(int fd, long n);
long __real_pwrite(int fd, const void *p, size_t n, long at);
struct __dirstream *__real_opendir(const char *path);
int __real_closedir(struct __dirstream *d);

#endif
