/* The guards around raft_uv, against the real one on a disk that fails: this program has an ftruncate and an unlink of
 * its own. Shows too that this libraft still says what the guard listens for. */
#include "node/base/log.h"
#include "replication/core.h"
#include "replication/raft_io.h"
#include "replication/raft_segments.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static atomic_int truncate_fails, unlink_fails, fatal;
static struct raft_guard g;
static struct raft_uv_transport transport;
static struct mark mark;
static uv_loop_t loop;
static char dir[64], path[128];
static bool closed;
static unsigned written;
static int load_rc;

int ftruncate(int fd, off_t size)
{
    if (!atomic_load(&truncate_fails))
        return (int)syscall(SYS_ftruncate, fd, size);
    errno = EIO;
    return -1;
}

int ftruncate64(int fd, off64_t size) /* libuv's */
{
    return ftruncate(fd, size);
}

int unlink(const char *name)
{
    if (!atomic_load(&unlink_fails) || !strstr(name, "/0000"))
        return (int)syscall(SYS_unlink, name);
    errno = EIO;
    return -1;
}

static int on_loaded(void *arg, uint64_t last, uint64_t term, bool empty)
{
    (void)arg, (void)last, (void)term, (void)empty;
    return 0;
}

static void on_persisted(void *arg, uint64_t index)
{
    (void)arg, (void)index;
}

static void on_fatal(void *arg, int status, const char *why)
{
    (void)arg, (void)status, (void)why;
    atomic_fetch_add(&fatal, 1);
}

static void on_tick(struct raft_io *io)
{
    (void)io;
}

static void on_receive(struct raft_io *io, struct raft_message *m)
{
    (void)io, (void)m;
}

static void on_closed(struct raft_io *io)
{
    (void)io;
    closed = true;
}

static void on_written(struct raft_io_append *req, int status)
{
    (void)req;
    assert_int_equal(status, 0);
    written++;
}

static void open_disk(void)
{
    const struct raft_guard_events ev = {.loaded = on_loaded, .persisted = on_persisted, .fatal = on_fatal};
    struct raft_snapshot *snapshot;
    struct raft_entry *entries;
    size_t n;
    raft_term term;
    raft_id vote;
    raft_index start;
    assert_int_equal(mark_open(&mark, path, NULL), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    transport = (struct raft_uv_transport){.version = 1};
    raft_guard_transport(&transport);
    g = (struct raft_guard){0};
    assert_int_equal(raft_segments_lengthen(dir, NULL), 0);
    assert_int_equal(raft_uv_init(&g.io, &loop, dir, &transport), 0);
    raft_guard_init(&g, &mark, &ev);
    raft_guard_watch(&g);
    assert_int_equal(g.io.init(&g.io, 1, "1"), 0);
    load_rc = g.io.load(&g.io, &term, &vote, &snapshot, &start, &entries, &n);
    if (load_rc == 0) {
        for (size_t i = 0; i < n; i++)
            if (i == 0 || entries[i].batch != entries[i - 1].batch)
                raft_free(entries[i].batch);
        raft_free(entries);
        assert_int_equal(g.io.start(&g.io, 1000, on_tick, on_receive), 0);
    }
}

static void close_disk(void)
{
    closed = false;
    g.io.close(&g.io, on_closed);
    while (!closed)
        uv_run(&loop, UV_RUN_ONCE);
    raft_uv_close(&g.io);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    mark_close(&mark);
}

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/merlion-disk-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s.mark", dir);
    atomic_store(&truncate_fails, 0);
    atomic_store(&unlink_fails, 0);
    atomic_store(&fatal, 0);
    open_disk();
    return load_rc;
}

static int end(void **state)
{
    char command[256];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s %s", dir, path);
    return system(command);
}

static void append_sized(raft_term term, size_t n)
{
    struct raft_io_append req;
    struct raft_entry e = {.term = term, .type = RAFT_COMMAND, .buf = {raft_calloc(1, n), n}};
    unsigned before = written;
    assert_int_equal(g.io.append(&g.io, &req, &e, 1, on_written), 0);
    while (written == before)
        uv_run(&loop, UV_RUN_ONCE);
    raft_free(e.buf.base);
}

static void append(raft_term term)
{
    append_sized(term, 8);
}

