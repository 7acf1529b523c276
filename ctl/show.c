#include "ctl/show.h"

#include "ctl/table.h"
#include "node/base/err.h"

#include <stdlib.h>
#include <time.h>

static const char units[] = "KMGT";

void show_bytes(uint64_t n, struct buf *out)
{
    double value = (double)n;
    size_t unit = 0;

    if (n < 1024) {
        buf_printf(out, "%llu B", (unsigned long long)n);
        return;
    }
    for (value /= 1024; value >= 1023.95 && unit + 1 < sizeof(units) - 1; unit++)
        value /= 1024;
    buf_printf(out, "%.1f %ciB", value, units[unit]);
}

void show_duration(int64_t ms, struct buf *out)
{
    long long s = ms / 1000;

    if (s >= 86400)
        buf_printf(out, "%lldd %lldh", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        buf_printf(out, "%lldh %lldm", s / 3600, s / 60 % 60);
    else if (s >= 60)
        buf_printf(out, "%lldm %llds", s / 60, s % 60);
    else
        buf_printf(out, "%llds", s);
}

static void show_time(int64_t ms, struct buf *out)
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm = {0};
    char text[32];

    gmtime_r(&t, &tm);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &tm);
    buf_append_str(out, text);
}

int size_parse(const char *text, uint64_t *n_r)
{
    struct slice in = slice_str(text), rest;
    size_t digits = strspn(text, "0123456789");
    unsigned shift = 0;

    if (slice_u64(slice_first(in, digits), INT64_MAX, n_r) != 0)
        return ERR_INVALID;
    rest = slice_from(in, digits);
    if (rest.n > 0) {
        const char *unit = strchr(units, rest.p[0] & ~0x20);
        if (unit && *unit) {
            shift = 10 * (unsigned)(unit - units + 1);
            rest = slice_from(rest, 1);
            if (slice_ieq(rest, SLICE_LITERAL("iB")))
                rest.n = 0;
        }
        if (slice_ieq(rest, SLICE_LITERAL("B")))
            rest.n = 0;
    }
    if (rest.n > 0 || *n_r > (uint64_t)INT64_MAX >> shift)
        return ERR_INVALID;
    *n_r <<= shift;
    return 0;
}

static void show_joined(const json_t *list, struct buf *out)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        if (i > 0)
            buf_append_str(out, ", ");
        buf_append_str(out, json_is_string(item) ? json_string_value(item) : "?");
    }
}

/* What is of another type than the table of verbs promises is shown as it is. */
static void show_any(const json_t *value, struct buf *out)
{
    if (json_is_string(value)) {
        buf_append_str(out, json_string_value(value));
    } else if (json_is_boolean(value)) {
        buf_append_str(out, json_is_true(value) ? "yes" : "no");
    } else if (value && !json_is_null(value)) {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        if (text)
            buf_append_str(out, text);
        free(text);
    }
}

void show_value(enum admin_format format, const json_t *value, struct buf *out)
{
    int64_t n = json_integer_value(value);

    if (format == ADMIN_JOINED && json_is_array(value))
        show_joined(value, out);
    else if (!json_is_integer(value) || n < 0 || format == ADMIN_TEXT || format == ADMIN_NUMBER)
        show_any(value, out);
    else if (format == ADMIN_QUOTA && n == 0)
        buf_append_str(out, "none");
    else if (format == ADMIN_BYTES || format == ADMIN_QUOTA)
        show_bytes((uint64_t)n, out);
    else if (format == ADMIN_DURATION)
        show_duration(n, out);
    else
        show_time(n, out);
}

/* The leader is marked with "*", the node that answers with "@". */
static void marks(const json_t *row, const char *key, struct buf *out)
{
    bool leader = json_is_true(json_object_get(row, "leader")), self = json_is_true(json_object_get(row, "self"));

    if (strcmp(key, "name") != 0 || !(leader || self))
        return;
    buf_append_str(out, leader && self ? " *@" : leader ? " *" : " @");
}

static void row_add(struct table *t, const struct admin_column *columns, const json_t *row)
{
    struct buf cell = {0};

    for (unsigned i = 0; i < t->columns; i++) {
        const struct admin_column *c = &columns[i];
        buf_clear(&cell);
        show_value(c->format, json_object_get(row, c->key), &cell);
        marks(row, c->key, &cell);
        buf_append_byte(&cell, '\0');
        table_cell(t, (const char *)buf_slice(&cell).p);
    }
    buf_close(&cell);
}

static void table_begin(struct table *t, const struct admin_column *columns)
{
    const char *titles[ADMIN_COLUMNS_MAX];
    bool right[ADMIN_COLUMNS_MAX];
    unsigned n = 0;

    for (; n < ADMIN_COLUMNS_MAX && columns[n].key; n++) {
        enum admin_format f = columns[n].format;
        titles[n] = columns[n].title;
        right[n] = f == ADMIN_NUMBER || f == ADMIN_BYTES || f == ADMIN_QUOTA;
    }
    table_init(t, n, titles, right);
}

static void status_head(const json_t *data, struct buf *out)
{
    const char *cluster = json_string_value(json_object_get(data, "cluster"));
    const char *leader = json_string_value(json_object_get(data, "leader"));

    buf_printf(out, "Cluster %s, term %lld, commit %lld, ", cluster ? cluster : "-",
               (long long)json_integer_value(json_object_get(data, "term")),
               (long long)json_integer_value(json_object_get(data, "commit")));
    if (leader && leader[0])
        buf_printf(out, "leader %s\n\n", leader);
    else
        buf_append_str(out, "no leader: writes wait until a majority of voters is reachable\n\n");
}

static void verify_foot(const json_t *data, struct buf *out)
{
    const char *text = "\nREPLICAS DIFFER: keep the nodes as they are and report this.\n";

    if (json_is_true(json_object_get(data, "same")))
        text = "\nAll replicas are the same.\n";
    else if (json_is_false(json_object_get(data, "differ")))
        text =
            "\nNot all replicas could be compared; those that were are the same. See mailctl status, then try again.\n";
    buf_append_str(out, text);
}

/* One row, a line for each column. */
static void list_write(const struct admin_column *columns, const json_t *row, struct buf *out)
{
    struct table t;

    table_begin(&t, columns);
    row_add(&t, columns, row);
    table_write_list(&t, out);
    table_close(&t);
}

static void rows_write(const struct admin_verb *verb, const json_t *rows, struct buf *out)
{
    struct table t;
    size_t i;
    json_t *row;

    table_begin(&t, verb->columns);
    json_array_foreach(rows, i, row) row_add(&t, verb->columns, row);
    table_write(&t, out);
    table_close(&t);
}

static void more_foot(const json_t *data, struct buf *out)
{
    json_int_t shown = json_integer_value(json_object_get(data, "shown"));
    json_int_t matched = json_integer_value(json_object_get(data, "matched"));

    if (matched > shown)
        buf_printf(out, "\n%lld of %lld shown: see --limit\n", (long long)shown, (long long)matched);
}

void show_data(const struct admin_verb *verb, const json_t *data, struct buf *out)
{
    if (strcmp(verb->name, "status") == 0)
        status_head(data, out);
    if (verb->head[0].key) {
        list_write(verb->head, data, out);
        buf_append_byte(out, '\n');
    }
    if (verb->rows)
        rows_write(verb, json_object_get(data, verb->rows), out);
    else if (verb->columns[0].key)
        list_write(verb->columns, data, out);
    if (strcmp(verb->name, "verify") == 0)
        verify_foot(data, out);
    more_foot(data, out);
}
