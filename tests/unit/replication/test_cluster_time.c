/* Clocks that differ: what is believed, and what becomes of a command's time. */
#include "replication/cluster_time.h"

#include "node/base/clock.h"
#include "replication/core.h"
#include "replication/propose.h"
#include "store/command.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { DAY = 24 * 3600 * 1000 };

static void middle_clock(void **state)
{
    (void)state;
    static const struct {
        unsigned n;
        int64_t ahead[5], want;
    } cases[] = {
        {0, {0}, 0},
        {1, {0}, 0},
        {2, {0, DAY}, 0},        /* the earlier one */
        {2, {0, -DAY}, -DAY},    /* also when that is not ours */
        {3, {0, DAY, 5}, 5},     /* one far ahead */
        {3, {0, DAY, DAY}, DAY}, /* we are the one behind */
        {3, {0, -DAY, 3}, 0},
        {4, {0, DAY, DAY, 1}, 1},
        {5, {0, -DAY, DAY, 1, 2}, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ahead[5];
        for (unsigned k = 0; k < 5; k++)
            ahead[k] = cases[i].ahead[k];
        assert_true(cluster_time_middle(ahead, cases[i].n) == cases[i].want);
    }
}

static void times_are_limited(void **state)
{
    (void)state;
    const int64_t now = 1000 * (int64_t)DAY, limit = now + CLUSTER_TIME_AHEAD_MS;
    assert_true(cluster_time_limit(now, now, 0) == now);
    assert_true(cluster_time_limit(limit, now, 0) == limit);
    assert_true(cluster_time_limit(limit + 1, now, 0) == now);
    assert_true(cluster_time_limit(now + DAY, now, now - 5) == now);
    assert_true(cluster_time_limit(now - DAY, now, now) == now - DAY); /* old ones are apply's */
    /* The state's time is ahead already (of a time when one node was alone): nothing gets older than that. */
    assert_true(cluster_time_limit(now + DAY, now, now + DAY) == now + DAY);
    assert_true(cluster_time_limit(now + DAY, now, now + 2 * (int64_t)DAY) == now + DAY);
    assert_true(cluster_time_limit(now + 2 * (int64_t)DAY, now, now + DAY) == now + DAY);
    assert_true(cluster_time_limit(INT64_MAX, now, 7) == now);
}

static void time_in_a_command(void **state)
{
    (void)state;
    Merlion__DomainAdd d = MERLION__DOMAIN_ADD__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    char name[] = "x.test";
    uint8_t packed[256];
    d.name = name;
    c.op_case = MERLION__COMMAND__OP_DOMAIN_ADD;
    c.domain_add = &d;
    struct bytes *whole, *again;
    int64_t t = -1;
    propose_command_finish(slice_make(packed, merlion__command__pack(&c, packed)), 3, 4, 500, 1234567890123, &whole);
    assert_true(cluster_time_read(bytes_slice(whole), &t));
    assert_true(t == 1234567890123);
    again = cluster_time_replace(bytes_slice(whole), 77);
    assert_true(cluster_time_read(bytes_slice(again), &t));
    assert_true(t == 77);
    Merlion__Command *back = merlion__command__unpack(NULL, again->n, again->p);
    assert_non_null(back);
    assert_true(back->time_ms == 77 && back->id->seq == 500 && back->id->node == 3 && back->id->boot == 4);
    assert_string_equal(back->domain_add->name, "x.test");
    merlion__command__free_unpacked(back, NULL);
    /* What a peer sends may be anything. */
    for (size_t cut = 0; cut < whole->n; cut++) {
        struct bytes *part = bytes_copy(slice_make(whole->p, cut));
        cluster_time_read(bytes_slice(part), &t);
        bytes_unref(&part);
    }
    static const uint8_t bad[][12] = {
        {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, /* longer than there is */
        {0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
        {0x13},       /* a group */
        {0x11, 1, 2}, /* eight bytes, cut short */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(cluster_time_read(slice_make(bad[i], i == 2 ? 1 : i == 3 ? 3 : sizeof bad[i]), &t));
    bytes_unref(&whole);
    bytes_unref(&again);
}

/* All clocks were an hour ahead: the state's time goes on at half their speed, never back, until they are there. */
static void state_ahead_goes_on(void **state)
{
    enum { HOUR = 3600 * 1000 };
    _Atomic int64_t ahead = 0;
    int64_t now = 1700000000000, steady = 50 * (int64_t)DAY;
    (void)state;
    assert_true(cluster_time_go_on(&ahead, now, steady) == now);
    assert_true(cluster_time_go_on(&ahead, now, steady + 10) == now + 5);
    /* Commands carry it; what was seen of them later, or older than that, slows nothing down. */
    assert_true(cluster_time_go_on(&ahead, now + 5, steady + HOUR) == now + HOUR / 2);
    assert_true(cluster_time_go_on(&ahead, now, steady + 2 * HOUR) == now + HOUR);
    /* The clocks have gone beyond it. */
    assert_true(cluster_time_go_on(&ahead, now + 3 * (int64_t)HOUR, steady + 3 * (int64_t)HOUR) ==
                now + 3 * (int64_t)HOUR);
    assert_true(cluster_time_go_on(&ahead, now, steady + 5 * (int64_t)HOUR) == now + 4 * (int64_t)HOUR);
}

/* Three voters, of which we are one, and a stand-by. `ahead`: how far the others' clocks are ahead of ours; 0 is not
 * known. */
static bool members_now(const int64_t ahead[3], int64_t *from_ours_r)
{
    static struct replication r;
    static struct peer peers[3];
    int64_t now, steady = clock_steady_ms(), ours = clock_wall_ms();
    memset(&r, 0, sizeof r);
    r.identity.node_id = 1;
    assert_int_equal(raft_configuration_add(&r.raft.configuration, 1, "h:1", RAFT_VOTER), 0);
    for (unsigned i = 0; i < 3; i++) {
        peers[i] = (struct peer){.r = &r, .id = i + 2, .in_config = true};
        if (ahead[i])
            peers[i].status = (struct peer_status){
                .known = true, .at_ms = steady, .clock_known = true, .clock_ms = ours + ahead[i] - steady};
        r.peers[r.n_peers++] = &peers[i];
        assert_int_equal(raft_configuration_add(&r.raft.configuration, i + 2,
                                                i == 0   ? "h:2"
                                                : i == 1 ? "h:3"
                                                         : "h:4",
                                                i < 2 ? RAFT_VOTER : RAFT_STANDBY),
                         0);
    }
    bool enough = cluster_time_now(&r, &now);
    raft_configuration_close(&r.raft.configuration);
    *from_ours_r = now - clock_wall_ms();
    return enough;
}

/* Our clock may have jumped since the others told theirs: nothing of it is in what is kept of them. */
static void members_clocks(void **state)
{
    static const int64_t jumped[3] = {-DAY, -DAY, -DAY}, alone[3] = {0}, standby[3] = {0, 0, -DAY},
                         two[3] = {-DAY, 0, 0};
    int64_t d;
    (void)state;
    assert_true(members_now(jumped, &d));
    assert_true(DAY + d > -2000 && DAY + d < 2000); /* the others are right */
    assert_false(members_now(alone, &d));
    assert_false(members_now(standby, &d)); /* no voter */
    assert_true(members_now(two, &d));
    assert_true(DAY + d > -2000 && DAY + d < 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(middle_clock),        cmocka_unit_test(times_are_limited), cmocka_unit_test(time_in_a_command),
        cmocka_unit_test(state_ahead_goes_on), cmocka_unit_test(members_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
