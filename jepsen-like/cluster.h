/* The cluster as its members tell it by mailctl, and changes of who belongs to it. Main thread. */
#ifndef MERLION_JEPSEN_CLUSTER_H
#define MERLION_JEPSEN_CLUSTER_H

#include <jansson.h>

#include "jepsen-like/nodes.h"

/* Makes the cluster of the nodes that run and waits until all are well. Ends the process when that fails. */
void cluster_make(void);

/* As an operator does with a node that lost its data: remove the member, empty its disk, join under another name.
 * When the removal is refused for long, the node stays down: a finding. */
void cluster_node_replace(unsigned node);

/* status --json of the first node that answers; NULL when none does. The caller frees it. */
json_t *cluster_status(void);
/* The leader as a number, 0: none known. */
unsigned cluster_leader(void);
/* Voters as numbers. Returns how many. */
unsigned cluster_voters(unsigned voters_r[NODES_MAX]);
/* The version of Merlion that the members say the node runs. */
bool cluster_version(unsigned node, char *version_r, size_t n);
/* Whether all members are ok, lack no body and one leads. */
bool cluster_well(void);

#endif
