/* The Raft log over crashes: what was answered is there, in its order; the rest may be. */
#include "tests/sim/selftest_edge.h"

#include "node/base/mem.h"

#include <raft/uv.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

static struct raft_io io;
static uv_loop_t loop;
static struct raft_uv_transport transport = {.version = 1};
/* What the log was told to hold, and how far it answered. */
static uint64_t terms[64];
static unsigned given, answered, ends;
static bool may_cancel;

static void on_tick(struct raft_io *it)
{
    CHECK(it == &io);
}

static void log_open(void)
{
    char dir[512];
    snprintf(dir, sizeof dir, "%s/raft", sim_disk_dir(sim_host(1)));
    mkdir(dir, 0700);
    int fd = open(sim_disk_dir(sim_host(1)), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0 && fsync(fd) == 0);
    close(fd);
    memset(&io, 0, sizeof io);
    CHECK(uv_loop_init(&loop) == 0);
    CHECK(raft_uv_init(&io, &loop, dir, &transport) == 0);
    raft_uv_set_auto_recovery(&io, false);
    CHECK(io.init(&io, 1, "h:1") == 0);
    CHECK(io.start(&io, 100, on_tick, NULL) == 0);
}

struct loaded {
    raft_term term;
    raft_id vote;
    struct raft_snapshot *snapshot;
    raft_index start;
    struct raft_entry *entries;
    size_t n;
    int status;
};

static struct loaded log_load(void)
{
    struct loaded l;
    l.status = io.load(&io, &l.term, &l.vote, &l.snapshot, &l.start, &l.entries, &l.n);
    return l;
}

static void appended(struct raft_io_append *req, int status)
{
    CHECK(status == 0 || (status == RAFT_CANCELED && may_cancel));
    answered = (unsigned)(uintptr_t)req->data;
    ends++;
    free(req);
}

/* One entry a request; its term is its content too. */
static void append(uint64_t term)
{
    struct raft_io_append *req = calloc(1, sizeof *req);
    struct raft_entry e = {.term = term, .type = RAFT_COMMAND, .buf = {&terms[given], 8}};
    terms[given++] = term;
    req->data = (void *)(uintptr_t)given;
    CHECK(io.append(&io, req, &e, 1, appended) == 0);
}

static void loop_until(const unsigned *counter, unsigned value)
{
    while (*counter < value)
        uv_run(&loop, UV_RUN_ONCE);
}

/* ---- appends ---- */

