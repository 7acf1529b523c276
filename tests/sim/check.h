/* What must hold. Hooks between replication/ and store/ (check_hook.c, linked in by ld --wrap) see every entry that any
 * node applies, every result and every commit. A model (check_model.c) replays the log once, by the contract and not
 * by the store's code, and every replica is compared with it (check_state.c): a command's effects at each commit, the
 * whole state from time to time and at the end.
 *
 *   clients ──check_op_begin──► ops ◄──tag── model ◄──first apply of an index── hooks ◄── any node's applier
 *           ──check_op_done───►  │                                               │
 *                                └ acknowledged = executed in the log            └ same index: same entry, results,
 * digest
 */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include "node/base/hash.h"
#include "node/base/mem.h"
#include "store/command.pb-c.h"
#include "store/store.h"
#include "tests/sim/sim.h"

#include <stdio.h>

void check_init(void);

/* ---- what clients do (check_op.c) ---- */

enum op_state { OP_PENDING, OP_ACKNOWLEDGED, OP_REFUSED, OP_UNKNOWN };
struct op {
    enum op_state state;
    uint64_t executed; /* index at which the model ran it; 0: not (yet) */
    uint64_t result_sum;
    int status; /* the command's own, once executed */
};
/* A new command's tag: it is in the command as field CHECK_TAG_FIELD, which the store skips. */
enum { CHECK_TAG_FIELD = 999 };
uint64_t check_op_begin(void);
struct op *check_op(uint64_t tag); /* NULL: never begun */
/* What the client was told: status of getting it committed; with 0 the result and where it was applied. */
void check_op_done(uint64_t tag, int status, struct slice result, uint64_t index);
/* The highest index that any client was told of. A read that begins after it must show it. */
uint64_t check_acknowledged_index(void);
void check_read(uint64_t acknowledged_before, const struct store_view *v);

/* ---- the model (check_model.c) ---- */

enum { MODEL_KEYWORDS = 3, MODEL_NAME_MAX = 64 };
extern const char *const model_keywords[MODEL_KEYWORDS];

struct model_message {
    uint32_t uid, flags, keywords; /* bits: places in model_keywords */
    uint64_t modseq, size;
    int64_t internal_ms, save_ms;
    struct body_hash hash;
};
struct model_mailbox {
    uint64_t id, account;
    char name[MODEL_NAME_MAX];
    uint32_t uidvalidity, uidnext; /* uidvalidity 0: not seen yet */
    uint64_t highest_modseq;
    struct model_message *at; /* ascending by uid */
    unsigned n, cap;
    bool gone, touched;
};
struct model_account {
    uint64_t id, inbox;
    char address[MODEL_NAME_MAX];
    uint64_t quota, used, messages;
    uint32_t uidvalidity; /* the highest one seen */
    bool known;           /* its first mailboxes were read from a store */
};
struct model {
    uint64_t frontier; /* all up to here was applied by some node */
    int64_t time_ms;
    struct model_mailbox *mailboxes;
    unsigned mailbox_n, mailbox_cap;
    struct model_account *accounts;
    unsigned account_n, account_cap;
};
extern struct model model;

struct model_result {
    uint64_t node, boot, seq;
    struct slice packed; /* valid during the call */
};
/* The next entry, with what the store answered to its commands, in order. */
void model_apply(uint64_t index, struct slice entry, const struct model_result *results, unsigned n);
struct model_mailbox *model_mailbox(uint64_t id); /* NULL: none such, or gone */
struct model_account *model_account(uint64_t id);
struct model_mailbox *model_mailbox_add(uint64_t id, uint64_t account, const char *name, uint32_t uidvalidity);
struct model_message *model_message(struct model_mailbox *m, uint32_t uid);

/* check_request.c: which requests ran, as the store's table of recent ids must remember them. */
enum model_seen { MODEL_NEW, MODEL_REPEAT, MODEL_STALE };
enum model_seen model_request_seen(uint64_t node, uint64_t boot, uint64_t seq, uint64_t *result_sum_r);
void model_request_add(uint64_t node, uint64_t boot, uint64_t seq, uint64_t result_sum);

/* ---- a replica against the model (check_state.c); the view must be at the model's frontier ---- */
void check_touched(struct store_view *v); /* what the last commands changed */
void check_whole(struct store_view *v);
void check_learn(struct store_view *v); /* ids of a new account's first mailboxes */

uint32_t check_format(void); /* the active one */

/* ---- the queue (check_queue.c) ---- */
bool model_queue_empty(void);
const char *model_queue_left(void); /* the first one, for a person */
/* A foreign host said 250 to this recipient. Once more is right only while that has not been committed. */
void check_sent(uint64_t item, uint32_t leg, struct slice recipient);

/* ---- bodies ---- */
struct body_hash check_body_make(uint64_t serial, size_t n, struct bytes **body_r);
/* A body that a client was told is on a majority's disks. */
void check_body_durable(const struct body_hash *hash);

/* ---- at the end: every node that runs, all equal (check_end.c) ---- */
struct blob_log;
struct check_replica {
    unsigned host;
    struct store *store;
    struct blob_log *blobs;
};
/* False: something was committed meanwhile. */
bool check_end(const struct check_replica *at, unsigned n);

#endif
