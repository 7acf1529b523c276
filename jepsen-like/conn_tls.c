/* TLS under a connection, for listeners that take no password without. Certificates are not verified: other tests do.
 */
#include "jepsen-like/conn.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>

static SSL_CTX *context;

static void context_make(void)
{
    context = SSL_CTX_new(TLS_client_method());
    if (!context)
        fail("no TLS");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

/* What the last call wants waits until time is up. Returns false when the connection is done for. */
static bool again(struct conn *c, int r)
{
    switch (SSL_get_error(c->tls, r)) {
    case SSL_ERROR_WANT_READ:
        return conn_ready(c, POLLIN);
    case SSL_ERROR_WANT_WRITE:
        return conn_ready(c, POLLOUT);
    default:
        return false;
    }
}

bool conn_secure(struct conn *c)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int r;
    pthread_once(&once, context_make);
    c->tls = SSL_new(context);
    if (!c->tls || !SSL_set_fd(c->tls, c->fd))
        fail("no TLS");
    while ((r = SSL_connect(c->tls)) != 1)
        if (!again(c, r)) {
            conn_close(c);
            return false;
        }
    return true;
}

void conn_tls_close(struct conn *c)
{
    SSL_free(c->tls);
    c->tls = NULL;
}

long conn_tls_write(struct conn *c, const void *bytes, size_t n)
{
    int r;
    while ((r = SSL_write(c->tls, bytes, n > 16384 ? 16384 : (int)n)) <= 0)
        if (!again(c, r))
            return -1;
    return r;
}

long conn_tls_read(struct conn *c, void *bytes, size_t n)
{
    int r;
    while ((r = SSL_read(c->tls, bytes, (int)n)) <= 0)
        if (!again(c, r))
            return -1;
    return r;
}

/* Records that tell a client nothing (tickets) are no input. */
bool conn_tls_input(struct conn *c)
{
    char byte;
    int r = SSL_peek(c->tls, &byte, 1);
    return r > 0 || SSL_get_error(c->tls, r) != SSL_ERROR_WANT_READ;
}
