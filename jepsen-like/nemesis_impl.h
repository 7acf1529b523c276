/* What the files of faults share. Main thread. */
#ifndef MERLION_JEPSEN_NEMESIS_IMPL_H
#define MERLION_JEPSEN_NEMESIS_IMPL_H

#include "jepsen-like/cluster.h"
#include "jepsen-like/nemesis.h"
#include "jepsen-like/net.h"

enum { RECOVERIES_MAX = 10000 };

struct nemesis {
    const struct nemesis_options *o;
    struct nemesis_result *r;
    struct rng rng;
    unsigned victim;             /* of the fault that is on; 0: several or none */
    bool victims[NODES_MAX + 1]; /* those to start again */
    unsigned recoveries[RECOVERIES_MAX], recovery_n;
};

/* A fault begins, lasts, ends; then the cluster must serve again. */
struct fault {
    const char *name;
    void (*begin)(struct nemesis *n);
    void (*end)(struct nemesis *n);
    bool disks;      /* only where nodes have disks of their own */
    bool next_build; /* only where there is another build */
    bool long_only;  /* left out of --smoke, which has a harder one of its kind */
};
struct fault_list {
    const struct fault *faults;
    unsigned n;
};
extern const struct fault_list faults_of_processes, faults_of_network, faults_of_members, faults_of_disks;

unsigned nemesis_node(struct nemesis *n);
unsigned nemesis_leader(struct nemesis *n); /* any node while none is known */
/* A random order of the nodes. */
void nemesis_shuffle(struct nemesis *n, unsigned order[NODES_MAX]);
/* Voters but for one, or all nodes. Returns how many. */
unsigned nemesis_majority(struct nemesis *n, unsigned nodes[NODES_MAX]);
/* Whether the node takes mail now. */
bool nemesis_serves(unsigned node);
void nemesis_kill(struct nemesis *n, unsigned node);
void nemesis_start_killed(struct nemesis *n);
void nemesis_wait(unsigned ms);
/* Waits until all members are well and enough of them vote. Before a node loses its data for good: a cluster that has
 * two voters, while a third one still fetches bodies, does not survive that, and does not promise to. */
void nemesis_whole(struct nemesis *n);
void nemesis_nothing(struct nemesis *n);

#endif
