/* The queue inside the state machine: what its commands are made of. Applier thread, inside a batch (store/state.h has
 * the rules). Records are loaded as copies in the command's arena, changed, and put back; indexes and counts follow the
 * moves of a leg, which are all here. */
#ifndef STORE_QUEUE_STATE_H
#define STORE_QUEUE_STATE_H

#include "store/queue_schema.h"
#include "store/state.h"

/* A destination's counts, cached for the batch: written, with its place in queue_next, at the batch's end. */
struct destination {
    struct destination *next; /* same slot */
    struct list order;        /* in store.destinations, by first use */
    bool dirty, stored;       /* stored: it has a record */
    bool first_unknown;       /* its first due leg left: look for the next one */
    int64_t stored_first_ms;  /* as in queue_next */
    struct store_queue_destination r;
};

/* ---- queue_batch.c ---- */
struct destination *batch_destination(struct store *s, struct slice name);
struct queue_state_record *batch_queue(struct store *s); /* the totals; all changes are written at the batch's end */
void queue_caches_flush(struct store *s);
void queue_caches_clear(struct store *s);

/* false: not there. */
bool queue_item_load(struct store *s, uint64_t id, struct store_queue_item *i);
bool queue_leg_load(struct store *s, uint64_t item, uint32_t leg, struct queue_leg_record *l);
/* The item's first leg at or after `from`. */
bool queue_leg_next(struct store *s, uint64_t item, uint32_t from, struct queue_leg_record *l);

/* ---- queue_move.c ---- */
struct queue_holder {
    uint64_t node, boot;
    int64_t until_ms;
};
/* A new leg, of an item whose state is in l: waiting or leased. */
void queue_leg_add(struct store *s, const struct queue_leg_record *l);
/* Waiting or leased (or waiting with another due time), to waiting. */
void queue_leg_wait(struct store *s, struct queue_leg_record *l, int64_t due_ms);
void queue_leg_hold(struct store *s, struct queue_leg_record *l, int64_t due_ms);
void queue_leg_lease(struct store *s, struct queue_leg_record *l, const struct queue_holder *h);
/* With its history. The item loses one leg; queue_item_settle afterwards. */
void queue_leg_remove(struct store *s, struct store_queue_item *i, struct queue_leg_record *l);
/* From leased, when what remains of the leg goes on: held, waiting, or gone if the item is canceled. */
void queue_leg_return(struct store *s, struct store_queue_item *i, struct queue_leg_record *l, int64_t due_ms);
/* Writes a loaded item back, or drops it when no leg is left: with it the reference to its body. */
void queue_item_settle(struct store *s, const struct store_queue_item *i);
void queue_item_add(struct store *s, const struct store_queue_item *i);
void queue_grant_add(struct store *s, Merlion__Result *r, const struct queue_leg_record *l);

/* ---- queue_enqueue.c ---- */
/* 0, or why not; nothing is changed. metered: the account's rate limit holds. */
int enqueue_check(struct store *s, const Merlion__Deliver *d, bool metered, const char **why_r);
/* Checked before. Grants of legs that begin leased go to r, the item's id is returned; the reference to the body is the
 * caller's to add. */
uint64_t enqueue_run(struct store *s, const Merlion__Deliver *d, Merlion__Result *r);
/* A holder that can hold something now: named, and not over. */
bool queue_holder_read(const Merlion__QueueHolder *in, struct queue_holder *h);

/* ---- op_mail.c ---- */
int deliver_check(struct store *s, const Merlion__Deliver *d, bool metered, const char **why_r);
/* Returns the queue item, 0: none. status_r: one an account, may be NULL. */
uint64_t deliver_run(struct store *s, const Merlion__Deliver *d, int32_t *status_r, Merlion__Result *r);

#endif
