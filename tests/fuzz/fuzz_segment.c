/* Any bytes as segments of the blob log, with whole records put in where the dice say, so that damage stands beside
 * something to save. The walk over a segment ends, stays inside and finds what is whole. Opened, the log takes new
 * bodies, and has no body that is not the one of its name; opened again it has the same. */
#include "node/base/buf.h"
#include "node/base/log.h"
#include "store/blob_log.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BODIES = 4 };

static char dir[64];
static struct body_hash names[BODIES];
static struct bytes *records[BODIES];

static int64_t now(void)
{
    return 1000000;
}

static void records_make(void)
{
    char body[300];
    for (unsigned i = 0; i < BODIES; i++) {
        size_t n = (size_t)snprintf(body, sizeof body, "Subject: %0*u\r\n\r\nbody\r\n", (int)(i * 60 + 1), i);
        names[i] = body_hash_of(slice_make(body, n));
        records[i] = blob_encode(&names[i], slice_make(body, n));
    }
}

static void clean_up(void)
{
    static const char *const left[] = {
        "bodies/00000001.seg", "bodies/00000002.seg", "local/data.mdb", "local/lock.mdb", "bodies", "local", ""};
    char path[160];
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, left[i]);
        (void)remove(path);
    }
    for (unsigned i = 0; i < BODIES; i++)
        bytes_unref(&records[i]);
}

/* ---- what a segment looks like ---- */

static void padded(struct buf *b)
{
    while (buf_len(b) % RECORD_ALIGN)
        buf_append_byte(b, 0);
}

static void head_put(struct buf *b, uint32_t number)
{
    buf_put_u32(b, SEGMENT_MAGIC);
    buf_put_u32(b, SEGMENT_VERSION);
    buf_put_u64(b, number);
    buf_put_u64(b, 0);
    buf_put_u64(b, checksum64(buf_slice(b)));
}

/* Pieces of the input and whole records in turn. */
static void segment_make(struct slice in, uint32_t number, struct fuzz_dice *dice, struct buf *out)
{
    if (fuzz_roll(dice, 8))
        head_put(out, number);
    while (in.n > 0) {
        struct slice part = slice_first(in, 1 + fuzz_roll(dice, (uint32_t)in.n));
        in = slice_from(in, part.n);
        buf_append_slice(out, part);
        if (fuzz_roll(dice, 2)) {
            padded(out);
            buf_append_slice(out, bytes_slice(records[fuzz_roll(dice, BODIES)]));
            if (in.n > 0)
                padded(out);
        }
    }
}

/* ---- the walk ---- */

static void walk(struct slice bytes, bool payloads)
{
    static int fd = -1;
    if (fd < 0)
        fd = memfd_create("segment", MFD_CLOEXEC);
    ENSURE(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes.p, bytes.n, 0) == (ssize_t)bytes.n);
    struct scan s = {.fd = fd, .offset = SEGMENT_HEADER_SIZE, .end = bytes.n, .payloads = payloads};
    struct scan_item item = {0};
    enum scan_kind kind;
    for (uint64_t at = s.offset; (kind = scan_next(&s, &item)) != SCAN_END; at = item.next) {
        ENSURE(item.offset == at && item.next > at);
        ENSURE(item.next % RECORD_ALIGN == 0 || item.next == bytes.n); /* a gap may go to the end */
        ENSURE(item.next < bytes.n + RECORD_ALIGN);
        if (kind == SCAN_GAP)
            continue;
        struct slice record = slice_first(slice_from(bytes, item.offset), record_length(&item.header));
        struct body_hash hash;
        uint64_t size;
        ENSURE(record.n == record_length(&item.header));
        if (payloads)
            ENSURE((blob_record_check(record, &hash, &size) == 0) == (kind == SCAN_WHOLE));
    }
}

/* ---- the log ---- */

static void file_write(uint32_t number, struct slice bytes)
{
    char path[160];
    snprintf(path, sizeof path, "%s/bodies/%08u.seg", dir, number);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ENSURE(fd >= 0 && write(fd, bytes.p, bytes.n) == (ssize_t)bytes.n);
    close(fd);
}

static void index_forget(void)
{
    char path[160];
    snprintf(path, sizeof path, "%s/local/data.mdb", dir);
    (void)remove(path);
    snprintf(path, sizeof path, "%s/local/lock.mdb", dir);
    (void)remove(path);
}

static void nudge(void *arg)
{
    (void)arg;
}

static void appended(struct task *t)
{
    (void)t;
}

static void append(struct blob_log *b, unsigned which)
{
    static struct task_queue home; /* the poster looks at it once more after the task has run */
    task_queue_init(&home, nudge, NULL);
    struct blob_append a = {.task.run = appended, .home = &home, .record = records[which], .status = 1};
    blob_append(b, &a);
    while (!task_queue_run(&home))
        usleep(50);
    ENSURE(a.status == 0);
}

/* Returns which of the bodies it has. */
static unsigned bodies_here(struct blob_log *b)
{
    unsigned have = 0;
    for (unsigned i = 0; i < BODIES; i++) {
        struct bytes *body = NULL;
        int rv = blob_read(b, &names[i], &body);
        ENSURE(rv == 0 || rv == ERR_NOTFOUND || rv == ERR_CORRUPT);
        if (rv)
            continue;
        struct body_hash is = body_hash_of(bytes_slice(body));
        ENSURE(body_hash_eq(&is, &names[i]));
        bytes_unref(&body);
        have |= 1u << i;
    }
    return have;
}

static struct blob_log *log_open(void)
{
    static const struct blob_options o = {
        .segment_bytes = 1 << 20, .lease_ms = 1000, .reserve_bytes = 4096, .no_sync = true, .now_ms = now};
    struct blob_log *b = NULL;
    struct err_detail e;
    int rv = blob_open(dir, &o, &b, &e);
    ENSURE(rv == 0 || rv == ERR_VERSION);
    return b;
}

static void open_it(struct slice first, struct slice second)
{
    index_forget();
    file_write(1, first);
    file_write(2, second);
    struct blob_log *b = log_open();
    if (!b)
        return; /* made by a newer version */
    unsigned before = bodies_here(b);
    append(b, 0);
    unsigned have = bodies_here(b);
    ENSURE(have == (before | 1));
    blob_close(&b);
    b = log_open();
    ENSURE(b && bodies_here(b) == have);
    blob_close(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct fuzz_dice dice = fuzz_dice_take(&in);
    if (!dir[0]) {
        log_set_level(getenv("FUZZ_VERBOSE") ? LOG_DEBUG : LOG_ERROR + 1);
        snprintf(dir, sizeof dir, "%s/merlion-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        ENSURE(mkdtemp(dir) && atexit(clean_up) == 0);
        char path[160];
        snprintf(path, sizeof path, "%s/bodies", dir);
        ENSURE(mkdir(path, 0700) == 0);
        records_make();
    }
    struct buf one = {0}, two = {0};
    size_t cut = n ? fuzz_roll(&dice, (uint32_t)n) : 0;
    segment_make(slice_first(in, cut), 1, &dice, &one);
    segment_make(slice_from(in, cut), 2, &dice, &two);
    walk(buf_slice(&one), fuzz_roll(&dice, 2));
    walk(buf_slice(&two), true);
    if (fuzz_roll(&dice, 16) == 0)
        open_it(buf_slice(&one), buf_slice(&two));
    buf_close(&one);
    buf_close(&two);
    return 0;
}
