#include "node/tls_identity.h"

#include "node/base/hash.h"
#include "node/base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

enum { TEN_YEARS = 3652 * 86400 };

static bool extension_add(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

static bool names_set(X509 *cert, const char *host)
{
    X509_NAME *name = X509_get_subject_name(cert);
    /* A common name holds at most 64 characters; the alternative name is what clients look at. */
    char cn[65];
    snprintf(cn, sizeof cn, "%s", host);
    struct in6_addr scratch;
    bool address = inet_pton(AF_INET, host, &scratch) == 1 || inet_pton(AF_INET6, host, &scratch) == 1;
    char san[300];
    snprintf(san, sizeof san, "%s:%s", address ? "IP" : "DNS", host);
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0) == 1 &&
           X509_set_issuer_name(cert, name) == 1 && extension_add(cert, NID_subject_alt_name, san) &&
           extension_add(cert, NID_basic_constraints, "critical,CA:FALSE") &&
           extension_add(cert, NID_ext_key_usage, "serverAuth");
}

static X509 *certificate_make(EVP_PKEY *key, const char *host)
{
    X509 *cert = X509_new();
    uint8_t serial[16];
    random_bytes(serial, sizeof serial);
    serial[0] = (uint8_t)((serial[0] & 0x3f) | 0x40); /* positive, and of full length */
    BIGNUM *n = BN_bin2bn(serial, sizeof serial, NULL);
    bool ok = cert && n && X509_set_version(cert, 2) == 1 && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) &&
              X509_gmtime_adj(X509_getm_notBefore(cert), -86400) &&
              X509_gmtime_adj(X509_getm_notAfter(cert), TEN_YEARS) && X509_set_pubkey(cert, key) == 1 &&
              names_set(cert, host) && X509_sign(cert, key, EVP_sha256()) > 0;
    BN_free(n);
    if (ok)
        return cert;
    X509_free(cert);
    return NULL;
}

static int pem_write(const char *path, EVP_PKEY *key, X509 *cert)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return err_from_errno(error);
    }
    bool ok = PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && PEM_write_X509(f, cert) == 1 &&
              fflush(f) == 0 && fsync(fd) == 0;
    ok = fclose(f) == 0 && ok;
    return ok ? 0 : ERR_IO;
}

int tls_identity_make(const char *path, const char *host_name, struct err_detail *e)
{
    size_t n = strlen(path) + 5;
    char *temporary = mem_alloc(n);
    snprintf(temporary, n, "%s.new", path);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key ? certificate_make(key, host_name) : NULL;
    int rc = cert ? pem_write(temporary, key, cert) : ERR_INVALID;
    if (rc == 0 && rename(temporary, path) != 0)
        rc = err_from_errno(errno);
    if (rc < 0)
        err_set(e, rc, "cannot make a certificate for %s in %s: %s", host_name, path, err_text(rc));
    X509_free(cert);
    EVP_PKEY_free(key);
    mem_free(temporary);
    return rc;
}
