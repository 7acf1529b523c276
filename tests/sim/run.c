/* What a run counts, and how it fails. */
#include "tests/sim/kernel.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct sim_counts sim_counts;
uint64_t sim_seed;

void sim_fail(uint64_t *kind, const char *format, ...)
{
    va_list ap;
    int64_t t = sim_now_us();
    ++*kind;
    fprintf(stderr, "seed %llu, host %u, %lld.%06lld s: ", (unsigned long long)sim_seed, sim_host_index(sim_host_now()),
            (long long)(t / SIM_S), (long long)(t % SIM_S));
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    sim_end();
    if (!sim_running())
        exit(1);
    time_abandon();
}
