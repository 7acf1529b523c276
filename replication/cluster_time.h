/* Clocks that differ between members. Core thread; those before struct replication are pure. */
#ifndef REPLICATION_CLUSTER_TIME_H
#define REPLICATION_CLUSTER_TIME_H

#include "node/base/mem.h"
#include "node/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CLUSTER_TIME_AHEAD_MS = 5 * 60 * 1000, /* a command's time may be that far ahead of the members' clocks */
    CLUSTER_TIME_COMPLAIN_MS = 60 * 1000,  /* a member's clock this far off is logged */
};

/* The middle one; of an even number the lower one of the two. Sorts them. */
int64_t cluster_time_middle(int64_t *ahead, unsigned n);
/* A packed merlion.Command's time. False: not readable. */
bool cluster_time_read(struct slice command, int64_t *time_r);
struct bytes *cluster_time_replace(struct slice command, int64_t time_ms);
/* What a command's time becomes: itself, unless it is too far ahead of the cluster's clock and would move the state's.
 */
int64_t cluster_time_limit(int64_t time_ms, int64_t cluster_ms, int64_t state_ms);

/* The state's time as it goes on at half the steady clock's speed, from the highest that was seen of it. *ahead_ms: 0
 * at first, the same one each time. Any thread. */
int64_t cluster_time_go_on(_Atomic int64_t *ahead_ms, int64_t state_ms, int64_t steady_ms);

struct replication;
/* What the middle one of the members' clocks shows now. False while less than a majority of the voters' are known. */
bool cluster_time_now(struct replication *r, int64_t *now_r);
/* As leader, before a command goes into the log: replaced by a corrected one when its time is too far ahead. */
void cluster_time_check(struct replication *r, struct bytes **command);
/* As leader, after the members' answers about their clocks. */
void cluster_time_tick(struct replication *r, int64_t now);
/* What the leader tells with its poll, so that every member knows the cluster's clock (replication_clock_ms): 0 when
 * it does not know. Told: the rest of the payload, that may lack. */
int64_t cluster_time_tell(struct replication *r);
void cluster_time_told(struct replication *r, struct slice payload);

#endif
