/* Faults in a node's files, made while it is down. */
#ifndef MERLION_JEPSEN_DAMAGE_H
#define MERLION_JEPSEN_DAMAGE_H

#include "jepsen-like/util.h"

/* Flips so many single bits at random places of the body segments under the node's data folder. Returns how many. */
unsigned damage_bodies(const char *data, unsigned bits, struct rng *r);

/* The same in a segment of the Raft log: mostly a closed one, where there is one. */
unsigned damage_log(const char *data, unsigned bits, struct rng *r);

/* The same in LMDB's file of the state, and of the index of bodies. */
unsigned damage_state(const char *data, unsigned bits, struct rng *r);
unsigned damage_index(const char *data, unsigned bits, struct rng *r);

#endif
