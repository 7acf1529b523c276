#include "tests/fuzz/fuzz_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const preludes[] = {"", "USER u@x.test\r\nPASS pw\r\n",
                                           "USER u@x.test\r\nPASS pw\r\nDELE 1\r\n"};
    fuzz_session_run(slice_make(data, n), pop3_session_new, preludes, 3);
    return 0;
}
