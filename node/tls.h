/* The server's TLS identity: certificate and key, reloadable while connections come and go. Any thread. */
#ifndef NODE_TLS_H
#define NODE_TLS_H

#include "node/base/err.h"

#include <openssl/ssl.h>

struct tls;

struct tls_config {
    const char *certificate, *key; /* PEM files, chain included; both NULL: a generated, self-signed certificate */
    const char *data;              /* folder where a generated one is kept (tls-selfsigned.pem, mode 0600) */
    const char *host_name;         /* its name */
};

/* 0, or an error with detail. Strings are copied. */
int tls_new(const struct tls_config *c, struct tls **t_r, struct err_detail *e);
void tls_free(struct tls **t); /* contexts that were handed out live on */
/* Reads the files again. On failure the old ones stay in use. New connections use the new context. */
int tls_reload(struct tls *t, struct err_detail *e);
/* The present context with a reference of the caller's own: SSL_CTX_free it. */
SSL_CTX *tls_context(struct tls *t);
/* End of validity of the present certificate, seconds since the epoch; for metrics. */
int64_t tls_not_after(struct tls *t);

#endif
