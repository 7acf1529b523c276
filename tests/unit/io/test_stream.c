#include "support_io.h"

#include <stdio.h>
#include <sys/socket.h>

static void check_pattern(const struct buf *b, size_t n)
{
    assert_int_equal(buf_len(b), n);
    for (size_t i = 0; i < n; i++)
        if (buf_slice(b).p[i] != (uint8_t)(i * 7 + i / 251))
            fail_msg("byte %zu differs", i);
}

static struct bytes *pattern(size_t n)
{
    struct bytes *b = bytes_new(n);
    for (size_t i = 0; i < n; i++)
        b->p[i] = (uint8_t)(i * 7 + i / 251);
    return b;
}

static void plain_both_ways(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_dial(&p, NULL, NULL);
    stream_write(p.client.s, slice_str("early ")); /* before TCP is up */
    pair_until(&p, p.client.connected && p.server.s);
    stream_write(p.client.s, slice_str("hello"));
    stream_write(p.server.s, slice_str("wel"));
    stream_write(p.server.s, slice_str("come"));
    pair_until(&p, buf_len(&p.server.got) == 11 && buf_len(&p.client.got) == 7);
    assert_memory_equal(buf_slice(&p.server.got).p, "early hello", 11);
    assert_memory_equal(buf_slice(&p.client.got).p, "welcome", 7);
    assert_int_equal(p.client.offers, 1); /* two writes, one packet */
    char text[64];
    uint16_t port;
    stream_peer_address(p.client.s, text, sizeof text, &port);
    assert_string_equal(text, "127.0.0.1");
    assert_int_equal(port, p.port);
    end_close(&p.client, 1000);
    pair_until(&p, p.server.closed);
    assert_int_equal(p.server.status, 0);
    pair_close(&p);
}

/* Large output in both kinds, with and without TLS; the reader takes its time. */
static void large(bool tls, size_t step)
{
    struct pair p;
    pair_open(&p);
    SSL_CTX *server = test_server_ctx("mx.test"), *client = test_client_ctx(server);
    p.server_ctx = tls ? server : NULL;
    pair_dial(&p, tls ? client : NULL, tls ? "mx.test" : NULL);
    pair_until(&p, p.client.connected && p.server.s && (!tls || p.server.ready));
    const size_t n = 5 * 1000 * 1000;
    struct bytes *b = pattern(n);
    stream_pause(p.client.s);
    for (size_t at = 0; at < n / 2;) {
        size_t part = step < n / 2 - at ? step : n / 2 - at;
        stream_write(p.server.s, slice_make(b->p + at, part));
        at += part;
    }
    struct bytes *rest = bytes_copy(slice_make(b->p + n / 2, n - n / 2));
    stream_write_bytes(p.server.s, rest);
    bytes_unref(&rest);
    assert_true(stream_queued(p.server.s) >= n);
    for (int i = 0; i < 20; i++)
        pair_turn(&p);
    assert_true(stream_queued(p.server.s) > STREAM_OUT_LOW); /* held back by the kernel */
    assert_int_equal(p.server.drained, 0);
    stream_resume(p.client.s);
    pair_until(&p, buf_len(&p.client.got) >= n);
    check_pattern(&p.client.got, n);
    pair_until(&p, p.server.drained == 1);
    assert_int_equal(stream_queued(p.server.s), 0);
    bytes_unref(&b);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    pair_close(&p);
}

static void plain_large(void **state)
{
    (void)state;
    large(false, 1000);
    large(false, 70000);
}

static void tls_large(void **state)
{
    (void)state;
    large(true, 1000);
    large(true, 70000);
}