static void appends_run(void *arg)
{
    (void)arg;
    log_open();
    CHECK(log_load().n == 0);
    CHECK(io.set_term(&io, 3) == 0 && io.set_vote(&io, 2) == 0);
    for (unsigned i = 0; i < 30; i++) {
        append(1 + i / 10);
        if (sim_below(3) == 0)
            sim_sleep(200);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static void all_appends_run(void *arg)
{
    appends_run(arg);
    loop_until(&answered, given);
}

static void appends_check(void *arg)
{
    (void)arg;
    log_open();
    struct loaded l = log_load();
    CHECK(l.status == 0 && l.term == 3 && l.vote == 2 && !l.snapshot && l.start == 1);
    CHECK(l.n >= answered && l.n <= given);
    for (size_t i = 0; i < l.n; i++)
        CHECK(l.entries[i].term == terms[i] && memcmp(l.entries[i].buf.base, &terms[i], 8) == 0);
    edge_told += l.n > answered;
}

static void appends(void *arg)
{
    (void)arg;
    edge_on(1, appends_run, NULL);
    sim_host_crash(sim_host(1), false);
    edge_on(1, appends_check, NULL);
    sim_host_crash(sim_host(1), false);
    edge_on(1, appends_check, NULL);
}

static void answered_appends_survive(void **state)
{
    (void)state;
    assert_in_range(edge_histories(appends), 1, 4000);
}

/* ---- truncation, snapshots ---- */

static unsigned put;

static void snapshot_stored(struct raft_io_snapshot_put *req, int status)
{
    (void)req;
    CHECK(status == 0);
    put++;
}

static void snapshot_put(uint64_t index, unsigned trailing)
{
    static struct raft_io_snapshot_put req;
    static struct raft_buffer data = {"descriptor", 10};
    static struct raft_snapshot s;
    s = (struct raft_snapshot){
        .index = index, .term = terms[index - 1], .configuration_index = 1, .bufs = &data, .n_bufs = 1};
    raft_configuration_init(&s.configuration);
    CHECK(raft_configuration_add(&s.configuration, 7, "h:7", RAFT_VOTER) == 0);
    CHECK(io.snapshot_put(&io, trailing, &req, &s, snapshot_stored) == 0);
}

static void cut_run(void *arg)
{
    (void)arg;
    log_open();
    log_load();
    for (unsigned i = 0; i < 20; i++)
        append(1);
    given = 10;
    CHECK(io.truncate(&io, 11) == 0);
    for (unsigned i = 0; i < 15; i++)
        append(2);
    loop_until(&answered, 25); /* 20 comes twice, so this is the last */
    snapshot_put(18, 6);
    loop_until(&put, 1);
}

static void cut_check(void *arg)
{
    (void)arg;
    log_open();
    struct loaded l = log_load();
    CHECK(l.status == 0 && l.snapshot && l.snapshot->index == 18 && l.snapshot->n_bufs == 1);
    CHECK(l.snapshot->bufs[0].len == 10 && memcmp(l.snapshot->bufs[0].base, "descriptor", 10) == 0);
    CHECK(l.snapshot->configuration.n == 1 && l.snapshot->configuration.servers[0].id == 7);
    CHECK(l.start >= 1 && l.start <= 13 && l.start + l.n == 26);
    for (size_t i = 0; i < l.n; i++)
        CHECK(l.entries[i].term == (l.start + i <= 10 ? 1 : 2));
    if (sim_below(2)) {
        snapshot_put(22, 0);
        loop_until(&put, 2);
        l = log_load();
        CHECK(l.snapshot->index == 22 && l.start == 23 && l.n == 0);
    }
    edge_told += l.start > 1;
}

static void cut(void *arg)
{
    (void)arg;
    edge_on(1, cut_run, NULL);
    sim_host_crash(sim_host(1), true);
    edge_on(1, cut_check, NULL);
}

static void log_is_cut_at_both_ends(void **state)
{
    (void)state;
    assert_in_range(edge_histories(cut), 20, 40);
}

/* ---- damage, closing ---- */

static void damage_check(void *arg)
{
    (void)arg;
    log_open();
    struct loaded l = log_load();
    CHECK((l.status == RAFT_CORRUPT && io.errmsg[0]) || (l.status == 0 && l.n < answered));
    edge_told += l.status == 0;
}

static void damage(void *arg)
{
    (void)arg;
    CHECK(!sim_disk_flip(sim_host(1), SIM_DISK_LOG));
    edge_on(1, all_appends_run, NULL);
    sim_host_crash(sim_host(1), true);
    CHECK(sim_disk_flip(sim_host(1), SIM_DISK_LOG));
    edge_on(1, damage_check, NULL);
}

static void damage_is_told_or_shortens(void **state)
{
    (void)state;
    assert_in_range(edge_histories(damage), 5, 35);
}

static bool closed;

static void on_closed(struct raft_io *it)
{
    CHECK(it == &io && !closed && ends == given);
    closed = true;
}

static void close_run(void *arg)
{
    (void)arg;
    log_open();
    log_load();
    for (unsigned i = 0; i < 5; i++) {
        append(1);
        if (sim_below(2))
            sim_sleep((int64_t)sim_below(500));
    }
    may_cancel = true;
    io.close(&io, on_closed);
    CHECK(!closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(closed && ends == given);
    CHECK(uv_loop_close(&loop) == 0);
}

static void closing(void *arg)
{
    (void)arg;
    edge_on(1, close_run, NULL);
}

static void closing_answers_first(void **state)
{
    (void)state;
    edge_histories(closing);
}

int edge_log(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answered_appends_survive),
        cmocka_unit_test(log_is_cut_at_both_ends),
        cmocka_unit_test(damage_is_told_or_shortens),
        cmocka_unit_test(closing_answers_first),
    };
    return cmocka_run_group_tests_name("edge: log", tests, NULL, NULL);
}
