#include "ctl/options.h"

#include "ctl/show.h"

#include <stdio.h>
#include <string.h>

enum ctl_exit exit_of_error(int code)
{
    switch (code) {
    case 0:
        return CTL_OK;
    case ERR_INVALID:
        return CTL_USAGE;
    case ERR_NOTFOUND:
        return CTL_NOTFOUND;
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_BUSY:
    case ERR_NOTLEADER:
    case ERR_CANCELED:
    case ERR_CLOSED:
        return CTL_UNAVAILABLE;
    case ERR_DENIED:
    case ERR_EXISTS:
    case ERR_CONFLICT:
    case ERR_QUOTA:
    case ERR_NOSPACE:
    case ERR_VERSION:
        return CTL_REFUSED;
    default:
        return CTL_FAILED;
    }
}

static void map_name(const char *arg, char *out, size_t n, const char *prefix, bool upper)
{
    snprintf(out, n, "%s%s", prefix, arg);
    for (char *c = out; *c; c++) {
        if (*c == '_')
            *c = '-';
        else if (upper && *c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    }
}

void option_name(const char *arg, char *out, size_t n)
{
    map_name(arg, out, n, "--", false);
}

void placeholder_name(const char *arg, char *out, size_t n)
{
    map_name(arg, out, n, "", true);
}

/* ---- options ---- */

struct words {
    int argc, at;
    char **argv;
    const char *word[64]; /* what is no option */
    unsigned n;
};

/* The value of option `name`: after "=", or the next word. */
static int value_take(struct words *w, const char *name, const char *after, const char **value_r,
                      struct err_detail *detail)
{
    if (after)
        *value_r = after;
    else if (w->at + 1 < w->argc)
        *value_r = w->argv[++w->at];
    else
        return err_set(detail, ERR_INVALID, "%s wants a value", name);
    return 0;
}

static bool *switch_find(struct options *o, const char *name)
{
    const struct {
        const char *name;
        bool *value;
    } switches[] = {{"--json", &o->json}, {"--yes", &o->yes},     {"-y", &o->yes},
                    {"--wait", &o->wait}, {"--watch", &o->watch}, {"--password-stdin", &o->password_stdin},
                    {"--help", &o->help}, {"-h", &o->help},       {"--version", &o->version}};

    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
        if (strcmp(name, switches[i].name) == 0)
            return switches[i].value;
    return NULL;
}

static int arg_set(struct options *o, const struct admin_arg *a, const char *text, struct err_detail *detail)
{
    char name[64];
    uint64_t size;
    json_t *value;

    placeholder_name(a->name, name, sizeof(name));
    if (a->type == ADMIN_SIZE) {
        if (size_parse(text, &size) != 0)
            return err_set(detail, ERR_INVALID, "%s: %s is no size; give octets, or 500M, 10G", name, text);
        value = json_integer((json_int_t)size);
    } else {
        value = json_string(text);
    }
    if (!value)
        return err_set(detail, ERR_INVALID, "%s: not UTF-8", name);
    if (a->type != ADMIN_LIST) {
        json_object_set_new(o->args, a->name, value);
        return 0;
    }
    json_t *list = json_object_get(o->args, a->name);
    if (!list) {
        list = json_array();
        json_object_set_new(o->args, a->name, list);
    }
    json_array_append_new(list, value);
    return 0;
}

/* "--name VALUE" of the verb itself; what has a place may be named as well. ERR_NOTFOUND: it has no such option. */
static int verb_option(struct options *o, struct words *w, const char *name, const char *after,
                       struct err_detail *detail)
{
    const struct admin_verb *v = o->verb;
    const char *value = NULL;
    char option[64];

    for (const struct admin_arg *a = v->args; a < v->args + ADMIN_ARGS_MAX && a->name; a++) {
        option_name(a->name, option, sizeof(option));
        if (a->type == ADMIN_PASSWORD || strcmp(option, name) != 0)
            continue;
        if (a->type == ADMIN_BOOL) {
            json_object_set_new(o->args, a->name, json_true());
            return after ? err_set(detail, ERR_INVALID, "%s takes no value", name) : 0;
        }
        int rv = value_take(w, name, after, &value, detail);
        return rv != 0 ? rv : arg_set(o, a, value, detail);
    }
    return ERR_NOTFOUND;
}

static void verb_look(struct options *o, const struct words *w)
{
    char name[64];

    for (unsigned n = 2; n >= 1 && !o->verb; n--) {
        if (w->n < n)
            continue;
        snprintf(name, sizeof(name), n == 2 ? "%s %s" : "%s", w->word[0], n == 2 ? w->word[1] : "");
        o->verb = admin_verb_find(name);
    }
}

static int option_take(struct options *o, struct words *w, struct err_detail *detail)
{
    const char *word = w->argv[w->at], *equals = strchr(word, '='), *value = NULL;
    char name[64];
    uint64_t seconds;

    snprintf(name, sizeof(name), "%.*s", (int)(equals ? equals - word : (long)strlen(word)), word);
    const char *after = equals ? equals + 1 : NULL;
    bool *on = after ? NULL : switch_find(o, name);
    if (on) {
        *on = true;
        return 0;
    }
    if (strcmp(name, "--socket") == 0)
        return value_take(w, name, after, &o->socket, detail);
    if (strcmp(name, "--timeout") == 0) {
        if (value_take(w, name, after, &value, detail) != 0)
            return ERR_INVALID;
        if (slice_u64(slice_str(value), 86400, &seconds) != 0 || seconds == 0)
            return err_set(detail, ERR_INVALID, "--timeout wants seconds, at most 86400");
        o->timeout_s = (unsigned)seconds;
        return 0;
    }
    verb_look(o, w);
    int rv = o->verb ? verb_option(o, w, name, after, detail) : ERR_NOTFOUND;
    return rv == ERR_NOTFOUND ? err_set(detail, ERR_INVALID, "unknown option %s", name) : rv;
}

/* ---- words ---- */

static int positionals_take(struct options *o, const struct words *w, unsigned at, struct err_detail *detail)
{
    const struct admin_verb *v = o->verb;

    for (const struct admin_arg *a = v->args; a < v->args + ADMIN_ARGS_MAX && a->name; a++) {
        if (!a->positional || json_object_get(o->args, a->name)) /* none, or named */
            continue;
        do {
            if (at >= w->n)
                return 0;
            int rv = arg_set(o, a, w->word[at++], detail);
            if (rv != 0)
                return rv;
        } while (a->type == ADMIN_LIST);
    }
    return at < w->n ? err_set(detail, ERR_INVALID, "one argument too many: %s", w->word[at]) : 0;
}

int options_parse(int argc, char **argv, struct options *o, struct err_detail *detail)
{
    struct words w = {.argc = argc, .at = 1, .argv = argv};
    bool only_words = false;

    *o = (struct options){.args = json_object(), .timeout_s = 300};
    for (; w.at < argc; w.at++) {
        if (!only_words && strcmp(argv[w.at], "--") == 0) {
            only_words = true;
        } else if (!only_words && argv[w.at][0] == '-' && argv[w.at][1]) {
            int rv = option_take(o, &w, detail);
            if (rv != 0)
                return rv;
        } else if (w.n == sizeof(w.word) / sizeof(w.word[0])) {
            return err_set(detail, ERR_INVALID, "too many arguments");
        } else if (w.n == 0 && !only_words && strcmp(argv[w.at], "help") == 0) {
            o->help = true;
        } else {
            w.word[w.n++] = argv[w.at];
        }
    }
    verb_look(o, &w);
    if (!o->verb) {
        snprintf(o->verb_text, sizeof(o->verb_text), "%s%s%s", w.n > 0 ? w.word[0] : "", w.n > 1 ? " " : "",
                 w.n > 1 ? w.word[1] : "");
        return 0;
    }
    return positionals_take(o, &w, strchr(o->verb->name, ' ') ? 2 : 1, detail);
}

void options_close(struct options *o)
{
    json_decref(o->args);
    o->args = NULL;
}

int options_check(const struct options *o, struct err_detail *detail)
{
    const struct admin_verb *v = o->verb;
    char name[64];

    if (o->watch && strcmp(v->name, "status") != 0)
        return err_set(detail, ERR_INVALID, "--watch goes with status only");
    if (o->wait && !v->wait)
        return err_set(detail, ERR_INVALID, "%s has nothing to --wait for", v->name);
    for (const struct admin_arg *a = v->args; a < v->args + ADMIN_ARGS_MAX && a->name; a++) {
        const json_t *value = json_object_get(o->args, a->name);
        placeholder_name(a->name, name, sizeof(name));
        if (a->required && !value && a->type != ADMIN_PASSWORD)
            return err_set(detail, ERR_INVALID, "%s is missing: %s", name, a->help);
    }
    return 0;
}
