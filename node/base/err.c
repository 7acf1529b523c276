#include "node/base/err.h"

#include "node/base/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *err_text(int code)
{
    static const char *const texts[] = {
        "ok",
#define ERR(name, text) text,
#include "node/base/err.def"
#undef ERR
    };
    return code <= 0 && -code < ERR_COUNT ? texts[-code] : "unknown error";
}

static char names[ERR_COUNT][16] = {
    "ok",
#define ERR(name, text) #name,
#include "node/base/err.def"
#undef ERR
};

/* Lower case once, before main: read-only for every thread afterwards. */
__attribute__((constructor)) static void names_lower(void)
{
    for (int i = 1; i < ERR_COUNT; i++)
        for (char *c = names[i]; *c; c++)
            *c = (char)tolower((unsigned char)*c);
}

const char *err_name(int code)
{
    return code <= 0 && -code < ERR_COUNT ? names[-code] : "unknown";
}

int err_from_errno(int value)
{
    switch (value) {
    case 0:
        return 0;
    case ENOMEM:
        return ERR_NOMEM;
    case ENOSPC:
    case EDQUOT:
        return ERR_NOSPACE;
    case ENOENT:
        return ERR_NOTFOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case EINVAL:
        return ERR_INVALID;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ECANCELED:
        return ERR_CANCELED;
    default:
        return ERR_IO;
    }
}

int err_set(struct err_detail *d, int code, const char *format, ...)
{
    if (d) {
        va_list ap;
        va_start(ap, format);
        vsnprintf(d->text, sizeof d->text, format, ap);
        va_end(ap);
    }
    return code;
}

_Noreturn void err_panic(const char *file, int line, const char *cond)
{
    log_write(LOG_ERROR, "broken invariant",
              (const struct log_field[]){LOG_S("file", file), LOG_I("line", line), LOG_S("condition", cond), {.type = LOG_END}});
    abort();
}
