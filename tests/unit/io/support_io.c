#include "support_io.h"

#include <netinet/in.h>
#include <signal.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>

static size_t end_read(void *arg, struct slice in)
{
    struct end *e = arg;
    e->offers++;
    size_t n = in.n < e->limit ? in.n : e->limit;
    buf_append(&e->got, in.p, n);
    if (e->tls_on_read)
        assert_int_equal(stream_tls_accept(e->s, e->tls_on_read), 0);
    e->tls_on_read = NULL;
    if (e->close_on_read)
        end_close(e, 0);
    return n;
}

static void end_drained(void *arg)
{
    struct end *e = arg;
    e->drained++;
    if (e->close_on_drained)
        end_close(e, 0);
}

static void end_ready(void *arg)
{
    struct end *e = arg;
    e->ready++;
    if (e->close_on_ready)
        end_close(e, 0);
}

static void end_closed(void *arg, int status, const char *why)
{
    struct end *e = arg;
    e->closed++;
    e->status = status;
    snprintf(e->why, sizeof e->why, "%s", why);
}

static void end_connected(void *arg)
{
    ((struct end *)arg)->connected++;
}

const struct stream_events end_events = {end_read, end_drained, end_ready, end_closed};

void end_close(struct end *e, unsigned linger_ms)
{
    if (e->s)
        stream_close(e->s, linger_ms);
    e->s = NULL;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct pair *p = listener->data;
    assert_int_equal(status, 0);
    uv_tcp_t *tcp = mem_alloc(sizeof *tcp);
    uv_tcp_init(&p->loop, tcp);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)tcp), 0);
    p->accepted = true;
    p->server.s = stream_accept(&p->loop, tcp, &end_events, &p->server);
    if (p->server_ctx)
        assert_int_equal(stream_tls_accept(p->server.s, p->server_ctx), 0);
}

void pair_open(struct pair *p)
{
    memset(p, 0, sizeof *p);
    p->server.limit = p->client.limit = SIZE_MAX;
    signal(SIGPIPE, SIG_IGN); /* loop_init does it for the real ones */
    uv_loop_init(&p->loop);
    uv_tcp_init(&p->loop, &p->listener);
    p->listener.data = p;
    struct sockaddr_in a;
    uv_ip4_addr("127.0.0.1", 0, &a);
    assert_int_equal(uv_tcp_bind(&p->listener, (const struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&p->listener, 8, on_connection), 0);
    int n = sizeof a;
    uv_tcp_getsockname(&p->listener, (struct sockaddr *)&a, &n);
    p->port = ntohs(a.sin_port);
    snprintf(p->address, sizeof p->address, "127.0.0.1:%u", p->port);
}

void pair_dial(struct pair *p, SSL_CTX *ctx, const char *name)
{
    p->client.s = stream_connect(&p->loop, p->address, ctx, name, &end_events, &p->client, end_connected);
}

static void turn_over(uv_timer_t *t)
{
    (void)t;
}

void pair_turn(struct pair *p)
{
    /* A timer so that a turn never blocks for good. */
    uv_timer_t t;
    uv_timer_init(&p->loop, &t);
    uv_timer_start(&t, turn_over, 20, 0);
    uv_run(&p->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(&p->loop, UV_RUN_NOWAIT);
}

void pair_close(struct pair *p)
{
    end_close(&p->client, 0);
    end_close(&p->server, 0);
    uv_close((uv_handle_t *)&p->listener, NULL);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->loop), 0);
    buf_close(&p->client.got);
    buf_close(&p->server.got);
}

SSL_CTX *test_server_ctx(const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME *n = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, n);
    char san[128];
    snprintf(san, sizeof san, "DNS:%s", name);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    X509_sign(cert, key, EVP_sha256());
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

SSL_CTX *test_client_ctx(SSL_CTX *server)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), SSL_CTX_get0_certificate(server));
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return ctx;
}
