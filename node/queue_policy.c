#include "node/queue_policy.h"

#include "node/base/err.h"
#include "store/queue.h"

#include <stdio.h>

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };

const struct queue_schedule queue_schedule_default = {
    .waits_ms = {5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR},
    .n = 6,
    .lifetime_ms = 5 * (int64_t)DAY,
    .notice_after_ms = 4 * HOUR,
};

int queue_duration_parse(struct slice text, int64_t *ms_r)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', SECOND}, {'m', MINUTE}, {'h', HOUR}, {'d', DAY}};
    uint64_t n;
    if (slice_eq(text, SLICE_LITERAL("0"))) {
        *ms_r = 0;
        return 0;
    }
    if (text.n < 2 || slice_u64(slice_first(text, text.n - 1), 365 * 24 * 3600, &n))
        return ERR_INVALID;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (text.p[text.n - 1] == units[i].unit && (int64_t)n <= 365 * (int64_t)DAY / units[i].ms) {
            *ms_r = (int64_t)n * units[i].ms;
            return 0;
        }
    return ERR_INVALID;
}

int queue_schedule_parse(struct slice text, struct queue_schedule *s)
{
    unsigned n = 0;
    struct queue_schedule fresh = *s;
    while ((text = slice_trim(text)).n) {
        size_t end = 0;
        while (end < text.n && text.p[end] != ' ' && text.p[end] != '\t')
            end++;
        if (n == QUEUE_SCHEDULE_MAX)
            return ERR_TOOBIG;
        if (queue_duration_parse(slice_first(text, end), &fresh.waits_ms[n]) || fresh.waits_ms[n] < SECOND)
            return ERR_INVALID;
        n++;
        text = slice_from(text, end);
    }
    if (n == 0)
        return ERR_INVALID;
    fresh.n = n;
    *s = fresh;
    return 0;
}

int64_t queue_next_ms(const struct queue_schedule *s, unsigned attempt, int64_t now_ms, int64_t expires_ms,
                      uint32_t random)
{
    unsigned place = attempt == 0 ? 0 : attempt - 1;
    int64_t wait = s->waits_ms[place < s->n ? place : s->n - 1];
    wait += wait / 10 * ((int64_t)(random % 2001) - 1000) / 1000;
    int64_t next = now_ms + wait;
    return next > expires_ms && expires_ms > now_ms ? expires_ms : next;
}

bool queue_is_expired(int64_t now_ms, int64_t expires_ms)
{
    return now_ms >= expires_ms;
}

void queue_lifetime_text(int64_t received_ms, int64_t expires_ms, char *out, size_t n)
{
    int64_t s = (expires_ms - received_ms + SECOND - 1) / SECOND, day = DAY / SECOND, hour = HOUR / SECOND;
    if (s >= day && s % day < hour)
        snprintf(out, n, "%lld day%s", (long long)(s / day), s / day == 1 ? "" : "s");
    else if (s >= 2 * hour)
        snprintf(out, n, "%lld hours", (long long)(s / hour));
    else
        snprintf(out, n, "%lld s", (long long)s);
}

bool queue_notice_failed(uint32_t notify)
{
    return notify == 0 || ((notify & QUEUE_NOTIFY_FAILURE) && !(notify & QUEUE_NOTIFY_NEVER));
}

bool queue_notice_relayed(uint32_t notify)
{
    return (notify & QUEUE_NOTIFY_SUCCESS) && !(notify & QUEUE_NOTIFY_NEVER);
}

bool queue_notice_delayed(const struct queue_schedule *s, uint32_t notify, bool warned, int64_t received_ms,
                          int64_t now_ms)
{
    bool wanted = notify == 0 || ((notify & QUEUE_NOTIFY_DELAY) && !(notify & QUEUE_NOTIFY_NEVER));
    return wanted && !warned && s->notice_after_ms > 0 && now_ms - received_ms >= s->notice_after_ms;
}

unsigned queue_share(unsigned max, unsigned nodes, unsigned deliveries)
{
    unsigned half = deliveries > 1 ? deliveries / 2 : 1;
    if (max == 0)
        return half;
    unsigned share = nodes > 1 ? (max + nodes - 1) / nodes : max;
    return share < half ? share : half;
}

unsigned queue_fair_share(const unsigned *wanted, unsigned *given, unsigned n, unsigned room)
{
    unsigned total = 0;
    bool more = true;
    for (unsigned i = 0; i < n; i++)
        given[i] = 0;
    while (more) {
        more = false;
        for (unsigned i = 0; i < n && total < room; i++)
            if (given[i] < wanted[i]) {
                given[i]++;
                total++;
                more = true;
            }
    }
    return total;
}
