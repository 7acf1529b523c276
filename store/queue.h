/* The queue: mail for elsewhere, as replicated state.
 *
 *   item ─┬─ leg (destination a) ─┬─ recipient     An item is one message in the queue, with its sender; a leg all its
 *         │                       └─ recipient     recipients at one destination, what one SMTP transaction delivers.
 *         └─ leg (destination b) ─── recipient     A recipient leaves its leg with the outcome, a leg the item when
 *                                                  none is left, and the item the queue with its last leg.
 *
 *              enqueue               lease (or at enqueue)           outcome: all delivered or failed
 *      (none) ────────► WAITING(due) ─────────────────────► LEASED ──────────────────────────────────► (gone)
 *                        │      ▲ ▲                          │  │
 *                   hold │      │ └──────────────────────────┘  │ outcome: some deferred (due = next_ms)
 *                        ▼      │ release                       │ void: the holder is dead, or its time is over (due =
 *                       HELD ───┘ ◄─────────────────────────────┘ now). Of a held item: HELD
 *
 * Commands, all from format 2 on: Deliver.enqueue, QueueLease, QueueOutcome, QueueVoid, QueueControl (command.proto). A
 * lease is {node, boot, until}; an outcome must name the lease's node and boot and the attempt that it began, else it
 * changes nothing: that is what makes an outcome count once. DSNs are part of the outcome's command, so there is one or
 * none. HOLD and CANCEL of a leased leg take effect when its outcome comes (delivered mail is delivered) or its lease
 * is void; CANCEL takes waiting ones at once. The message's body is referenced by the item (content record), and freed
 * with it. An attempt counts when it is leased; one given back untried does not.
 *
 * Tables, keys and records: store/queue_schema.h. Of a leg's attempts the first and the last QUEUE_ATTEMPTS_KEPT - 1
 * are kept while it lives; that of the outcome that ends it is not. */
#ifndef STORE_QUEUE_H
#define STORE_QUEUE_H

#include "store/store.h"

enum {
    QUEUE_FORMAT = 2, /* the command format that has it */
    QUEUE_RECIPIENTS_MAX = 1000,
    QUEUE_ATTEMPTS_KEPT = 10,
    QUEUE_REPLY_MAX = 512, /* octets of a reply kept */
    QUEUE_GRANTS_MAX = 1000,
    QUEUE_CONTROL_MAX = 1000,       /* items of one command, */
    QUEUE_CONTROL_LEGS_MAX = 10000, /* and their legs */
};

/* Item flags. */
enum {
    QUEUE_UTF8 = 1,     /* SMTPUTF8: an address or a header needs it (RFC 6531) */
    QUEUE_8BIT = 2,     /* the content has octets above 127 */
    QUEUE_BINARY = 4,   /* BINARYMIME: CHUNKING alone can carry it */
    QUEUE_RET_FULL = 8, /* RFC 3461 4.3; neither: our choice */
    QUEUE_RET_HEADERS = 16,
    QUEUE_NOTICE = 32, /* a DSN of ours: sender "", never answered by another */
};
enum { QUEUE_NOTIFY_NEVER = 1, QUEUE_NOTIFY_SUCCESS = 2, QUEUE_NOTIFY_FAILURE = 4, QUEUE_NOTIFY_DELAY = 8 };
enum queue_leg_state { QUEUE_WAITING, QUEUE_LEASED, QUEUE_HELD };

struct store_queue_item {
    uint64_t id;
    struct slice sender, envid, session; /* session: the transaction's id */
    uint32_t flags;
    uint64_t account;
    struct body_hash hash;
    uint64_t size;       /* of the body; skip octets of it do not go out */
    uint32_t skip, legs; /* legs: left */
    int64_t received_ms, expires_ms;
    bool held, canceled; /* canceled: goes with the outcome of the leases that are out */
};
struct store_queue_recipient {
    struct slice address, orcpt;
    uint32_t notify;
};
struct store_queue_leg {
    uint64_t item;
    uint32_t leg;
    struct slice destination;
    enum queue_leg_state state;
    uint32_t attempts; /* made or begun; the number of the one under way when LEASED */
    int64_t due_ms;
    uint64_t holder, boot;
    int64_t until_ms;
    bool warned;
    unsigned recipient_n; /* those still in it */
};
struct store_queue_reply {
    uint32_t kind;                 /* Merlion__QueueReply__Kind */
    struct slice text, recipients; /* addresses, NUL between them */
};
struct store_queue_attempt {
    uint32_t attempt;
    int64_t at_ms;
    uint64_t node;
    struct slice host, address, tls;
};
struct store_queue_destination {
    struct slice name;
    uint64_t waiting, held;
    uint32_t leased;
    int64_t first_due_ms; /* INT64_MAX: nothing waits */
};
struct store_queue_totals {
    uint64_t items, recipients, bytes, waiting, leased, held;
    int64_t oldest_ms; /* received; 0: empty */
};

/* All of a view; slices live until it closes. 0 or ERR_NOTFOUND; each() returns false to stop. */
int store_queue_item(struct store_view *v, uint64_t item, struct store_queue_item *i_r);
/* In the order of entering, after `after` (0: from the first). */
void store_queue_item_each(struct store_view *v, uint64_t after,
                           bool (*each)(void *arg, const struct store_queue_item *i), void *arg);
int store_queue_leg(struct store_view *v, uint64_t item, uint32_t leg, struct store_queue_leg *l_r);
void store_queue_leg_each(struct store_view *v, uint64_t item, bool (*each)(void *arg, const struct store_queue_leg *l),
                          void *arg);
/* All of the queue in one pass, in the order of entering: each item, then its legs unless item() returns false. Made
 * for long queues. */
void store_queue_walk(struct store_view *v, bool (*item)(void *arg, const struct store_queue_item *i),
                      void (*leg)(void *arg, const struct store_queue_leg *l), void *arg);
void store_queue_recipient_each(struct store_view *v, uint64_t item, uint32_t leg,
                                bool (*each)(void *arg, unsigned place, const struct store_queue_recipient *r),
                                void *arg);
void store_queue_attempt_each(struct store_view *v, uint64_t item, uint32_t leg,
                              bool (*each)(void *arg, const struct store_queue_attempt *a), void *arg);
void store_queue_reply_each(struct store_view *v, uint64_t item, uint32_t leg, uint32_t attempt,
                            bool (*each)(void *arg, const struct store_queue_reply *r), void *arg);
/* Destinations whose first waiting leg is due at or before `until_ms`, earliest first (INT64_MAX: all that wait). */
void store_queue_due_each(struct store_view *v, int64_t until_ms,
                          bool (*each)(void *arg, const struct store_queue_destination *d), void *arg);
/* The same, from this place in their order on: a first due time and a name, whether there is one or not. */
void store_queue_due_from(struct store_view *v, int64_t from_ms, struct slice from, int64_t until_ms,
                          bool (*each)(void *arg, const struct store_queue_destination *d), void *arg);
int store_queue_destination(struct store_view *v, struct slice name, struct store_queue_destination *d_r);
void store_queue_destination_each(struct store_view *v,
                                  bool (*each)(void *arg, const struct store_queue_destination *d), void *arg);
/* Leases, of one node or all (0). */
void store_queue_lease_each(struct store_view *v, uint64_t node,
                            bool (*each)(void *arg, uint64_t node, uint64_t boot, int64_t until_ms, uint64_t item,
                                         uint32_t leg),
                            void *arg);
void store_queue_totals(struct store_view *v, struct store_queue_totals *t_r);

#endif
