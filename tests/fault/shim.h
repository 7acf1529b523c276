/* A library for LD_PRELOAD that stands between maild and the files below FAULT_ROOT. Every call that changes a file or
 * makes it durable is a point. The test says over a shared page (FAULT_CONTROL names its file) at which point what
 * happens: the process dies before, after or in the middle of the call, the call fails, or the power goes.
 *
 * A power cut is played: with `record` set before the start, the shim keeps what every change since the last sync of
 * its file or folder replaced, and on the cut puts it back. What was synced stays; of the rest nothing, or a part that
 * the seed chooses, survives.
 *
 * The log of libraft is written with io_submit, which reaches the kernel through syscall(). Such writes carry
 * RWF_DSYNC and count as durable. Writes of stdio are not seen (libc calls itself inside); their fsync is. */
#ifndef TESTS_FAULT_SHIM_H
#define TESTS_FAULT_SHIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* The bits of control.calls, and the rows of call_names. */
enum call {
    CALL_WRITE,
    CALL_SUBMIT,
    CALL_SYNC,
    CALL_RENAME,
    CALL_UNLINK,
    CALL_TRUNCATE,
    CALL_ALLOCATE,
    CALL_CREATE,
    CALL_MKDIR,
    CALL_RMDIR,
    CALL_OPEN,   /* of a file that is there */
    CALL_ACCEPT, /* of a connection: has no path */
    CALL_MEMORY, /* malloc, calloc, realloc: can only fail; the path is its name */
    CALL_N
};

enum action { ACTION_NONE, ACTION_KILL_BEFORE, ACTION_KILL_AFTER, ACTION_KILL_TORN, ACTION_FAIL, ACTION_POWER };

/* Laid out for tests/fault/faults/control.py too. Little-endian, no padding. */
struct control {
    _Atomic uint64_t count; /* points that matched since the test last set it to 0 */
    _Atomic uint64_t at;    /* the action falls due at this one; 0: never */
    _Atomic uint64_t hits;
    uint64_t seed; /* of what survives a power cut; 0: nothing */
    uint32_t action, error;
    uint32_t sticky; /* at every point from there on, not at that one alone */
    uint32_t calls;
    uint32_t record, lie; /* lie: syncs do nothing, as on a disk that claims to have written */
    char path[128];       /* part of the paths that count; empty: all */
    char last[256];       /* the call and path that were hit */
};

enum fate { FATE_GO, FATE_FAIL, FATE_TORN, FATE_DIE };

/* ---- shim_control.c ---- */

extern struct control *control; /* NULL: the shim is idle */
bool shim_active(void);
/* Below FAULT_ROOT, and no lock file: those mean nothing after a crash. */
bool path_ours(const char *path);
/* Counts a point. FATE_FAIL has set errno; FATE_DIE: shim_die after the call. Does not return where the process dies
 * before the call. */
enum fate point(enum call call, const char *path);
_Noreturn void shim_die(void);

/* ---- shim_files.c ---- */

bool fd_path(int fd, char *out, size_t n);
/* The path of name below the folder dir (AT_FDCWD: must be absolute). */
bool name_path(int dir, const char *name, char *out, size_t n);
size_t iov_bytes(const struct iovec *iov, int n);

/* ---- shim_power.c: all do nothing unless control->record ---- */

struct change; /* being recorded; the lock of the recorder is held */

/* Around a write, truncation or allocation that may change bytes at..at+n and the size. */
struct change *power_file_begin(int fd, off_t at, size_t n, bool durable);
void power_file_end(struct change *c, bool done, const struct iovec *iov, int iov_n, size_t written);
/* Around a change of names. For a rename, to_dir and to; else -1 and NULL. What is about to be removed or replaced is
 * kept aside. */
struct change *power_name_begin(enum call call, int dir, const char *name, int to_dir, const char *to);
void power_name_end(struct change *c, bool done);
/* Around a sync: what was recorded before the mark was taken is durable after. */
uint64_t power_sync_begin(void);
void power_sync_end(int fd, uint64_t mark);
/* Undoes what is not durable, and dies. */
_Noreturn void power_die(uint64_t seed);

#endif