/* The reader consumes nothing, then a few bytes at a time. What it holds stays bounded, nothing is lost. */
static void partial(bool tls)
{
    struct pair p;
    pair_open(&p);
    SSL_CTX *server = test_server_ctx("mx.test"), *client = test_client_ctx(server);
    p.server_ctx = tls ? server : NULL;
    p.client.limit = 0;
    pair_dial(&p, tls ? client : NULL, tls ? "mx.test" : NULL);
    pair_until(&p, p.server.s && (!tls || p.server.ready) && p.client.connected);
    const size_t n = 1000 * 1000;
    struct bytes *b = pattern(n);
    stream_write_bytes(p.server.s, b);
    bytes_unref(&b);
    unsigned before;
    do {
        before = p.client.offers;
        for (int i = 0; i < 5; i++)
            pair_turn(&p);
    } while (p.client.offers != before);
    assert_int_equal(buf_len(&p.client.got), 0);
    uint64_t in, out;
    stream_traffic(p.client.s, &in, &out);
    assert_true(in <= 4 * STREAM_READ_MAX); /* reading stopped */
    p.client.limit = 9973;
    while (buf_len(&p.client.got) < n) {
        size_t had = buf_len(&p.client.got);
        stream_resume(p.client.s);
        pair_until(&p, buf_len(&p.client.got) > had);
    }
    check_pattern(&p.client.got, n);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    pair_close(&p);
}

static void partial_reads(void **state)
{
    (void)state;
    partial(false);
    partial(true);
}

static void tls_names(void **state)
{
    (void)state;
    SSL_CTX *server = test_server_ctx("mx.test"), *client = test_client_ctx(server);
    struct pair p;
    pair_open(&p);
    p.server_ctx = server;
    pair_dial(&p, client, "mx.test");
    stream_write(p.client.s, slice_str("secret")); /* before the handshake: must go out encrypted */
    pair_until(&p, p.client.ready && p.server.ready && buf_len(&p.server.got) == 6);
    assert_int_equal(p.client.connected, 1);
    assert_non_null(stream_ssl(p.server.s));
    assert_string_equal(SSL_get_servername(stream_ssl(p.server.s), TLSEXT_NAMETYPE_host_name), "mx.test");
    /* a goodbye with data: all of it arrives, then an orderly end */
    stream_write(p.server.s, slice_str("bye"));
    end_close(&p.server, 1000);
    pair_until(&p, p.client.closed);
    assert_int_equal(p.client.status, 0);
    assert_int_equal(buf_len(&p.client.got), 3);
    pair_close(&p);

    pair_open(&p);
    p.server_ctx = server;
    pair_dial(&p, client, "other.test");
    pair_until(&p, p.client.closed && p.server.closed);
    assert_int_equal(p.client.status, ERR_PROTOCOL);
    assert_non_null(strstr(p.client.why, "ertificate"));
    assert_int_equal(p.client.connected + p.client.ready + p.server.ready, 0);
    assert_true(p.server.status < 0);
    pair_close(&p);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
}

static void tls_garbage(void **state)
{
    (void)state;
    SSL_CTX *server = test_server_ctx("mx.test");
    struct pair p;
    pair_open(&p);
    p.server_ctx = server;
    pair_dial(&p, NULL, NULL);
    stream_write(p.client.s, slice_str("EHLO client.test\r\nMAIL FROM:<a@b>\r\n"));
    pair_until(&p, p.server.closed);
    assert_int_equal(p.server.status, ERR_PROTOCOL);
    assert_int_equal(p.server.ready, 0);
    assert_int_equal(buf_len(&p.server.got), 0);
    stream_write(p.server.s, slice_str("dropped")); /* harmless after a failure */
    pair_close(&p);
    /* after a handshake */
    SSL_CTX *client = test_client_ctx(server);
    pair_open(&p);
    p.server_ctx = server;
    pair_dial(&p, client, "mx.test");
    pair_until(&p, p.client.ready && p.server.ready);
    uv_os_fd_t fd = -1;
    for (int i = 3; i < 64; i++) { /* the client's socket: the one connected to the listener's port */
        struct sockaddr_in a;
        socklen_t len = sizeof a;
        if (getpeername(i, (struct sockaddr *)&a, &len) == 0 && ntohs(a.sin_port) == p.port)
            fd = i;
    }
    assert_true(fd >= 0);
    assert_int_equal(send(fd, "garbage garbage garbage", 23, 0), 23);
    pair_until(&p, p.server.closed);
    assert_int_equal(p.server.status, ERR_PROTOCOL);
    pair_close(&p);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
}

