/* The guards around raft_uv, against one that fails on purpose. */
#include "node/base/clock.h"
#include "node/base/mem.h"
#include "replication/core.h"
#include "replication/message.h"
#include "replication/raft_io.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
    struct raft_io_append *append[8];
    unsigned appends;
    struct raft_io_snapshot_put *put;
    unsigned put_trailing, puts;
    raft_io_snapshot_put_cb put_cb;
    int append_rc, truncate_rc, term_rc;
    uint64_t truncated;
    /* load */
    uint64_t first, n;
} disk;
static struct {
    unsigned fatal, sent, persisted_calls, outer, outer_status_not_0, snapshot_outer, received, loaded_calls;
    uint64_t persisted, wanted, last, last_term, snapshot_term;
    int loaded_rc, snapshot_status, sent_done;
} seen;
static struct raft_guard g;
static struct mark mark;
static char dir[64], path[128];

static int fake_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry e[], unsigned n,
                       raft_io_append_cb cb)
{
    (void)io, (void)e, (void)n;
    if (disk.append_rc)
        return disk.append_rc;
    req->cb = cb;
    disk.append[disk.appends++] = req;
    return 0;
}

static int fake_truncate(struct raft_io *io, raft_index index)
{
    (void)io;
    /* The mark on disk must not be above what is about to be cut. */
    assert_true(mark.index < index);
    disk.truncated = index;
    return disk.truncate_rc;
}

static int fake_term(struct raft_io *io, raft_term t)
{
    (void)io, (void)t;
    return disk.term_rc;
}

static int fake_vote(struct raft_io *io, raft_id id)
{
    (void)io, (void)id;
    return disk.term_rc;
}

static int fake_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                    const struct raft_snapshot *s, raft_io_snapshot_put_cb cb)
{
    (void)io, (void)s;
    disk.put = req;
    disk.put_trailing = trailing;
    disk.put_cb = cb;
    disk.puts++;
    return 0;
}

static int fake_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **s, raft_index *start,
                     struct raft_entry **e, size_t *n)
{
    (void)io;
    *term = 1;
    *vote = 0;
    *s = NULL;
    *start = disk.first;
    *n = disk.n;
    *e = raft_malloc(disk.n * sizeof **e);
    char *batch = raft_malloc(8);
    for (size_t i = 0; i < disk.n; i++)
        (*e)[i] = (struct raft_entry){.term = 1, .type = RAFT_BARRIER, .buf = {batch, 8}, .batch = batch};
    return 0;
}

static int fake_start(struct raft_io *io, unsigned ms, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    (void)io, (void)ms, (void)tick, (void)recv;
    return 0;
}

static void fake_close(struct raft_io *io, raft_io_close_cb cb)
{
    cb(io);
}

static int on_loaded(void *arg, uint64_t last, uint64_t term, bool empty)
{
    (void)arg, (void)empty;
    seen.loaded_calls++;
    seen.last = last;
    seen.last_term = term;
    return seen.loaded_rc;
}

static void on_send(void *arg, const struct raft_message *m)
{
    (void)arg, (void)m;
    seen.sent++;
}

static void on_persisted(void *arg, uint64_t index)
{
    (void)arg;
    seen.persisted = index;
    seen.persisted_calls++;
}

static void on_wanted(void *arg, uint64_t index)
{
    (void)arg;
    seen.wanted = index;
}

static void on_fatal(void *arg, int status, const char *why)
{
    (void)arg, (void)status, (void)why;
    seen.fatal++;
}

static int begin(void **state)
{
    (void)state;
    memset(&disk, 0, sizeof disk);
    memset(&seen, 0, sizeof seen);
    memset(&g, 0, sizeof g);
    strcpy(dir, "/tmp/merlion-guard-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/m", dir);
    g.io = (struct raft_io){.version = 2,
                            .append = fake_append,
                            .truncate = fake_truncate,
                            .set_term = fake_term,
                            .set_vote = fake_vote,
                            .snapshot_put = fake_put,
                            .load = fake_load,
                            .start = fake_start,
                            .close = fake_close};
    struct raft_guard_events ev = {.loaded = on_loaded,
                                   .send = on_send,
                                   .persisted = on_persisted,
                                   .snapshot_wanted = on_wanted,
                                   .fatal = on_fatal};
    if (mark_open(&mark, path, NULL) != 0)
        return -1;
    raft_guard_init(&g, &mark, &ev);
    return 0;
}

