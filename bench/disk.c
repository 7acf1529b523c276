/* What the disk can do at best for one writer: the bound of every durable acknowledgement. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/load.h"

void disk_run(const struct load_options *o)
{
    char path[4096], block[4096];
    uint64_t state = o->seed;
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)load_random(&state);
    snprintf(path, sizeof path, "%s/mload.disk", o->folder);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        load_fail("%s: %s", path, strerror(errno));
    double start = load_now(), now = start;
    long count = 0;
    for (; now < start + o->seconds; now = load_now(), count++)
        if (write(fd, block, sizeof block) != (ssize_t)sizeof block || fdatasync(fd) != 0)
            load_fail("%s: %s", path, strerror(errno));
    close(fd);
    unlink(path);
    printf("{\"syncs\": %.0f}\n", (double)count / (now - start));
}
