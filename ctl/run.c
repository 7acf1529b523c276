#include "ctl/run.h"

#include "ctl/connection.h"
#include "ctl/help.h"
#include "ctl/prompt.h"
#include "ctl/show.h"
#include "ctl/wait.h"
#include "node/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void print(FILE *to, struct buf *text)
{
    fwrite(buf_slice(text).p, 1, buf_len(text), to);
    buf_close(text);
    fflush(to);
}

/* ---- errors ---- */

static enum ctl_exit fail(const struct options *o, int code, const char *error, const char *hint)
{
    struct buf line = {0};

    if (o->json) {
        admin_error_write(code, error, hint, &line);
    } else {
        buf_printf(&line, "mailctl: %s%s%s\n", o->verb ? o->verb->name : "", o->verb ? ": " : "", error);
        if (hint)
            buf_printf(&line, "%s\n", hint);
    }
    print(stderr, &line);
    return exit_of_error(code);
}

/* What to do next, when the node did not say. */
static const char *hint_of(int code)
{
    if (exit_of_error(code) == CTL_UNAVAILABLE)
        return "See mailctl status: a majority of voters must be reachable.";
    if (code == ERR_NOTFOUND)
        return "See what there is with mailctl domain list, user list, alias list, member list.";
    return NULL;
}

static enum ctl_exit usage(const struct options *o, const char *error)
{
    struct buf hint = {0};

    if (o->verb)
        buf_append_str(&hint, "Usage: ");
    if (o->verb)
        help_usage(o->verb, &hint);
    buf_printf(&hint, "See mailctl %s%s--help", o->verb ? o->verb->name : "", o->verb ? " " : "");
    buf_append_byte(&hint, '\0');
    enum ctl_exit code = fail(o, ERR_INVALID, error, (const char *)buf_slice(&hint).p);
    buf_close(&hint);
    return code;
}

static enum ctl_exit help(const struct options *o)
{
    struct buf out = {0};
    char error[128];

    if (o->verb)
        help_verb(o->verb, &out);
    else if (o->verb_text[0] == '\0')
        help_all(&out);
    else if (!help_group(o->verb_text, &out)) {
        snprintf(error, sizeof(error), "no such command: %s", o->verb_text);
        return usage(o, error);
    }
    print(stdout, &out);
    return CTL_OK;
}

static enum ctl_exit no_verb(const struct options *o)
{
    struct buf out = {0};
    char error[128], group[64];

    if (o->verb_text[0] == '\0') {
        help_all(&out);
        print(stderr, &out);
        return CTL_USAGE;
    }
    snprintf(group, sizeof(group), "%.*s", (int)strcspn(o->verb_text, " "), o->verb_text);
    snprintf(error, sizeof(error), "no such command: %s", o->verb_text);
    usage(o, error);
    if (!o->json && help_group(group, &out))
        print(stderr, &out);
    return CTL_USAGE;
}

/* ---- asking ---- */

static const char *first_arg(const struct options *o)
{
    const char *name = o->verb->args[0].name;
    const char *value = name ? json_string_value(json_object_get(o->args, name)) : NULL;

    return value ? value : "";
}

/* text has at most one %s; nothing else in it is special. */
static void fill_in(const char *text, const char *value, struct buf *out)
{
    const char *at = strstr(text, "%s");

    buf_append(out, text, at ? (size_t)(at - text) : strlen(text));
    if (!at)
        return;
    buf_append_str(out, value);
    buf_append_str(out, at + 2);
}

static int confirmed(const struct options *o, struct err_detail *detail)
{
    struct buf question = {0};

    if (!o->verb->confirm || o->yes)
        return 0;
    fill_in(o->verb->confirm, first_arg(o), &question);
    buf_append_byte(&question, '\0');
    int rv = confirm((const char *)buf_slice(&question).p, detail);
    buf_close(&question);
    return rv;
}

static int password_take(struct options *o, struct err_detail *detail)
{
    struct buf password = {0};
    int rv = 0;

    for (const struct admin_arg *a = o->verb->args; a < o->verb->args + ADMIN_ARGS_MAX && a->name; a++) {
        if (a->type != ADMIN_PASSWORD)
            continue;
        rv = password_read(o->password_stdin, &password, detail);
        json_t *value = rv == 0 ? json_string((const char *)buf_slice(&password).p) : NULL;
        if (rv == 0 && !value)
            rv = err_set(detail, ERR_INVALID, "the password is not UTF-8");
        if (value)
            json_object_set_new(o->args, a->name, value);
        if (password.base)
            mem_wipe(password.base, password.cap);
        break;
    }
    buf_close(&password);
    return rv;
}

