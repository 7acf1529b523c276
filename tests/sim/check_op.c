/* Commands of clients: begun, executed in the log, answered. */
#include "tests/sim/check.h"

#include "node/base/err.h"

static struct op *ops;
static uint64_t op_n, op_cap, acknowledged;

uint64_t check_op_begin(void)
{
    if (op_n == op_cap) {
        op_cap = op_cap ? 2 * op_cap : 1024;
        ops = mem_realloc(ops, op_cap * sizeof *ops);
    }
    ops[op_n] = (struct op){.state = OP_PENDING};
    sim_counts.commands++;
    return ++op_n;
}

struct op *check_op(uint64_t tag)
{
    return tag && tag <= op_n ? &ops[tag - 1] : NULL;
}

static void answered(struct op *op, uint64_t tag, struct slice result, uint64_t index)
{
    sim_counts.acknowledged++;
    op->state = OP_ACKNOWLEDGED;
    if (op->executed == 0)
        sim_fail(&sim_counts.lost, "command %llu was acknowledged at %llu and nobody has applied it",
                 (unsigned long long)tag, (unsigned long long)index);
    if (index < op->executed || index > model.frontier)
        sim_fail(&sim_counts.other, "command %llu is said to be at %llu, it ran at %llu of %llu",
                 (unsigned long long)tag, (unsigned long long)index, (unsigned long long)op->executed,
                 (unsigned long long)model.frontier);
    if (checksum64(result) != op->result_sum)
        sim_fail(&sim_counts.other, "command %llu ran at %llu, and its client was told another result",
                 (unsigned long long)tag, (unsigned long long)op->executed);
    if (index > acknowledged)
        acknowledged = index;
}

void check_op_done(uint64_t tag, int status, struct slice result, uint64_t index)
{
    struct op *op = check_op(tag);
    sim_trace("op %llu done %s at %llu", (unsigned long long)tag, err_name(status), (unsigned long long)index);
    if (status == 0) {
        answered(op, tag, result, index);
    } else if (status == ERR_TIMEOUT) {
        op->state = OP_UNKNOWN;
        sim_counts.unknown++;
    } else {
        op->state = OP_REFUSED;
        sim_counts.refused++;
        if (op->executed)
            sim_fail(&sim_counts.other, "command %llu ran at %llu, and its client was told %s, that it never will",
                     (unsigned long long)tag, (unsigned long long)op->executed, err_name(status));
    }
}

uint64_t check_acknowledged_index(void)
{
    return acknowledged;
}

void check_read(uint64_t acknowledged_before, const struct store_view *v)
{
    sim_counts.reads++;
    if (store_view_index(v) < acknowledged_before)
        sim_fail(&sim_counts.stale, "a read on host %u shows %llu, when it began %llu was acknowledged",
                 sim_host_index(sim_host_now()), (unsigned long long)store_view_index(v),
                 (unsigned long long)acknowledged_before);
}
