#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds. Wall time since the Unix epoch, and a steady clock that only counts up. Node, replication and io
 * only: protocol and store are handed the time. */
int64_t clock_wall_ms(void);
int64_t clock_steady_ms(void);
int64_t clock_steady_us(void);

#endif
