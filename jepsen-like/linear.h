/* Whether what clients saw of one register can be explained by one order of its operations that keeps real time
 * (Wing and Gong's search, with Lowe's memory of the states already tried). */
#ifndef MERLION_JEPSEN_LINEAR_H
#define MERLION_JEPSEN_LINEAR_H

#include <stddef.h>
#include <stdint.h>

enum linear_kind {
    LINEAR_READ,     /* saw a */
    LINEAR_WRITE,    /* set a */
    LINEAR_CAS,      /* found a and set b */
    LINEAR_CAS_FAIL, /* found something else than a */
};

struct linear_op {
    uint64_t start;
    uint64_t end; /* LINEAR_NEVER: its outcome is not known; it may take effect at any time from start on, or never */
    enum linear_kind kind;
    int64_t a, b;
};
#define LINEAR_NEVER UINT64_MAX

enum linear_result { LINEAR_YES, LINEAR_NO, LINEAR_UNKNOWN };

/* At most states_max states are remembered; past that the result is LINEAR_UNKNOWN. */
enum linear_result linear_check(const struct linear_op *ops, size_t n, int64_t initial, size_t states_max);

#endif
