/* A node's wall clock as the test wants it: a file that the preloaded library (shim/clock.c) maps. The monotonic clock
 * is left alone, as when an operator or NTP moves the time. */
#ifndef MERLION_JEPSEN_CLOCK_H
#define MERLION_JEPSEN_CLOCK_H

#include <stdint.h>

#define CLOCK_SHIM_ENV "JEPSEN_CLOCK"

/* told = real + offset_ns + (real - base_ns) * ppm / 1,000,000, all of CLOCK_REALTIME. The writer raises version to an
 * odd number before it changes the others, and to an even one afterwards. */
struct clock_shim {
    _Atomic uint64_t version;
    int64_t offset_ns, base_ns, ppm;
};

#endif
