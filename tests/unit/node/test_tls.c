#include "node/tls.h"

#include "node/tls_identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "tls-test-XXXXXX";

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf ./%s", folder);
    return system(command);
}

static void path_of(char *out, size_t n, const char *name)
{
    snprintf(out, n, "%s/%s", folder, name);
}

static X509 *certificate(struct tls *t)
{
    SSL_CTX *ctx = tls_context(t);
    X509 *x = SSL_CTX_get0_certificate(ctx);
    X509_up_ref(x);
    SSL_CTX_free(ctx);
    return x;
}

static void self_signed(void **state)
{
    (void)state;
    struct err_detail e = {{0}};
    struct tls *t, *again;
    struct tls_config c = {.data = folder, .host_name = "mx.example.net"};
    assert_int_equal(tls_new(&c, &t, &e), 0);
    X509 *x = certificate(t);
    assert_int_equal(X509_check_host(x, "mx.example.net", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(x, "other.example.net", 0, 0, NULL), 0);
    assert_int_equal(EVP_PKEY_get_bits(X509_get0_pubkey(x)), 256);
    assert_int_equal(X509_verify(x, X509_get0_pubkey(x)), 1);
    int64_t years = (tls_not_after(t) - time(NULL)) / (365 * 86400);
    assert_true(years >= 9 && years <= 10);
    char path[128];
    path_of(path, sizeof path, "tls-selfsigned.pem");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* the next start has the same one */
    assert_int_equal(tls_new(&c, &again, &e), 0);
    X509 *y = certificate(again);
    assert_int_equal(X509_cmp(x, y), 0);
    X509_free(x);
    X509_free(y);
    tls_free(&t);
    tls_free(&again);
    assert_null(t);
}

static void long_and_numeric_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        "192.0.2.7", "2001:db8::7", "a-host-name-that-is-longer-than-the-sixty-four-characters-of-a-cn.example.net"};
    struct err_detail e = {{0}};
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        path_of(path, sizeof path, "named.pem");
        assert_int_equal(tls_identity_make(path, names[i], &e), 0);
        struct tls *t;
        struct tls_config c = {.certificate = path, .key = path};
        assert_int_equal(tls_new(&c, &t, &e), 0);
        X509 *x = certificate(t);
        assert_int_equal(i < 2 ? X509_check_ip_asc(x, names[i], 0) : X509_check_host(x, names[i], 0, 0, NULL), 1);
        X509_free(x);
        tls_free(&t);
    }
}

static void errors(void **state)
{
    (void)state;
    char good[128], other[128], bad[128];
    path_of(good, sizeof good, "good.pem");
    path_of(other, sizeof other, "other.pem");
    path_of(bad, sizeof bad, "bad.pem");
    struct err_detail e = {{0}};
    assert_int_equal(tls_identity_make(good, "good.test", &e), 0);
    assert_int_equal(tls_identity_make(other, "other.test", &e), 0);
    FILE *f = fopen(bad, "w");
    fputs("no PEM at all\n", f);
    fclose(f);
    const struct tls_config cases[] = {
        {.certificate = "/nonexistent.pem", .key = good},
        {.certificate = good, .key = "/nonexistent.pem"},
        {.certificate = bad, .key = good},
        {.certificate = good, .key = bad},
        {.certificate = good, .key = other},
        {.certificate = good},
        {.data = "/nonexistent", .host_name = "x.test"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tls *t;
        e.text[0] = 0;
        assert_true(tls_new(&cases[i], &t, &e) < 0);
        assert_null(t);
        assert_true(strlen(e.text) > 0);
        print_message("%s\n", e.text);
    }
}

/* New connections get the new certificate, old ones keep theirs, a broken file changes nothing. */
static void reload(void **state)
{
    (void)state;
    char path[128];
    path_of(path, sizeof path, "reload.pem");
    struct err_detail e = {{0}};
    assert_int_equal(tls_identity_make(path, "one.test", &e), 0);
    struct tls *t;
    struct tls_config c = {.certificate = path, .key = path};
    assert_int_equal(tls_new(&c, &t, &e), 0);
    SSL_CTX *old = tls_context(t);
    assert_int_equal(tls_identity_make(path, "two.test", &e), 0);
    assert_int_equal(tls_reload(t, &e), 0);
    X509 *x = certificate(t);
    assert_int_equal(X509_check_host(x, "two.test", 0, 0, NULL), 1);
    X509_free(x);
    assert_int_equal(X509_check_host(SSL_CTX_get0_certificate(old), "one.test", 0, 0, NULL), 1);
    SSL_CTX_free(old);
    assert_int_equal(truncate(path, 20), 0);
    assert_true(tls_reload(t, &e) < 0);
    x = certificate(t);
    assert_int_equal(X509_check_host(x, "two.test", 0, 0, NULL), 1);
    X509_free(x);
    tls_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(self_signed), cmocka_unit_test(long_and_numeric_names),
                                       cmocka_unit_test(errors), cmocka_unit_test(reload)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
