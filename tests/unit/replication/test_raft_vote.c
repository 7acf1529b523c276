/* What a node promised by its vote outlives a crash at any moment. */
#include "replication/raft_io.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* As raft_uv's metadata files: a new term has no vote. */
static struct {
    uint64_t term, vote;
    unsigned writes;
    int rc;
} disk;
static struct raft_guard g;
static struct mark mark;
static unsigned fatals;

static int disk_term(struct raft_io *io, raft_term term)
{
    (void)io;
    disk.writes++;
    if (disk.rc == 0) {
        disk.term = term;
        disk.vote = 0;
    }
    return disk.rc;
}

static int disk_vote(struct raft_io *io, raft_id id)
{
    (void)io;
    disk.writes++;
    disk.vote = id;
    return 0;
}

static int disk_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **s, raft_index *start,
                     struct raft_entry *e[], size_t *n)
{
    (void)io;
    *term = disk.term;
    *vote = disk.vote;
    *s = NULL;
    *start = 1;
    *e = NULL;
    *n = 0;
    return 0;
}

static int on_loaded(void *arg, uint64_t last, uint64_t term, bool empty)
{
    (void)arg, (void)last, (void)term, (void)empty;
    return 0;
}

static void on_fatal(void *arg, int status, const char *why)
{
    (void)arg, (void)status, (void)why;
    fatals++;
}

static void guard_begin(void)
{
    struct raft_guard_events ev = {.loaded = on_loaded, .fatal = on_fatal};
    g = (struct raft_guard){.io = {.version = 2, .set_term = disk_term, .set_vote = disk_vote, .load = disk_load}};
    raft_guard_init(&g, &mark, &ev);
}

static int begin(void **state)
{
    (void)state;
    memset(&disk, 0, sizeof disk);
    fatals = 0;
    guard_begin();
    return 0;
}

/* libraft's two calls when it gives its vote, again and again. */
static void vote_given_again_is_never_off_the_disk(void **state)
{
    (void)state;
    g.io.set_term(&g.io, 2);
    g.io.set_vote(&g.io, 7);
    assert_int_equal(g.io.set_term(&g.io, 2), 0);
    assert_int_equal(disk.vote, 7); /* a crash here */
    assert_int_equal(g.io.set_vote(&g.io, 7), 0);
    assert_int_equal(disk.vote, 7);
    g.io.set_term(&g.io, 3);
    assert_int_equal(disk.term, 3);
    assert_int_equal(disk.vote, 0);
}

static void vote_of_an_earlier_life_stays(void **state)
{
    (void)state;
    raft_term term;
    raft_id vote;
    struct raft_snapshot *s;
    raft_index start;
    struct raft_entry *e;
    size_t n;
    disk.term = 5;
    disk.vote = 7;
    guard_begin();
    assert_int_equal(g.io.load(&g.io, &term, &vote, &s, &start, &e, &n), 0);
    assert_int_equal(g.io.set_term(&g.io, 5), 0);
    assert_int_equal(disk.vote, 7);
    assert_int_equal(disk.writes, 0);
    g.io.set_term(&g.io, 6);
    assert_int_equal(disk.term, 6);
}

static void term_that_was_not_written_is_not_known(void **state)
{
    (void)state;
    disk.rc = RAFT_IOERR;
    assert_int_equal(g.io.set_term(&g.io, 2), RAFT_IOERR);
    assert_int_equal(fatals, 1);
    disk.rc = 0;
    assert_int_equal(g.io.set_term(&g.io, 2), 0);
    assert_int_equal(disk.term, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(vote_given_again_is_never_off_the_disk, begin),
        cmocka_unit_test_setup(vote_of_an_earlier_life_stays, begin),
        cmocka_unit_test_setup(term_that_was_not_written_is_not_known, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
