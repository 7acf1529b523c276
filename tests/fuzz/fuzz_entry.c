/* Any bytes as a log entry: none is called of a malformed one; a store refuses it as a whole or applies it. */
#include "node/base/log.h"
#include "store/store.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_store.h"

struct walk {
    struct slice entry;
    size_t called, octets;
};

static int command(void *arg, struct slice c)
{
    struct walk *w = arg;
    ENSURE(c.n == 0 || (c.p > w->entry.p && c.p + c.n <= w->entry.p + w->entry.n));
    w->called++;
    w->octets += c.n;
    return 0;
}

static struct fuzz_store f; /* nothing is ever committed to it */

static void clean_up(void)
{
    if (f.store)
        fuzz_store_close(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static bool registered;
    if (!registered)
        registered = atexit(clean_up) == 0;
    log_set_level(getenv("FUZZ_VERBOSE") ? LOG_DEBUG : LOG_ERROR + 1);
    if (!f.store)
        fuzz_store_open(&f);
    struct slice in = slice_make(data, n);
    struct walk w = {.entry = in};
    int result = entry_each(in, command, &w);
    ENSURE(result == 0 || (result == ERR_PROTOCOL && w.called == 0));
    ENSURE(w.octets <= n && w.called <= ENTRY_COMMANDS_MAX);
    ENSURE(store_batch_begin(f.store) == 0);
    int applied = store_apply(f.store, 1, 1, in);
    ENSURE(result == 0 || applied != 0);
    store_batch_abort(f.store);
    if (applied) /* a failed store stays failed */
        fuzz_store_close(&f);
    return 0;
}
