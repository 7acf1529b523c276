/* Any bytes as the head of an HTTP request: whatever was read so far, nothing is decided before the head is whole, and
 * then always the same. What is taken is in bounds and harmless to compare and to log. */
#include "node/http_head.h"
#include "tests/fuzz/fuzz.h"

static void ensure_path(struct slice path, struct slice in)
{
    ENSURE(path.n > 0 && path.p[0] == '/');
    ENSURE((path.p >= in.p && path.p + path.n <= in.p + in.n) || (path.n == 1 && in.n > 0));
    for (size_t i = 0; i < path.n; i++)
        ENSURE(path.p[i] > ' ' && path.p[i] < 127 && path.p[i] != '?');
}

/* As it arrives: in pieces, until there is an answer. */
static int read_in_pieces(struct slice in, struct fuzz_dice *dice, struct http_head *h, size_t *used)
{
    for (size_t have = 0; have < in.n;) {
        have += 1 + fuzz_roll(dice, 40);
        int status = http_head_parse(slice_first(in, have), h, used);
        if (status != HTTP_HEAD_MORE)
            return status;
    }
    return http_head_parse(in, h, used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct fuzz_dice dice = fuzz_dice_take(&in);
    struct http_head h, again;
    size_t used, used_again;
    int status = http_head_parse(in, &h, &used);
    ENSURE(status == HTTP_HEAD_MORE || (status >= 200 && status <= 505));
    ENSURE(used <= in.n && used <= HTTP_HEAD_MAX && (used > 0) == (status != HTTP_HEAD_MORE && status != 431));
    ENSURE(status == 200 || !h.keep);
    if (status == 200)
        ensure_path(h.path, in);
    ENSURE(read_in_pieces(in, &dice, &again, &used_again) == status && used_again == used);
    ENSURE(again.keep == h.keep && again.head == h.head && slice_eq(again.path, h.path));
    return 0;
}
