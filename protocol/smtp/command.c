/* The table of commands, and those that need no file of their own. */
#include "protocol/smtp/internal.h"

#include <ctype.h>

enum command_flag {
    WANTS_HELLO = 1, /* 503 before EHLO */
    WANTS_LOGIN = 2, /* submission: 530 before AUTH */
    NO_ARGUMENT = 4, /* 501 with one */
    ONLY_LMTP = 8,
    NOT_LMTP = 16,
    SECRET = 32, /* may be as long as AUTH may */
};

struct command {
    const char *verb;
    unsigned flags;
    void (*run)(struct smtp *m, struct slice arg);
};

static void ehlo_lines(struct smtp *m)
{
    struct buf *out = &m->session.out;

    buf_printf(out, "250-%s\r\n250-PIPELINING\r\n250-SIZE %zu\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n",
               m->session.peer.local_name, m->limits->message_max);
    buf_append_str(out, "250-BINARYMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n");
    if (!m->session.peer.tls && m->session.peer.tls_available)
        buf_append_str(out, "250-STARTTLS\r\n");
    if (smtp_offers_auth(m))
        buf_append_str(out, "250-AUTH " SASL_MECHANISMS "\r\n");
    buf_append_str(out, "250 HELP\r\n");
}

/* Anything a host may call itself: a wrong name is no reason to refuse (RFC 5321 4.1.4), unprintable bytes are. */
static bool helo_take(struct smtp *m, struct slice arg)
{
    if (arg.n == 0 || arg.n >= sizeof(m->helo))
        return false;
    for (size_t i = 0; i < arg.n; i++)
        if (arg.p[i] <= ' ' || arg.p[i] == 0x7f)
            return false;
    smtp_greeting_forget(m);
    memcpy(m->helo, arg.p, arg.n);
    m->helo[arg.n] = '\0';
    return true;
}

static void helo_run(struct smtp *m, struct slice arg)
{
    if (helo_take(m, arg))
        smtp_reply(m, 250, NULL, "%s", m->session.peer.local_name);
    else
        smtp_reply(m, 501, "5.5.4", "Say HELO and your host name");
}

static void ehlo_run(struct smtp *m, struct slice arg)
{
    if (!helo_take(m, arg)) {
        smtp_reply(m, 501, "5.5.4", "Say %s and your host name", m->kind == SMTP_LMTP ? "LHLO" : "EHLO");
        return;
    }
    m->extended = true;
    ehlo_lines(m);
}

static void rset_run(struct smtp *m, struct slice arg)
{
    (void)arg;
    smtp_transaction_reset(m);
    smtp_reply(m, 250, "2.0.0", "Ok");
}

static void noop_run(struct smtp *m, struct slice arg)
{
    (void)arg;
    smtp_reply(m, 250, "2.0.0", "Ok");
}

/* Whether an address exists is told at RCPT and nowhere else (RFC 5321 7.3). */
static void vrfy_run(struct smtp *m, struct slice arg)
{
    if (arg.n == 0)
        smtp_reply(m, 501, "5.5.4", "Say VRFY and an address");
    else
        smtp_reply(m, 252, "2.0.0", "Not verified; send to it and see");
}

static void expn_run(struct smtp *m, struct slice arg)
{
    (void)arg;
    smtp_reply(m, 502, "5.5.1", "Lists are not expanded");
}

static void quit_run(struct smtp *m, struct slice arg)
{
    (void)arg;
    smtp_reply(m, 221, "2.0.0", "%s closing", m->session.peer.local_name);
    smtp_mode_set(m, SMTP_MODE_CLOSING);
}

static void starttls_run(struct smtp *m, struct slice arg)
{
    (void)arg;
    if (m->session.peer.tls) {
        smtp_reply(m, 503, "5.5.1", "TLS is on already");
    } else if (!m->session.peer.tls_available) {
        smtp_reply(m, 502, "5.5.1", "TLS is not offered");
    } else {
        smtp_transaction_reset(m);
        smtp_reply(m, 220, "2.0.0", "Start TLS");
        m->session.starttls = true;
    }
}

