/* Between the files of stream: stream.c (life, reading), stream_out.c (output queue), stream_tls.c (TLS),
 * stream_dial.c (connecting). */
#ifndef IO_STREAM_INTERNAL_H
#define IO_STREAM_INTERNAL_H

#include "node/io/stream.h"

enum {
    STREAM_CHUNK_MAX = 64 * 1024,  /* small writes are gathered up to this */
    STREAM_WIRE_MAX = 64 * 1024,   /* ciphertext made ahead */
    STREAM_FLUSH_MAX = 512 * 1024, /* written at a turn of the loop, so that one fast peer does not hold the others */
    STREAM_BATCH = 64 * 1024,      /* a read */
};

/* Output that waits: shared bytes, or a buffer of our own. */
struct chunk {
    struct chunk *next;
    struct bytes *bytes;
    size_t offset; /* into bytes */
    struct buf own;
    bool pinned; /* libuv holds pointers into it */
};

struct dial;

struct stream {
    uv_loop_t *loop;
    uv_tcp_t *tcp;                  /* data: the stream */
    const struct stream_events *ev; /* NULL once closing */
    void *arg;
    struct dial *dial; /* while connecting */
    unsigned refs;     /* open handles and requests under way; 0 frees */

    struct buf in; /* offered and not consumed */
    size_t in_max;

    SSL *ssl;
    void (*connected)(void *arg); /* at the end of the handshake of a stream_connect */
    struct slice raw;             /* ciphertext that the SSL may read now */
    struct buf cipher;            /* ciphertext kept while `in` is full */

    struct chunk *first, *last;
    size_t out_n;            /* bytes in chunks */
    size_t pinned_n;         /* of them: handed to libuv in plaintext */
    size_t plain_left;       /* of them: to be sent before TLS begins */
    struct buf wire, flight; /* ciphertext to send; handed to libuv */
    uint64_t total_in, total_out;

    uv_idle_t idle; /* armed while there is something to do from the loop */
    uv_timer_t linger;
    uv_write_t write;
    uv_shutdown_t shutdown;

    int status; /* to report with `closed` */
    char *why;

    bool up; /* TCP is connected */
    bool reading, paused, offering, drop, rest_is_tls, offer_again;
    bool tls_ready; /* handshake done */
    bool tls_start; /* drive from the loop: a client speaks first, or ciphertext is kept */
    bool writing;
    bool above;  /* queued reached STREAM_OUT_LOW */
    bool eof;    /* the peer sends no more */
    bool failed; /* no more I/O */
    bool report, reported;
    bool closing, linger_open, notified, shut, finished;
};

void stream_unref(struct stream *s);
struct stream *stream_make(uv_loop_t *loop, const struct stream_events *ev, void *arg);
void stream_open(struct stream *s); /* TCP is up */
void stream_fail(struct stream *s, int status, const char *why);
void stream_ended(struct stream *s); /* the peer sends no more */
void stream_arm(struct stream *s);
void stream_reading_update(struct stream *s);
/* Offers bytes to the owner, keeps the rest. */
void stream_offer(struct stream *s, struct slice data);
void stream_finish(struct stream *s);
void stream_linger_over(uv_timer_t *t);
bool stream_input_full(const struct stream *s);

void stream_flush(struct stream *s);
void stream_out_clear(struct stream *s);
struct slice chunk_slice(const struct chunk *c);
void stream_chunk_consume(struct stream *s, size_t n);

/* Ciphertext from the socket; empty to go on with what is kept. */
void stream_tls_feed(struct stream *s, struct slice data);
/* What is left of `in` is ciphertext. */
void stream_tls_rest(struct stream *s);
void stream_tls_encrypt(struct stream *s); /* from chunks into wire */
void stream_tls_notify(struct stream *s);  /* close_notify into wire */
bool stream_tls_client(struct stream *s, SSL_CTX *ctx, const char *server_name);

void stream_dial_cancel(struct stream *s);
#endif
