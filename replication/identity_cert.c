#include "replication/identity.h"

#include "node/base/hash.h"
#include "node/base/mem.h"

#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

enum { CA_YEARS = 20, NODE_YEARS = 10, DAY_SECONDS = 86400, YEAR_DAYS = 365 };

static int tls_fail(struct err_detail *e, const char *what)
{
    char text[160];
    ERR_error_string_n(ERR_get_error(), text, sizeof(text));
    ERR_clear_error();
    return err_set(e, ERR_INVALID, "%s: %s", what, text);
}

static char *bio_text(BIO *b)
{
    char *p = NULL;
    long n = BIO_get_mem_data(b, &p);
    return mem_strndup(slice_make(p, n > 0 ? (size_t)n : 0));
}

static char *pem_of_cert(X509 *cert)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *text = b && PEM_write_bio_X509(b, cert) == 1 ? bio_text(b) : NULL;
    BIO_free(b);
    return text;
}

static char *pem_of_key(EVP_PKEY *key)
{
    BIO *b = BIO_new(BIO_s_secmem());
    char *text = b && PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1 ? bio_text(b) : NULL;
    BIO_free(b);
    return text;
}

static X509 *cert_of_pem(const char *pem)
{
    BIO *b = BIO_new_mem_buf(pem, -1);
    X509 *cert = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
    BIO_free(b);
    return cert;
}

static EVP_PKEY *key_of_pem(const char *pem)
{
    BIO *b = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, NULL) : NULL;
    BIO_free(b);
    return key;
}

static bool name_set(X509_NAME *name, uint64_t cluster_id, const char *common)
{
    char cluster[20];
    snprintf(cluster, sizeof(cluster), "%016" PRIx64, cluster_id);
    return X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_ASC, (const unsigned char *)cluster, -1, -1,
                                      0) == 1 &&
           X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC, (const unsigned char *)common, -1, -1, 0) ==
               1;
}

static bool extension_add(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = x && X509_add_ext(cert, x, -1) == 1;
    X509_EXTENSION_free(x);
    return ok;
}

/* Subject, key, serial and validity. Valid from a day ago: nodes' clocks may differ. */
static X509 *cert_begin(EVP_PKEY *key, uint64_t cluster_id, const char *common, int years)
{
    X509 *cert = X509_new();
    unsigned char serial[16];
    random_bytes(serial, sizeof(serial));
    serial[0] = (unsigned char)((serial[0] & 0x3f) | 0x40); /* positive, of full length (RFC 5280 4.1.2.2) */
    BIGNUM *bn = BN_bin2bn(serial, sizeof(serial), NULL);
    bool ok = cert && bn && X509_set_version(cert, X509_VERSION_3) == 1 &&
              BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) &&
              X509_gmtime_adj(X509_getm_notBefore(cert), -DAY_SECONDS) &&
              X509_gmtime_adj(X509_getm_notAfter(cert), (long)DAY_SECONDS * YEAR_DAYS * years) &&
              X509_set_pubkey(cert, key) == 1 && name_set(X509_get_subject_name(cert), cluster_id, common);
    BN_free(bn);
    if (!ok) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

static int texts_make(X509 *cert, EVP_PKEY *key, char **cert_pem_r, char **key_pem_r, struct err_detail *e)
{
    char *cert_pem = pem_of_cert(cert);
    char *key_pem = pem_of_key(key);
    if (!cert_pem || !key_pem) {
        mem_free(cert_pem);
        mem_free(key_pem);
        return tls_fail(e, "write certificate");
    }
    *cert_pem_r = cert_pem;
    *key_pem_r = key_pem;
    return 0;
}

