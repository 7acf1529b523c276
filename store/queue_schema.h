/* The queue's records and keys (store/queue.h draws what they mean; store/schema.h has the rules: keys big-endian,
 * values little-endian with a version byte first, now 1 everywhere).
 *
 *   table          key                                          value after the version
 *   queue          item u64                                     flags u32, account u64, hash 32, size u64, skip u32,
 *                                                               legs u32, received ms, expires ms u64 × 2, held u8,
 *                                                               canceled u8, sender, envid, session bytes × 3
 *   queue_leg      item u64, leg u32                            state u8, attempts u32, due ms u64, holder, boot, until
 *                                                               ms u64 × 3, warned u8, history u8, destination bytes,
 *                                                               n u32, n × (address, orcpt bytes × 2, notify u8)
 *   queue_attempt  item u64, leg u32, attempt u32               at ms u64, node u64, host, address, tls bytes × 3,
 *                                                               n u32, n × (kind u8, text bytes, recipients bytes)
 *   queue_due      destination, NUL, due u64, item u64, leg u32 -
 *   queue_lease    node u64, boot u64, item u64, leg u32        until ms u64
 *   queue_next     due u64, destination                         -
 *   destination    destination                                  waiting, held u64 × 2, leased u32, first due ms u64
 *   queue_state    "q"                                          next item, items, recipients, bytes, waiting, leased,
 *                                                               held u64 × 7
 *   queue_rate     account u64                                  hour u64, recipients u32
 *
 * A leg's history is the number of its records in queue_attempt. Times in keys are never negative. */
#ifndef STORE_QUEUE_SCHEMA_H
#define STORE_QUEUE_SCHEMA_H

#include "store/queue.h"
#include "store/schema.h"

enum {
    QUEUE_DESTINATION_MAX = 255, /* bytes of a destination's name */
    QUEUE_ADDRESS_MAX = 512,
    QUEUE_TEXT_MAX = 255, /* names, ids, addresses of hosts */
    QUEUE_DUE_TAIL = 20,  /* bytes of a queue_due key after the destination's NUL */
};

/* ---- keys ---- */

struct slice key_queue_state(void);
struct slice key_queue_leg(struct key *k, uint64_t item, uint32_t leg);
struct slice key_queue_attempt(struct key *k, uint64_t item, uint32_t leg, uint32_t attempt);
struct slice key_queue_due(struct key *k, struct slice destination, int64_t due_ms, uint64_t item, uint32_t leg);
/* "destination NUL": what all its keys in queue_due begin with. */
struct slice key_queue_due_prefix(struct key *k, struct slice destination);
struct slice key_queue_lease(struct key *k, uint64_t node, uint64_t boot, uint64_t item, uint32_t leg);
struct slice key_queue_next(struct key *k, int64_t due_ms, struct slice destination);

/* The tail of a key in queue_due. */
struct queue_due {
    int64_t due_ms;
    uint64_t item;
    uint32_t leg;
};
bool key_queue_due_read(struct slice key, struct slice *destination_r, struct queue_due *d_r);

/* ---- values ---- */

/* struct store_queue_item without its id, which is in the key (read sets it to 0). */
void record_queue_item_write(struct buf *b, const struct store_queue_item *r);
bool record_queue_item_read(struct slice v, struct store_queue_item *r);

/* item and leg are in the key (read sets them to 0). recipients: the n × (address, orcpt, notify), still packed. */
struct queue_leg_record {
    struct store_queue_leg l;
    uint8_t history;
    struct slice recipients;
};
void record_queue_leg_write(struct buf *b, const struct queue_leg_record *r);
bool record_queue_leg_read(struct slice v, struct queue_leg_record *r);
void queue_recipient_put(struct buf *b, const struct store_queue_recipient *r);
/* From a leg record's recipients, one after the other. */
bool queue_recipient_take(struct reader *in, struct store_queue_recipient *r);

/* attempt is in the key (read sets it to 0). replies: packed, as above. */
struct queue_attempt_record {
    struct store_queue_attempt a;
    uint32_t reply_n;
    struct slice replies;
};
void record_queue_attempt_write(struct buf *b, const struct queue_attempt_record *r);
bool record_queue_attempt_read(struct slice v, struct queue_attempt_record *r);
void queue_reply_put(struct buf *b, const struct store_queue_reply *r);
bool queue_reply_take(struct reader *in, struct store_queue_reply *r);

/* struct store_queue_destination without its name. */
void record_destination_write(struct buf *b, const struct store_queue_destination *r);
bool record_destination_read(struct slice v, struct store_queue_destination *r);

struct queue_state_record {
    uint64_t next_item, items, recipients, bytes, waiting, leased, held;
};
void record_queue_state_write(struct buf *b, const struct queue_state_record *r);
bool record_queue_state_read(struct slice v, struct queue_state_record *r);

struct queue_rate_record {
    uint64_t hour;
    uint32_t recipients;
};
void record_queue_rate_write(struct buf *b, const struct queue_rate_record *r);
bool record_queue_rate_read(struct slice v, struct queue_rate_record *r);

/* record_valid's part for these tables. */
bool record_queue_valid(enum table t, struct slice key, struct slice value);

#endif
