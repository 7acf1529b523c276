#include "node/tls.h"

#include "node/base/mem.h"
#include "node/tls_identity.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

struct tls {
    pthread_mutex_t lock; /* guards ctx: held for a pointer's copy only */
    SSL_CTX *ctx;
    char *certificate, *key;
};

/* TLS 1.2 suites with forward secrecy and AEAD (RFC 9325 4.2); TLS 1.3's are all fine. */
static const char ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!PSK";

static int openssl_error(struct err_detail *e, const char *what, const char *path)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    int rc = err_set(e, ERR_INVALID, "%s %s: %s", what, path, reason ? reason : "unusable");
    ERR_clear_error();
    return rc;
}

static int context_make(const char *certificate, const char *key, SSL_CTX **ctx_r, struct err_detail *e)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return err_set(e, ERR_NOMEM, "TLS context");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(ctx, ciphers);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_dh_auto(ctx, 1);
    /* Sessions are resumed by tickets: nothing is kept here a client. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"merlion", 7);
    SSL_CTX_set_num_tickets(ctx, 1);
    int rc = 0;
    if (access(certificate, R_OK) != 0)
        rc = err_set(e, err_from_errno(errno), "certificate %s: %s", certificate, strerror(errno));
    else if (access(key, R_OK) != 0)
        rc = err_set(e, err_from_errno(errno), "key %s: %s", key, strerror(errno));
    else if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
        rc = openssl_error(e, "certificate", certificate);
    else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        rc = openssl_error(e, "key", key);
    else if (SSL_CTX_check_private_key(ctx) != 1)
        rc = openssl_error(e, "key does not belong to the certificate:", key);
    if (rc < 0)
        SSL_CTX_free(ctx);
    else
        *ctx_r = ctx;
    return rc;
}

/* The generated identity: made when it is not there yet. */
static int self_signed(const struct tls_config *c, struct tls *t, struct err_detail *e)
{
    size_t n = strlen(c->data) + 32;
    t->certificate = mem_alloc(n);
    snprintf(t->certificate, n, "%s/tls-selfsigned.pem", c->data);
    t->key = mem_strdup(t->certificate);
    return access(t->certificate, F_OK) == 0 ? 0 : tls_identity_make(t->certificate, c->host_name, e);
}

int tls_new(const struct tls_config *c, struct tls **t_r, struct err_detail *e)
{
    struct tls *t = mem_zalloc(sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    int rc = 0;
    if (!c->certificate != !c->key)
        rc = err_set(e, ERR_INVALID, "a certificate needs a key, and a key a certificate: give both or neither");
    else if (c->certificate) {
        t->certificate = mem_strdup(c->certificate);
        t->key = mem_strdup(c->key);
    } else {
        rc = self_signed(c, t, e);
    }
    if (rc == 0)
        rc = context_make(t->certificate, t->key, &t->ctx, e);
    if (rc < 0)
        tls_free(&t);
    *t_r = t;
    return rc;
}

void tls_free(struct tls **t)
{
    if (!*t)
        return;
    SSL_CTX_free((*t)->ctx);
    mem_free((*t)->certificate);
    mem_free((*t)->key);
    pthread_mutex_destroy(&(*t)->lock);
    mem_free(*t);
    *t = NULL;
}

int tls_reload(struct tls *t, struct err_detail *e)
{
    SSL_CTX *ctx;
    int rc = context_make(t->certificate, t->key, &ctx, e);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&t->lock);
    SSL_CTX *old = t->ctx;
    t->ctx = ctx;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old);
    return 0;
}

SSL_CTX *tls_context(struct tls *t)
{
    pthread_mutex_lock(&t->lock);
    SSL_CTX *ctx = t->ctx;
    SSL_CTX_up_ref(ctx);
    pthread_mutex_unlock(&t->lock);
    return ctx;
}

int64_t tls_not_after(struct tls *t)
{
    SSL_CTX *ctx = tls_context(t);
    struct tm tm = {0};
    int64_t at = 0;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(ctx)), &tm) == 1)
        at = timegm(&tm);
    SSL_CTX_free(ctx);
    return at;
}
