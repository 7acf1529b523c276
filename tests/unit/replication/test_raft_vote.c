/* Votes: what a node promised by one outlives a crash at any moment; who is asked, who may answer, and with what. */
#include "replication/raft_io.h"

#include "node/base/buf.h"
#include "replication/message.h"

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

static int disk_start(struct raft_io *io, unsigned ms, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    (void)io, (void)ms, (void)tick, (void)recv;
    return 0;
}

static void guard_begin(void)
{
    struct raft_guard_events ev = {.loaded = on_loaded, .fatal = on_fatal};
    g = (struct raft_guard){
        .io = {.version = 2, .set_term = disk_term, .set_vote = disk_vote, .load = disk_load, .start = disk_start}};
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

/* A vote is asked of a follower that has a leader: the flag that libraft is given decides whether it may look at it. */
static raft_time fake_now;
static bool seen_disrupt;

static raft_time fake_time(struct raft_io *io)
{
    (void)io;
    return fake_now;
}

static const struct raft_server *voting; /* whose role is looked at; NULL: nobody's */

static void on_vote(struct raft_io *io, struct raft_message *m)
{
    (void)io;
    assert_int_equal(m->type, RAFT_REQUEST_VOTE);
    assert_true(!voting || voting->role == RAFT_VOTER);
    seen_disrupt = m->request_vote.disrupt_leader;
}

static void follower_sticks_for_the_minimum_timeout(void **state)
{
    (void)state;
    static struct raft r;
    static const struct {
        unsigned short as;
        raft_time silent_ms;
        bool lost, pre_vote, disrupt;
    } cases[] = {
        {RAFT_FOLLOWER, 0, false, true, false},  {RAFT_FOLLOWER, 499, false, true, false},
        {RAFT_FOLLOWER, 500, false, true, true}, {RAFT_FOLLOWER, 700, false, false, true},
        {RAFT_FOLLOWER, 10, true, true, true},   {RAFT_FOLLOWER, 10, true, false, true},
        {RAFT_LEADER, 5000, true, true, false},  {RAFT_CANDIDATE, 5000, true, true, false},
    };
    memset(&r, 0, sizeof r);
    g.inner.time = fake_time;
    assert_int_equal(g.io.start(&g.io, 100, NULL, on_vote), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct raft_message m = {
            .type = RAFT_REQUEST_VOTE,
            .request_vote = {.term = 4, .candidate_id = 7, .last_log_index = 9, .pre_vote = cases[i].pre_vote}};
        struct buf b = {0};
        r.state = cases[i].as;
        r.election_timeout = 500;
        r.election_timer_start = 10000;
        fake_now = 10000 + cases[i].silent_ms;
        g.leader_lost = cases[i].lost;
        assert_int_equal(message_encode(&m, 0, 0, &b), 0);
        seen_disrupt = !cases[i].disrupt;
        assert_int_equal(raft_guard_receive(&g, &r, 7, "h:7", buf_slice(&b)), 0);
        assert_int_equal(seen_disrupt, cases[i].disrupt);
        buf_close(&b);
    }
}

static void refused_candidates_learn_the_term(void **state)
{
    (void)state;
    static const struct {
        bool pre_vote, granted;
        uint64_t term, want; /* ours is 7 */
    } cases[] = {
        {true, false, 3, 7}, {true, false, 7, 7}, {true, false, 8, 8}, {true, true, 3, 3}, {false, false, 3, 3}};
    struct raft r = {.current_term = 7};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct raft_message m = {.type = RAFT_REQUEST_VOTE_RESULT,
                                 .request_vote_result = {.term = cases[i].term,
                                                         .vote_granted = cases[i].granted,
                                                         .pre_vote = cases[i].pre_vote}};
        raft_guard_vote_correct(&r, &m);
        assert_int_equal(m.request_vote_result.term, cases[i].want);
    }
}

/* libraft grants votes as a voter only; one that was made a voter may not know that yet. */
static void stand_by_is_asked_as_a_voter(void **state)
{
    (void)state;
    static struct raft r;
    struct buf b = {0};
    struct raft_message m = {.type = RAFT_REQUEST_VOTE, .request_vote = {.term = 4, .candidate_id = 7}};
    memset(&r, 0, sizeof r);
    r.id = 5;
    g.inner.time = fake_time;
    raft_configuration_init(&r.configuration);
    assert_int_equal(raft_configuration_add(&r.configuration, 7, "h:7", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(&r.configuration, 5, "h:5", RAFT_STANDBY), 0);
    voting = &r.configuration.servers[1];
    assert_int_equal(g.io.start(&g.io, 100, NULL, on_vote), 0);
    assert_int_equal(message_encode(&m, 0, 0, &b), 0);
    assert_int_equal(raft_guard_receive(&g, &r, 7, "h:7", buf_slice(&b)), 0);
    assert_int_equal(voting->role, RAFT_STANDBY);
    voting = NULL;
    buf_close(&b);
    raft_configuration_close(&r.configuration);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(vote_given_again_is_never_off_the_disk, begin),
        cmocka_unit_test_setup(vote_of_an_earlier_life_stays, begin),
        cmocka_unit_test_setup(term_that_was_not_written_is_not_known, begin),
        cmocka_unit_test_setup(follower_sticks_for_the_minimum_timeout, begin),
        cmocka_unit_test_setup(stand_by_is_asked_as_a_voter, begin),
        cmocka_unit_test_setup(refused_candidates_learn_the_term, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
