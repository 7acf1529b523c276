/* The command line of jepsen-like/run. */
#ifndef MERLION_JEPSEN_OPTIONS_H
#define MERLION_JEPSEN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *build, *dir;
    unsigned seconds, nodes, voters, fault_ms, calm_ms, rounds_min, delivered_min, disk_mb, pace;
    uint64_t seed;
    const char *fault;    /* this one alone */
    const char *workload; /* these users alone, by commas; NULL: all */
    bool no_faults;
};

/* Ends the process for --help, --list-faults and wrong usage. */
void options_parse(struct options *o, int argc, char **argv);

#endif
