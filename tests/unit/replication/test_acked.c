/* Answers of followers, as a leader takes them: what was acknowledged is not refused any more. */
#include "replication/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SELF = 1, FOLLOWER = 2, STRANGER = 9, TERM = 6 };

static struct replication r;
static struct peer peer;

static int begin(void **state)
{
    (void)state;
    r = (struct replication){.started = true, .n_peers = 1, .peers = {&peer}};
    r.identity.node_id = r.raft.id = SELF;
    r.raft.state = RAFT_LEADER;
    r.raft.current_term = TERM;
    peer = (struct peer){.r = &r, .id = FOLLOWER};
    return 0;
}

static bool acknowledges(uint64_t term, uint64_t last)
{
    struct raft_append_entries_result a = {.term = term, .last_log_index = last};
    return acked_take(&r, FOLLOWER, &a);
}

static bool refuses(uint64_t id, uint64_t term, uint64_t rejected)
{
    struct raft_append_entries_result a = {.term = term, .rejected = rejected, .last_log_index = rejected - 1};
    return acked_take(&r, id, &a);
}

static void late_refusals_are_dropped(void **state)
{
    (void)state;
    assert_true(refuses(FOLLOWER, TERM, 2329)); /* nothing is known yet: probing */
    assert_true(acknowledges(TERM, 2328));
    assert_true(refuses(FOLLOWER, TERM, 2330));
    assert_true(refuses(FOLLOWER, TERM, 2329));
    assert_true(acknowledges(TERM, 2329));
    assert_false(refuses(FOLLOWER, TERM, 2329));
    assert_true(refuses(FOLLOWER, TERM, 2330));
    assert_true(acknowledges(TERM, 2300)); /* late too; takes nothing back */
    assert_false(refuses(FOLLOWER, TERM, 2329));
}

static void each_term_begins_anew(void **state)
{
    (void)state;
    assert_true(acknowledges(TERM, 100));
    assert_true(refuses(FOLLOWER, TERM + 1, 50)); /* libraft steps down for that */
    r.raft.current_term = TERM + 2;
    assert_true(refuses(FOLLOWER, TERM + 2, 50));
    assert_true(refuses(FOLLOWER, TERM, 50)); /* libraft knows that it is old */
}

static void others_are_not_judged(void **state)
{
    (void)state;
    assert_true(acknowledges(TERM, 100));
    assert_true(refuses(STRANGER, TERM, 50));
    r.raft.state = RAFT_FOLLOWER;
    assert_true(refuses(FOLLOWER, TERM, 50));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(late_refusals_are_dropped, begin),
        cmocka_unit_test_setup(each_term_begins_anew, begin),
        cmocka_unit_test_setup(others_are_not_judged, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
