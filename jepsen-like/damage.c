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

/* A file name of the folder that is wanted, at random. false: there is none. */
static bool file_pick(const char *folder, bool (*wanted)(const char *name), struct rng *r, char picked[4400])
{
    unsigned n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (wanted(e->d_name) && rng_below(r, ++n) == 0)
            snprintf(picked, 4400, "%s/%s", folder, e->d_name);
    if (d)
        closedir(d);
    return n > 0;
}

static unsigned damage(const char *data, const char *folder_name, bool (*wanted)(const char *name), unsigned bits,
                       struct rng *r)
{
    char folder[4096], picked[4400];
    unsigned flipped = 0;
    snprintf(folder, sizeof folder, "%s/%s", data, folder_name);
    if (file_pick(folder, wanted, r, picked))
        while (bits--)
            flipped += bit_flip(picked, r);
    return flipped;
}

static bool is_segment(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".seg") == 0;
}

/* "0000000000003102-0000000000003521"; open ones are mostly empty space. */
static bool is_log(const char *name)
{
    return strlen(name) == 33 && name[16] == '-';
}

unsigned damage_bodies(const char *data, unsigned bits, struct rng *r)
{
    return damage(data, "bodies", is_segment, bits, r);
}

unsigned damage_log(const char *data, unsigned bits, struct rng *r)
{
    return damage(data, "raft", is_log, bits, r);
}
