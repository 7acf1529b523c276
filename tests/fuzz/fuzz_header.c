/* Any bytes as a header block, and its values as addresses, words, parameters and dates. */
#include "protocol/mime/address.h"
#include "protocol/mime/date.h"
#include "protocol/mime/param.h"
#include "protocol/mime/summary.h"
#include "protocol/mime/text.h"
#include "tests/fuzz/fuzz.h"

struct count {
    size_t addresses, octets;
    int groups;
};

static bool address(void *arg, const struct mime_address *a)
{
    struct count *c = arg;
    c->addresses++;
    c->octets += a->mailbox.n + a->host.n + a->route.n;
    c->groups += a->kind == MIME_ADDRESS_GROUP ? 1 : a->kind == MIME_ADDRESS_GROUP_END ? -1 : 0;
    ENSURE(c->groups == 0 || c->groups == 1);
    return true;
}

static void value_try(struct slice value)
{
    struct count c = {0};
    mime_address_each(value, address, &c);
    ENSURE(c.groups == 0 && c.octets <= value.n && c.addresses <= value.n * 2 + 1);
    struct arena arena = {0};
    struct mime_value v;
    mime_value_parse(value, &arena, &v);
    ENSURE(v.n <= MIME_PARAMS_MAX && v.token.n <= value.n);
    struct slice tokens[8];
    ENSURE(mime_tokens_parse(value, tokens, 8) <= 8);
    arena_close(&arena);
    struct mime_date date;
    if (mime_date_parse(value, &date))
        ENSURE(date.ms / 86400000 - date.local_day < 6 && date.local_day - date.ms / 86400000 < 6);
    struct buf out = {0};
    text_decode_words(value, &out);
    buf_close(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice header = slice_make(data, n);
    struct header_field f;
    size_t before = 0, length = header_length(header);
    ENSURE(length <= n);
    for (size_t at = 0; header_next(header, &at, &f); before = at) {
        ENSURE(at > before && at <= length);
        ENSURE(f.line.p + f.line.n == data + at && f.name.p >= data + before && f.name.n > 0);
        struct buf line = {0};
        header_unfold(f.value, &line);
        ENSURE(slice_find(buf_slice(&line), '\n') == buf_len(&line) &&
               slice_find(buf_slice(&line), 0) == buf_len(&line));
        value_try(buf_slice(&line));
        buf_close(&line);
    }
    value_try(header);
    return 0;
}
