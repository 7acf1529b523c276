/* Full disks and disks that fail. The program has a fdatasync and a pwrite of its own,
 * which count, and fail on demand. */
#include "tests/unit/store/support_blob.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_int sync_fails, sync_waits, meta_fails;
static atomic_uint syncs;

int fdatasync(int fd)
{
    struct stat st;
    char path[64], name[512] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    bool segment = readlink(path, name, sizeof name - 1) > 0 && strstr(name, ".seg") && fstat(fd, &st) == 0;
    if (segment)
        atomic_fetch_add(&syncs, 1);
    while (segment && atomic_load(&sync_waits))
        usleep(1000);
    if (segment && atomic_load(&sync_fails)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

/* LMDB's meta pages are the first two of its file, and written in part. */
ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    if (at < 2 * 4096 && n < 4096 && atomic_load(&meta_fails)) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, p, n, at);
}

static void file_limit(rlim_t bytes)
{
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
    r.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

static void one_sync_an_append(void **state)
{
    struct blob_bench *t = *state;
    t->o.segment_bytes = 1 << 20;
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, 1), 0);
    unsigned before = atomic_load(&syncs);
    for (unsigned i = 1; i < 21; i++)
        assert_int_equal(blob_bench_append(t, i, i + 1), 0);
    assert_int_equal(atomic_load(&syncs) - before, 20);
    assert_int_equal(blob_bench_append(t, 0, 21), 0); /* all there: nothing to sync */
    assert_int_equal(atomic_load(&syncs) - before, 20);
}

/* A write that is cut short for lack of space, at many places. */
static void full_and_free_again(void **state)
{
    struct blob_bench *t = *state;
    struct blob_stats st;
    t->o.segment_bytes = 1 << 20;
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, 20), 0);
    assert_int_equal(blob_index_flush(t->log), 0);
    unsigned next = 20;
    for (unsigned k = 0; k < 25; k++) {
        struct blob_position end = index_position(&t->log->index);
        struct bytes *body = blob_bench_body(next);
        struct body_hash hash = blob_bench_hash(next);
        struct bytes *record = blob_encode(&hash, bytes_slice(body));
        file_limit((rlim_t)(end.offset + record->n * k / 25));
        bytes_unref(&body);
        bytes_unref(&record);
        assert_int_equal(blob_bench_append(t, next, next + 1), ERR_NOSPACE);
        file_limit(RLIM_INFINITY);
        struct blob_position after = index_position(&t->log->index);
        assert_int_equal(after.offset, end.offset);
        for (unsigned i = 0; i < next; i++)
            assert_int_equal(blob_bench_check(t, i), 0);
        assert_int_equal(blob_bench_check(t, next), ERR_NOTFOUND);
        assert_int_equal(blob_bench_append(t, next, next + 1), 0);
        next++;
    }
    blob_bench_mark(t);
    blob_bench_crash(t);
    blob_bench_open(t);
    for (unsigned i = 0; i < next; i++)
        assert_int_equal(blob_bench_check(t, i), 0);
    blob_stats(t->log, &st);
    assert_int_equal(st.corrupt, 0);
}

static void no_room_for_a_segment(void **state)
{
    struct blob_bench *t = *state;
    blob_bench_open(t);
    file_limit(10);
    assert_int_equal(blob_bench_append(t, 0, 3), ERR_NOSPACE);
    file_limit(RLIM_INFINITY);
    assert_int_equal(blob_bench_append(t, 0, 3), 0);
    assert_int_equal(blob_bench_check(t, 2), 0);
}

static void below_the_reserve(void **state)
{
    struct blob_bench *t = *state;
    t->o.reserve_bytes = (uint64_t)1 << 60;
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, 3), ERR_NOSPACE);
    t->log->o.reserve_bytes = 4096;
    assert_int_equal(blob_bench_append(t, 0, 3), 0);
}

