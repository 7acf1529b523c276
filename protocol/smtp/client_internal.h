/* What the parts of the SMTP client share.
 *
 *   client.c          phases, events, time-outs, life
 *   client_reply.c    the server's replies
 *   client_outcome.c  replies as outcomes
 *   client_hello.c    greeting, EHLO, STARTTLS, AUTH
 *   client_mail.c     one mail: its envelope and what becomes of it
 *   client_content.c  its octets, by DATA or BDAT
 *
 *   GREETING ─► EHLO ─► (HELO) ─► STARTTLS ─► TLS ─► EHLO ─► AUTH ─► READY ─► QUIT
 *                                                                  ▲   │
 *          ┌──────────── refused, done ────────────────────────────┤   ▼
 *          └─ ENVELOPE ─► CONTENT ─► CONFIRM ─► FINAL ─────────────┤ ENVELOPE
 *                └──► EMPTY (a 354 that nobody needs any more) ────┘
 *   any ──► CLOSED
 *
 * The client's thread only. */
#ifndef SMTP_CLIENT_INTERNAL_H
#define SMTP_CLIENT_INTERNAL_H

#include "protocol/smtp/client.h"

enum {
    CLIENT_LINE_MAX = 2048,          /* octets of a reply line; what is longer is cut off */
    CLIENT_LINES_MAX = 256,          /* lines of a reply */
    CLIENT_PORTION = 64 * 1024,      /* octets of a message that are put into out at once */
    CLIENT_OUT_HIGH = 2 * 64 * 1024, /* out is filled so far */
};

/* ---- replies (RFC 5321 4.2) ---- */

struct client_reply {
    int code;
    char enhanced[16]; /* "": none, or of another class than the code's */
    char text[512];    /* printable, lines joined by "; ", without the code */
    size_t text_n;
};
enum client_read {
    CLIENT_READ_MORE, /* all input was taken */
    CLIENT_READ_LINE, /* a line, more of the reply follow */
    CLIENT_READ_END,  /* the last one: the reply is complete */
    CLIENT_READ_BAD,  /* no SMTP */
};
struct client_reader { /* all zero is an empty one */
    struct client_reply reply;
    unsigned lines;
    bool begun; /* reply is under way */
    char line[CLIENT_LINE_MAX];
    size_t n;
};
/* Takes at most one line; *line_r: what follows its code, valid until the next call. */
enum client_read client_reply_read(struct client_reader *r, struct slice in, size_t *used_r, struct slice *line_r);

/* Copies text as one printable line: UTF-8 kept, controls and what is no UTF-8 replaced, cut at max - 1 octets. Returns
 * its length. */
size_t client_text_copy(struct slice text, char *out, size_t max);

/* ---- outcomes ---- */

/* By the class of the code: 2 delivered, 5 failed, else deferred. */
void client_outcome_reply(struct smtp_outcome *o, const struct client_reply *r);
void client_outcome_local(struct smtp_outcome *o, enum smtp_outcome_kind kind, const char *enhanced, const char *format,
                          ...) __attribute__((format(printf, 4, 5)));

/* ---- the client ---- */

enum client_phase {
    CLIENT_GREETING,
    CLIENT_EHLO,
    CLIENT_HELO,
    CLIENT_STARTTLS,
    CLIENT_TLS,
    CLIENT_AUTH,
    CLIENT_READY,
    CLIENT_ENVELOPE,
    CLIENT_CONTENT,
    CLIENT_CONFIRM,
    CLIENT_FINAL,
    CLIENT_EMPTY,
    CLIENT_QUIT,
    CLIENT_CLOSED,
};

enum client_auth_step { CLIENT_AUTH_PLAIN, CLIENT_AUTH_LOGIN_USER, CLIENT_AUTH_LOGIN_PASSWORD, CLIENT_AUTH_LAST };

struct client_offers {
    bool pipelining, size, eight, chunking, binary, utf8, dsn, starttls, auth_plain, auth_login;
    uint64_t size_max; /* 0: none said */
};

/* The mail under way. Commands are numbered: RSET when the last mail left the server in a transaction, MAIL, a RCPT for
 * each of rcpts, DATA unless BDAT is used. Replies come in the order of the commands. */
struct client_mail {
    struct smtp_client_mail *mail; /* NULL: none */
    struct bytes *body;
    struct slice content; /* what goes out of it */
    bool crlf;            /* its last line lacks its CRLF: we add one */
    bool utf8, binary;    /* SMTPUTF8 is said; BINARYMIME is */
    bool chunked;         /* BDAT */
    bool rset;
    size_t *rcpts; /* positions in mail->recipients that are asked for */
    bool *accepted;
    size_t n, accepted_n;
    size_t sent, answered; /* commands */
    bool mail_ok, mail_refused;

    size_t at; /* octets of content that went to out */
    bool line_start, header_sent;
};

struct smtp_client {
    struct smtp_client_events events;
    char *helo, *user, *password;
    enum smtp_tls_policy policy;
    enum client_phase phase;
    bool tls;
    enum client_auth_step auth_step;
    struct buf out;
    struct client_reader reader;
    struct client_offers offers;
    char server[256];
    bool in_transaction; /* the server may still hold an envelope: RSET first */
    struct client_mail mail;
};

/* The one place where the phase changes. */
void client_phase_set(struct smtp_client *c, enum client_phase to);
/* Ends a connection without mail: failed(). QUIT goes out first when polite. */
void client_fail(struct smtp_client *c, const struct smtp_outcome *o, bool polite);
void client_fail_reply(struct smtp_client *c, const struct client_reply *r, const char *what);

/* client_hello.c: replies up to READY */
void client_greeting(struct smtp_client *c, const struct client_reply *r);
void client_ehlo_send(struct smtp_client *c);
void client_ehlo_line(struct smtp_client *c, struct slice line);
void client_ehlo(struct smtp_client *c, const struct client_reply *r);
void client_helo(struct smtp_client *c, const struct client_reply *r);
void client_starttls(struct smtp_client *c, const struct client_reply *r);
void client_auth(struct smtp_client *c, const struct client_reply *r);

/* client_mail.c */
void client_envelope(struct smtp_client *c, const struct client_reply *r);
/* The final reply, or one that came while content was on its way. */
void client_final(struct smtp_client *c, const struct client_reply *r);
void client_empty(struct smtp_client *c, const struct client_reply *r);
/* Everything still open gets o; done(false). */
void client_mail_abort(struct smtp_client *c, const struct smtp_outcome *o);
void client_mail_free(struct smtp_client *c);

/* client_envelope.c: what goes into MAIL and RCPT */
/* Settles what the server's offers do not allow, fills mail.rcpts; false when nothing is left to send. */
bool client_envelope_prepare(struct smtp_client *c);
void client_mail_command(struct smtp_client *c);
void client_rcpt_command(struct smtp_client *c, size_t at);

/* client_content.c */
void client_content_begin(struct smtp_client *c);
void client_content_push(struct smtp_client *c);
void client_content_last(struct smtp_client *c);
uint64_t client_content_size(const struct smtp_client *c);

#endif
