/* The table of commands, and those that need no file of their own. */
#include "protocol/pop3/internal.h"

enum command_flag {
    BEFORE_LOGIN = 1,
    AFTER_LOGIN = 2,
    NO_ARGUMENT = 4,
    LONG = 8, /* may be as long as AUTH may */
};

struct command {
    const char *verb;
    unsigned flags;
    void (*run)(struct pop3 *p, struct slice arg);
};

/* RFC 2449 */
static void capa_run(struct pop3 *p, struct slice arg)
{
    struct buf *out = &p->session.out;
    bool before = p->state == POP3_AUTHORIZATION;

    (void)arg;
    buf_append_str(out, "+OK Capabilities\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n");
    if (pop3_password_allowed(p))
        buf_append_str(out, "USER\r\nSASL " SASL_MECHANISMS "\r\n");
    if (before && !p->session.peer.tls && p->session.peer.tls_available)
        buf_append_str(out, "STLS\r\n");
    buf_append_str(out, "EXPIRE NEVER\r\nIMPLEMENTATION Merlion-" MERLION_VERSION "\r\n.\r\n");
}

/* RFC 2595 4 */
static void stls_run(struct pop3 *p, struct slice arg)
{
    (void)arg;
    if (p->session.peer.tls) {
        pop3_err(p, "", "TLS is on already");
    } else if (!p->session.peer.tls_available) {
        pop3_err(p, "", "TLS is not offered");
    } else {
        pop3_ok(p, "Start TLS");
        p->session.starttls = true;
    }
}

static void noop_run(struct pop3 *p, struct slice arg)
{
    (void)arg;
    pop3_ok(p, "Nothing done");
}

static const struct command commands[] = {
    {"CAPA", BEFORE_LOGIN | AFTER_LOGIN | NO_ARGUMENT, capa_run},
    {"STLS", BEFORE_LOGIN | NO_ARGUMENT, stls_run},
    {"USER", BEFORE_LOGIN, pop3_user_run},
    {"PASS", BEFORE_LOGIN | LONG, pop3_pass_run},
    {"AUTH", BEFORE_LOGIN | LONG, pop3_auth_run},
    {"STAT", AFTER_LOGIN | NO_ARGUMENT, pop3_stat_run},
    {"LIST", AFTER_LOGIN, pop3_list_run},
    {"UIDL", AFTER_LOGIN, pop3_uidl_run},
    {"RETR", AFTER_LOGIN, pop3_retr_run},
    {"TOP", AFTER_LOGIN, pop3_top_run},
    {"DELE", AFTER_LOGIN, pop3_dele_run},
    {"RSET", AFTER_LOGIN | NO_ARGUMENT, pop3_rset_run},
    {"NOOP", AFTER_LOGIN | NO_ARGUMENT, noop_run},
    {"QUIT", BEFORE_LOGIN | AFTER_LOGIN | NO_ARGUMENT, pop3_quit_run},
};

static const struct command *command_find(struct slice verb)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (slice_ieq(verb, slice_str(commands[i].verb)))
            return &commands[i];
    return NULL;
}

void pop3_command_run(struct pop3 *p, struct slice line)
{
    struct slice verb = slice_first(line, slice_find(line, ' '));
    struct slice arg = slice_from(line, verb.n + 1); /* as it is: a password may begin or end with spaces */
    const struct command *c = command_find(verb);
    const char *wrong = NULL;

    if (line.n > POP3_LINE_MAX && !(c && (c->flags & LONG)))
        wrong = "Line too long";
    else if (line_has_bare(line) || slice_find(line, 0) < line.n)
        wrong = "Lines end with CRLF; no CR, LF or NUL inside";
    else if (!c)
        wrong = "Command not known";
    else if (!(c->flags & (p->state == POP3_AUTHORIZATION ? BEFORE_LOGIN : AFTER_LOGIN)))
        wrong = p->state == POP3_AUTHORIZATION ? "Log in first" : "Logged in already";
    else if ((c->flags & NO_ARGUMENT) && slice_trim(arg).n > 0)
        wrong = "Takes no argument";
    if (!wrong) {
        c->run(p, arg);
        return;
    }
    pop3_err(p, "", wrong);
    pop3_count_bad(p);
}