static void help_run(struct smtp *m, struct slice arg);

static const struct command commands[] = {
    {"EHLO", NOT_LMTP, ehlo_run},
    {"HELO", NOT_LMTP, helo_run},
    {"LHLO", ONLY_LMTP, ehlo_run},
    {"MAIL", WANTS_HELLO | WANTS_LOGIN, smtp_mail_run},
    {"RCPT", WANTS_HELLO | WANTS_LOGIN, smtp_rcpt_run},
    {"DATA", WANTS_HELLO | WANTS_LOGIN, smtp_data_run},
    {"BDAT", 0, smtp_bdat_run}, /* takes its octets off the stream in any state */
    {"RSET", NO_ARGUMENT, rset_run},
    {"NOOP", 0, noop_run},
    {"HELP", 0, help_run},
    {"VRFY", 0, vrfy_run},
    {"EXPN", 0, expn_run},
    {"AUTH", WANTS_HELLO | SECRET, smtp_auth_run},
    {"STARTTLS", NO_ARGUMENT, starttls_run},
    {"QUIT", NO_ARGUMENT, quit_run},
};
enum { COMMAND_N = sizeof(commands) / sizeof(commands[0]) };

static bool command_offered(const struct smtp *m, const struct command *c)
{
    return !(c->flags & (m->kind == SMTP_LMTP ? NOT_LMTP : ONLY_LMTP));
}

static void help_run(struct smtp *m, struct slice arg)
{
    struct buf *out = &m->session.out;

    (void)arg;
    buf_append_str(out, "214 2.0.0 Commands:");
    for (size_t i = 0; i < COMMAND_N; i++)
        if (command_offered(m, &commands[i]))
            buf_printf(out, " %s", commands[i].verb);
    buf_append_str(out, "\r\n");
}

static const struct command *command_find(const struct smtp *m, struct slice verb)
{
    for (size_t i = 0; i < COMMAND_N; i++)
        if (slice_ieq(verb, slice_str(commands[i].verb)))
            return command_offered(m, &commands[i]) ? &commands[i] : NULL;
    return NULL;
}

/* Replies and returns false when the command may not run now. */
static bool command_allowed(struct smtp *m, const struct command *c, struct slice arg)
{
    const char *hello = m->kind == SMTP_LMTP ? "LHLO" : "EHLO";

    if ((c->flags & NO_ARGUMENT) && arg.n > 0) {
        smtp_reply(m, 501, "5.5.4", "%s takes no argument", c->verb);
        return false;
    }
    if ((c->flags & WANTS_HELLO) && m->helo[0] == '\0') {
        smtp_reply(m, 503, "5.5.1", "Say %s first", hello);
        return false;
    }
    if ((c->flags & WANTS_LOGIN) && m->kind == SMTP_SUBMISSION && !m->authenticated) {
        if (m->session.peer.tls)
            smtp_reply(m, 530, "5.7.0", "Authentication required");
        else
            smtp_reply(m, 530, "5.7.0", "Say STARTTLS first, then authenticate");
        return false;
    }
    return true;
}

void smtp_command_run(struct smtp *m, struct slice line)
{
    struct slice verb = slice_first(line, slice_find(line, ' '));
    struct slice arg = slice_trim(slice_from(line, verb.n));
    const struct command *c = command_find(m, verb);

    if (line.n > SMTP_LINE_MAX && !(c && (c->flags & SECRET))) {
        smtp_reply(m, 500, "5.5.2", "Line too long");
    } else if (line_has_bare(line) || slice_find(line, 0) < line.n) {
        smtp_reply(m, 500, "5.5.2", "Lines end with CRLF; no CR, LF or NUL inside");
    } else if (!c) {
        smtp_reply(m, 500, "5.5.2", "Command not known");
    } else {
        if (command_allowed(m, c, arg))
            c->run(m, arg);
        return;
    }
    smtp_count_bad(m);
}