/* Plaintext that is pipelined behind STARTTLS is not taken as if it had come encrypted, whether TLS is started inside
 * the read of the command or later. */
static void starttls_pipelined(bool inside)
{
    SSL_CTX *server = test_server_ctx("mx.test"), *client = test_client_ctx(server);
    struct pair p;
    pair_open(&p);
    p.server.limit = 10;
    p.server.tls_on_read = inside ? server : NULL;
    pair_dial(&p, NULL, NULL);
    stream_write(p.client.s, slice_str("STARTTLS\r\nINJECTED\r\n"));
    pair_until(&p, buf_len(&p.server.got) == 10);
    p.server.limit = SIZE_MAX;
    if (!inside) {
        stream_write(p.server.s, slice_str("go ahead\r\n"));
        assert_int_equal(stream_tls_accept(p.server.s, server), 0);
    }
    stream_write(p.server.s, slice_str("first over TLS"));
    assert_int_equal(stream_tls_accept(p.server.s, server), ERR_INVALID); /* once only */
    if (!inside) {
        pair_until(&p, buf_len(&p.client.got) == 10);
        buf_clear(&p.client.got);
    }
    assert_int_equal(stream_tls_connect(p.client.s, client, "mx.test"), 0);
    stream_write(p.client.s, slice_str("NOOP"));
    pair_until(&p, p.client.ready == 1 && p.server.ready == 1 && buf_len(&p.server.got) >= 14);
    assert_int_equal(buf_len(&p.server.got), 14);
    assert_memory_equal(buf_slice(&p.server.got).p, "STARTTLS\r\nNOOP", 14);
    pair_until(&p, buf_len(&p.client.got) == 14);
    pair_close(&p);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
}

static void starttls(void **state)
{
    (void)state;
    starttls_pipelined(false);
    starttls_pipelined(true);
}

static void dial_failures(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "nohost", ":25", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", "[::1]"};
    struct pair p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pair_open(&p);
        snprintf(p.address, sizeof p.address, "%s", bad[i]);
        pair_dial(&p, NULL, NULL);
        assert_int_equal(p.client.closed, 0); /* never inside the call */
        pair_until(&p, p.client.closed == 1);
        assert_true(p.client.status < 0);
        pair_close(&p);
    }
    pair_open(&p); /* refused */
    uint16_t port = p.port;
    pair_close(&p);
    pair_open(&p);
    snprintf(p.address, sizeof p.address, "127.0.0.1:%u", port);
    if (port != p.port) {
        pair_dial(&p, NULL, NULL);
        pair_until(&p, p.client.closed == 1);
        assert_true(p.client.status < 0);
    }
    pair_close(&p);
    pair_open(&p); /* a name; ::1 may be tried first and refused */
    snprintf(p.address, sizeof p.address, "localhost:%u", p.port);
    pair_dial(&p, NULL, NULL);
    pair_until(&p, p.client.connected);
    pair_close(&p);
    pair_open(&p); /* given up while resolving */
    snprintf(p.address, sizeof p.address, "localhost:%u", p.port);
    pair_dial(&p, NULL, NULL);
    pair_close(&p);
}

/* Closing at every turn of a TLS connection's life, by either end. */
static void close_anywhere(void **state)
{
    (void)state;
    SSL_CTX *server = test_server_ctx("mx.test"), *client = test_client_ctx(server);
    for (int turn = 0; turn < 8; turn++)
        for (int side = 0; side < 2; side++)
            for (unsigned linger = 0; linger <= 50; linger += 50) {
                struct pair p;
                pair_open(&p);
                p.server_ctx = server;
                pair_dial(&p, client, "mx.test");
                struct bytes *b = pattern(300000);
                stream_write_bytes(p.client.s, b);
                bytes_unref(&b);
                for (int i = 0; i < turn; i++)
                    uv_run(&p.loop, UV_RUN_NOWAIT);
                end_close(side ? &p.server : &p.client, linger);
                for (int i = 0; i < 3; i++)
                    pair_turn(&p);
                pair_close(&p);
            }
    SSL_CTX_free(client);
    SSL_CTX_free(server);
}

