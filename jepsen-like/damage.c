#include "jepsen-like/damage.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_SKIP = 64 }; /* a segment's own header is another fault */

static bool bit_flip(const char *path, struct rng *r)
{
    struct stat st;
    unsigned char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = false;
    if (fstat(fd, &st) == 0 && st.st_size > HEADER_SKIP) {
        off_t at = HEADER_SKIP + (off_t)(rng_next(r) % (uint64_t)(st.st_size - HEADER_SKIP));
        done = pread(fd, &byte, 1, at) == 1;
        byte = (unsigned char)(byte ^ 1u << rng_below(r, 8));
        done = done && pwrite(fd, &byte, 1, at) == 1;
    }
    close(fd);
    return done;
}

unsigned damage_bodies(const char *data, unsigned bits, struct rng *r)
{
    char folder[4096], path[4400], picked[4400] = "";
    unsigned n = 0, flipped = 0;
    snprintf(folder, sizeof folder, "%s/bodies", data);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t k = strlen(e->d_name);
        if (k < 5 || strcmp(e->d_name + k - 4, ".seg") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (rng_below(r, ++n) == 0)
            strcpy(picked, path);
    }
    if (d)
        closedir(d);
    while (n && bits--)
        flipped += bit_flip(picked, r);
    return flipped;
}
