/* Loopback sockets, certificates and a recording end of a stream, for tests. */
#ifndef TEST_SUPPORT_IO_H
#define TEST_SUPPORT_IO_H

#include "node/io/loop.h"
#include "node/io/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* One end: records what comes. `limit`: bytes consumed a call (SIZE_MAX: all). */
struct end {
    struct stream *s;
    struct buf got;
    size_t limit;
    unsigned offers, drained, ready, connected, closed;
    int status;
    char why[256];
    SSL_CTX *tls_on_read; /* starts TLS as a server inside the first read */
    bool close_on_read, close_on_ready, close_on_drained;
};
extern const struct stream_events end_events;

struct pair {
    uv_loop_t loop;
    uv_tcp_t listener;
    uint16_t port;
    char address[64];
    struct end server, client;
    SSL_CTX *server_ctx; /* implicit TLS when set */
    bool accepted;
};

void pair_open(struct pair *p); /* listens */
void pair_dial(struct pair *p, SSL_CTX *ctx, const char *name);
void pair_close(struct pair *p); /* closes what is open and checks that the loop is empty */
/* Runs the loop until the condition holds; fails the test after 30 s. */
#define pair_until(p, cond)                                                                                            \
    do {                                                                                                               \
        uint64_t until_ = uv_hrtime() + 30000000000ULL;                                                                \
        while (!(cond)) {                                                                                              \
            pair_turn(p);                                                                                              \
            if (uv_hrtime() > until_)                                                                                  \
                fail_msg("timed out waiting for %s", #cond);                                                           \
        }                                                                                                              \
    } while (0)
void pair_turn(struct pair *p);
void end_close(struct end *e, unsigned linger_ms);

/* A context with a fresh self-signed certificate for `name`; trusts itself. */
SSL_CTX *test_server_ctx(const char *name);
/* A client that verifies against the server's certificate. */
SSL_CTX *test_client_ctx(SSL_CTX *server);

#endif
