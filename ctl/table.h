/* Text in columns, by the width that characters have on a screen. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include "node/base/buf.h"

enum { TABLE_COLUMNS_MAX = 12, TABLE_GAP = 2 };

struct table {
    unsigned columns;
    bool right[TABLE_COLUMNS_MAX]; /* numbers end on the right */
    size_t width[TABLE_COLUMNS_MAX];
    struct buf cells; /* NUL-terminated, row by row, the titles first */
    size_t n;         /* cells */
};

/* titles: columns of them. */
void table_init(struct table *t, unsigned columns, const char *const *titles, const bool *right);
/* The next cell; control characters become "?", an empty one "-". A row is complete after `columns` cells. */
void table_cell(struct table *t, const char *text);
/* Rows under titles. */
void table_write(const struct table *t, struct buf *out);
/* For a single row: a line a cell, the titles before them. */
void table_write_list(const struct table *t, struct buf *out);
void table_close(struct table *t);

/* Columns that text takes on a screen: wide ones count two, combining ones none. */
size_t text_width(const char *text);

#endif