static int end(void **state)
{
    (void)state;
    mark_close(&mark);
    unlink(path);
    return rmdir(dir);
}

static void outer_done(struct raft_io_append *req, int status)
{
    (void)req;
    seen.outer++;
    seen.outer_status_not_0 += status != 0;
}

static struct raft_io_append outer[8];

static void append(uint64_t at, unsigned n, uint64_t term)
{
    struct raft_entry e[8] = {{0}};
    for (unsigned i = 0; i < n; i++)
        e[i].term = term;
    assert_int_equal(g.io.truncate(&g.io, at), 0);
    assert_int_equal(g.io.append(&g.io, &outer[disk.appends], e, n, outer_done), 0);
}

static void mark_follows_appends_and_leads_truncations(void **state)
{
    (void)state;
    append(1, 3, 1);
    append(4, 2, 1);
    assert_int_equal(mark.index, 0);
    disk.append[0]->cb(disk.append[0], 0);
    assert_int_equal(mark.index, 3);
    assert_int_equal(seen.persisted, 3);
    disk.append[1]->cb(disk.append[1], 0);
    assert_int_equal(mark.index, 5);
    assert_int_equal(mark.term, 1);
    append(3, 1, 2); /* another leader's entry: 3 to 5 are cut. fake_truncate looks at the mark. */
    assert_int_equal(mark.index, 2);
    disk.append[2]->cb(disk.append[2], 0);
    assert_int_equal(mark.index, 3);
    assert_int_equal(mark.term, 2);
    assert_int_equal(seen.outer, 3);
}

/* An append that ends after a part of it was cut off does not raise the mark over the cut. */
static void clipped_append_does_not_raise(void **state)
{
    (void)state;
    append(1, 4, 1);
    append(3, 1, 2);
    disk.append[0]->cb(disk.append[0], 0);
    assert_int_equal(mark.index, 2);
    assert_int_equal(mark.term, 0); /* a wrong one would be taken for damage at the next start */
    append(2, 1, 3);
    disk.append[1]->cb(disk.append[1], 0); /* all of it was cut */
    assert_int_equal(mark.index, 1);
    disk.append[2]->cb(disk.append[2], 0);
    assert_int_equal(mark.index, 2);
    assert_int_equal(mark.term, 3);
}

/* raft_uv's retry of a failed write crashes; a failed append leaves a hole. */
static void failed_write_is_fatal(void **state)
{
    (void)state;
    append(1, 1, 1);
    disk.append[0]->cb(disk.append[0], RAFT_IOERR);
    assert_int_equal(seen.fatal, 1);
    assert_int_equal(seen.outer, 0); /* libraft must not take it as a success or a cancellation */
    assert_int_equal(mark.index, 0);
    disk.appends = 0;
    append(1, 1, 1);
    disk.append[0]->cb(disk.append[0], RAFT_CANCELED); /* closing */
    assert_int_equal(seen.fatal, 1);
    assert_int_equal(seen.outer_status_not_0, 1);
    disk.append_rc = RAFT_NOSPACE;
    struct raft_entry e = {.term = 1};
    assert_int_equal(g.io.append(&g.io, &outer[0], &e, 1, outer_done), RAFT_NOSPACE);
    assert_int_equal(seen.fatal, 2);
    disk.term_rc = RAFT_IOERR;
    g.io.set_term(&g.io, 3);
    g.io.set_vote(&g.io, 3);
    assert_int_equal(seen.fatal, 4);
    disk.truncate_rc = RAFT_IOERR;
    g.io.truncate(&g.io, 1);
    assert_int_equal(seen.fatal, 5);
}

static void oldest_write_is_watched(void **state)
{
    (void)state;
    assert_int_equal(raft_guard_oldest_ms(&g), 0);
    append(1, 1, 1);
    usleep(30000);
    int64_t second = clock_steady_ms();
    append(2, 1, 1);
    assert_true(raft_guard_oldest_ms(&g) >= 25);
    disk.append[0]->cb(disk.append[0], 0);
    assert_true((int64_t)raft_guard_oldest_ms(&g) <= clock_steady_ms() - second);
    disk.append[1]->cb(disk.append[1], 0);
}

