/* One SMTP connection to a mail host: a stream, the protocol's client on it, time limits (RFC 5321 4.5.3.2). One loop
 * and its thread.
 *
 *   CONNECTING ─► OPEN ─► (HANDSHAKE ─► OPEN) … ready ─► send ─► (confirm ─► commit) ─► done(again) ─► send … ─► quit
 *        └───────── failed ────────┘                                      └─ done(not again): gone
 *
 * Events come from the loop or from inside of a call of ours, never from inside the client. After `failed`, after
 * `done` without again, and after queue_conn_quit the connection belongs to itself: it ends and frees itself. */
#ifndef NODE_QUEUE_CONN_H
#define NODE_QUEUE_CONN_H

#include "node/io/stream.h"
#include "protocol/smtp/client.h"

struct queue_conn;

enum { QUEUE_CONNECT_MS = 30000 }; /* and the TLS handshake */

enum queue_conn_trouble {
    QUEUE_CONN_SILENT,  /* could not be reached, or did not answer in time */
    QUEUE_CONN_TLS,     /* the TLS handshake failed */
    QUEUE_CONN_REFUSED, /* the server said no, or went away */
};

struct queue_conn_events {
    void (*ready)(struct queue_conn *c); /* for its first mail */
    /* The server is about to accept: queue_conn_commit or queue_conn_withhold, now or later. */
    void (*confirm)(struct queue_conn *c);
    void (*done)(struct queue_conn *c, bool again);
    void (*failed)(struct queue_conn *c, enum queue_conn_trouble t, const struct smtp_outcome *o);
};

struct queue_conn_config {
    uv_loop_t *loop;
    const char *address;     /* numeric, "ADDRESS:PORT" */
    const char *source;      /* local address; NULL: any */
    const char *server_name; /* for SNI and verification */
    const char *helo;
    enum smtp_tls_policy tls;
    const char *user, *password;   /* NULL: none */
    SSL_CTX *tls_any, *tls_verify; /* taken when the handshake begins: they outlive the connection */
    unsigned connect_ms;           /* 0: QUEUE_CONNECT_MS */
    const struct queue_conn_events *events;
    void *owner;
    _Atomic unsigned *count; /* of open connections; may be NULL */
};

struct queue_conn *queue_conn_new(const struct queue_conn_config *c);
void *queue_conn_owner(const struct queue_conn *c);
void queue_conn_owner_set(struct queue_conn *c, void *owner);
/* Only when ready, or done with again. m is the caller's until done. */
void queue_conn_send(struct queue_conn *c, struct smtp_client_mail *m);
void queue_conn_commit(struct queue_conn *c);
void queue_conn_withhold(struct queue_conn *c, const char *why);
void queue_conn_quit(struct queue_conn *c); /* when idle; no event comes any more */
/* Ends what is under way: `done` or `failed` follow, from inside. */
void queue_conn_cut(struct queue_conn *c, int status, const char *why);
unsigned queue_conn_mails(const struct queue_conn *c); /* sent so far */
/* "TLSv1.3 TLS_AES_256_GCM_SHA384 verified"; "" in plaintext. */
const char *queue_conn_tls(const struct queue_conn *c);
const char *queue_conn_address(const struct queue_conn *c);

#endif
