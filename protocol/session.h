/* A protocol session, seen from its host (a listener in node/, or a test with byte arrays).
 *
 *      bytes in ──► input() ──► out (bytes to the client), flags (starttls, closing, stalled)
 *                     │
 *                     └──► backend (asynchronous) ──► session continues ──► host->wake()
 *
 * No sockets, no clock, no threads here: the host feeds bytes, drains `out`, sets `now_ms`, and calls. All calls on the
 * session's one thread. The host pumps like this, on readable bytes, after wake(), and after `out` drained:
 *   while there is input and none of {blocked, starttls, closing} and out is below SESSION_OUT_HIGH: input()
 *   write out; when out is empty and starttls is set: do the TLS handshake, drop all plaintext input, tls_started()
 *   when out is empty and closing is set: close the connection. */
#ifndef PROTOCOL_SESSION_H
#define PROTOCOL_SESSION_H

#include "node/base/buf.h"

struct backend;
struct session;

enum {
    SESSION_OUT_HIGH = 256 * 1024, /* a session stops producing above this until drained() */
    SESSION_OUT_LOW = 64 * 1024,   /* the host calls drained() below this */
};

/* What the connection is, told once at creation and after TLS started. */
struct session_peer {
    char address[64]; /* client's, "192.0.2.1" or IPv6 text, from PROXY when trusted */
    uint16_t port;
    char local_name[256];                 /* this node's public host name, for banners and Received: */
    bool tls;                             /* TLS is on */
    bool tls_available;                   /* STARTTLS may be offered */
    char tls_version[16], tls_cipher[64]; /* when on, for Received: */
    char id[24];                          /* session id for logs */
};

struct session_host {
    /* The session has new output, a changed flag, or can take input again after it was blocked. Never reenters
     * input(): the host pumps later, from its loop. */
    void (*wake)(struct session_host *h);
    /* A closed session's last operation ended: the host frees it now (session_free). */
    void (*released)(struct session_host *h);
    int64_t (*now_ms)(struct session_host *h); /* wall clock, ms since the epoch */
};

struct session_ops {
    const char *protocol; /* "imap", "pop3", "smtp", "submission", "lmtp" */
    /* Feeds bytes; returns how many were consumed (0 only when more is needed or the session blocked). */
    size_t (*input)(struct session *s, struct slice in);
    /* Output fell below SESSION_OUT_LOW: go on producing. */
    void (*drained)(struct session *s);
    /* TLS is on now; s->peer is updated. Forget everything learnt in plaintext. */
    void (*tls_started)(struct session *s);
    /* No input for idle_timeout_ms(): say goodbye if the protocol does, set closing. */
    void (*timed_out)(struct session *s);
    /* The server drains: come to an end that costs the client nothing, then set closing. IMAP: BYE when no command is
     * under way. SMTP: 421 when no transaction is, and one was. POP3 has no word for it: until QUIT. The host ends
     * those that are silent meanwhile (timed_out). */
    void (*shutdown)(struct session *s);
    /* Milliseconds of silence that are allowed in the present state (RFC 9051 5.4, 5321 4.5.3.2, 1939 3). */
    int64_t (*idle_timeout_ms)(struct session *s);
    /* The connection is gone. Nothing is called after it but completions of pending operations. */
    void (*close)(struct session *s);
    void (*free)(struct session *s); /* closed and pending == 0 */
};

/* First member of every session. */
struct session {
    const struct session_ops *ops;
    struct session_host *host;
    struct backend *backend;
    struct session_peer peer;
    struct buf out;
    char user[320];   /* address logged in as, empty before; for logs */
    unsigned pending; /* backend operations under way */
    bool blocked;     /* input waits for an operation */
    bool starttls;    /* after out drained: start TLS */
    bool closing;     /* after out drained: close */
    bool closed;      /* close() was called */
};

/* Around every asynchronous operation of a session. session_op_end returns false when the session is closed: touch
 * nothing after it then (the last end of a closed session frees it). */
static inline void session_op_begin(struct session *s)
{
    s->pending++;
}
bool session_op_end(struct session *s);

struct session_limits {
    size_t line_max;         /* octets of a command line, literals aside (IMAP 64 KiB, SMTP 2048 incl. AUTH 12288) */
    size_t message_max;      /* octets of a message: SIZE, APPENDLIMIT */
    size_t literal_max;      /* octets of a non-APPEND literal */
    unsigned recipients_max; /* a transaction */
    unsigned received_max;   /* Received: lines before it is a loop (RFC 5321 6.3) */
    unsigned auth_tries_max; /* failed tries before the connection is closed */
    unsigned bad_commands_max;
};
extern const struct session_limits session_limits_default;

/* Each session keeps a pointer to the limits. The first output (greeting) is in `out` on return. */
struct session *imap_session_new(struct session_host *h, struct backend *b, const struct session_peer *peer,
                                 const struct session_limits *limits);
struct session *pop3_session_new(struct session_host *h, struct backend *b, const struct session_peer *peer,
                                 const struct session_limits *limits);
enum smtp_kind { SMTP_RELAY, SMTP_SUBMISSION, SMTP_LMTP };
struct session *smtp_session_new(struct session_host *h, struct backend *b, const struct session_peer *peer,
                                 const struct session_limits *limits, enum smtp_kind kind);

#endif