/* ---- snapshots ---- */

static void put_done(struct raft_io_snapshot_put *req, int status)
{
    (void)req;
    seen.snapshot_outer++;
    seen.snapshot_status = status;
}

static void taken_snapshot_waits_for_the_store(void **state)
{
    (void)state;
    char room[8] = "";
    struct raft_buffer buf = {room, 8};
    struct raft_snapshot s = {.index = 9, .term = 1, .bufs = &buf, .n_bufs = 1};
    struct raft_io_snapshot_put req;
    assert_int_equal(g.io.snapshot_put(&g.io, 4, &req, &s, put_done), 0);
    assert_int_equal(seen.wanted, 9);
    assert_int_equal(disk.puts, 0);
    raft_guard_snapshot_put(&g, slice_make("12345678", 8));
    assert_int_equal(disk.puts, 1);
    assert_int_equal(disk.put_trailing, 4);
    assert_memory_equal(room, "12345678", 8);
    raft_guard_snapshot_put(&g, slice_make("12345678", 8)); /* nothing is held: ignored */
    disk.put_cb(disk.put, 0);
    assert_int_equal(seen.snapshot_outer, 1);
    assert_int_equal(seen.fatal, 0);
}

static void closed(struct raft_io *io)
{
    (void)io;
}

static void held_snapshot_is_canceled_by_close(void **state)
{
    (void)state;
    struct raft_snapshot s = {.index = 9, .term = 1};
    struct raft_io_snapshot_put req;
    assert_int_equal(g.io.snapshot_put(&g.io, 4, &req, &s, put_done), 0);
    g.io.close(&g.io, closed);
    assert_int_equal(seen.snapshot_outer, 1);
    assert_int_equal(seen.snapshot_status, RAFT_CANCELED);
    assert_int_equal(disk.puts, 0);
}

static void installed_snapshot_moves_the_mark(void **state)
{
    (void)state;
    struct raft_snapshot s = {.index = 40, .term = 3};
    struct raft_io_snapshot_put req;
    append(1, 2, 1);
    assert_int_equal(g.io.snapshot_put(&g.io, 0, &req, &s, put_done), 0);
    assert_int_equal(disk.put_trailing, 0);
    disk.append[0]->cb(disk.append[0], 0); /* cut off by now */
    assert_int_equal(mark.index, 0);
    disk.put_cb(disk.put, 0);
    assert_int_equal(mark.index, 40);
    assert_int_equal(seen.persisted, 40);
    assert_int_equal(seen.snapshot_outer, 1);
    s.index = 20;
    assert_int_equal(g.io.snapshot_put(&g.io, 0, &req, &s, put_done), 0);
    assert_int_equal(mark.index, 20); /* before the log is gone */
    disk.put_cb(disk.put, RAFT_IOERR);
    assert_int_equal(seen.fatal, 1);
}

/* ---- load ---- */

static void loaded_log_is_judged(void **state)
{
    (void)state;
    raft_term term;
    raft_id vote;
    struct raft_snapshot *s;
    raft_index start;
    struct raft_entry *e;
    size_t n;
    disk.first = 5;
    disk.n = 3;
    seen.loaded_rc = ERR_CORRUPT;
    assert_int_equal(g.io.load(&g.io, &term, &vote, &s, &start, &e, &n), RAFT_CORRUPT);
    assert_int_equal(seen.last, 7);
    assert_int_equal(seen.last_term, 1);
    assert_null(e);
    seen.loaded_rc = 0;
    assert_int_equal(g.io.load(&g.io, &term, &vote, &s, &start, &e, &n), 0);
    assert_int_equal(g.next, 8);
    assert_int_equal(g.persisted, 7);
    raft_free(e[0].batch);
    raft_free(e);
}

/* ---- messages ---- */

static void sent(struct raft_io_send *req, int status)
{
    (void)req;
    seen.sent_done += status == 0;
}