static void data_print(const struct options *o, const json_t *data)
{
    struct buf out = {0};

    if (o->json) {
        char *text = json_dumps(data, JSON_INDENT(2) | JSON_ENCODE_ANY);
        buf_printf(&out, "%s\n", text ? text : "null");
        free(text);
    } else {
        show_data(o->verb, data, &out);
        if (o->verb->done)
            fill_in(o->verb->done, first_arg(o), &out);
    }
    print(stdout, &out);
}

/* What was shown may be bad news, which a script is to see from the exit code. */
static enum ctl_exit exit_of_data(const struct options *o, const json_t *data)
{
    if (strcmp(o->verb->name, "status") == 0)
        return json_string_value(json_object_get(data, "leader")) ? CTL_OK : CTL_UNAVAILABLE;
    if (strcmp(o->verb->name, "verify") != 0 || json_is_true(json_object_get(data, "same")))
        return CTL_OK;
    return json_is_false(json_object_get(data, "differ")) ? CTL_UNAVAILABLE : CTL_FAILED;
}

static enum ctl_exit answer_take(const struct options *o, const struct admin_answer *a)
{
    if (a->kind == ADMIN_ERROR)
        return fail(o, a->code, a->text, a->hint ? a->hint : hint_of(a->code));
    data_print(o, a->data);
    return exit_of_data(o, a->data);
}

static enum ctl_exit ask(const struct options *o, const char *verb, json_t *args,
                         enum ctl_exit (*take)(const struct options *o, const struct admin_answer *a))
{
    struct connection c;
    struct admin_answer answer;
    struct err_detail detail;
    int rv = connection_open(&c, o->socket, o->timeout_s, &detail);

    if (rv != 0)
        return fail(o, rv, detail.text, NULL);
    enum ctl_exit code;
    rv = connection_ask(&c, verb, args, o->json, &answer, &detail);
    if (rv != 0) {
        code = fail(o, rv, detail.text, NULL);
    } else {
        code = take(o, &answer);
        admin_answer_close(&answer);
    }
    connection_close(&c);
    return code;
}

/* ---- status --watch ---- */

static enum ctl_exit watch(const struct options *o)
{
    bool screen = isatty(STDOUT_FILENO);

    for (;;) {
        if (screen)
            fputs("\033[H\033[2J", stdout);
        ask(o, o->verb->name, o->args, answer_take); /* trouble is shown, and the next second tries again */
        if (!screen)
            fputs("\n", stdout);
        if (fflush(stdout) != 0 || ferror(stdout))
            return CTL_OK;
        sleep(1);
    }
}

/* ---- --wait ---- */

/* The leader's name now, NULL when it cannot be told (mem_free). */
static char *leader_now(const struct options *o)
{
    struct connection c;
    struct admin_answer answer;
    struct err_detail detail;
    char *name = NULL;

    if (connection_open(&c, o->socket, 5, &detail) != 0)
        return NULL;
    if (connection_ask(&c, "status", NULL, true, &answer, &detail) == 0) {
        const char *leader = json_string_value(json_object_get(answer.data, "leader"));
        name = leader ? mem_strdup(leader) : NULL;
        admin_answer_close(&answer);
    }
    connection_close(&c);
    return name;
}

static enum ctl_exit ask_and_wait(const struct options *o)
{
    struct err_detail detail;
    char *before = leader_now(o);
    enum ctl_exit code = ask(o, o->verb->name, o->args, answer_take);

    if (code == CTL_OK && wait_for(o, before, &detail) != 0)
        code = fail(o, ERR_TIMEOUT, detail.text, NULL);
    mem_free(before);
    return code;
}

static enum ctl_exit verb_run(struct options *o)
{
    struct err_detail detail = {0};
    int rv = options_check(o, &detail);

    if (rv != 0)
        return usage(o, detail.text);
    rv = confirmed(o, &detail);
    if (rv == 0)
        rv = password_take(o, &detail);
    if (rv != 0)
        return fail(o, rv, detail.text, NULL);
    rv = admin_args_check(o->verb, o->args, &detail);
    if (rv != 0)
        return usage(o, detail.text);
    if (o->watch)
        return watch(o);
    return o->wait ? ask_and_wait(o) : ask(o, o->verb->name, o->args, answer_take);
}

enum ctl_exit ctl_run(int argc, char **argv)
{
    struct options o;
    struct err_detail detail;
    enum ctl_exit code;
    int rv = options_parse(argc, argv, &o, &detail);

    if (!o.socket)
        o.socket = getenv("MERLION_SOCKET");
    if (!o.socket || !o.socket[0])
        o.socket = CTL_SOCKET_DEFAULT;
    if (rv != 0)
        code = usage(&o, detail.text);
    else if (o.help)
        code = help(&o);
    else if (o.version)
        code = puts("mailctl " MERLION_VERSION) < 0 ? CTL_FAILED : CTL_OK;
    else
        code = o.verb ? verb_run(&o) : no_verb(&o);
    options_close(&o);
    return code;
}
