/* Who is dead: the rules, in simulated time. */
#include "replication/core.h"

#include "node/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { SELF = 1, A = 2, B = 3, STANDBY = 4, DEAD_AFTER = 1000, PATIENCE = DEAD_AFTER / 2, REFUSED = 300 };

/* Node 1, which leads, two voters more and a standby. All of them are just heard from; no link is up. */
static struct replication r;
static struct peer peers[3];
static int64_t start;

static int begin(void **state)
{
    static const char *const address[] = {"h:1", "h:2", "h:3", "h:4"};
    (void)state;
    memset(&r, 0, sizeof r);
    memset(peers, 0, sizeof peers);
    start = clock_steady_ms();
    r.identity.node_id = r.raft.id = SELF;
    r.c.dead_after_ms = DEAD_AFTER;
    r.raft.state = RAFT_LEADER;
    r.started = true;
    r.judging_ms = r.contact_tick_ms = start;
    list_init(&r.inbounds);
    pthread_mutex_init(&r.now_lock, NULL);
    for (unsigned id = SELF; id <= STANDBY; id++) {
        int role = id == STANDBY ? RAFT_STANDBY : RAFT_VOTER;
        assert_int_equal(raft_configuration_add(&r.raft.configuration, id, address[id - 1], role), 0);
        if (id == SELF)
            continue;
        peers[id - A] = (struct peer){
            .r = &r, .id = id, .role = role, .in_config = true, .raft_ms = start, .heard_ms = start, .seen_ms = start};
        r.peers[r.n_peers++] = &peers[id - A];
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    raft_configuration_close(&r.raft.configuration);
    pthread_mutex_destroy(&r.now_lock);
    return 0;
}

static void heard(unsigned id, int64_t at)
{
    peers[id - A].raft_ms = peers[id - A].heard_ms = start + at;
}

/* Ticks from the last one until then; the others speak up to the end, those in `silent` (a bit each) do not. */
static void pass(int64_t until, unsigned silent)
{
    int64_t at = r.contact_tick_ms - start;
    while (at < until) {
        at = at + CORE_TICK_MS < until ? at + CORE_TICK_MS : until;
        for (unsigned id = A; id <= STANDBY; id++)
            if (!(silent & 1u << id))
                heard(id, at);
        contact_tick(&r, start + at);
    }
}

static void dead_are(unsigned n, uint64_t first)
{
    assert_int_equal(r.now.dead_n, n);
    if (n)
        assert_int_equal(r.now.dead[0], first);
}

static void silence_is_death_after_a_while(void **state)
{
    static const unsigned ids[] = {A, STANDBY};
    (void)state;
    int64_t at = 0;
    for (unsigned i = 0; i < 2; i++) {
        pass(at + DEAD_AFTER, 1u << ids[i]);
        dead_are(0, 0);
        pass(at + DEAD_AFTER + 1, 1u << ids[i]);
        dead_are(1, ids[i]);
        pass(at + DEAD_AFTER + 20, 0); /* it speaks again */
        dead_are(0, 0);
        at += DEAD_AFTER + 20;
    }
    /* One that is invited only is nobody's holder of anything. */
    peers[STANDBY - A].in_config = false;
    pass(at + 5 * DEAD_AFTER, 1u << STANDBY);
    dead_are(0, 0);
}

/* Frames that are no Raft's show life, but not that the peer follows. */
static void any_frame_is_life(void **state)
{
    (void)state;
    for (int64_t at = 100; at <= 3 * DEAD_AFTER; at += 100) {
        pass(at, 1u << A);
        peers[A - A].heard_ms = start + at;
    }
    dead_are(0, 0);
}

static void refusal_is_death_sooner(void **state)
{
    (void)state;
    contact_refused(&r, &peers[0]);
    int64_t first = peers[0].refused_ms;
    assert_true(first >= start);
    int64_t at = first - start;
    pass(at + REFUSED - 1, 0);
    dead_are(0, 0);
    contact_refused(&r, &peers[0]); /* since the first one, */
    assert_int_equal(peers[0].refused_ms, first);
    pass(at + REFUSED, 0);
    dead_are(1, A);
    contact_heard(&r, &peers[0]); /* until it is there again */
    pass(at + REFUSED + 20, 0);
    dead_are(0, 0);
}

/* Without a majority it may be us who are cut off. */
static void out_of_touch_judges_nobody(void **state)
{
    (void)state;
    for (int64_t at = CORE_TICK_MS; at <= 4 * DEAD_AFTER; at += CORE_TICK_MS) {
        pass(at, 1u << A | 1u << B);
        dead_are(0, 0);
    }
    heard(B, 4 * DEAD_AFTER);
    pass(4 * DEAD_AFTER + 1, 1u << A | 1u << B);
    dead_are(1, A); /* B is enough */
}

/* Ticks that are far apart: this process, or its machine, stood still, and heard nobody for that reason. */
static void who_slept_judges_nobody(void **state)
{
    (void)state;
    pass(100, 0);
    int64_t woke = 100 + 3 * DEAD_AFTER;
    for (unsigned id = A; id <= B; id++) /* what they sent last came in while it woke */
        peers[id - A].raft_ms = start + woke;
    contact_tick(&r, start + woke);
    dead_are(0, 0);
    pass(woke + DEAD_AFTER, 1u << A);
    dead_are(0, 0);
    pass(woke + DEAD_AFTER + 1, 1u << A);
    dead_are(1, A);
}

static void followers_judge_nobody(void **state)
{
    (void)state;
    r.raft.state = RAFT_FOLLOWER;
    peers[0].refused_ms = start;
    pass(4 * DEAD_AFTER, 1u << A | 1u << B | 1u << STANDBY);
    dead_are(0, 0);
    /* It leads from now on: what it did not hear as a follower says nothing. */
    r.raft.state = RAFT_LEADER;
    peers[0].refused_ms = 0;
    r.judging_ms = start + 4 * DEAD_AFTER;
    pass(5 * DEAD_AFTER, 1u << A);
    dead_are(0, 0);
    pass(5 * DEAD_AFTER + 1, 1u << A);
    dead_are(1, A);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(silence_is_death_after_a_while, begin, end),
        cmocka_unit_test_setup_teardown(any_frame_is_life, begin, end),
        cmocka_unit_test_setup_teardown(refusal_is_death_sooner, begin, end),
        cmocka_unit_test_setup_teardown(out_of_touch_judges_nobody, begin, end),
        cmocka_unit_test_setup_teardown(who_slept_judges_nobody, begin, end),
        cmocka_unit_test_setup_teardown(followers_judge_nobody, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