static void sends_complete_in_the_same_turn(void **state)
{
    (void)state;
    struct raft_io_send req[2];
    struct raft_message m = {.type = RAFT_TIMEOUT_NOW};
    assert_int_equal(g.io.send(&g.io, &req[0], &m, sent), 0);
    assert_int_equal(g.io.send(&g.io, &req[1], &m, sent), 0);
    assert_int_equal(seen.sent, 2);      /* encoded before send returns */
    assert_int_equal(seen.sent_done, 0); /* never from inside */
    raft_guard_flush(&g);
    assert_int_equal(seen.sent_done, 2);
}

static void on_receive(struct raft_io *io, struct raft_message *m)
{
    (void)io;
    seen.received++;
    if (m->type == RAFT_INSTALL_SNAPSHOT)
        seen.snapshot_term = m->install_snapshot.last_term;
    assert_int_equal(m->server_id, 7);
    message_discard(m);
}

/* The term that a snapshot's receiver gets when the message says 2 and the descriptor says that index, and term 3. */
static uint64_t snapshot_term_received(uint64_t descriptor_index)
{
    static struct raft r;
    uint8_t descriptor[CORE_DESCRIPTOR];
    struct store_position p = {.index = descriptor_index};
    struct buf b = {0};
    memset(&r, 0, sizeof r);
    struct raft_message m = {.type = RAFT_INSTALL_SNAPSHOT,
                             .install_snapshot = {.term = 3, .last_index = 9, .last_term = 2, .conf_index = 4}};
    descriptor_encode(descriptor, descriptor_index, 3, &p);
    assert_int_equal(raft_configuration_add(&m.install_snapshot.conf, 5, "h:1", RAFT_VOTER), 0);
    m.install_snapshot.data = (struct raft_buffer){descriptor, sizeof descriptor};
    assert_int_equal(message_encode(&m, 0, 0, &b), 0);
    raft_configuration_close(&m.install_snapshot.conf);
    assert_int_equal(g.io.start(&g.io, 100, NULL, on_receive), 0);
    assert_int_equal(raft_guard_receive(&g, &r, 7, "h:7", buf_slice(&b)), 0);
    buf_close(&b);
    return seen.snapshot_term;
}

/* libraft sends a newer snapshot than it meant to, with its index and the older one's term. */
static void snapshots_have_the_term_of_their_index(void **state)
{
    (void)state;
    assert_int_equal(snapshot_term_received(9), 3);
    assert_int_equal(snapshot_term_received(8), 2); /* not what the message is about */
}

/* libraft crashes or leaks when a snapshot arrives while one is taken or installed. */
static void snapshots_are_dropped_while_busy(void **state)
{
    (void)state;
    static struct raft r;
    memset(&r, 0, sizeof r);
    struct raft_message m = {.type = RAFT_INSTALL_SNAPSHOT,
                             .install_snapshot = {.term = 3, .last_index = 9, .last_term = 2, .conf_index = 4}};
    struct buf b = {0};
    assert_int_equal(raft_configuration_add(&m.install_snapshot.conf, 5, "h:1", RAFT_VOTER), 0);
    m.install_snapshot.data = (struct raft_buffer){(void *)(uintptr_t) "12345678", 8};
    assert_int_equal(message_encode(&m, 0, 0, &b), 0);
    raft_configuration_close(&m.install_snapshot.conf);
    assert_int_equal(g.io.start(&g.io, 100, NULL, on_receive), 0);
    bool *busy[] = {&r.legacy.snapshot_taking, &r.legacy.snapshot_install, &r.snapshot.installing};
    for (int i = 0; i < 3; i++) {
        *busy[i] = true;
        assert_int_equal(raft_guard_receive(&g, &r, 7, "h:7", buf_slice(&b)), 0);
        assert_int_equal(seen.received, 0);
        *busy[i] = false;
    }
    assert_int_equal(raft_guard_receive(&g, &r, 7, "h:7", buf_slice(&b)), 0);
    assert_int_equal(seen.received, 1);
    assert_int_equal(raft_guard_receive(&g, &r, 7, "h:7", slice_make("x", 1)), ERR_PROTOCOL);
    buf_close(&b);
}

/* The log here begins behind 17, a snapshot holds all up to 20, and 22 is committed, 23 the last. */
static struct raft_append_entries seen_append;

