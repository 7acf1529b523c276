#include "replication/raft_segments.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* libraft's largest segment (8 MB), and behind that the header of as many entries as it would believe in (8 MB / 32, 16
 * bytes each). */
enum { LENGTH_MIN = (8 + 4 + 4) << 20 };

static int lengthen(int dir, const char *name)
{
    struct stat st;
    int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int rc = fstat(fd, &st) == 0 ? 0 : errno;
    if (rc == 0 && st.st_size > 0 && st.st_size < LENGTH_MIN && ftruncate(fd, LENGTH_MIN) != 0)
        rc = errno;
    close(fd);
    return rc;
}

int raft_segments_lengthen(const char *dir, struct err_detail *e)
{
    DIR *d = opendir(dir);
    if (!d)
        return err_set(e, err_from_errno(errno), "open %s: %s", dir, strerror(errno));
    int rc = 0;
    for (struct dirent *f = readdir(d); f && rc == 0; f = readdir(d)) {
        int error = strncmp(f->d_name, "open-", 5) == 0 ? lengthen(dirfd(d), f->d_name) : 0;
        if (error)
            rc = err_set(e, err_from_errno(error), "%s/%s: %s", dir, f->d_name, strerror(error));
    }
    closedir(d);
    return rc;
}