int identity_ca_make(uint64_t cluster_id, char **cert_pem_r, char **key_pem_r, struct err_detail *e)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key ? cert_begin(key, cluster_id, "cluster-ca", CA_YEARS) : NULL;
    int rv;
    if (!cert || X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
        !extension_add(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !extension_add(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !extension_add(cert, cert, NID_subject_key_identifier, "hash") || X509_sign(cert, key, EVP_sha256()) == 0)
        rv = tls_fail(e, "make the cluster's CA");
    else
        rv = texts_make(cert, key, cert_pem_r, key_pem_r, e);
    X509_free(cert);
    EVP_PKEY_free(key);
    return rv;
}

int identity_cert_make(const char *ca_cert_pem, const char *ca_key_pem, uint64_t cluster_id, uint64_t id,
                       char **cert_pem_r, char **key_pem_r, struct err_detail *e)
{
    char common[32];
    snprintf(common, sizeof(common), "node-%" PRIu64, id);
    X509 *ca = cert_of_pem(ca_cert_pem);
    EVP_PKEY *ca_key = key_of_pem(ca_key_pem);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key ? cert_begin(key, cluster_id, common, NODE_YEARS) : NULL;
    int rv;
    if (!ca || !ca_key || X509_check_private_key(ca, ca_key) != 1)
        rv = tls_fail(e, "the cluster's CA certificate and key do not fit");
    else if (!cert || X509_set_issuer_name(cert, X509_get_subject_name(ca)) != 1 ||
             !extension_add(cert, ca, NID_basic_constraints, "critical,CA:FALSE") ||
             !extension_add(cert, ca, NID_key_usage, "critical,digitalSignature") ||
             !extension_add(cert, ca, NID_ext_key_usage, "serverAuth,clientAuth") ||
             !extension_add(cert, ca, NID_subject_key_identifier, "hash") ||
             !extension_add(cert, ca, NID_authority_key_identifier, "keyid:always") ||
             X509_sign(cert, ca_key, EVP_sha256()) == 0)
        rv = tls_fail(e, "make a node's certificate");
    else
        rv = texts_make(cert, key, cert_pem_r, key_pem_r, e);
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(key);
    return rv;
}

/* ---- TLS contexts ---- */

static SSL_CTX *context_make(const SSL_METHOD *method, X509 *ca, X509 *cert, EVP_PKEY *key)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (!ctx)
        return NULL;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(ctx, 1);
    /* Links live for days: resumption would only keep a removed certificate's session usable. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 || SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
        X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca) != 1 || SSL_CTX_add_client_CA(ctx, ca) != 1 ||
        SSL_CTX_use_certificate(ctx, cert) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

int identity_contexts_make(const char *ca_pem, const char *cert_pem, const char *key_pem, SSL_CTX **client_r,
                           SSL_CTX **server_r, struct err_detail *e)
{
    X509 *ca = cert_of_pem(ca_pem);
    X509 *cert = cert_of_pem(cert_pem);
    EVP_PKEY *key = key_of_pem(key_pem);
    SSL_CTX *client = NULL, *server = NULL;
    if (ca && cert && key) {
        client = context_make(TLS_client_method(), ca, cert, key);
        server = context_make(TLS_server_method(), ca, cert, key);
    }
    X509_free(ca);
    X509_free(cert);
    EVP_PKEY_free(key);
    if (!client || !server) {
        SSL_CTX_free(client);
        SSL_CTX_free(server);
        return tls_fail(e, "certificate, key or CA unusable");
    }
    *client_r = client;
    *server_r = server;
    return 0;
}

/* The only entry of that kind in a name, as bytes of the certificate; empty when there is none or more than one. */
static struct slice name_only(const X509_NAME *name, int nid)
{
    int at = X509_NAME_get_index_by_NID(name, nid, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(name, nid, at) >= 0)
        return (struct slice){NULL, 0};
    const ASN1_STRING *s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    return slice_make(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
}

int identity_subject_check(const X509 *cert, uint64_t cluster_id, uint64_t *id_r)
{
    const X509_NAME *name = X509_get_subject_name(cert);
    char cluster[20];
    snprintf(cluster, sizeof(cluster), "%016" PRIx64, cluster_id);
    if (!name || !slice_eq(name_only(name, NID_organizationName), slice_str(cluster)))
        return ERR_DENIED;
    struct slice common = name_only(name, NID_commonName);
    struct slice prefix = SLICE_LITERAL("node-");
    if (common.n <= prefix.n || !slice_eq(slice_first(common, prefix.n), prefix))
        return ERR_DENIED;
    struct slice number = slice_from(common, prefix.n);
    if (number.p[0] == '0' || slice_u64(number, UINT64_MAX, id_r) != 0)
        return ERR_DENIED;
    return 0;
}

int identity_peer_check(SSL *ssl, uint64_t cluster_id, uint64_t *id_r)
{
    if (!ssl || SSL_get_verify_result(ssl) != X509_V_OK)
        return ERR_DENIED;
    X509 *cert = SSL_get1_peer_certificate(ssl);
    int rv = cert ? identity_subject_check(cert, cluster_id, id_r) : ERR_DENIED;
    X509_free(cert);
    return rv;
}
