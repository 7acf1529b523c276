#include "tests/fault/shim.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool fd_path(int fd, char *out, size_t n)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, out, n - 1);
    if (got <= 0 || (size_t)got >= n - 1)
        return false;
    out[got] = 0;
    return true;
}

bool name_path(int dir, const char *name, char *out, size_t n)
{
    if (name[0] == '/' || dir == AT_FDCWD) {
        snprintf(out, n, "%s", name);
        return name[0] == '/';
    }
    if (!fd_path(dir, out, n))
        return false;
    size_t have = strlen(out);
    snprintf(out + have, n - have, "/%s", name);
    return true;
}

size_t iov_bytes(const struct iovec *iov, int n)
{
    size_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += iov[i].iov_len;
    return sum;
}
