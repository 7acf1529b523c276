/* Any bytes as a message: the summary is valid, in bounds and answers every question. */
#include "protocol/mime/summary.h"
#include "protocol/mime/text.h"
#include "tests/fuzz/fuzz.h"

static void ensure_inside(const struct mime_part *p, uint64_t n)
{
    ENSURE(p->header_at + p->header_n <= n && p->body_at + p->body_n <= n);
    ENSURE(p->inner_header_at + p->inner_header_n <= n && p->inner_body_at + p->inner_body_n <= n);
}

static bool leaf(void *arg, const struct mime_part *p)
{
    ENSURE(!p->is_message && !p->is_multipart);
    ensure_inside(p, *(size_t *)arg);
    return true;
}

/* Walks every path that exists, breadth by breadth, to a few levels. */
static void find_all(struct slice summary, size_t n, uint32_t *path, size_t depth)
{
    for (path[depth] = 0; path[depth] < 6; path[depth]++) {
        struct mime_part p;
        if (mime_part_find(summary, path, depth + 1, &p))
            continue;
        ensure_inside(&p, n);
        if (depth < 4)
            find_all(summary, n, path, depth + 1);
    }
}

/* RFC 9051 9: parentheses balance outside of strings, and no string holds what it must not. */
static void ensure_response(struct slice s)
{
    int depth = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"') {
            for (i++; i < s.n && s.p[i] != '"'; i++) {
                ENSURE(s.p[i] != '\r' && s.p[i] != '\n');
                i += s.p[i] == '\\';
            }
        } else if (s.p[i] == '{') {
            size_t n = 0;
            for (i++; s.p[i] != '}'; i++)
                n = n * 10 + (size_t)(s.p[i] - '0');
            ENSURE(s.n - i > 2 + n && s.p[i + 1] == '\r' && s.p[i + 2] == '\n');
            i += 2 + n;
        } else {
            ENSURE(s.p[i] > 31 && s.p[i] < 127);
            depth += s.p[i] == '(' ? 1 : s.p[i] == ')' ? -1 : 0;
            ENSURE(depth > 0 || i + 1 == s.n);
        }
    }
    ENSURE(depth == 0 && slice_find(s, 0) == s.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice message = slice_make(data, n);
    struct buf summary = {0}, out = {0};
    mime_summary_build(message, &summary);
    struct slice s = buf_slice(&summary);
    ENSURE(s.n <= MIME_SUMMARY_MAX && mime_summary_check(s) == 0);
    for (unsigned i = 0; i < 2; i++) {
        mime_envelope_write(s, i, &out);
        ensure_response(buf_slice(&out));
        buf_clear(&out);
        for (unsigned extended = 0; extended < 2; extended++) {
            mime_structure_write(s, extended, i, &out);
            ensure_response(buf_slice(&out));
            buf_clear(&out);
        }
    }
    uint32_t path[8];
    find_all(s, n, path, 0);
    mime_part_each(s, leaf, &n);
    int64_t ms;
    int32_t day;
    mime_summary_date(s, &ms, &day);
    for (int f = MIME_FROM; f <= MIME_IN_REPLY_TO; f++)
        mime_summary_field(s, (enum mime_field)f, &out);
    struct text_needle *needle = text_needle_new(SLICE_LITERAL("never \xc3\xa9 there"));
    text_search_message(message, s, needle, true);
    text_needle_free(&needle);
    buf_close(&summary);
    buf_close(&out);
    return 0;
}
