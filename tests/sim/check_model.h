/* Between the parts of the model. */
#ifndef SIM_CHECK_MODEL_H
#define SIM_CHECK_MODEL_H

#include "tests/sim/check.h"

/* A new command takes effect; r is what the store answered. modseq: index × 4096 + place in the entry. */
void model_run(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq);
/* What a delivery does to mailboxes. */
void model_deliver_accounts(const Merlion__Deliver *d, uint64_t modseq);
/* Must be higher than all in its account; 0: not seen yet. */
void model_uidvalidity_given(struct model_mailbox *m, uint32_t uidvalidity);

/* ---- check_cluster.c: members and the active format ---- */
void model_member_set(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq);
void model_member_remove(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq);
void model_format_raise(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq);

/* ---- check_queue.c ---- */
void model_enqueue(const Merlion__Deliver *d, const Merlion__Result *r);
void model_queue_lease(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq);
void model_queue_outcome(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq);
void model_queue_void(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq);
/* Each body that an item refers to, with its size. */
void model_queue_bodies(void (*each)(void *arg, const struct body_hash *hash, uint64_t size), void *arg);
void check_queue_same(struct store_view *v);

#endif
