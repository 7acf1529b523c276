/* The network of the test: hosts, each a network namespace with one TUN device, and a switch in this process that
 * carries their IPv4 packets. The switch is where faults are made: cuts (each direction for itself), delay, loss,
 * duplication and reordering. Namespaces have no name and devices are not persistent: the kernel removes both with this
 * process, however it ends.
 *
 * Hosts are numbers from 1; host H has the address 10.77.0.H. */
#ifndef MERLION_JEPSEN_NET_H
#define MERLION_JEPSEN_NET_H

#include <stdbool.h>
#include <stdint.h>

enum { NET_HOSTS_MAX = 64 };

/* Makes the hosts 1..n and starts the switch's thread. Ends the process when it may not (root is needed). */
void net_start(unsigned n);
void net_stop(void);

/* From here on sockets of the calling thread belong to the host. Safe between fork and exec. Returns 0 or -1. */
int net_enter(unsigned host);

/* The rules may be changed at any time from any thread; they hold for the next packet. */
void net_cut(unsigned from, unsigned to, bool cut);

struct net_shape {
    uint16_t delay_ms, jitter_ms;      /* added to every packet: the fixed part, and up to so much more */
    uint16_t loss, duplicate, reorder; /* of 1,000 packets; a reordered one comes 2..20 ms later */
};
/* For every packet between the hosts 1..nodes; all zero is none. */
void net_shape_set(unsigned nodes, struct net_shape shape);

/* Removes all cuts and the shape. */
void net_heal(void);

/* Packets carried and dropped by a rule so far. */
void net_counts(uint64_t *carried_r, uint64_t *dropped_r);

#endif
