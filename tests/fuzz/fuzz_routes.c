/* Any bytes as what an operator sets for the queue: refused with a line to look at, or tables in which every name has
 * one answer, whose hosts and addresses can go to a resolver and a socket, and no password goes out in the clear. */
#include "node/queue_policy.h"
#include "node/queue_route.h"
#include "tests/fuzz/fuzz.h"

static struct slice part_take(struct slice *in)
{
    size_t n = slice_find(*in, 0);
    struct slice part = slice_first(*in, n);
    *in = slice_from(*in, n + 1);
    return part;
}

static void ensure_route(const struct route *r)
{
    ENSURE(r && r->pattern && !r->user == !r->password);
    ENSURE(!r->user || (r->tls != SMTP_TLS_NONE && r->tls != SMTP_TLS_MAY));
    ENSURE(!r->source || route_is_address(slice_str(r->source)));
    ENSURE(!r->host || r->host[0]);
}

static void address(struct slice text)
{
    char out[160], again[160];
    if (route_address(text, 25, out, sizeof out))
        return;
    struct slice whole = slice_str(out);
    size_t colon = whole.n;
    while (whole.p[colon - 1] != ':')
        colon--;
    struct slice host = slice_first(whole, colon - 1);
    if (host.p[0] == '[')
        host = slice_make(host.p + 1, host.n - 2);
    ENSURE(route_is_address(host));
    ENSURE(route_address(whole, 1, again, sizeof again) == 0 && strcmp(out, again) == 0);
}

static void lookups(struct routes *r, struct slice text)
{
    while (text.n > 0) {
        size_t n = 0;
        while (n < text.n && text.p[n] > ' ' && text.p[n] != ';')
            n++;
        struct slice word = slice_first(text, n);
        const char *const *addresses;
        const struct route *found = route_find(r, word);
        ensure_route(found);
        ENSURE(route_find(r, word) == found);
        const char *source = route_source(r, word);
        ENSURE(!source || route_is_address(slice_str(source)));
        for (unsigned i = route_host(r, word, &addresses); i > 0; i--) {
            char out[160];
            ENSURE(route_address(slice_str(addresses[i - 1]), 25, out, sizeof out) == 0);
        }
        address(word);
        text = slice_from(text, n + 1);
    }
}

static void schedule(struct slice text, struct fuzz_dice *dice)
{
    struct queue_schedule s = {0};
    int64_t ms;
    if (queue_duration_parse(text, &ms) == 0)
        ENSURE(ms >= 0 && ms <= (int64_t)365 * 86400 * 1000);
    if (queue_schedule_parse(text, &s))
        return;
    ENSURE(s.n > 0 && s.n <= QUEUE_SCHEDULE_MAX);
    int64_t now = 1700000000000, end = now + (int64_t)fuzz_roll(dice, 86400000);
    for (unsigned attempt = 1; attempt < 40; attempt++) {
        int64_t next = queue_next_ms(&s, attempt, now, end, fuzz_roll(dice, UINT32_MAX));
        ENSURE(next > now && next <= (end > now ? end : next));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct fuzz_dice dice = fuzz_dice_take(&in);
    struct slice routes = part_take(&in), sources = part_take(&in), hosts = part_take(&in);
    struct routes *r;
    struct err_detail e = {0};
    int rv = routes_new(routes, sources, hosts, &r, &e);
    ENSURE(rv == 0 || ((rv == ERR_INVALID || rv == ERR_TOOBIG) && !r && e.text[0]));
    if (rv == 0) {
        lookups(r, routes);
        lookups(r, sources);
        lookups(r, hosts);
        lookups(r, in);
        routes_free(&r);
    }
    schedule(routes, &dice);
    return 0;
}
