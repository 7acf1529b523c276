#include "node/base/log.h"

#include "node/base/buf.h"
#include "node/base/clock.h"
#include "node/base/err.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static _Atomic int level_now = LOG_INFO;
static _Atomic bool json;
static char node_name[64]; /* set once, before threads start */

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_set_level(enum log_level level)
{
    atomic_store(&level_now, (int)level);
}

enum log_level log_level_now(void)
{
    return (enum log_level)atomic_load_explicit(&level_now, memory_order_relaxed);
}

int log_level_parse(const char *name, enum log_level *level_r)
{
    for (int i = 0; i <= LOG_ERROR; i++)
        if (strcmp(name, level_names[i]) == 0) {
            *level_r = (enum log_level)i;
            return 0;
        }
    return ERR_INVALID;
}

void log_set_json(bool on)
{
    atomic_store(&json, on);
}

void log_set_node(const char *name)
{
    snprintf(node_name, sizeof node_name, "%s", name);
}

static void put_quoted(struct buf *b, struct slice s)
{
    buf_append_byte(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        if (c == '"' || c == '\\') {
            buf_append_byte(b, '\\');
            buf_append_byte(b, c);
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(b, "\\u%04x", c);
        } else {
            buf_append_byte(b, c);
        }
    }
    buf_append_byte(b, '"');
}

static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == '"' || s.p[i] == '=' || s.p[i] == '\\' || s.p[i] == 0x7f)
            return false;
    return s.n > 0;
}

static void put_field(struct buf *b, bool as_json, const char *key, struct slice value, bool number)
{
    if (as_json) {
        buf_append_byte(b, buf_len(b) > 1 ? ',' : ' ');
        put_quoted(b, slice_str(key));
        buf_append_byte(b, ':');
    } else {
        if (buf_len(b))
            buf_append_byte(b, ' ');
        buf_append_str(b, key);
        buf_append_byte(b, '=');
    }
    if (number || (!as_json && is_plain(value)))
        buf_append_slice(b, value);
    else
        put_quoted(b, value);
}

static void put_number(struct buf *b, bool as_json, const struct log_field *f)
{
    char text[24];
    if (f->type == LOG_TYPE_INT)
        snprintf(text, sizeof text, "%lld", (long long)f->i);
    else
        snprintf(text, sizeof text, "%llu", (unsigned long long)f->u);
    put_field(b, as_json, f->key, slice_str(text), true);
}

static void stamp_write(char *out, size_t size)
{
    int64_t ms = clock_wall_ms();
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, size - n, ".%03dZ", (int)(ms % 1000));
}

/* One write a line: lines of threads do not mix. */
static void line_write(struct slice line)
{
    ssize_t ignored = write(STDERR_FILENO, line.p, line.n);
    (void)ignored;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    bool as_json = atomic_load_explicit(&json, memory_order_relaxed);
    struct buf b = {0};
    char stamp[48];
    stamp_write(stamp, sizeof stamp);
    if (as_json)
        buf_append_byte(&b, '{');
    put_field(&b, as_json, "time", slice_str(stamp), false);
    put_field(&b, as_json, "level", slice_str(level_names[level]), false);
    if (node_name[0])
        put_field(&b, as_json, "node", slice_str(node_name), false);
    put_field(&b, as_json, "event", slice_str(event), false);
    for (; fields->type != LOG_END; fields++) {
        if (fields->type == LOG_TYPE_STR)
            put_field(&b, as_json, fields->key, slice_str(fields->str ? fields->str : ""), false);
        else if (fields->type == LOG_TYPE_SLICE)
            put_field(&b, as_json, fields->key, fields->slice, false);
        else if (fields->type == LOG_TYPE_ERR)
            put_field(&b, as_json, fields->key, slice_str(err_name((int)fields->i)), false);
        else
            put_number(&b, as_json, fields);
    }
    buf_append_str(&b, as_json ? "}\n" : "\n");
    line_write(buf_slice(&b));
    buf_close(&b);
}

void log_without_memory(const char *event, const char *key, uint64_t value)
{
    char stamp[48], line[512];
    stamp_write(stamp, sizeof stamp);
    const char *format = atomic_load_explicit(&json, memory_order_relaxed)
                             ? "{\"time\":\"%s\",\"level\":\"error\",\"node\":\"%s\",\"event\":\"%s\",\"%s\":%llu}\n"
                             : "time=%s level=error node=%s event=\"%s\" %s=%llu\n";
    int n = snprintf(line, sizeof line, format, stamp, node_name, event, key, (unsigned long long)value);
    line_write(slice_make(line, n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1));
}