static void failed_sync_ends_it(void **state)
{
    struct blob_bench *t = *state;
    struct body_hash hash = blob_bench_hash(6);
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, 5), 0);
    atomic_store(&sync_fails, 1);
    assert_int_equal(blob_bench_append(t, 5, 10), ERR_IO);
    atomic_store(&sync_fails, 0);
    assert_int_equal(blob_bench_append(t, 20, 21), ERR_IO);
    assert_int_equal(blob_bench_append(t, 0, 1), ERR_IO);
    assert_true(blob_failed(t->log));
    assert_false(blob_has(t->log, &hash));
    assert_int_equal(blob_bench_check(t, 4), 0);
    blob_close(&t->log);
    blob_bench_open(t);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(blob_bench_check(t, i), 0);
    assert_int_equal(blob_bench_append(t, 5, 10), 0);
}

/* LMDB refuses even reads after that, whatever the error was: a node that lives on would find no body. */
static void failed_meta_page_ends_it(void **state)
{
    struct blob_bench *t = *state;
    struct body_hash unknown = blob_bench_hash(6);
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, 5), 0);
    assert_false(blob_failed(t->log));
    atomic_store(&meta_fails, 1);
    assert_int_equal(blob_index_flush(t->log), ERR_NOSPACE);
    atomic_store(&meta_fails, 0);
    assert_false(blob_has(t->log, &unknown));
    assert_true(blob_failed(t->log));
    blob_close(&t->log);
    blob_bench_open(t);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(blob_bench_check(t, i), 0);
    assert_int_equal(blob_bench_append(t, 5, 10), 0);
}

/* As a power cut while LMDB made its file leaves it. */
static void index_that_is_none(void **state)
{
    struct blob_bench *t = *state;
    char path[128];
    static const uint8_t zeros[8192];
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, 5), 0);
    blob_close(&t->log);
    snprintf(path, sizeof path, "%s/local/data.mdb", t->dir);
    FILE *f = fopen(path, "r+");
    assert_int_equal(fwrite(zeros, 1, sizeof zeros, f), sizeof zeros);
    fclose(f);
    blob_bench_open(t);
    assert_true(blob_recheck_needed(t->log));
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(blob_bench_check(t, i), 0);
    assert_int_equal(blob_bench_append(t, 5, 10), 0);
}

static void nothing(struct task *t)
{
    (void)t;
}

/* A disk that takes its time: whoever was told of a message reads it all the same. */
static void read_while_it_is_synced(void **state)
{
    struct blob_bench *t = *state;
    blob_bench_open(t);
    struct blob_append a[2];
    atomic_store(&sync_waits, 1);
    for (unsigned i = 0; i < 2; i++) { /* one is being written, one waits */
        struct bytes *body = blob_bench_body(i);
        struct body_hash hash = blob_bench_hash(i);
        a[i] = (struct blob_append){
            .task.run = nothing, .home = &t->home, .record = blob_encode(&hash, bytes_slice(body))};
        bytes_unref(&body);
        blob_append(t->log, &a[i]);
        usleep(20000);
    }
    struct body_hash unknown = blob_bench_hash(2);
    struct bytes *record;
    assert_int_equal(blob_bench_check(t, 0), 0);
    assert_int_equal(blob_bench_check(t, 1), 0);
    assert_int_equal(blob_record_read(t->log, &unknown, &record), ERR_NOTFOUND);
    atomic_store(&sync_waits, 0);
    blob_close(&t->log); /* ends what is queued */
    task_queue_run(&t->home);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(a[i].status, 0);
        bytes_unref(&a[i].record);
    }
    blob_bench_open(t);
    assert_int_equal(blob_bench_check(t, 1), 0);
}

#define ON_BENCH(f) cmocka_unit_test_setup_teardown(f, blob_bench_setup, blob_bench_teardown)

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    log_set_level(LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        ON_BENCH(one_sync_an_append),      ON_BENCH(full_and_free_again), ON_BENCH(no_room_for_a_segment),
        ON_BENCH(below_the_reserve),       ON_BENCH(failed_sync_ends_it), ON_BENCH(failed_meta_page_ends_it),
        ON_BENCH(read_while_it_is_synced), ON_BENCH(index_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
