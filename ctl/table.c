#include "ctl/table.h"

#include "node/base/err.h"

#include <utf8proc.h>

/* The next character, one octet for what is not UTF-8. Returns its octets. */
static size_t character(const char *text, utf8proc_int32_t *c_r)
{
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)strlen(text), c_r);

    if (n > 0)
        return (size_t)n;
    *c_r = -1;
    return 1;
}

size_t text_width(const char *text)
{
    size_t width = 0;

    while (*text) {
        utf8proc_int32_t c;
        text += character(text, &c);
        width += c < 0 ? 1 : (size_t)utf8proc_charwidth(c);
    }
    return width;
}

/* Values come from mail and may hold anything: nothing in them may steer the terminal. */
static void tame(const char *text, struct buf *out)
{
    while (*text) {
        utf8proc_int32_t c;
        size_t n = character(text, &c);
        utf8proc_category_t category = c < 0 ? UTF8PROC_CATEGORY_CC : utf8proc_category(c);
        if (category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_ZL ||
            category == UTF8PROC_CATEGORY_ZP)
            buf_append_byte(out, '?');
        else
            buf_append(out, text, n);
        text += n;
    }
}

void table_init(struct table *t, unsigned columns, const char *const *titles, const bool *right)
{
    ENSURE(columns > 0 && columns <= TABLE_COLUMNS_MAX);
    *t = (struct table){.columns = columns};
    for (unsigned i = 0; i < columns; i++) {
        t->right[i] = right[i];
        table_cell(t, titles[i]);
    }
}

void table_cell(struct table *t, const char *text)
{
    size_t before = buf_len(&t->cells);
    size_t *width = &t->width[t->n++ % t->columns];

    tame(text[0] ? text : "-", &t->cells);
    buf_append_byte(&t->cells, '\0');
    size_t w = text_width((const char *)buf_slice(&t->cells).p + before);
    if (w > *width)
        *width = w;
}

static void spaces(struct buf *out, size_t n)
{
    while (n-- > 0)
        buf_append_byte(out, ' ');
}

void table_write(const struct table *t, struct buf *out)
{
    const char *cell = (const char *)buf_slice(&t->cells).p;

    for (size_t i = 0; i < t->n; i++, cell += strlen(cell) + 1) {
        size_t column = i % t->columns;
        size_t room = t->width[column] - text_width(cell);
        bool last = column + 1 == t->columns;

        spaces(out, t->right[column] ? room : 0);
        buf_append_str(out, cell);
        if (last)
            buf_append_byte(out, '\n');
        else
            spaces(out, (t->right[column] ? 0 : room) + TABLE_GAP);
    }
}

void table_write_list(const struct table *t, struct buf *out)
{
    const char *title = (const char *)buf_slice(&t->cells).p, *cell = title;
    size_t widest = 0;

    for (unsigned i = 0; i < t->columns; i++, cell += strlen(cell) + 1)
        if (text_width(cell) > widest)
            widest = text_width(cell);
    for (size_t i = t->columns; i < t->n; i++) {
        buf_append_str(out, title);
        spaces(out, widest - text_width(title) + TABLE_GAP);
        buf_append_str(out, cell);
        buf_append_byte(out, '\n');
        title += strlen(title) + 1;
        cell += strlen(cell) + 1;
    }
}

void table_close(struct table *t)
{
    buf_close(&t->cells);
}
