/* The command line of jepsen-like/run. */
#ifndef MERLION_JEPSEN_OPTIONS_H
#define MERLION_JEPSEN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *build, *dir;
    const char *maild; /* instead of the one in build; NULL: that */
    const char *next;  /* maild of another build; NULL: no upgrades */
    unsigned seconds, seconds_max, nodes, voters, fault_ms, calm_ms, rounds_min, delivered_min, disk_mb, pace;
    uint64_t seed;
    const char *fault;    /* these alone, by commas; NULL: all */
    const char *workload; /* these users alone, by commas; NULL: all */
    bool no_faults;
    bool smoke;     /* leave out faults that have a harder one of their kind */
    bool sync_lies; /* --unsafe-no-fsync */
};

/* Ends the process for --help, --list-faults and wrong usage. */
void options_parse(struct options *o, int argc, char **argv);

#endif
