/* Any bytes as a packed command: its time is read, and replaced, without unpacking it. That must be the time that the
 * state machine sees, or a peer's clock could move the state's in spite of the leader. */
#include "replication/cluster_time.h"
#include "store/command.pb-c.h"
#include "tests/fuzz/fuzz.h"

static void ensure_replaced(struct slice in, const Merlion__Command *c, int64_t time_ms)
{
    int64_t t = -1;
    struct bytes *out = cluster_time_replace(in, time_ms);
    Merlion__Command *again = merlion__command__unpack(NULL, out->n, out->p);
    ENSURE(again && again->time_ms == time_ms && again->op_case == c->op_case && !again->id == !c->id);
    ENSURE(cluster_time_read(bytes_slice(out), &t) && t == time_ms);
    merlion__command__free_unpacked(again, NULL);
    bytes_unref(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct fuzz_dice dice = fuzz_dice_take(&in);
    int64_t t = -1;
    bool readable = cluster_time_read(in, &t);
    Merlion__Command *c = merlion__command__unpack(NULL, in.n, in.p ? in.p : (const uint8_t *)"");
    if (c) {
        ENSURE(readable && t == (int64_t)c->time_ms);
        ensure_replaced(in, c, (int64_t)((uint64_t)fuzz_roll(&dice, UINT32_MAX) << fuzz_roll(&dice, 33)));
        ensure_replaced(in, c, 0);
        merlion__command__free_unpacked(c, NULL);
    }
    return 0;
}
