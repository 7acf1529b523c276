/* What the queue does when: pure decisions, no clock, no state. Times are wall clock ms. */
#ifndef NODE_QUEUE_POLICY_H
#define NODE_QUEUE_POLICY_H

#include "node/base/slice.h"

enum { QUEUE_SCHEDULE_MAX = 32 };

struct queue_schedule {
    int64_t waits_ms[QUEUE_SCHEDULE_MAX]; /* after the 1st, 2nd … attempt; the last one repeats */
    unsigned n;
    int64_t lifetime_ms;     /* then what is left has failed */
    int64_t notice_after_ms; /* one notice of delay then; 0: none */
};
extern const struct queue_schedule queue_schedule_default;

/* "90s", "5m", "2h", "5d"; a bare "0". At most 365 days. 0 or ERR_INVALID. */
int queue_duration_parse(struct slice text, int64_t *ms_r);
/* Durations with spaces between them, each at least a second. 0, ERR_INVALID, ERR_TOOBIG. */
int queue_schedule_parse(struct slice text, struct queue_schedule *s);

/* When to try again after attempt number `attempt` (from 1) at now_ms: never after the end of its life, so that the
 * last attempt is made then. random spreads by ±10 %. */
int64_t queue_next_ms(const struct queue_schedule *s, unsigned attempt, int64_t now_ms, int64_t expires_ms,
                      uint32_t random);
/* Deferred at now_ms: is this the end? */
bool queue_is_expired(int64_t now_ms, int64_t expires_ms);

/* "5 days", "6 hours", "90 s": how long it was tried, for people. The two times were taken a moment apart, so that is
 * rounded up to whole seconds. */
void queue_lifetime_text(int64_t received_ms, int64_t expires_ms, char *out, size_t n);

/* RFC 3461 4.1 for one recipient; notify as QUEUE_NOTIFY_*, 0: not given. */
bool queue_notice_failed(uint32_t notify);
bool queue_notice_relayed(uint32_t notify);
/* Of an item received at received_ms; warned: there was one. */
bool queue_notice_delayed(const struct queue_schedule *s, uint32_t notify, bool warned, int64_t received_ms,
                          int64_t now_ms);

/* Deliveries at once to one destination from one of `nodes` nodes that share `max` (0: no limit): never more than half
 * of the node's own, so that no destination takes them all. */
unsigned queue_share(unsigned max, unsigned nodes, unsigned deliveries);

/* Shares `room` out over n wants, one each in turn, the first ones first; given[i] <= wanted[i]. Returns the sum. */
unsigned queue_fair_share(const unsigned *wanted, unsigned *given, unsigned n, unsigned room);

#endif
