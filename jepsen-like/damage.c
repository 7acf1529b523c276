#include "jepsen-like/damage.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_SKIP = 64 }; /* a segment's own header is another fault */

/* Where a file ends but for zeros: open segments have room made ahead. */
static off_t used_size(int fd)
{
    unsigned char bytes[65536];
    off_t used = 0, at = 0;
    for (ssize_t n; (n = pread(fd, bytes, sizeof bytes, at)) > 0; at += n)
        for (ssize_t i = n; i > 0; i--)
            if (bytes[i - 1]) {
                used = at + i;
                break;
            }
    return used;
}

static bool bit_flip(const char *path, struct rng *r)
{
    unsigned char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = false;
    off_t used = used_size(fd);
    if (used > HEADER_SKIP) {
        off_t at = HEADER_SKIP + (off_t)(rng_next(r) % (uint64_t)(used - HEADER_SKIP));
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

/* "0000000000003102-0000000000003521" */
static bool is_closed_log(const char *name)
{
    return strlen(name) == 33 && name[16] == '-';
}

static bool is_open_log(const char *name)
{
    return strncmp(name, "open-", 5) == 0;
}

unsigned damage_bodies(const char *data, unsigned bits, struct rng *r)
{
    return damage(data, "bodies", is_segment, bits, r);
}

unsigned damage_log(const char *data, unsigned bits, struct rng *r)
{
    unsigned flipped = rng_below(r, 3) ? damage(data, "raft", is_closed_log, bits, r) : 0;
    return flipped ? flipped : damage(data, "raft", is_open_log, bits, r);
}

static bool is_lmdb(const char *name)
{
    return strcmp(name, "data.mdb") == 0;
}

unsigned damage_state(const char *data, unsigned bits, struct rng *r)
{
    return damage(data, "state", is_lmdb, bits, r);
}

unsigned damage_index(const char *data, unsigned bits, struct rng *r)
{
    return damage(data, "local", is_lmdb, bits, r);
}
