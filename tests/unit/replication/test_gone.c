/* When a node stands for election after its leader's process ended, in simulated time. */
#include "replication/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { HEARTBEAT = 100, STEP = 150, ELECTION = 500, NOW = 1000000 };

static struct replication r;
static raft_time timer;

/* Node `self` follows node 2 of 1, 2, 3, and heard from it right now. */
static void follow(uint64_t self)
{
    static const char *const address[] = {"h:1", "h:2", "h:3"};
    raft_configuration_close(&r.raft.configuration);
    memset(&r, 0, sizeof r);
    r.identity.node_id = r.raft.id = self;
    r.c.heartbeat_ms = HEARTBEAT;
    r.c.election_ms = ELECTION;
    r.started = true;
    r.raft.state = RAFT_FOLLOWER;
    r.raft.current_term = 7;
    r.raft.election_timer_start = timer = NOW;
    r.raft.follower_state.current_leader.id = 2;
    list_init(&r.inbounds);
    for (unsigned id = 1; id <= 3; id++)
        assert_int_equal(raft_configuration_add(&r.raft.configuration, id, address[id - 1], RAFT_VOTER), 0);
}

static int end(void **state)
{
    (void)state;
    raft_configuration_close(&r.raft.configuration);
    memset(&r, 0, sizeof r);
    return 0;
}

/* The longest election timeout is over now, as libraft sees it; since the last look it was not. */
static bool stands(int64_t now)
{
    gone_tick(&r, now);
    bool over = NOW - r.raft.election_timer_start >= 2 * ELECTION;
    r.raft.election_timer_start = timer; /* libraft let it start anew */
    return over;
}

static void one_after_the_other(void **state)
{
    (void)state;
    follow(1);
    gone_refused(&r, 2, NOW);
    assert_true(stands(NOW));
    follow(3);
    gone_refused(&r, 2, NOW);
    assert_false(stands(NOW));
    assert_false(stands(NOW + STEP - 1));
    assert_true(stands(NOW + STEP));
}

/* Not once only: libraft puts an election off while the log is being written. */
static void until_it_is_held(void **state)
{
    (void)state;
    follow(1);
    gone_refused(&r, 2, NOW);
    assert_true(stands(NOW));
    for (int64_t at = NOW + STEP; at < NOW + 10 * STEP; at += STEP) {
        assert_false(stands(at - 1));
        assert_true(stands(at));
        gone_refused(&r, 2, at); /* dialled once more */
        assert_false(stands(at));
    }
    r.raft.state = RAFT_CANDIDATE; /* libraft's own time goes for the rest */
    assert_false(stands(NOW + 100 * STEP));
    r.raft.state = RAFT_FOLLOWER;
    assert_false(stands(NOW + 200 * STEP));
}

static void for_the_leader_alone(void **state)
{
    (void)state;
    follow(1);
    gone_refused(&r, 3, NOW);
    assert_false(stands(NOW + STEP));
    gone_refused(&r, 2, NOW);
    assert_true(stands(NOW));
    r.raft.current_term++; /* somebody stands already: it has our vote */
    r.raft.follower_state.current_leader.id = 0;
    assert_false(stands(NOW + STEP));
    r.raft.follower_state.current_leader.id = 3;
    assert_false(stands(NOW + 2 * STEP));
    /* And that one ends, too. */
    gone_refused(&r, 3, NOW + 3 * STEP);
    assert_true(stands(NOW + 3 * STEP));
    follow(1);
    atomic_store(&r.draining, true);
    gone_refused(&r, 2, NOW);
    assert_false(stands(NOW + STEP));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(one_after_the_other, end),
        cmocka_unit_test_teardown(until_it_is_held, end),
        cmocka_unit_test_teardown(for_the_leader_alone, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
