/* The segment files of a blob log: DIR/bodies/NNNNNNNN.seg, numbered upwards from 1, the last one being appended to.
 *
 *    0  u32  magic "MLBS"
 *    4  u32  version, 1
 *    8  u64  number
 *   16  u64  zero
 *   24  u64  XXH3 of bytes 0 to 23
 *   32  ...  records, each at a multiple of 8 (store/blob_record.h)
 *
 * Any thread; a few of the files are kept open. */
#ifndef STORE_BLOB_SEGMENT_H
#define STORE_BLOB_SEGMENT_H

#include "store/blob_record.h"

#include <pthread.h>

enum { SEGMENT_HEADER_SIZE = 32, SEGMENT_MAGIC = 0x53424c4d, SEGMENT_VERSION = 1 };

struct segment {
    uint32_t number;
    int fd;        /* valid while somebody holds it; may be closed otherwise */
    unsigned refs; /* under the set's lock, as are the next two */
    bool removed;
    _Atomic uint64_t end; /* bytes in it that are whole and synced */
};

struct segment_set {
    char *dir;
    int dir_fd;
    bool no_sync;
    pthread_mutex_t lock;   /* held over open() and close() of a file, over no reading or writing */
    struct segment **items; /* by number */
    size_t n, cap;
    size_t open;  /* files open now */
    size_t sweep; /* where the next search for one to close starts */
};

int segments_open(struct segment_set *set, const char *dir, bool no_sync, struct err_detail *e);
void segments_close(struct segment_set *set);    /* harmless on a zeroed set with dir NULL */
uint32_t segments_last(struct segment_set *set); /* 0: none */
/* The lowest number >= from; 0: none. */
uint32_t segments_next(struct segment_set *set, uint32_t from);
void segments_total(struct segment_set *set, uint64_t *n_r, uint64_t *bytes_r);

/* Holds a segment with its file open; give it back with segment_release. ERR_NOTFOUND when there is none, else what
 * open said. */
int segment_hold(struct segment_set *set, uint32_t number, struct segment **s_r);
void segment_release(struct segment_set *set, struct segment **s);
/* Makes a file, durable with its name, with space reserved for `bytes` where that is possible, and holds it. */
int segment_create(struct segment_set *set, uint32_t number, uint64_t bytes, struct segment **s_r);
/* Takes the file away; who holds it still can read. Returns the bytes freed. */
uint64_t segment_remove(struct segment_set *set, uint32_t number);
/* 0, ERR_CORRUPT, or ERR_VERSION when a newer build made it. */
int segment_header_check(int fd, uint32_t number);

/* All n bytes at the offset, or ERR_CORRUPT (shorter, or the disk cannot read it). */
int file_read(int fd, void *out, size_t n, uint64_t offset);

/* Walks over what is in a segment. */
enum scan_kind {
    SCAN_WHOLE,   /* a record, undamaged as far as was asked */
    SCAN_DAMAGED, /* the header is whole, its payload is not */
    SCAN_GAP,     /* no header: everything up to the next whole record, or to the end */
    SCAN_END,
};
struct scan {
    int fd;
    uint64_t offset, end;
    bool payloads; /* check them */
};
struct scan_item {
    uint64_t offset, next;
    struct record_header header; /* not for a gap */
};
enum scan_kind scan_next(struct scan *s, struct scan_item *item_r);

#endif
