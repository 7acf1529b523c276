/* Any bytes as a stored summary: every reader copes, checked or not; a checked one keeps the limits. */
#include "protocol/mime/summary.h"
#include "protocol/mime/text.h"
#include "tests/fuzz/fuzz.h"

static bool leaf(void *arg, const struct mime_part *p)
{
    (void)p;
    return ++*(unsigned *)arg < MIME_PARTS_MAX + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice s = slice_make(data, n);
    bool valid = mime_summary_check(s) == 0;
    struct buf out = {0};
    mime_envelope_write(s, true, &out);
    mime_structure_write(s, true, false, &out);
    unsigned leaves = 0;
    mime_part_each(s, leaf, &leaves);
    ENSURE(!valid || leaves <= MIME_PARTS_MAX);
    for (int f = MIME_FROM; f <= MIME_IN_REPLY_TO; f++)
        mime_summary_field(s, (enum mime_field)f, &out);
    struct mime_part part;
    for (uint32_t i = 0; i < 4; i++)
        mime_part_find(s, (uint32_t[]){i, i, 1}, i, &part);
    int64_t ms;
    int32_t day;
    mime_summary_date(s, &ms, &day);
    struct text_needle *needle = text_needle_new(SLICE_LITERAL("x"));
    text_search_message(s, s, needle, true);
    text_needle_free(&needle);
    buf_close(&out);
    return 0;
}
