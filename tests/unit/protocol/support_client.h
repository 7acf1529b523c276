/* A host for one session, as node/ is one: pumps input and output as protocol/session.h says, in simulated time,
 * against the fake backend. For tests of protocols that are lines. */
#ifndef SUPPORT_CLIENT_H
#define SUPPORT_CLIENT_H

#include "protocol/session.h"
#include "tests/unit/protocol/support_fake_backend.h"

struct client {
    struct session_host host; /* first */
    struct fake_backend *fb;
    struct session *session;
    struct session_peer peer;
    struct buf out; /* all that the session said, since client_take */
    struct buf in;  /* sent and not taken yet */
    int64_t now_ms;
    size_t step; /* > 0: the session is fed at most so many octets at once */
    bool hold;   /* do not run the backend */
    bool released;
    bool starttls_done;
    bool stuck;      /* output is not drained: a slow client */
    size_t out_peak; /* the most octets that waited in the session's out */
};

/* Fills peer with what a test wants; make the session with &c->host, &c->fb->backend, &c->peer, then client_attach. */
void client_init(struct client *c);
void client_attach(struct client *c, struct session *s);
void client_close(struct client *c);

/* Sends octets and runs everything that follows from it. */
void client_send(struct client *c, const void *p, size_t n);
void client_say(struct client *c, const char *text);
void client_pump(struct client *c);
/* Does the TLS handshake that the session asked for. */
void client_tls(struct client *c);
/* What was said since the last call, NUL-terminated; valid until the next call. */
const char *client_take(struct client *c);

/* Sends, then the whole answer must be expect, or begin with it when it ends with "…". */
#define client_expect(c, say, expect) client_expect_at((c), (say), (expect), __FILE__, __LINE__)
void client_expect_at(struct client *c, const char *say, const char *expect, const char *file, int line);

#endif
