/* Structured logs: one line an event, `key=value` or JSON, to standard error. Any thread. Never message content or
 * secrets. Values with spaces or quotes are quoted and escaped. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "node/base/slice.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level level);
enum log_level log_level_now(void);
int log_level_parse(const char *name, enum log_level *level_r); /* "debug", "info", "warn", "error" */
void log_set_json(bool json);
/* Node name in every line; copied. */
void log_set_node(const char *name);

enum log_type { LOG_END, LOG_TYPE_STR, LOG_TYPE_SLICE, LOG_TYPE_INT, LOG_TYPE_UINT, LOG_TYPE_ERR };
struct log_field {
    const char *key;
    enum log_type type;
    union {
        const char *str;
        struct slice slice;
        int64_t i;
        uint64_t u;
    };
};
#define LOG_S(k, v) ((struct log_field){.key = (k), .type = LOG_TYPE_STR, .str = (v)})
#define LOG_B(k, v) ((struct log_field){.key = (k), .type = LOG_TYPE_SLICE, .slice = (v)})
#define LOG_I(k, v) ((struct log_field){.key = (k), .type = LOG_TYPE_INT, .i = (int64_t)(v)})
#define LOG_U(k, v) ((struct log_field){.key = (k), .type = LOG_TYPE_UINT, .u = (uint64_t)(v)})
#define LOG_E(k, v) ((struct log_field){.key = (k), .type = LOG_TYPE_ERR, .i = (v)}) /* an err.h code, by name */

/* `event` is a short fixed phrase: log_event(LOG_INFO, "peer connected", LOG_S("peer", name)). */
#define log_event(level, event, ...)                                                            \
    do {                                                                                        \
        if ((level) >= log_level_now())                                                         \
            log_write((level), (event), (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.type = LOG_END}}); \
    } while (0)
void log_write(enum log_level level, const char *event, const struct log_field *fields);
/* One line at level error without allocating, for when there is no memory. event and key: plain text. */
void log_without_memory(const char *event, const char *key, uint64_t value);

#endif
