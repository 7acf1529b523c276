#include "ctl/help.h"

#include "ctl/options.h"

#include <stdio.h>

static void verb_line(const struct admin_verb *verb, struct buf *out)
{
    buf_printf(out, "  %-16s  %s\n", verb->name, verb->summary);
}

static void options_write(struct buf *out)
{
    buf_append_str(out,
                   "Options for every command:\n"
                   "  --socket PATH     maild's admin socket (else $MERLION_SOCKET, else /run/merlion/admin.sock)\n"
                   "  --json            data as JSON instead of a table; errors as JSON on standard error\n"
                   "  --timeout SECONDS how long to wait for an answer, and with --wait altogether (300)\n"
                   "  --yes, -y         do not ask before removing\n"
                   "  --help, -h        help for the command\n"
                   "  --version         mailctl's version\n");
}

static void exits_write(struct buf *out)
{
    buf_append_str(out, "Exit codes:\n"
                        "  0 done   1 failed   2 wrong usage   3 not found\n"
                        "  4 unavailable: no maild, no leader or no majority; try again\n"
                        "  5 refused: a rule forbids it, it exists already, or you answered no\n");
}

void help_all(struct buf *out)
{
    buf_append_str(out, "mailctl: runs a Merlion mail cluster, through the maild of this machine.\n\n"
                        "Usage: mailctl COMMAND [ARGUMENTS] [OPTIONS]\n\nCommands:\n");
    for (size_t i = 0; i < admin_verb_n; i++)
        verb_line(&admin_verbs[i], out);
    buf_append_str(out, "\nmailctl COMMAND --help explains one, with examples.\n\n"
                        "First steps on a new cluster:\n"
                        "  mailctl cluster init\n"
                        "  mailctl domain add example.org\n"
                        "  mailctl user add ann@example.org\n"
                        "  mailctl member add n2 mail2.example.org:7450\n\n");
    options_write(out);
    buf_append_byte(out, '\n');
    exits_write(out);
}

bool help_group(const char *group, struct buf *out)
{
    size_t n = strlen(group);
    bool any = false;

    for (size_t i = 0; i < admin_verb_n; i++) {
        const struct admin_verb *v = &admin_verbs[i];
        if (n == 0 || strncmp(v->name, group, n) != 0 || v->name[n] != ' ')
            continue;
        if (!any)
            buf_printf(out, "Commands of %s:\n", group);
        any = true;
        verb_line(v, out);
    }
    if (any)
        buf_printf(out, "\nmailctl %s COMMAND --help explains one, with examples.\n", group);
    return any;
}

void help_usage(const struct admin_verb *verb, struct buf *out)
{
    char name[64], option[64];

    buf_printf(out, "mailctl %s", verb->name);
    for (const struct admin_arg *a = verb->args; a < verb->args + ADMIN_ARGS_MAX && a->name; a++) {
        const char *open = a->required ? "" : "[", *close = a->required ? "" : "]";
        placeholder_name(a->name, name, sizeof(name));
        option_name(a->name, option, sizeof(option));
        if (a->type == ADMIN_PASSWORD)
            buf_append_str(out, " [--password-stdin]");
        else if (a->positional)
            buf_printf(out, " %s%s%s%s", open, name, a->type == ADMIN_LIST ? "…" : "", close);
        else if (a->type == ADMIN_BOOL)
            buf_printf(out, " [%s]", option);
        else
            buf_printf(out, " %s%s %s%s", open, option, name, close);
    }
    if (verb->wait)
        buf_append_str(out, " [--wait]");
    if (verb->confirm)
        buf_append_str(out, " [--yes]");
    if (strcmp(verb->name, "status") == 0)
        buf_append_str(out, " [--watch]");
    buf_append_byte(out, '\n');
}

static void arguments_write(const struct admin_verb *verb, struct buf *out)
{
    char name[64];

    if (verb->args[0].name)
        buf_append_str(out, "\nArguments:\n");
    for (const struct admin_arg *a = verb->args; a < verb->args + ADMIN_ARGS_MAX && a->name; a++) {
        if (a->type == ADMIN_PASSWORD)
            snprintf(name, sizeof(name), "password");
        else if (a->positional)
            placeholder_name(a->name, name, sizeof(name));
        else
            option_name(a->name, name, sizeof(name));
        buf_printf(out, "  %-16s  %s", name, a->help);
        if (a->choices)
            buf_printf(out, ": one of: %s", a->choices);
        buf_append_byte(out, '\n');
    }
}

static void indented(const char *lines, struct buf *out)
{
    while (*lines) {
        size_t n = strcspn(lines, "\n");
        buf_append_str(out, "  ");
        buf_append(out, lines, n);
        buf_append_byte(out, '\n');
        lines += n + (lines[n] == '\n');
    }
}

void help_verb(const struct admin_verb *verb, struct buf *out)
{
    buf_printf(out, "%s.\n\nUsage: ", verb->summary);
    help_usage(verb, out);
    if (verb->about[0])
        buf_printf(out, "\n%s\n", verb->about);
    arguments_write(verb, out);
    if (verb->wait)
        buf_printf(out, "  %-16s  wait %s\n", "--wait", verb->wait);
    if (strcmp(verb->name, "status") == 0)
        buf_printf(out, "\n  %-16s  show it anew each second until interrupted\n", "--watch");
    if (verb->args[0].name && verb->args[0].positional)
        buf_append_str(out, "\nArguments may be named instead, as --NAME VALUE.\n");
    buf_append_str(out, "\nExamples:\n");
    indented(verb->examples, out);
    buf_append_byte(out, '\n');
    options_write(out);
}
