/* Questions to the person at the terminal. */
#ifndef CTL_PROMPT_H
#define CTL_PROMPT_H

#include "node/base/buf.h"
#include "node/base/err.h"

/* One line from standard input, or (typed twice, without echo) from the terminal. Appends it to out, which the caller
 * wipes. ERR_INVALID with detail: no terminal, empty, too long, or the two differ. */
int password_read(bool from_stdin, struct buf *out, struct err_detail *detail);

/* Asks on the terminal; 0 for yes, ERR_DENIED for no, ERR_INVALID (detail) when there is no terminal to ask on. */
int confirm(const char *question, struct err_detail *detail);

#endif
