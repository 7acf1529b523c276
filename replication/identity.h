/* Inside identity*.c and link*.c: files, certificates, and what a join token holds. Pure but for the kernel's
 * randomness and the clock. */
#ifndef REPLICATION_IDENTITY_H
#define REPLICATION_IDENTITY_H

#include "node/base/err.h"
#include "node/base/slice.h"

#include <openssl/ssl.h>

/* ---- identity_dir.c ---- */

/* DIR/node as a file descriptor, or a negative error; `make`: with its parent, lasting. */
int identity_dir_open(const char *data_dir, bool make, struct err_detail *e);
/* Whole or not at all: a temporary name, synced and renamed. */
int identity_dir_write(int dir, const char *name, struct slice s, struct err_detail *e);
/* In its place, synced. Takes no space when the file is as long already; a crash leaves it torn. */
int identity_dir_overwrite(int dir, const char *name, struct slice s, struct err_detail *e);
/* mem_free *text_r. ERR_NOTFOUND; ERR_CORRUPT: no text, or too long. */
int identity_dir_read(int dir, const char *name, char **text_r, struct err_detail *e);
/* 16 hexadecimal digits. */
bool identity_hex_read(struct slice s, uint64_t *v_r);

/* ---- identity_cert.c ---- */

/* PEM texts of a new CA (EC P-256, 20 years) for a cluster. mem_free both; wipe the key first. */
int identity_ca_make(uint64_t cluster_id, char **cert_pem_r, char **key_pem_r, struct err_detail *e);
/* A node's certificate (10 years, CN node-<id>, O the cluster id in hex, for both ends of TLS) and key. */
int identity_cert_make(const char *ca_cert_pem, const char *ca_key_pem, uint64_t cluster_id, uint64_t id,
                       char **cert_pem_r, char **key_pem_r, struct err_detail *e);
/* TLS 1.3 alone, peers verified against this CA alone. */
int identity_contexts_make(const char *ca_pem, const char *cert_pem, const char *key_pem, SSL_CTX **client_r,
                           SSL_CTX **server_r, struct err_detail *e);
/* Whose certificate this is: ERR_DENIED unless it names exactly one node of that cluster. */
int identity_subject_check(const X509 *cert, uint64_t cluster_id, uint64_t *id_r);
/* The same for the verified other end of a connection. */
int identity_peer_check(SSL *ssl, uint64_t cluster_id, uint64_t *id_r);

/* ---- identity_token.c ---- */

/* "merlion-join-1." and base64url (no padding) of: u64 cluster, u64 node, u64 expiry (ms since the epoch), then with
 * u32 lengths name, advertise, peers, CA certificate, certificate, key (PEM); u64 checksum over all before it. */
struct identity_token {
    uint64_t cluster_id, id, expires_ms;
    char *name, *advertise, *peers, *ca_pem, *cert_pem, *key_pem;
};
char *identity_token_encode(const struct identity_token *t); /* mem_free */
/* ERR_INVALID (no token, damaged, cut short), ERR_VERSION (of a newer build), each with a text to act on. */
int identity_token_decode(const char *text, struct identity_token *t_r, struct err_detail *e);
void identity_token_close(struct identity_token *t); /* wipes the key */

#endif
