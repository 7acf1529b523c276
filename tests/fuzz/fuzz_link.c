/* Any bytes from a peer: frames, then hellos. A frame is taken only when it is whole, and what it is does not depend on
 * what came with it. */
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

/* As it arrives: whatever is there of the frame, more is wanted, of which the size is known once its header is there.
 */
static void cut_anywhere(struct slice whole, const struct link_frame *f)
{
    struct link_frame again;
    size_t size, step = 1 + whole.n / 16;
    for (size_t have = 0; have < whole.n; have += step) {
        size = 0;
        ENSURE(link_frame_parse(slice_first(whole, have), LINK_FRAME_MAX, &again, &size) == LINK_FRAME_MORE);
        ENSURE(have < LINK_FRAME_HEADER ? size > have : size == whole.n);
    }
    ENSURE(link_frame_parse(whole, LINK_FRAME_MAX, &again, &size) == 0 && size == whole.n);
    ENSURE(again.type == f->type && again.request == f->request && slice_eq(again.payload, f->payload));
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
        cut_anywhere(slice_first(in, size), &f);
        greeting(f.payload);
        in = slice_from(in, size);
    }
    return 0;
}
