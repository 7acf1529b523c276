/* A TCP connection with optional TLS (OpenSSL over memory BIOs), on one loop and its thread. Every call and event is on
 * that thread; events fire from the loop only, never inside a call of ours. */
#ifndef IO_STREAM_H
#define IO_STREAM_H

#include "node/base/buf.h"
#include "node/base/err.h"
#include "node/base/mem.h"

#include <openssl/ssl.h>
#include <uv.h>

struct stream;

enum {
    STREAM_READ_MAX = 64 * 1024, /* bytes kept that `read` did not consume; the socket is not read meanwhile */
    STREAM_OUT_LOW = 64 * 1024,  /* `drained` is called when stream_queued, once at or above this, falls below it */
};

/* Any may be NULL but read and closed. */
struct stream_events {
    /* Decrypted bytes; returns how many were consumed. The rest is offered again together with more, or on
     * stream_resume. `in` is valid during the call. */
    size_t (*read)(void *arg, struct slice in);
    void (*drained)(void *arg);   /* queued output fell below the low-water mark */
    void (*tls_ready)(void *arg); /* handshake done */
    /* Peer closed (0) or error (err.h, `why` for a person, valid during the call); once; call stream_close still.
     * After a status of 0 what is left unconsumed may still be read (stream_resume) and output may still be sent. */
    void (*closed)(void *arg, int status, const char *why);
};

/* Takes over an accepted, initialised uv_tcp_t allocated by mem_alloc. */
struct stream *stream_accept(uv_loop_t *loop, uv_tcp_t *tcp, const struct stream_events *ev, void *arg);
/* Connects to host:port ("[::1]:1", "name:1"). Never NULL: failures come as `closed`. Without ctx `connected` is called
 * when TCP is up. With ctx when the handshake is done: `connected` (may be NULL), then ev->tls_ready (unless it is the
 * same function). server_name: SNI, and the name or address that the certificate must bear if ctx verifies; may be
 * NULL. There is no time limit but the kernel's: keep a timer. */
struct stream *stream_connect(uv_loop_t *loop, const char *address, SSL_CTX *ctx, const char *server_name,
                              const struct stream_events *ev, void *arg, void (*connected)(void *arg));
/* The same from a local address (numeric; NULL: any): only addresses of its family are tried. */
struct stream *stream_connect_from(uv_loop_t *loop, const char *source, const char *address, SSL_CTX *ctx,
                                   const char *server_name, const struct stream_events *ev, void *arg,
                                   void (*connected)(void *arg));
/* Starts TLS as a server on an accepted stream. Plaintext that was read and not consumed is dropped; output that is
 * already queued still goes out in plaintext. Takes its own reference of ctx. */
int stream_tls_accept(struct stream *s, SSL_CTX *ctx);
/* The same, but what was read and not consumed (called inside `read`: what that call does not consume) is the start of
 * TLS: for a header ahead of implicit TLS. */
int stream_tls_accept_rest(struct stream *s, SSL_CTX *ctx);
/* The same as a client on a connected plain stream (STARTTLS); ends in tls_ready. */
int stream_tls_connect(struct stream *s, SSL_CTX *ctx, const char *server_name);
SSL *stream_ssl(struct stream *s); /* NULL without TLS */

/* Queues output: copies. */
void stream_write(struct stream *s, struct slice data);
/* Queues output without copying: takes its own reference. (With TLS it is encrypted in portions.) */
void stream_write_bytes(struct stream *s, struct bytes *b);
size_t stream_queued(const struct stream *s); /* bytes not yet with the kernel */
void stream_pause(struct stream *s);          /* stop reading from the socket */
void stream_resume(struct stream *s);         /* read again; offers what was left over, from the loop */
/* Bytes that may be kept unconsumed, instead of STREAM_READ_MAX. */
void stream_read_max_set(struct stream *s, size_t n);
/* Flushes what is queued (at most `linger_ms`), sends close_notify, closes. No event after the call. Frees.
 * The peer gets a second more (within linger_ms) to close first, so that what we sent last is not lost to a reset.
 * With linger_ms 0 only what the kernel takes at once is sent. */
void stream_close(struct stream *s, unsigned linger_ms);
/* Bytes over the wire so far, TLS included. */
void stream_traffic(const struct stream *s, uint64_t *in_r, uint64_t *out_r);
/* Text of the peer's address; "" and 0 when there is none (any more). */
void stream_peer_address(const struct stream *s, char *out, size_t n, uint16_t *port_r);

#endif
