/* mailctl --help, made of the table of verbs. */
#ifndef CTL_HELP_H
#define CTL_HELP_H

#include "node/base/buf.h"
#include "protocol/admin/verbs.h"

void help_all(struct buf *out);
/* Verbs of one word group ("user"); false when there is no such group. */
bool help_group(const char *group, struct buf *out);
void help_verb(const struct admin_verb *verb, struct buf *out);
/* "mailctl user add ADDRESS [--quota QUOTA]" */
void help_usage(const struct admin_verb *verb, struct buf *out);

#endif
