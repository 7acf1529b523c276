/* Error codes: functions return 0 or one of these, all negative. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

enum err_position {
    ERR_POSITION_OK,
#define ERR(name, text) ERR_POSITION_##name,
#include "node/base/err.def"
#undef ERR
    ERR_COUNT
};

enum err {
#define ERR(name, text) ERR_##name = -ERR_POSITION_##name,
#include "node/base/err.def"
#undef ERR
};

/* Static text for a code; "ok" for 0. */
const char *err_text(int code);
/* Static name for a code, as in err.def and in lower case ("notleader"); "ok" for 0. For logs and JSON. */
const char *err_name(int code);
/* The closest code for an errno value. */
int err_from_errno(int value);

/* Where a function that can fail in many ways leaves a line for a person. */
struct err_detail {
    char text[512];
};
/* Writes the text and returns code, so `return err_set(d, ERR_IO, "open %s: %s", ...)`. d may be NULL. */
int err_set(struct err_detail *d, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A broken invariant of our own: logs and aborts, in release builds too. Never on input. */
#define ENSURE(cond) ((cond) ? (void)0 : err_panic(__FILE__, __LINE__, #cond))
_Noreturn void err_panic(const char *file, int line, const char *cond);

#endif
