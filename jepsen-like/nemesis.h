/* Faults, one at a time, and how long the cluster takes to serve on every node after each. Main thread. */
#ifndef MERLION_JEPSEN_NEMESIS_H
#define MERLION_JEPSEN_NEMESIS_H

#include "jepsen-like/util.h"

struct nemesis_options {
    uint64_t seconds; /* goes on so long, and until every fault came rounds_min times */
    unsigned rounds_min;
    bool (*enough)(void); /* and until this says so */
    uint64_t seconds_max; /* but no longer; 0: no limit */
    unsigned fault_ms;    /* a fault lasts between a third of it and it */
    unsigned calm_ms;     /* after the cluster serves again */
    bool disks;           /* nodes have disks of their own */
    bool next_build;      /* there is one to upgrade to */
    bool smoke;           /* leave out faults that have a harder one of their kind */
    const char *only;     /* names of faults, by commas, or NULL */
    uint64_t seed;
};

struct nemesis_result {
    bool out_of_time;                      /* ended before every fault came so often */
    unsigned faults, kinds, least;         /* made; kinds; how often the rarest came */
    unsigned late;                         /* recoveries that took longer than RECOVERY_MAX_MS */
    unsigned upgrades, upgrade_wrong;      /* made; nodes that did not tell the new version */
    unsigned upgrade_ops, upgrade_refused; /* operations of clients meanwhile */
    unsigned recovery_p50_ms, recovery_p99_ms, recovery_max_ms;
};
enum { RECOVERY_MAX_MS = 30000 };

void nemesis_run(const struct nemesis_options *o, struct nemesis_result *r);
void nemesis_list(void);

/* Whether a fault or the recovery after it fell into the time. Once the faults are over. */
bool nemesis_was_on(uint64_t from, uint64_t to);

/* Delivers to probe@ through every node. Returns how long it took until all had accepted one, or 0 past max_ms. */
unsigned nemesis_recovery_ms(unsigned max_ms);

#endif
