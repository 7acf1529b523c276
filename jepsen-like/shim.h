/* What a node is made to believe, in a file that the library preloaded into it (shim/preload.c) maps: its wall clock
 * (the monotonic one is left alone, as when an operator or NTP moves the time), a disk that fails to sync, and one that
 * lies about it. */
#ifndef MERLION_JEPSEN_SHIM_H
#define MERLION_JEPSEN_SHIM_H

#include <stdatomic.h>
#include <stdint.h>

#define SHIM_ENV "JEPSEN_SHIM"

/* told = real + offset_ns + (real - base_ns) * ppm / 1,000,000, all of CLOCK_REALTIME. The writer raises version to an
 * odd number before it changes the others, and to an even one afterwards. */
struct shim {
    _Atomic uint64_t version;
    int64_t offset_ns, base_ns, ppm;
    _Atomic uint64_t sync_fails; /* not 0: fsync and fdatasync give EIO */
    _Atomic uint64_t sync_lies;  /* not 0: they and writes that should be durable are not, and say they are */
};

#endif
