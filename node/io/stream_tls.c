/* TLS of a stream. The SSL reads ciphertext straight from the socket's read buffer and writes into the stream's wire
 * buffer, through a BIO of our own, so that an idle connection holds no buffers. */
#include "node/io/stream_internal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>

enum { RECORD_MAX = 16384 };

static _Thread_local uint8_t plain_buffer[STREAM_BATCH];

static int bio_read(BIO *b, char *out, int n)
{
    struct stream *s = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (n <= 0)
        return 0;
    if (s->raw.n == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t take = s->raw.n < (size_t)n ? s->raw.n : (size_t)n;
    memcpy(out, s->raw.p, take);
    s->raw = slice_from(s->raw, take);
    return (int)take;
}

static int bio_write(BIO *b, const char *p, int n)
{
    struct stream *s = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (n <= 0)
        return 0;
    buf_append(&s->wire, p, (size_t)n);
    return n;
}

static long bio_ctrl(BIO *b, int cmd, long n, void *p)
{
    (void)b;
    (void)n;
    (void)p;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void method_make(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    ENSURE(method);
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

static int tls_attach(struct stream *s, SSL_CTX *ctx, bool keep_rest)
{
    if (s->ssl || s->failed || s->closing)
        return ERR_INVALID;
    pthread_once(&method_once, method_make);
    ERR_clear_error();
    SSL *ssl = SSL_new(ctx);
    BIO *bio = ssl ? BIO_new(method) : NULL;
    if (!bio) {
        SSL_free(ssl);
        return ERR_NOMEM;
    }
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_options(ssl, SSL_OP_NO_RENEGOTIATION);
    s->ssl = ssl;
    s->plain_left = s->out_n;
    if (s->offering && keep_rest)
        s->rest_is_tls = true;
    else if (s->offering)
        s->drop = true;
    else if (keep_rest)
        stream_tls_rest(s);
    else
        buf_close(&s->in);
    stream_reading_update(s);
    stream_arm(s);
    return 0;
}

void stream_tls_rest(struct stream *s)
{
    s->rest_is_tls = false;
    if (buf_len(&s->in) == 0 || s->closing)
        return;
    s->cipher = s->in;
    s->in = (struct buf){0};
    s->tls_start = true;
    stream_arm(s);
}

int stream_tls_accept(struct stream *s, SSL_CTX *ctx)
{
    int rc = tls_attach(s, ctx, false);
    if (rc == 0)
        SSL_set_accept_state(s->ssl);
    return rc;
}

int stream_tls_accept_rest(struct stream *s, SSL_CTX *ctx)
{
    int rc = tls_attach(s, ctx, true);
    if (rc == 0)
        SSL_set_accept_state(s->ssl);
    return rc;
}

/* Names go into SNI and are checked; addresses are only checked. */
static bool expect_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    struct in6_addr scratch;
    if (uv_inet_pton(AF_INET, name, &scratch) == 0 || uv_inet_pton(AF_INET6, name, &scratch) == 0)
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
    return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

int stream_tls_connect(struct stream *s, SSL_CTX *ctx, const char *server_name)
{
    int rc = tls_attach(s, ctx, false);
    if (rc < 0)
        return rc;
    SSL_set_connect_state(s->ssl);
    s->tls_start = true;
    if (server_name && !expect_name(s->ssl, server_name))
        return ERR_INVALID;
    return 0;
}

static void tls_failed(struct stream *s, const char *what)
{
    char why[256], detail[160] = "connection lost";
    unsigned long code = ERR_peek_error();
    long verify = SSL_get_verify_result(s->ssl);
    if (verify != X509_V_OK && !s->tls_ready)
        snprintf(detail, sizeof detail, "certificate: %s", X509_verify_cert_error_string(verify));
    else if (code)
        snprintf(detail, sizeof detail, "%s", ERR_reason_error_string(code) ? ERR_reason_error_string(code) : "error");
    snprintf(why, sizeof why, "%s: %s", what, detail);
    ERR_clear_error();
    /* The alert, if the kernel takes it at once. */
    if (!s->writing && buf_len(&s->wire) > 0 && s->tcp) {
        uv_buf_t iov = uv_buf_init((char *)(uintptr_t)buf_slice(&s->wire).p, (unsigned)buf_len(&s->wire));
        uv_try_write((uv_stream_t *)s->tcp, &iov, 1);
    }
    stream_fail(s, ERR_PROTOCOL, why);
}

/* Returns true when the handshake is done. */
static bool handshake(struct stream *s)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(s->ssl);
    if (rc != 1) {
        int e = SSL_get_error(s->ssl, rc);
        if (e != SSL_ERROR_WANT_READ)
            tls_failed(s, "TLS handshake");
        return false;
    }
    s->tls_ready = true;
    void (*connected)(void *) = s->connected;
    s->connected = NULL;
    if (connected)
        connected(s->arg);
    if (!s->closing && s->ev->tls_ready && s->ev->tls_ready != connected)
        s->ev->tls_ready(s->arg);
    return !s->closing;
}

/* Decrypts up to a batch. Returns how much; *more_r is false when the SSL wants more ciphertext or has ended. */
static size_t decrypt(struct stream *s, bool *more_r)
{
    size_t n = 0;
    *more_r = true;
    while (sizeof plain_buffer - n >= RECORD_MAX) {
        ERR_clear_error();
        int rc = SSL_read(s->ssl, plain_buffer + n, RECORD_MAX);
        if (rc > 0) {
            n += (size_t)rc;
            continue;
        }
        *more_r = false;
        switch (SSL_get_error(s->ssl, rc)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
            break;
        case SSL_ERROR_ZERO_RETURN:
            stream_ended(s);
            break;
        default:
            tls_failed(s, "TLS");
        }
        break;
    }
    return n;
}

static void drive(struct stream *s)
{
    if (!s->tls_ready && !handshake(s))
        return;
    bool more = true;
    while (more && !s->failed && !s->closing && !s->eof && !stream_input_full(s)) {
        size_t n = decrypt(s, &more);
        if (n > 0 && !s->closing)
            stream_offer(s, slice_make(plain_buffer, n));
    }
}

void stream_tls_feed(struct stream *s, struct slice data)
{
    if (s->plain_left > 0)
        return;
    bool kept = buf_len(&s->cipher) > 0;
    if (kept) {
        buf_append_slice(&s->cipher, data);
        data = buf_slice(&s->cipher);
    }
    s->raw = data;
    drive(s);
    struct slice rest = s->raw;
    s->raw = (struct slice){0};
    if (s->closing || s->failed || s->eof || rest.n == 0)
        buf_close(&s->cipher);
    else if (kept)
        buf_consume(&s->cipher, data.n - rest.n);
    else
        buf_append_slice(&s->cipher, rest);
    stream_arm(s); /* the SSL may have something to send */
}

void stream_tls_encrypt(struct stream *s)
{
    while (s->first && buf_len(&s->wire) < STREAM_WIRE_MAX) {
        struct slice p = slice_first(chunk_slice(s->first), RECORD_MAX);
        ERR_clear_error();
        int rc = SSL_write(s->ssl, p.p, (int)p.n);
        if (rc > 0) {
            stream_chunk_consume(s, (size_t)rc);
            continue;
        }
        int e = SSL_get_error(s->ssl, rc);
        if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
            tls_failed(s, "TLS");
        return;
    }
}

void stream_tls_notify(struct stream *s)
{
    ERR_clear_error();
    SSL_shutdown(s->ssl);
    ERR_clear_error();
}
