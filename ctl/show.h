/* The data of an answer as people read it: the verb's columns, with sizes and times in words. */
#ifndef CTL_SHOW_H
#define CTL_SHOW_H

#include "node/base/buf.h"
#include "protocol/admin/verbs.h"

#include <jansson.h>

/* Appends the table, or for a single row the list, of data; nothing when the verb has no columns. */
void show_data(const struct admin_verb *verb, const json_t *data, struct buf *out);

/* One value; appended without a line end. */
void show_value(enum admin_format format, const json_t *value, struct buf *out);
void show_bytes(uint64_t n, struct buf *out);    /* "1.5 GiB" */
void show_duration(int64_t ms, struct buf *out); /* "3d 4h" */

/* Octets from "500M", "10G", "1.5" is none: digits, then K, M, G or T, then perhaps "B" or "iB". 0 or ERR_INVALID. */
int size_parse(const char *text, uint64_t *n_r);

#endif
