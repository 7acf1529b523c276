/* How many connections each client address has. Any thread. */
#ifndef NODE_LISTENER_LIMIT_H
#define NODE_LISTENER_LIMIT_H

#include <stdbool.h>

struct address_counts;

struct address_counts *address_counts_new(void);
void address_counts_free(struct address_counts **a);
/* Counts one more, unless that would make more than max (0: no limit). An IPv6 client is its /64. */
bool address_counts_add(struct address_counts *a, const char *address, unsigned max);
void address_counts_remove(struct address_counts *a, const char *address);

#endif
