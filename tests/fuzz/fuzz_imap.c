#include "tests/fuzz/fuzz_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const preludes[] = {
        "", "a LOGIN u@x.test pw\r\n", "a LOGIN u@x.test pw\r\nb SELECT INBOX\r\n",
        "a LOGIN u@x.test pw\r\nb ENABLE IMAP4rev2 CONDSTORE\r\nc SELECT INBOX (CONDSTORE)\r\n"};
    fuzz_session_run(slice_make(data, n), imap_session_new, preludes, 4);
    return 0;
}
