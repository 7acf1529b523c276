#include "jepsen-like/message.h"

#include <stdio.h>
#include <string.h>

/* Most are small, some go past what rides inside a command. */
static unsigned lines_random(struct rng *r)
{
    switch (rng_below(r, 20)) {
    case 0:
        return 1200;
    case 1:
    case 2:
        return 150 + rng_below(r, 200);
    default:
        return 1 + rng_below(r, 30);
    }
}

void message_make(struct text *out, const char *group, uint64_t id, struct rng *r)
{
    struct text body = {0};
    for (unsigned n = lines_random(r); n; n--)
        text_printf(&body, "%016llx %016llx %016llx\r\n", (unsigned long long)rng_next(r),
                    (unsigned long long)rng_next(r), (unsigned long long)rng_next(r));
    text_clear(out);
    text_printf(out,
                "From: %s@example.org\r\nTo: %s@example.org\r\nSubject: %s %llu\r\n"
                "Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <%s.%llu@example.net>\r\n"
                "X-Sum: %016llx\r\nX-Jep: %s-%llu\r\n\r\n",
                group, group, group, (unsigned long long)id, group, (unsigned long long)id,
                (unsigned long long)fnv64(FNV64_START, body.p, body.n), group, (unsigned long long)id);
    text_append(out, body.p, body.n);
    text_free(&body);
}

bool message_header_parse(const char *text, char group_r[MESSAGE_GROUP_MAX], uint64_t *id_r)
{
    unsigned long long id;
    const char *p = strstr(text, "X-Jep: ");
    if (!p || sscanf(p, "X-Jep: %15[a-z0-9]-%llu", group_r, &id) != 2)
        return false;
    *id_r = id;
    return true;
}

bool message_parse(const char *bytes, size_t n, char group_r[MESSAGE_GROUP_MAX], uint64_t *id_r)
{
    unsigned long long sum;
    const char *end = memmem(bytes, n, "\r\n\r\n", 4), *p = memmem(bytes, n, "X-Sum: ", 7);
    if (!end || !p || p > end || sscanf(p, "X-Sum: %llx", &sum) != 1 || !message_header_parse(p, group_r, id_r))
        return false;
    end += 4;
    return fnv64(FNV64_START, end, n - (size_t)(end - bytes)) == sum;
}