/* Closing from inside each event. */
static void close_in_event(void **state)
{
    (void)state;
    SSL_CTX *server = test_server_ctx("mx.test"), *client = test_client_ctx(server);
    for (int which = 0; which < 4; which++) {
        struct pair p;
        pair_open(&p);
        p.server_ctx = which == 3 ? NULL : server;
        p.server.close_on_read = which == 0 || which == 3;
        p.server.close_on_ready = which == 1;
        p.client.close_on_drained = which == 2;
        pair_dial(&p, which == 3 ? NULL : client, which == 3 ? NULL : "mx.test");
        struct bytes *b = pattern(300000);
        stream_write_bytes(p.client.s, b);
        bytes_unref(&b);
        pair_until(&p, p.accepted);
        pair_until(&p, which == 2 ? !p.client.s : !p.server.s);
        pair_close(&p);
    }
    SSL_CTX_free(client);
    SSL_CTX_free(server);
}

static void peer_vanishes(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_dial(&p, NULL, NULL);
    pair_until(&p, p.server.s && p.client.connected);
    struct bytes *b = pattern(20 * 1000 * 1000);
    stream_pause(p.client.s);
    stream_write_bytes(p.server.s, b);
    bytes_unref(&b);
    for (int i = 0; i < 5; i++)
        pair_turn(&p);
    end_close(&p.client, 0); /* with unread input: a reset */
    pair_until(&p, p.server.closed == 1);
    assert_true(p.server.status < 0);
    pair_close(&p);
}

/* Half-closed: the rest of the input and of the output still pass. */
static void half_close(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    p.server.limit = 3;
    pair_dial(&p, NULL, NULL);
    stream_write(p.client.s, slice_str("abcdef"));
    pair_until(&p, p.server.s);
    end_close(&p.client, 60000);
    pair_until(&p, p.server.closed == 1);
    assert_int_equal(p.server.status, 0);
    assert_int_equal(buf_len(&p.server.got), 3);
    stream_resume(p.server.s);
    pair_until(&p, buf_len(&p.server.got) == 6);
    stream_write(p.server.s, slice_str("answer"));
    end_close(&p.server, 60000);
    uint64_t start = uv_hrtime();
    pair_close(&p);
    assert_true(uv_hrtime() - start < 30000000000ULL); /* both ends are done long before the linger time */
}

/* Lingering is bounded when the peer never reads. */
static void linger_bounded(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_dial(&p, NULL, NULL);
    pair_until(&p, p.server.s && p.client.connected);
    stream_pause(p.client.s);
    struct bytes *b = pattern(20 * 1000 * 1000);
    stream_write_bytes(p.server.s, b);
    bytes_unref(&b);
    end_close(&p.server, 100);
    for (uint64_t start = uv_hrtime(); uv_hrtime() - start < 300000000ULL;)
        pair_turn(&p);
    stream_resume(p.client.s);
    pair_until(&p, p.client.closed);
    assert_true(buf_len(&p.client.got) < 20 * 1000 * 1000);
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_both_ways), cmocka_unit_test(plain_large),   cmocka_unit_test(tls_large),
        cmocka_unit_test(partial_reads),   cmocka_unit_test(tls_names),     cmocka_unit_test(tls_garbage),
        cmocka_unit_test(starttls),        cmocka_unit_test(dial_failures), cmocka_unit_test(close_anywhere),
        cmocka_unit_test(close_in_event),  cmocka_unit_test(peer_vanishes), cmocka_unit_test(half_close),
        cmocka_unit_test(linger_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
