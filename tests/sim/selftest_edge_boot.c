/* The numbers of a node's starts (replication/identity_boot.c), where neither its disk nor its clock can be relied on.
 */
#include "replication/identity.h"
#include "replication/internal.h"
#include "tests/sim/selftest_edge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

enum { EARLY = 1000000, LATE = 9000000 }; /* what the clock shows, ms */

static uint64_t last; /* told to the node, in any of its lives */

static void next(uint64_t now_ms)
{
    struct err_detail e = {""};
    uint64_t boot = 0;
    int rc = identity_boot_next(sim_disk_dir(sim_host(1)), now_ms, &boot, &e);
    if (rc != 0)
        sim_fail(&sim_counts.other, "%s: %s", err_name(rc), e.text);
    CHECK(boot > last && boot >= now_ms);
    last = boot;
}

static void first(void *arg)
{
    struct err_detail e = {""};
    (void)arg;
    int dir = identity_dir_open(sim_disk_dir(sim_host(1)), true, &e);
    CHECK(dir >= 0 && close(dir) == 0);
    next(EARLY);
}

static void fill(uint32_t torn_ppm)
{
    struct sim_disk_faults f = {.full = true, .torn_ppm = torn_ppm};
    sim_disk_faults(sim_host(1), &f);
}

/* ---- a full disk ---- */

static void filled(void *arg)
{
    (void)arg;
    fill(0);
    next(LATE);
    next(EARLY);
    next(EARLY);
    sim_disk_faults(sim_host(1), NULL);
    next(EARLY);
}

static void full(void *arg)
{
    (void)arg;
    edge_on(1, first, NULL);
    edge_on(1, filled, NULL);
    CHECK(last == LATE + 3);
}

static void full_disks_keep_the_number(void **state)
{
    (void)state;
    edge_histories(full);
}

/* ---- and a power cut in the midst of it ---- */

static void die(void *arg)
{
    sim_host_crash(arg, true);
}

static void starts(void *arg)
{
    (void)arg;
    next(LATE);
    next(EARLY);
    next(EARLY);
}

static void back(void *arg)
{
    (void)arg;
    next(EARLY);
}

static void cut(void *arg)
{
    (void)arg;
    edge_on(1, first, NULL);
    fill(1000000);
    sim_disk_watch(sim_host(1), 1 + (unsigned)sim_below(12), die, sim_host(1));
    edge_on(1, starts, NULL);
    edge_told += sim_host_life(sim_host(1)) > 0;
    edge_on(1, back, NULL);
}

static void torn_numbers_do_not_count(void **state)
{
    (void)state;
    assert_in_range(edge_histories(cut), 20, 40);
}

int edge_boot(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_disks_keep_the_number),
        cmocka_unit_test(torn_numbers_do_not_count),
    };
    return cmocka_run_group_tests_name("edge: numbers of starts", tests, NULL, NULL);
}
