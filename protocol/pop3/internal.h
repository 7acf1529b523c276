/* One POP3 session (RFC 1939, 2449, 2595, 5034): what its parts share.
 *
 *   AUTHORIZATION ◄──► AUTH (an exchange's next line)
 *        │  ▲              │
 *        ▼  │ refused      ▼
 *       LOGIN (password, then sync and listing)
 *        │
 *        ▼
 *   TRANSACTION ◄──► FETCH (body) ──► SENDING ──► TRANSACTION
 *        │   ▲──────────────────────────┘
 *        ▼
 *      UPDATE (one write) ──► CLOSING ◄── any
 *
 * The maildrop is the INBOX as it was at login: message numbers stay, other sessions may come and go. What was marked
 * is deleted by one write at QUIT, or not at all. The session's thread only. */
#ifndef POP3_INTERNAL_H
#define POP3_INTERNAL_H

#include "protocol/backend.h"
#include "protocol/line.h"
#include "protocol/sasl/sasl.h"
#include "protocol/session.h"

enum {
    POP3_LINE_MAX = 512,           /* octets of a command (RFC 2449 4 wants at least 255) */
    POP3_AUTH_LINE_MAX = 12288,    /* RFC 5034 4 */
    POP3_IDLE_MS = 10 * 60 * 1000, /* RFC 1939 3 */
};

enum pop3_state {
    POP3_AUTHORIZATION,
    POP3_AUTH,
    POP3_LOGIN,
    POP3_TRANSACTION,
    POP3_FETCH,
    POP3_SENDING,
    POP3_UPDATE,
    POP3_CLOSING,
};

struct pop3_message {
    uint32_t uid;
    bool deleted;
    uint64_t size; /* octets */
};

/* What a multi-line response still has to send. */
enum pop3_send { POP3_SEND_LIST, POP3_SEND_UIDL, POP3_SEND_BODY };

struct pop3 {
    struct session session; /* first */
    const struct session_limits *limits;
    enum pop3_state state;
    unsigned bad_commands, auth_tries;
    struct line_reader line;
    char name[SASL_USER_MAX + 1]; /* from USER; "": none */

    struct sasl sasl;
    struct backend_auth auth;
    struct backend_sync sync;
    uint64_t account;

    uint64_t mailbox;
    uint32_t uidvalidity;
    struct pop3_message *messages; /* message number - 1 */
    size_t message_n, message_cap;

    struct backend_body fetch;
    bool top; /* TOP: only top_lines of the text */
    uint64_t top_lines;
    enum pop3_send send;
    struct bytes *body;       /* SEND_BODY */
    size_t send_at, send_end; /* octets of body, or messages */

    struct write write;
    struct uid_set doomed;
};

static inline struct pop3 *pop3_of(struct session *s)
{
    return (struct pop3 *)(void *)s;
}

/* The one place where the state changes. */
void pop3_move(struct pop3 *p, enum pop3_state to);
/* "+OK text" and "-ERR text"; code: "[AUTH] " and the like (RFC 2449 8, RFC 3206), or "". */
void pop3_ok(struct pop3 *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void pop3_err(struct pop3 *p, const char *code, const char *text);
void pop3_count_bad(struct pop3 *p);
/* After an asynchronous command: to the state where the next one is read. */
void pop3_resume(struct pop3 *p, enum pop3_state to);
bool pop3_password_allowed(const struct pop3 *p); /* not in the clear where TLS is to be had */

void pop3_command_run(struct pop3 *p, struct slice line);

/* ---- login.c ---- */
void pop3_user_run(struct pop3 *p, struct slice arg);
void pop3_pass_run(struct pop3 *p, struct slice arg);
void pop3_auth_run(struct pop3 *p, struct slice arg);
void pop3_auth_line(struct pop3 *p, struct slice line);

/* ---- maildrop.c ---- */
void pop3_stat_run(struct pop3 *p, struct slice arg);
void pop3_list_run(struct pop3 *p, struct slice arg);
void pop3_uidl_run(struct pop3 *p, struct slice arg);
void pop3_dele_run(struct pop3 *p, struct slice arg);
void pop3_rset_run(struct pop3 *p, struct slice arg);
void pop3_quit_run(struct pop3 *p, struct slice arg);
/* The message of that number; NULL, after -ERR, when there is none or it is marked. */
struct pop3_message *pop3_message_take(struct pop3 *p, struct slice number);

/* ---- send.c ---- */
void pop3_retr_run(struct pop3 *p, struct slice arg);
void pop3_top_run(struct pop3 *p, struct slice arg);
void pop3_send_begin(struct pop3 *p, enum pop3_send what, size_t end);
/* Goes on with a multi-line response as far as there is room. */
void pop3_send_more(struct pop3 *p);

#endif
