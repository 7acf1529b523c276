#include "jepsen-like/disk.h"

#include "jepsen-like/util.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum { POWER_ON_TRIES = 500 };

bool disks_start(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           access("/dev/loop-control", R_OK | W_OK) == 0;
}

/* Runs a program to its end. */
static bool command(const char *const argv[])
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool image_mount(const char *image, const char *folder)
{
    return command((const char *const[]){"mount", "-o", "loop,noatime", image, folder, NULL});
}

bool disk_mount(const char *folder, unsigned mb)
{
    char image[4200];
    snprintf(image, sizeof image, "%s.img", folder);
    int fd = open(image, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool made = fd >= 0 && ftruncate(fd, (off_t)mb << 20) == 0;
    if (fd >= 0)
        close(fd);
    return made && command((const char *const[]){"mkfs.ext4", "-q", "-F", "-m", "0", image, NULL}) &&
           image_mount(image, folder);
}

void disk_sync(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd))
        fail("%s cannot be synced: %s", folder, strerror(errno));
    close(fd);
}

/* The kernel's own switch for it (xfs and ext4 share it): dirty pages and the journal's open transaction are dropped,
 * the next mount replays what the journal holds. */
void disk_power_cut(const char *folder)
{
    enum { WITHOUT_LOG_FLUSH = 2 };
    uint32_t how = WITHOUT_LOG_FLUSH;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, _IOR('X', 125, uint32_t), &how))
        fail("the power of %s cannot be cut: %s", folder, strerror(errno));
    close(fd);
}

void disk_power_on(const char *folder)
{
    char image[4200];
    snprintf(image, sizeof image, "%s.img", folder);
    for (unsigned tries = 0; umount2(folder, 0); tries++) {
        if (errno != EBUSY || tries == POWER_ON_TRIES)
            fail("%s cannot be unmounted: %s", folder, strerror(errno));
        sleep_ms(10); /* the last user may still be on its way out */
    }
    if (!image_mount(image, folder))
        fail("%s cannot be mounted again", image);
}

static void ballast_name(char out[4200], const char *folder)
{
    snprintf(out, 4200, "%s/ballast", folder);
}

void disk_fill(const char *folder, unsigned leave_kb)
{
    char name[4200];
    struct statvfs s;
    ballast_name(name, folder);
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || statvfs(folder, &s)) {
        say("%s cannot be filled: %s", folder, strerror(errno));
    } else {
        off_t free_bytes = (off_t)(s.f_bavail * s.f_frsize), want = free_bytes - ((off_t)leave_kb << 10);
        /* The rest in pieces: some blocks go to the map of the file itself. */
        for (off_t at = 0, n = want; n >= 4096 && at < want;)
            if (fallocate(fd, 0, at, n) == 0)
                at += n;
            else
                n /= 2;
    }
    if (fd >= 0)
        close(fd);
}

void disk_drain(const char *folder)
{
    char name[4200];
    ballast_name(name, folder);
    unlink(name);
}
