/* mailctl's command line. */
#ifndef CTL_OPTIONS_H
#define CTL_OPTIONS_H

#include "node/base/err.h"
#include "protocol/admin/verbs.h"

#include <jansson.h>

/* Exit codes; they are promised in the manual. */
enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,       /* the command line is wrong */
    CTL_NOTFOUND = 3,    /* what it names does not exist */
    CTL_UNAVAILABLE = 4, /* no maild, no leader, no majority, or not in time: try again */
    CTL_REFUSED = 5,     /* a rule forbids it, or a prompt was answered with no */
};
enum ctl_exit exit_of_error(int code);

struct options {
    const char *socket;
    bool json, yes, password_stdin, wait, watch, help, version;
    unsigned timeout_s;
    char verb_text[64];            /* the words given, when verb is NULL */
    const struct admin_verb *verb; /* NULL: none, or only the first word of one */
    json_t *args;                  /* without passwords */
};

/* 0, or ERR_INVALID with detail. o points into argv; options_close in either case. */
int options_parse(int argc, char **argv, struct options *o, struct err_detail *detail);
void options_close(struct options *o);
/* Required arguments that are still missing: ERR_INVALID with detail. Passwords do not count. */
int options_check(const struct options *o, struct err_detail *detail);

/* "--catch-all" for "catch_all", "ADDRESS" for "address". */
void option_name(const char *arg, char *out, size_t n);
void placeholder_name(const char *arg, char *out, size_t n);

#endif
