#ifndef SIM_SELFTEST_H
#define SIM_SELFTEST_H

#include "tests/sim/sim.h"

/* In a history: ends it, and its process, when the condition does not hold. */
#define CHECK(cond) selftest_check((cond), __FILE__, __LINE__, #cond)
void selftest_check(bool ok, const char *file, int line, const char *what);
/* Twenty seeds, each in a process of its own, with `begin` as the first thread of host 0. */
void selftest_passes(sim_fn *begin);
#define CASE(name)                                                                                                     \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        selftest_passes(name);                                                                                         \
    }
extern unsigned selftest_disk_crashes;
int selftest_hosts(void);
int selftest_uv(void);

#endif
