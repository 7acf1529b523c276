#ifndef SIM_SELFTEST_EDGE_H
#define SIM_SELFTEST_EDGE_H

#include "tests/sim/sim.h"

#define CHECK(cond) edge_check((cond), __FILE__, __LINE__, #cond)
void edge_check(bool ok, const char *file, int line, const char *what);
/* fn(arg) on that host; returns when it has ended, or its host has died. From host 0. */
void edge_on(unsigned host, sim_fn *fn, void *arg);
/* `name` on host 0, with forty seeds, each in a process of its own. *told is the sum of what they added to edge_told.
 */
unsigned edge_histories(sim_fn *begin);
extern unsigned edge_told;

int edge_boot(void);
int edge_disk(void);
int edge_log(void);
int edge_net(void);

#endif
