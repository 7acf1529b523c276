/* Any bytes as a Raft message of a peer: refused, or messages that libraft can be given, which encode to what decodes.
 */
#include "replication/message.h"
#include "tests/fuzz/fuzz.h"

static void ensure_message(struct raft_message *m)
{
    struct buf out = {0};
    unsigned n = m->type == RAFT_APPEND_ENTRIES ? m->append_entries.n_entries : 0;
    ENSURE(n <= MESSAGE_ENTRIES_MAX);
    if (n > 0)
        ENSURE(message_chunk(&m->append_entries, 0) >= 1);
    message_encode(m, 0, n, &out);
    struct message_list again;
    ENSURE(message_decode(buf_slice(&out), &again) == 0 && again.n >= 1 && again.items[0].type == m->type);
    for (unsigned i = 0; i < again.n; i++)
        message_discard(&again.items[i]);
    message_list_free(&again);
    buf_close(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct message_list l;
    message_configuration_check(slice_make(data, n));
    if (message_decode(slice_make(data, n), &l))
        return 0;
    for (unsigned i = 0; i < l.n; i++) {
        ensure_message(&l.items[i]);
        message_discard(&l.items[i]);
    }
    message_list_free(&l);
    return 0;
}
