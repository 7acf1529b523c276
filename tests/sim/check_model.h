/* Between the parts of the model. */
#ifndef SIM_CHECK_MODEL_H
#define SIM_CHECK_MODEL_H

#include "tests/sim/check.h"

/* A new command takes effect; r is what the store answered. modseq: index × 4096 + place in the entry. */
void model_run(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq);
/* Must be higher than all in its account; 0: not seen yet. */
void model_uidvalidity_given(struct model_mailbox *m, uint32_t uidvalidity);

#endif