static void on_append(struct raft_io *io, struct raft_message *m)
{
    (void)io;
    seen.received++;
    seen_append = m->append_entries;
    for (unsigned i = 0; i < m->append_entries.n_entries; i++) {
        const struct raft_buffer *b = &m->append_entries.entries[i].buf;
        assert_int_equal(*(const uint64_t *)b->base, m->append_entries.prev_log_index + 1 + i);
        assert_ptr_equal(m->append_entries.entries[i].batch, m->append_entries.entries[0].batch);
    }
    message_discard(m);
}

static void entries_cut_off_the_log_are_skipped(void **state)
{
    (void)state;
    static const struct {
        uint64_t prev, prev_term;
        unsigned n;
        uint64_t want_prev, want_term;
        unsigned want_n;
    } cases[] = {
        {0, 0, 10, 22, 4, 0}, {0, 0, 22, 22, 4, 0}, {0, 0, 25, 22, 4, 3}, {16, 2, 10, 22, 4, 4}, {17, 2, 1, 22, 4, 0},
        {17, 2, 0, 22, 4, 0}, {18, 3, 2, 18, 3, 2}, {22, 4, 1, 22, 4, 1}, {23, 4, 2, 23, 4, 2},  {30, 9, 1, 30, 9, 1},
    };
    static struct raft r;
    memset(&r, 0, sizeof r);
    r.trail.records = calloc(4, sizeof *r.trail.records);
    r.trail.records[0].index = 20;
    r.trail.records[0].term = 3;
    r.trail.records[1].index = 23;
    r.trail.records[1].term = 4;
    r.trail.size = 4;
    r.trail.back = 2;
    r.trail.offset = 17;
    r.trail.snapshot.index = 20;
    r.trail.snapshot.term = 3;
    r.commit_index = 22;
    assert_int_equal(g.io.start(&g.io, 100, NULL, on_append), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t data[32];
        struct raft_entry entries[32];
        struct buf b = {0};
        for (unsigned k = 0; k < cases[i].n; k++) {
            data[k] = cases[i].prev + 1 + k;
            entries[k] = (struct raft_entry){.term = 9, .type = RAFT_COMMAND, .buf = {&data[k], sizeof data[k]}};
        }
        struct raft_message m = {.type = RAFT_APPEND_ENTRIES,
                                 .append_entries = {.term = 9,
                                                    .prev_log_index = cases[i].prev,
                                                    .prev_log_term = cases[i].prev_term,
                                                    .entries = cases[i].n ? entries : NULL,
                                                    .n_entries = cases[i].n}};
        unsigned before = seen.received;
        assert_int_equal(message_encode(&m, 0, cases[i].n, &b), 0);
        assert_int_equal(raft_guard_receive(&g, &r, 7, "h:7", buf_slice(&b)), 0);
        assert_int_equal(seen.received, before + 1);
        assert_int_equal(seen_append.prev_log_index, cases[i].want_prev);
        assert_int_equal(seen_append.prev_log_term, cases[i].want_term);
        assert_int_equal(seen_append.n_entries, cases[i].want_n);
        buf_close(&b);
    }
    free(r.trail.records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mark_follows_appends_and_leads_truncations, begin, end),
        cmocka_unit_test_setup_teardown(clipped_append_does_not_raise, begin, end),
        cmocka_unit_test_setup_teardown(failed_write_is_fatal, begin, end),
        cmocka_unit_test_setup_teardown(oldest_write_is_watched, begin, end),
        cmocka_unit_test_setup_teardown(taken_snapshot_waits_for_the_store, begin, end),
        cmocka_unit_test_setup_teardown(held_snapshot_is_canceled_by_close, begin, end),
        cmocka_unit_test_setup_teardown(installed_snapshot_moves_the_mark, begin, end),
        cmocka_unit_test_setup_teardown(loaded_log_is_judged, begin, end),
        cmocka_unit_test_setup_teardown(sends_complete_in_the_same_turn, begin, end),
        cmocka_unit_test_setup_teardown(snapshots_have_the_term_of_their_index, begin, end),
        cmocka_unit_test_setup_teardown(snapshots_are_dropped_while_busy, begin, end),
        cmocka_unit_test_setup_teardown(entries_cut_off_the_log_are_skipped, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
