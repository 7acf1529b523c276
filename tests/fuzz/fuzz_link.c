/* Any bytes from a peer: frames, then hellos. */
#include "replication/link_frame.h"
#include "tests/fuzz/fuzz.h"

static void greeting(struct slice in)
{
    struct link_greeting g;
    if (link_greeting_decode(in, &g))
        return;
    ENSURE(memchr(g.why, 0, sizeof(g.why)) && memchr(g.hello.version, 0, sizeof(g.hello.version)));
    struct buf out = {0};
    link_greeting_encode(&g, &out);
    struct link_greeting again;
    ENSURE(link_greeting_decode(buf_slice(&out), &again) == 0);
    ENSURE(again.cluster_id == g.cluster_id && again.hello.instance == g.hello.instance && again.dead_ms == g.dead_ms);
    buf_close(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct link_frame f;
    size_t size = 0;
    greeting(in);
    for (int result; (result = link_frame_parse(in, LINK_FRAME_MAX, &f, &size)) != ERR_PROTOCOL;) {
        if (result) {
            ENSURE(result == ERR_TOOBIG || (result == LINK_FRAME_MORE && size > in.n));
            break;
        }
        ENSURE(size >= LINK_FRAME_HEADER && size <= in.n);
        ENSURE(f.payload.n <= size && (f.payload.n == 0 || f.payload.p + f.payload.n <= in.p + size));
        greeting(f.payload);
        in = slice_from(in, size);
    }
    return 0;
}
