/* Any bytes as a PROXY header: every shorter input wants more or is refused alike, and what is taken is in bounds. */
#include "node/proxy.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct proxy_header h, again;
    struct network network;
    size_t used = 0, used_again = 0;
    int result = proxy_parse(in, &h, &used);
    ENSURE(result == 0 || result == 1 || result == ERR_PROTOCOL);
    if (result == 0) {
        ENSURE(used > 0 && used <= n && memchr(h.address, 0, sizeof(h.address)));
        ENSURE(proxy_parse(slice_first(in, used), &again, &used_again) == 0 && used_again == used);
        for (size_t cut = 0; cut < used; cut++)
            ENSURE(proxy_parse(slice_first(in, cut), &again, &used_again) == 1);
    } else if (result == 1) {
        ENSURE(n < 16 + PROXY_V2_MAX);
    }
    if (network_parse(in, &network) == 0)
        ENSURE(network.bits <= 128);
    return 0;
}
