/* A TCP connection with optional TLS (OpenSSL over memory BIOs), on one loop and its thread. */
#ifndef IO_STREAM_H
#define IO_STREAM_H

#include "node/base/buf.h"
#include "node/base/err.h"
#include "node/base/mem.h"

#include <openssl/ssl.h>
#include <uv.h>

struct stream;

struct stream_events {
    /* Decrypted bytes; returns how many were consumed. The rest is offered again together with more, or on stream_resume. */
    size_t (*read)(void *arg, struct slice in);
    void (*drained)(void *arg);           /* queued output fell below the low-water mark */
    void (*tls_ready)(void *arg);         /* handshake done */
    void (*closed)(void *arg, int status, const char *why); /* peer closed (0) or error; once; call stream_close still */
};

/* Takes over an accepted, initialised uv_tcp_t allocated by mem_alloc. */
struct stream *stream_accept(uv_loop_t *loop, uv_tcp_t *tcp, const struct stream_events *ev, void *arg);
/* Connects to host:port ("[::1]:1", "name:1"); `connected` may be ev->tls_ready when ctx is not NULL, else called plain. */
struct stream *stream_connect(uv_loop_t *loop, const char *address, SSL_CTX *ctx, const char *server_name,
                              const struct stream_events *ev, void *arg, void (*connected)(void *arg));
/* Starts TLS as a server on an accepted stream. Plaintext that was read and not consumed is dropped. */
int stream_tls_accept(struct stream *s, SSL_CTX *ctx);
SSL *stream_ssl(struct stream *s); /* NULL without TLS */

/* Queues output: copies. */
void stream_write(struct stream *s, struct slice data);
/* Queues output without copying: takes its own reference. (With TLS it is encrypted in portions.) */
void stream_write_bytes(struct stream *s, struct bytes *b);
size_t stream_queued(const struct stream *s); /* bytes not yet with the kernel */
void stream_pause(struct stream *s);  /* stop reading from the socket */
void stream_resume(struct stream *s); /* read again; offers what was left over, from the loop */
/* Flushes what is queued (at most `linger_ms`), sends close_notify, closes. No event after the call. Frees. */
void stream_close(struct stream *s, unsigned linger_ms);
void stream_peer_address(const struct stream *s, char *out, size_t n, uint16_t *port_r);

#endif
