/* An SMTP client's side of one connection (RFC 5321), seen from its host (node/, or a test with byte arrays). Pure: no
 * sockets, no clock.
 *
 *   bytes in ──► input() ──► out (bytes to the server), flags (starttls, closing), events (ready, done)
 *
 *   GREETING ─► EHLO ─► [STARTTLS ─► (TLS) ─► EHLO] ─► [AUTH] ─► READY ─► MAIL RCPT… DATA|BDAT ─► READY … ─► QUIT
 *
 * The host pumps as with protocol/session.h: feeds bytes, writes `out`, starts TLS when starttls is set and out is
 * empty, closes when closing is set and out is empty. One mail at a time; several one after the other on one
 * connection. Extensions used when offered: PIPELINING (RFC 2920), SIZE (1870), 8BITMIME (6152), CHUNKING and
 * BINARYMIME (3030), SMTPUTF8 (6531), DSN (3461), ENHANCEDSTATUSCODES (2034), STARTTLS (3207), AUTH PLAIN and LOGIN
 * (4954; only over TLS). What a server may send is bounded: a reply line of 2 KiB (longer is cut off), 256 lines a
 * reply, else it is a protocol error. */
#ifndef SMTP_CLIENT_H
#define SMTP_CLIENT_H

#include "node/base/buf.h"
#include "node/base/err.h"
#include "node/base/mem.h"

struct smtp_client;

enum smtp_tls_policy {
    SMTP_TLS_MAY,     /* STARTTLS when offered; a failed handshake is the host's to retry without */
    SMTP_TLS_NONE,    /* plaintext */
    SMTP_TLS_REQUIRE, /* no plaintext; any certificate */
    SMTP_TLS_VERIFY,  /* no plaintext; the host verified the certificate in the handshake */
    SMTP_TLS_WRAPPED, /* TLS is on from the first byte (port 465): the host did it, verified as the policy's owner says
                       */
};
struct smtp_client_config {
    const char *helo; /* our name */
    enum smtp_tls_policy tls;
    const char *user, *password; /* NULL: no AUTH. The server must offer it, or the connection fails */
};

/* How it went, of a recipient, a mail or a connection. */
struct smtp_outcome {
    enum smtp_outcome_kind { SMTP_DELIVERED, SMTP_DEFERRED, SMTP_FAILED } kind;
    int code;          /* the server's, 0: none (connection lost, local decision) */
    char enhanced[16]; /* "5.1.1"; ours where the server gave none */
    char text[512]; /* one printable line: the reply as given after its code, lines joined by "; ", UTF-8 made safe; or
                       what happened */
    bool unsure;    /* the final dot was sent and no reply came: it may have been delivered */
};

struct smtp_client_recipient {
    struct slice address; /* UTF-8; A-label form of the domain is used when the server lacks SMTPUTF8 and only the
                             domain needs it */
    struct slice orcpt;   /* RFC 3461 "rfc822;…", empty: none is sent, or one is made when NOTIFY is sent on */
    uint32_t notify;      /* bits as in RFC 3461: NEVER 1, SUCCESS 2, FAILURE 4, DELAY 8; 0: not given */
    struct smtp_outcome outcome; /* result */
    bool relayed; /* result, delivered: to a server without DSN while SUCCESS was asked for: "relayed" notice is ours to
                     send */
};
struct smtp_client_mail {
    struct slice sender; /* "" : <> */
    bool utf8;           /* an address or header needs SMTPUTF8: without it in the server FAILED 5.6.7 */
    bool eight, binary;  /* 8BITMIME, BINARYMIME needed; eight without 8BITMIME offered: FAILED 5.6.3 */
    bool ret_full, ret_headers;
    struct slice envid;
    struct bytes *body; /* whole message, CRLF line ends; `skip` octets at its front do not go out. The client takes a
                           reference */
    size_t skip;
    struct smtp_client_recipient *recipients; /* the caller's until done */
    size_t n;
};

struct smtp_client_events {
    void *arg;
    /* READY for the first mail. Not called when it fails before: then failed(). */
    void (*ready)(void *arg);
    /* About to send what makes the server accept (final dot, last chunk; for a pipelined last BDAT before its header).
     * The host answers with smtp_client_commit or smtp_client_withhold, now or later: a node that lost touch with the
     * cluster must not deliver. NULL: at once. */
    void (*confirm)(void *arg);
    /* The mail's outcome is in its recipients. again: the connection is READY for the next one; else it ends. */
    void (*done)(void *arg, bool again);
    /* No mail under way and the connection is of no use (greeting 5xx/421, EHLO refused, TLS or AUTH failed or refused,
     * closed): o says why and whether another host may be tried (DEFERRED) or the destination refuses all (FAILED). */
    void (*failed)(void *arg, const struct smtp_outcome *o);
};

struct smtp_client *smtp_client_new(const struct smtp_client_config *c, const struct smtp_client_events *ev);
void smtp_client_free(struct smtp_client **c);

/* Takes all of it. Events come from inside; none of them may free the client. */
void smtp_client_input(struct smtp_client *c, struct slice in);
struct buf *smtp_client_out(struct smtp_client *c);
/* Message octets go to out in portions: the host calls this when out is below SMTP_CLIENT_OUT_LOW. */
enum { SMTP_CLIENT_OUT_LOW = 64 * 1024 };
void smtp_client_drained(struct smtp_client *c);
bool smtp_client_wants_tls(const struct smtp_client *c); /* out written: start the handshake, drop what was read */
void smtp_client_tls_started(struct smtp_client *c);
bool smtp_client_closing(const struct smtp_client *c);
/* Seconds that the server may take now (RFC 5321 4.5.3.2): greeting 300, MAIL and RCPT 300, DATA 120, a block of data
 * 180, final dot 600. */
unsigned smtp_client_timeout_s(const struct smtp_client *c);
/* The connection is gone (or took too long): ends what is under way. status err.h, why for a person. */
void smtp_client_closed(struct smtp_client *c, int status, const char *why);

bool smtp_client_idle(const struct smtp_client *c); /* READY, no mail */
void smtp_client_send(struct smtp_client *c,
                      struct smtp_client_mail *m); /* only when idle; m is the caller's until done */
void smtp_client_commit(struct smtp_client *c);    /* this and withhold do nothing when the mail has ended meanwhile */
void smtp_client_withhold(struct smtp_client *c,
                          const char *why);   /* all still open are DEFERRED; the connection ends without the dot */
void smtp_client_quit(struct smtp_client *c); /* when idle */
/* Its greeting's name, and whether TLS is on: for the history. */
const char *smtp_client_server_name(const struct smtp_client *c);
bool smtp_client_tls(const struct smtp_client *c);

#endif
