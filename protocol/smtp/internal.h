/* One SMTP, submission or LMTP session: what its parts share.
 *
 *                 ┌───────────────────────── COMMAND ◄──────────────────────────┐
 *            DATA │          BDAT n │              │ AUTH          (final dot,  │
 *                 ▼                 ▼              ▼      last chunk, password) │
 *               DATA              CHUNK ◄─┐      AUTH ──────────────► WAIT ─────┘
 *                 │                 └─────┘ (BDAT comes through COMMAND again)  ▲
 *                 └────────────────────────────────────────────────────────────┘
 *   any ──► CLOSING (QUIT, 421)
 *
 * The session's thread only. */
#ifndef SMTP_INTERNAL_H
#define SMTP_INTERNAL_H

#include "protocol/backend.h"
#include "protocol/line.h"
#include "protocol/sasl/sasl.h"
#include "protocol/session.h"
#include "protocol/smtp/content.h"
#include "protocol/smtp/path.h"
#include "protocol/smtp/trace.h"
#include "protocol/smtp/xtext.h"

enum {
    SMTP_LINE_MAX = 2048,         /* octets of a command line (RFC 5321 4.5.3.1.4 and extensions) */
    SMTP_AUTH_LINE_MAX = 12288,   /* RFC 4954 4 */
    SMTP_IDLE_MS = 5 * 60 * 1000, /* RFC 5321 4.5.3.2.7 */
    SMTP_REFUSED_MAX = 20,        /* recipients of a session that are refused for good: more is guessing */
    SMTP_AUTHORS_MAX = 100,       /* addresses in From and Sender of a submission */
};

enum smtp_mode {
    SMTP_MODE_COMMAND,
    SMTP_MODE_DATA,
    SMTP_MODE_CHUNK,
    SMTP_MODE_AUTH,
    SMTP_MODE_WAIT,
    SMTP_MODE_CLOSING
};

struct smtp_recipient {
    char *address;   /* in the transaction's arena */
    size_t first, n; /* its accounts in smtp_transaction.accounts */
    bool foreign;    /* it leads elsewhere, too */
};

/* Parameters of MAIL and RCPT; texts in their plain form (xtext.h). */
struct smtp_mail_params {
    bool utf8, binary;
    uint64_t size;
    bool ret_full, ret_headers; /* RFC 3461 4.3 */
    struct slice envid;         /* in the transaction's arena */
};
struct smtp_rcpt_params {
    uint32_t notify;
    size_t orcpt_n; /* 0: none given */
    char orcpt[SMTP_ORCPT_MAX];
};

/* From MAIL to the reply after the data (RFC 5321 3.3). */
struct smtp_transaction {
    bool open; /* MAIL was accepted */
    struct smtp_mail_params params;
    bool chunked; /* a BDAT was accepted */
    char *sender;
    struct arena arena;
    struct smtp_recipient *recipients;
    size_t recipient_n, recipient_cap;
    uint64_t *accounts; /* of all recipients, in their order; an account may be there more than once */
    size_t account_n, account_cap;
    struct foreign_recipient *foreign; /* for the queue, each address once; texts in the arena */
    size_t foreign_n, foreign_cap;
    char id[SMTP_ID_MAX];
};

struct smtp {
    struct session session; /* first */
    const struct session_limits *limits;
    enum smtp_kind kind;
    enum smtp_mode mode;
    bool shutdown; /* say 421 between transactions, after the first one */
    bool extended; /* EHLO or LHLO, not HELO */
    bool authenticated;
    uint64_t account;               /* authenticated: whose it is */
    char helo[SMTP_DOMAIN_MAX + 1]; /* "": none yet */
    unsigned bad_commands, auth_tries, refused;
    uint64_t transactions;
    struct line_reader line;

    struct smtp_transaction tx;
    struct smtp_content content;
    uint64_t chunk_left; /* CHUNK: octets still to come */
    bool chunk_last, chunk_refused;

    struct sasl sasl;
    struct backend_auth auth;

