/* Values with parameters (RFC 2045 5.1): Content-Type and Content-Disposition. Anything is taken. */
#ifndef MIME_PARAM_H
#define MIME_PARAM_H

#include "node/base/mem.h"

struct mime_param {
    struct slice name;  /* lower case */
    struct slice value; /* unquoted; charset's in lower case too */
};

struct mime_value {
    struct slice token; /* "text/plain", lower case, no blanks or comments */
    struct mime_param *params;
    size_t n; /* at most MIME_PARAMS_MAX */
};

/* value: unfolded. The result lives in the arena. RFC 2231 sections (name*0, name*1*) come out joined, as "name", or as
 * "name*" with charset and percent signs kept when one of them was extended; a client decodes those. */
void mime_value_parse(struct slice value, struct arena *a, struct mime_value *value_r);
/* Empty when there is none. */
struct slice mime_value_param(const struct mime_value *v, const char *name);
/* "en, fr (comment)" as tokens that point into value; at most max. Returns how many. */
size_t mime_tokens_parse(struct slice value, struct slice *out, size_t max);
struct slice mime_lower(struct arena *a, struct slice s);

#endif