/* Until it was fatal, or there was time enough for it. */
static void settle(void)
{
    for (int i = 0; i < 200 && !atomic_load(&fatal); i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static void well_cut_log_is_no_matter(void **state)
{
    (void)state;
    append(1);
    append(1);
    assert_int_equal(g.io.truncate(&g.io, 2), 0);
    settle();
    append(2);
    assert_int_equal(atomic_load(&fatal), 0);
    close_disk();
    open_disk();
    assert_int_equal(load_rc, 0);
    close_disk();
}

/* Truncating closes the open segment first. */
static void segment_not_closed_is_fatal(void **state)
{
    (void)state;
    append(1);
    append(1);
    atomic_store(&truncate_fails, 1);
    assert_int_equal(g.io.truncate(&g.io, 2), 0);
    settle();
    assert_true(atomic_load(&fatal) > 0);
    atomic_store(&truncate_fails, 0);
    close_disk();
}

static void log_not_cut_is_fatal(void **state)
{
    (void)state;
    append(1);
    append(1);
    atomic_store(&unlink_fails, 1);
    assert_int_equal(g.io.truncate(&g.io, 1), 0);
    settle();
    assert_int_equal(atomic_load(&fatal), 1);
    atomic_store(&unlink_fails, 0);
    close_disk();
}

/* An open segment that was left over holds older entries than the closed ones, and is loaded behind them. */
static void segments_out_of_order_are_refused(void **state)
{
    (void)state;
    append(2);
    append(1); /* nobody writes this: it stands for what is loaded there */
    close_disk();
    open_disk();
    assert_int_equal(load_rc, RAFT_CORRUPT);
    close_disk();
}

/* The open segment as a crash leaves it, and its size as far as it was durable. */
static void segment_cut(const char *from, const char *to, long size)
{
    char command[256];
    snprintf(command, sizeof command, "cp %s/%s %s/%s && truncate -s %ld %s/%s", dir, from, dir, to, size, dir, to);
    assert_int_equal(system(command), 0);
}

/* Segment: 8 bytes, a batch of one entry: 16 + 16 + its data. Whatever is left of the file behind the first batch, that
 * is loaded, and libraft's loader does not stumble over the end of the file. */
static void short_segment_is_loaded(void **state)
{
    (void)state;
    enum { FIRST = 4000, FIRST_END = 8 + 32 + FIRST };
    static const long sizes[] = {FIRST_END,
                                 FIRST_END + 1,
                                 FIRST_END + 8,
                                 FIRST_END + 15,
                                 FIRST_END + 16,
                                 FIRST_END + 24,
                                 FIRST_END + 32,
                                 FIRST_END + 39,
                                 FIRST_END + 40,
                                 4096,
                                 8192};
    append_sized(1, FIRST);
    append_sized(1, 8);
    segment_cut("open-1", "kept", 1 << 16);
    close_disk();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char command[256];
        snprintf(command, sizeof command, "rm -f %s/0* %s/open-*", dir, dir);
        assert_int_equal(system(command), 0);
        segment_cut("kept", "open-1", sizes[i]);
        open_disk();
        assert_int_equal(load_rc, 0);
        assert_int_equal(g.persisted, sizes[i] < FIRST_END + 32 ? 1 : 2); /* the second one's data are zeros */
        close_disk();
    }
}

/* It would wait for the copy, the copy for the log, and the log for the leader's snapshot, which is dropped meanwhile.
 */
static void no_snapshot_while_the_state_is_copied(void **state)
{
    (void)state;
    static struct replication r;
    struct raft_fsm fsm = {.data = &r};
    struct raft_buffer *bufs = NULL;
    unsigned n = 0;
    r.syncing = true;
    assert_int_equal(core_fsm_snapshot(&fsm, &bufs, &n), RAFT_BUSY);
    r.syncing = false;
    assert_int_equal(core_fsm_snapshot(&fsm, &bufs, &n), 0);
    assert_int_equal(n, 1);
    raft_free(bufs[0].base);
    raft_free(bufs);
}

int main(void)
{
    log_set_level(LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(well_cut_log_is_no_matter, begin, end),
        cmocka_unit_test_setup_teardown(segment_not_closed_is_fatal, begin, end),
        cmocka_unit_test_setup_teardown(log_not_cut_is_fatal, begin, end),
        cmocka_unit_test_setup_teardown(short_segment_is_loaded, begin, end),
        cmocka_unit_test_setup_teardown(segments_out_of_order_are_refused, begin, end),
        cmocka_unit_test(no_snapshot_while_the_state_is_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
