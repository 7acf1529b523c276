/* --wait: asks for the status until what a verb set going is there. */
#ifndef CTL_WAIT_H
#define CTL_WAIT_H

#include "ctl/options.h"

/* Is it there, by this status? before: the leader's name when the verb was given, may be NULL. Pure. */
bool wait_reached(const struct admin_verb *verb, const json_t *args, const char *before, const json_t *status);

/* 0, or ERR_TIMEOUT with detail. maild may be gone meanwhile (joining starts it anew). */
int wait_for(const struct options *o, const char *before, struct err_detail *detail);

#endif