    struct backend_sync sync; /* WAIT before a refusal of a sender */

    /* WAIT for the delivery */
    struct write write;
    struct write_message message;
    uint64_t *targets; /* sorted, each account once */
    int *target_status;
    size_t target_n;
    struct smtp_header_facts facts;
    unsigned skip; /* octets of our Return-Path */
    bool eight;    /* what goes out has octets above 127 */
};

static inline struct smtp *smtp_of(struct session *s)
{
    return (struct smtp *)(void *)s;
}

/* The one place where the mode changes; a move that the diagram does not have is a broken invariant. */
void smtp_mode_set(struct smtp *m, enum smtp_mode to);

/* One reply line. enhanced: "2.1.0" (RFC 2034), or NULL for replies that carry none. */
void smtp_reply(struct smtp *m, int code, const char *enhanced, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The reply 421 with its text, and CLOSING. */
void smtp_close_with(struct smtp *m, const char *enhanced, const char *text);
/* Counts a command that made no sense; closes after too many. Call after its reply. */
void smtp_count_bad(struct smtp *m);
/* After a command's reply: back to COMMAND, and 421 if the server drains and no transaction is open. A client that has
 * just connected still gets its first one. */
void smtp_resume(struct smtp *m);

void smtp_transaction_reset(struct smtp *m);
/* What begins with a new EHLO or after TLS: no greeting, no transaction. */
void smtp_greeting_forget(struct smtp *m);
bool smtp_offers_auth(const struct smtp *m);
bool smtp_knows_auth(const struct smtp *m); /* offers it, or would with TLS */
int64_t smtp_now_ms(struct smtp *m);

/* Runs one command line, without its CRLF. */
void smtp_command_run(struct smtp *m, struct slice line);

/* ---- the commands, each in the file of its matter; arg: what follows the verb and its space ---- */
void smtp_mail_run(struct smtp *m, struct slice arg);
void smtp_rcpt_run(struct smtp *m, struct slice arg);
void smtp_data_run(struct smtp *m, struct slice arg);
void smtp_bdat_run(struct smtp *m, struct slice arg);
void smtp_auth_run(struct smtp *m, struct slice arg);
/* The client's next line of an AUTH exchange. */
void smtp_auth_line(struct smtp *m, struct slice line);

/* Each replies and returns false when they are not to be had. MAIL's go to the transaction. */
bool smtp_mail_params_take(struct smtp *m, struct slice in);
bool smtp_rcpt_params_take(struct smtp *m, struct slice in, struct smtp_rcpt_params *r);

/* ---- who may send as whom (sender.c): submissions only, all else may ---- */
bool smtp_submits(const struct smtp *m); /* logged in on submission, and the backend has a queue */
bool smtp_sender_allowed(struct smtp *m, struct slice address);
/* What From and Sender of a message say. FOREIGN: address_r is not one of the account's. */
enum smtp_author { SMTP_AUTHOR_OK, SMTP_AUTHOR_NONE, SMTP_AUTHOR_MANY, SMTP_AUTHOR_FOREIGN };
enum smtp_author smtp_author_check(struct smtp *m, struct slice message, char address_r[SMTP_ADDRESS_MAX + 1]);
/* Runs done (op->owner: m) when this node knows what was true when it was called. Mode WAIT meanwhile. */
void smtp_sync(struct smtp *m, void (*done)(struct backend_op *op));

/* Message octets in DATA and CHUNK; returns the octets taken. */
size_t smtp_data_input(struct smtp *m, struct slice in);
size_t smtp_chunk_input(struct smtp *m, struct slice in);

/* The same reply for the message, or with LMTP for each recipient (RFC 2033 4.2); ends the transaction. */
void smtp_message_refuse(struct smtp *m, int code, const char *enhanced, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The message is complete and without fault: delivers it to all recipients in one write and replies. */
void smtp_deliver(struct smtp *m);
void smtp_deliver_free(struct smtp *m);

#endif
