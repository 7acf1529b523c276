/* identity_cert.c without keys: whom a certificate names and who signed it, as text. Key material would differ in each
 * run of a seed, and costs more time than the rest of it. identity.c and identity_token.c are the production's. */
#include "replication/identity.h"

#include "node/base/mem.h"
#include "tests/sim/net.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- texts ---- */

static char *text_make(const char *kind, const struct sim_cert *c)
{
    char text[96];
    snprintf(text, sizeof text, "sim-%s %016" PRIx64 " %016" PRIx64 " %" PRIu64 "\n", kind, c->ca, c->cluster, c->node);
    return mem_strdup(text);
}

static bool text_read(const char *text, const char *kind, struct sim_cert *c_r)
{
    char found[8];
    int end = 0;
    return sscanf(text, "sim-%7s %" SCNx64 " %" SCNx64 " %" SCNu64 "%n", found, &c_r->ca, &c_r->cluster, &c_r->node,
                  &end) == 4 &&
           strcmp(found, kind) == 0 && text[end] == '\n' && text[end + 1] == 0;
}

int identity_ca_make(uint64_t cluster_id, char **cert_pem_r, char **key_pem_r, struct err_detail *e)
{
    struct sim_cert ca = {.ca = sim_random() | 1, .cluster = cluster_id};
    (void)e;
    *cert_pem_r = text_make("ca", &ca);
    *key_pem_r = text_make("key", &ca);
    return 0;
}

int identity_cert_make(const char *ca_cert_pem, const char *ca_key_pem, uint64_t cluster_id, uint64_t id,
                       char **cert_pem_r, char **key_pem_r, struct err_detail *e)
{
    struct sim_cert ca, key;
    if (!text_read(ca_cert_pem, "ca", &ca) || !text_read(ca_key_pem, "key", &key) || ca.ca != key.ca || key.node != 0)
        return err_set(e, ERR_INVALID, "the CA's certificate or key is unusable");
    struct sim_cert cert = {ca.ca, cluster_id, id};
    *cert_pem_r = text_make("cert", &cert);
    *key_pem_r = text_make("key", &cert);
    return 0;
}

/* ---- contexts ---- */

int identity_contexts_make(const char *ca_pem, const char *cert_pem, const char *key_pem, SSL_CTX **client_r,
                           SSL_CTX **server_r, struct err_detail *e)
{
    struct sim_cert ca, cert, key;
    if (!text_read(ca_pem, "ca", &ca) || !text_read(cert_pem, "cert", &cert) || !text_read(key_pem, "key", &key) ||
        cert.ca != ca.ca || memcmp(&cert, &key, sizeof cert) != 0)
        return err_set(e, ERR_INVALID, "certificate, key or CA unusable");
    struct sim_context *c = mem_alloc(sizeof *c);
    *c = (struct sim_context){.refs = 2, .cert = cert};
    *client_r = *server_r = (SSL_CTX *)c;
    return 0;
}

/* In the place of OpenSSL's for the whole program: nothing here has another context. */
void SSL_CTX_free(SSL_CTX *ctx)
{
    struct sim_context *c = (struct sim_context *)ctx;
    if (c && --c->refs == 0)
        mem_free(c);
}

X509 *SSL_CTX_get0_certificate(const SSL_CTX *ctx)
{
    return (X509 *)(uintptr_t) & ((const struct sim_context *)ctx)->cert;
}

int identity_subject_check(const X509 *cert, uint64_t cluster_id, uint64_t *id_r)
{
    const struct sim_cert *c = (const struct sim_cert *)cert;
    if (c->cluster != cluster_id || c->node == 0)
        return ERR_DENIED;
    *id_r = c->node;
    return 0;
}

int identity_peer_check(SSL *ssl, uint64_t cluster_id, uint64_t *id_r)
{
    const struct sim_cert *c = net_stream_peer((const struct stream *)ssl);
    return c->ca ? identity_subject_check((const X509 *)c, cluster_id, id_r) : ERR_DENIED;
}
