#include "bench/conn.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX *tls_context;
static pthread_once_t tls_once = PTHREAD_ONCE_INIT;

static void tls_init(void)
{
    tls_context = SSL_CTX_new(TLS_client_method());
    if (!tls_context || !SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(tls_context, "TLS_AES_128_GCM_SHA256"))
        load_fail("cannot make a TLS context");
    SSL_CTX_set_mode(tls_context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
}

void conn_open(struct conn *c, const struct load_target *target, enum load_tls tls)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *info;
    if (getaddrinfo(target->host, target->port, &hints, &info) != 0)
        load_fail("%s:%s is no address", target->host, target->port);
    *c = (struct conn){.fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), .target = target};
    if (c->fd < 0 || connect(c->fd, info->ai_addr, info->ai_addrlen) != 0)
        load_fail("%s:%s: %s", target->host, target->port, strerror(errno));
    freeaddrinfo(info);
    struct timeval limit = {.tv_sec = CONN_TIMEOUT_S};
    int one = 1;
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!(c->in = malloc(CONN_IN)))
        load_fail("out of memory");
    if (tls == LOAD_TLS_IMPLICIT)
        conn_start_tls(c);
}

void conn_start_tls(struct conn *c)
{
    pthread_once(&tls_once, tls_init);
    SSL *ssl = SSL_new(tls_context);
    if (!ssl || !SSL_set_fd(ssl, c->fd) || SSL_connect(ssl) != 1)
        load_fail("%s:%s: TLS handshake failed: %s", c->target->host, c->target->port,
                  ERR_reason_error_string(ERR_peek_error()));
    c->ssl = ssl;
}

void conn_write(struct conn *c, const void *bytes, size_t length, bool more)
{
    const char *p = bytes;
    while (length > 0) {
        size_t part = length < 1 << 20 ? length : 1 << 20;
        ssize_t n =
            c->ssl ? SSL_write(c->ssl, p, (int)part) : send(c->fd, p, part, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (n <= 0)
            load_fail("%s:%s: writing: %s", c->target->host, c->target->port, strerror(errno));
        p += n;
        length -= (size_t)n;
    }
}

void conn_print(struct conn *c, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof line)
        load_fail("a command is longer than %zu bytes", sizeof line);
    conn_write(c, line, (size_t)n, false);
}

static void fill(struct conn *c)
{
    c->start = 0;
    ssize_t n = c->ssl ? SSL_read(c->ssl, c->in, CONN_IN) : recv(c->fd, c->in, CONN_IN, 0);
    if (n <= 0)
        load_fail("%s:%s: reading: %s", c->target->host, c->target->port,
                  n == 0 || errno == 0 ? "closed by the server" : strerror(errno));
    c->end = (size_t)n;
}

size_t conn_line(struct conn *c, char *out_r, size_t size)
{
    size_t length = 0;
    for (;;) {
        if (c->start == c->end)
            fill(c);
        size_t have = c->end - c->start;
        const char *from = c->in + c->start, *stop = memchr(from, '\n', have);
        size_t part = stop ? (size_t)(stop - from) : have;
        if (part >= size - length)
            load_fail("%s:%s: a line of more than %zu bytes", c->target->host, c->target->port, size);
        memcpy(out_r + length, from, part);
        length += part;
        c->start += part + (stop ? 1 : 0);
        if (stop)
            break;
    }
    if (length > 0 && out_r[length - 1] == '\r')
        length--;
    out_r[length] = '\0';
    return length;
}

void conn_read(struct conn *c, char *out_r, size_t length)
{
    while (length > 0) {
        if (c->start == c->end)
            fill(c);
        size_t part = c->end - c->start < length ? c->end - c->start : length;
        memcpy(out_r, c->in + c->start, part);
        c->start += part;
        out_r += part;
        length -= part;
    }
}

void conn_close(struct conn *c)
{
    if (c->ssl)
        SSL_free(c->ssl);
    close(c->fd);
    free(c->in);
    *c = (struct conn){.fd = -1};
}
