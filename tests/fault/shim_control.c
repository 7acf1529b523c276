#include "tests/fault/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct control *control;
static char root[PATH_MAX];
static size_t root_n;

static const char *const call_names[CALL_N] = {
    [CALL_WRITE] = "write",   [CALL_SUBMIT] = "submit",     [CALL_SYNC] = "sync",         [CALL_RENAME] = "rename",
    [CALL_UNLINK] = "unlink", [CALL_TRUNCATE] = "truncate", [CALL_ALLOCATE] = "allocate", [CALL_CREATE] = "create",
    [CALL_MKDIR] = "mkdir",   [CALL_RMDIR] = "rmdir",       [CALL_OPEN] = "open",         [CALL_ACCEPT] = "accept",
    [CALL_MEMORY] = "memory",
};

__attribute__((constructor)) static void start(void)
{
    const char *file = getenv("FAULT_CONTROL"), *folder = getenv("FAULT_ROOT");
    if (!file || !folder)
        return;
    snprintf(root, sizeof root, "%s/", folder);
    root_n = strlen(root);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        fprintf(stderr, "shim: %s: %s\n", file, strerror(errno));
        _exit(99);
    }
    close(fd);
    control = page;
}

bool shim_active(void)
{
    return control != NULL;
}

static bool ends(const char *s, const char *with)
{
    size_t n = strlen(s), m = strlen(with);
    return n >= m && strcmp(s + n - m, with) == 0;
}

bool path_ours(const char *path)
{
    return strncmp(path, root, root_n) == 0 && !ends(path, "/lock.mdb") && !ends(path, "/data/lock");
}

_Noreturn void shim_die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static enum fate act(enum call call)
{
    switch ((enum action)control->action) {
    case ACTION_KILL_BEFORE:
        shim_die();
    case ACTION_POWER:
        power_die(control->seed);
    case ACTION_KILL_AFTER:
        return FATE_DIE;
    case ACTION_KILL_TORN:
        return call == CALL_WRITE || call == CALL_SUBMIT ? FATE_TORN : FATE_DIE;
    case ACTION_FAIL:
        errno = (int)control->error;
        return FATE_FAIL;
    case ACTION_NONE:
        break;
    }
    return FATE_GO;
}

enum fate point(enum call call, const char *path)
{
    if (!(control->calls & 1u << call) || (control->path[0] && !strstr(path, control->path)))
        return FATE_GO;
    uint64_t n = atomic_fetch_add(&control->count, 1) + 1, at = atomic_load(&control->at);
    if (!at || n < at || (n > at && !control->sticky))
        return FATE_GO;
    if (atomic_fetch_add(&control->hits, 1) == 0)
        snprintf(control->last, sizeof control->last, "%s %s", call_names[call],
                 path + (strncmp(path, root, root_n) ? 0 : root_n));
    return act(call);
}
