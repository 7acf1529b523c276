/* Of DIR/node (identity_dir.c):
 *   ca.pem cert.pem key.pem
 *   identity   text, last to be written (a node is a member when it is there):
 *              "merlion-identity 1", then "name value" lines, last "checksum" (XXH3 of all lines before it, hex). */
#include "replication/internal.h"

#include "node/base/clock.h"
#include "node/base/hash.h"
#include "replication/identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 63, ADDRESS_MAX_BYTES = 127, PEERS_MAX_BYTES = 4096 };
static const char HEADING[] = "merlion-identity 1";

struct identity_file {
    uint64_t cluster_id, node_id, instance;
    bool first;
    char *name, *advertise, *peers;
};

static void identity_file_close(struct identity_file *f)
{
    mem_free(f->name);
    mem_free(f->advertise);
    mem_free(f->peers);
    *f = (struct identity_file){0};
}

/* ---- the identity file ---- */

static bool text_ok(const char *s, size_t min, size_t max)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= ' ' || s[i] == 127)
            return false;
    return n >= min && n <= max;
}

static int identity_file_write(int dir, const struct identity_file *f, struct err_detail *e)
{
    struct buf b = {0};
    buf_printf(&b, "%s\ncluster %016" PRIx64 "\nnode %" PRIu64 "\ninstance %016" PRIx64 "\nfirst %d\n", HEADING,
               f->cluster_id, f->node_id, f->instance, f->first);
    buf_printf(&b, "name %s\nadvertise %s\npeers %s\n", f->name, f->advertise, f->peers);
    buf_printf(&b, "checksum %016" PRIx64 "\n", checksum64(buf_slice(&b)));
    int rv = identity_dir_write(dir, "identity", buf_slice(&b), e);
    buf_close(&b);
    return rv;
}

/* One "name value" line into its field; false for what is not understood. */
static bool line_take(struct identity_file *f, struct slice key, struct slice value)
{
    uint64_t first;
    if (slice_eq(key, SLICE_LITERAL("cluster")))
        return identity_hex_read(value, &f->cluster_id);
    if (slice_eq(key, SLICE_LITERAL("instance")))
        return identity_hex_read(value, &f->instance);
    if (slice_eq(key, SLICE_LITERAL("node")))
        return slice_u64(value, UINT64_MAX, &f->node_id) == 0;
    if (slice_eq(key, SLICE_LITERAL("first"))) {
        bool ok = slice_u64(value, 1, &first) == 0;
        f->first = ok && first == 1;
        return ok;
    }
    char **text = slice_eq(key, SLICE_LITERAL("name"))        ? &f->name
                  : slice_eq(key, SLICE_LITERAL("advertise")) ? &f->advertise
                  : slice_eq(key, SLICE_LITERAL("peers"))     ? &f->peers
                                                              : NULL;
    if (!text || *text)
        return false;
    *text = mem_strndup(value);
    return true;
}

static int identity_text_parse(const char *text, struct identity_file *f)
{
    const char *mark = strstr(text, "\nchecksum ");
    uint64_t sum;
    if (!mark)
        return ERR_CORRUPT;
    struct slice covered = slice_make(text, (size_t)(mark + 1 - text));
    struct slice given = slice_str(mark + strlen("\nchecksum "));
    if (given.n != 17 || given.p[16] != '\n' || !identity_hex_read(slice_first(given, 16), &sum) ||
        sum != checksum64(covered))
        return ERR_CORRUPT;
    size_t end = slice_find(covered, '\n');
    if (!slice_eq(slice_first(covered, end), slice_str(HEADING)))
        return ERR_VERSION;
    for (struct slice rest = slice_from(covered, end + 1); rest.n; rest = slice_from(rest, end + 1)) {
        end = slice_find(rest, '\n');
        struct slice line = slice_first(rest, end);
        size_t space = slice_find(line, ' ');
        if (!line_take(f, slice_first(line, space), slice_from(line, space + 1)))
            return ERR_CORRUPT;
    }
    bool whole = f->cluster_id && f->node_id && f->instance && f->name && f->advertise && f->peers;
    return whole && text_ok(f->name, 1, NAME_MAX_BYTES) ? 0 : ERR_CORRUPT;
}

static int identity_file_read(int dir, struct identity_file *f_r, struct err_detail *e)
{
    char *text;
    *f_r = (struct identity_file){0};
    int rv = identity_dir_read(dir, "identity", &text, e);
    if (rv != 0)
        return rv;
    rv = identity_text_parse(text, f_r);
    mem_free(text);
    if (rv != 0) {
        identity_file_close(f_r);
        return err_set(e, rv,
                       rv == ERR_VERSION ? "node/identity: written by a newer version" : "node/identity: damaged");
    }
    return 0;
}

static int identity_file_open(const char *data_dir, struct identity_file *f_r, struct err_detail *e)
{
    int dir = identity_dir_open(data_dir, false, e);
    if (dir < 0)
        return dir;
    int rv = identity_file_read(dir, f_r, e);
    close(dir);
    return rv;
}

/* All files, the identity last. */
static int identity_write(const char *data_dir, const struct identity_file *f, const char *ca_pem, const char *cert_pem,
                          const char *key_pem, struct err_detail *e)
{
    int dir = identity_dir_open(data_dir, true, e);
    if (dir < 0)
        return dir;
    int rv = identity_dir_write(dir, "ca.pem", slice_str(ca_pem), e);
    if (rv == 0)
        rv = identity_dir_write(dir, "cert.pem", slice_str(cert_pem), e);
    if (rv == 0)
        rv = identity_dir_write(dir, "key.pem", slice_str(key_pem), e);
    if (rv == 0)
        rv = identity_file_write(dir, f, e);
    close(dir);
    return rv;
}

/* ---- load ---- */

static void secret_free(char *text)
{
    if (text)
        mem_wipe(text, strlen(text));
    mem_free(text);
}

static int contexts_load(int dir, struct link_identity *id, struct err_detail *e)
{
    char *ca = NULL, *cert = NULL, *key = NULL;
    int rv = identity_dir_read(dir, "ca.pem", &ca, e);
    if (rv == 0)
        rv = identity_dir_read(dir, "cert.pem", &cert, e);
    if (rv == 0)
        rv = identity_dir_read(dir, "key.pem", &key, e);
    if (rv == ERR_NOTFOUND) /* the identity is there: this is not "no member yet" */
        rv = ERR_CORRUPT;
    if (rv == 0)
        rv = identity_contexts_make(ca, cert, key, &id->client, &id->server, e);
    mem_free(ca);
    mem_free(cert);
    secret_free(key);
    return rv;
}

int identity_load(const char *data_dir, struct link_identity *id_r, struct err_detail *e)
{
    *id_r = (struct link_identity){0};
    int dir = identity_dir_open(data_dir, false, e);
    if (dir < 0)
        return dir;
    struct identity_file f;
    int rv = identity_file_read(dir, &f, e);
    if (rv == 0) {
        id_r->cluster_id = f.cluster_id;
        id_r->node_id = f.node_id;
        id_r->instance = f.instance;
        id_r->format_max = STORE_FORMAT_MAX;
        snprintf(id_r->name, sizeof(id_r->name), "%s", f.name);
        rv = contexts_load(dir, id_r, e);
        identity_file_close(&f);
    }
    close(dir);
    uint64_t named = 0;
    if (rv == 0 && (identity_subject_check(SSL_CTX_get0_certificate(id_r->client), id_r->cluster_id, &named) != 0 ||
                    named != id_r->node_id))
        rv = err_set(e, ERR_CORRUPT, "node/cert.pem: the certificate of another node or cluster");
    if (rv != 0)
        identity_close(id_r);
    return rv;
}

void identity_close(struct link_identity *id)
{
    SSL_CTX_free(id->client);
    SSL_CTX_free(id->server);
    id->client = id->server = NULL;
}

bool replication_is_member(const char *data_dir)
{
    char path[4096];
    /* A damaged identity is one all the same: never initialise over it. */
    return snprintf(path, sizeof(path), "%s/node/identity", data_dir) < (int)sizeof(path) && access(path, F_OK) == 0;
}

bool identity_is_first(const char *data_dir)
{
    struct identity_file f;
    if (identity_file_open(data_dir, &f, NULL) != 0)
        return false;
    bool first = f.first;
    identity_file_close(&f);
    return first;
}

char *identity_first_peers(const char *data_dir)
{
    struct identity_file f;
    if (identity_file_open(data_dir, &f, NULL) != 0)
        return mem_strdup("");
    char *peers = mem_strdup(f.peers);
    identity_file_close(&f);
    return peers;
}

/* ---- init, join ---- */

static uint64_t nonce(void)
{
    uint64_t v = 0;
    while (v == 0)
        random_bytes(&v, sizeof(v));
    return v;
}

static int member_refuse(const char *data_dir, struct err_detail *e)
{
    return err_set(e, ERR_EXISTS, "%s/node: this node belongs to a cluster already", data_dir);
}

static int texts_check(const char *name, const char *advertise, const char *peers, struct err_detail *e)
{
    if (!text_ok(name, 1, NAME_MAX_BYTES))
        return err_set(e, ERR_INVALID, "node name: 1 to %d characters without spaces", NAME_MAX_BYTES);
    if (!text_ok(advertise, 3, ADDRESS_MAX_BYTES) || !strrchr(advertise, ':'))
        return err_set(e, ERR_INVALID, "peer address: host:port, at most %d characters", ADDRESS_MAX_BYTES);
    return text_ok(peers, 0, PEERS_MAX_BYTES) ? 0 : err_set(e, ERR_INVALID, "addresses of peers: host:port,...");
}

int replication_cluster_init(const char *data_dir, const char *name, const char *advertise, char **ca_cert_pem_r,
                             char **ca_key_pem_r, struct err_detail *e)
{
    if (replication_is_member(data_dir))
        return member_refuse(data_dir, e);
    int rv = texts_check(name, advertise, "", e);
    if (rv != 0)
        return rv;
    struct identity_file f = {.cluster_id = nonce(), .node_id = 1, .instance = nonce(), .first = true};
    char *ca = NULL, *ca_key = NULL, *cert = NULL, *key = NULL;
    rv = identity_ca_make(f.cluster_id, &ca, &ca_key, e);
    if (rv == 0)
        rv = identity_cert_make(ca, ca_key, f.cluster_id, f.node_id, &cert, &key, e);
    if (rv == 0) {
        f.name = mem_strdup(name);
        f.advertise = mem_strdup(advertise);
        f.peers = mem_strdup("");
        rv = identity_write(data_dir, &f, ca, cert, key, e);
        identity_file_close(&f);
    }
    mem_free(cert);
    secret_free(key);
    if (rv != 0) {
        mem_free(ca);
        secret_free(ca_key);
        return rv;
    }
    *ca_cert_pem_r = ca;
    *ca_key_pem_r = ca_key;
    return 0;
}

int identity_token_make(const char *ca_cert_pem, const char *ca_key_pem, uint64_t cluster_id, uint64_t id,
                        const char *name, const char *advertise, const char *peers, char **token_r,
                        struct err_detail *e)
{
    int rv = texts_check(name, advertise, peers, e);
    if (rv != 0)
        return rv;
    struct identity_token t = {.cluster_id = cluster_id, .id = id};
    rv = identity_cert_make(ca_cert_pem, ca_key_pem, cluster_id, id, &t.cert_pem, &t.key_pem, e);
    if (rv != 0)
        return rv;
    t.expires_ms = (uint64_t)clock_wall_ms() + IDENTITY_TOKEN_MS;
    t.name = mem_strdup(name);
    t.advertise = mem_strdup(advertise);
    t.peers = mem_strdup(peers);
    t.ca_pem = mem_strdup(ca_cert_pem);
    *token_r = identity_token_encode(&t);
    identity_token_close(&t);
    return 0;
}

static int expiry_check(uint64_t expires_ms, struct err_detail *e)
{
    if ((uint64_t)clock_wall_ms() < expires_ms)
        return 0;
    char when[32] = "?";
    time_t seconds = (time_t)(expires_ms / 1000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm))
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
    return err_set(e, ERR_STALE, "the join token expired at %s: make a new one with `mailctl member add`", when);
}

int replication_join(const char *data_dir, const char *name, const char *token, struct err_detail *e)
{
    if (replication_is_member(data_dir))
        return member_refuse(data_dir, e);
    struct identity_token t;
    int rv = identity_token_decode(token, &t, e);
    if (rv != 0)
        return rv;
    rv = expiry_check(t.expires_ms, e);
    if (rv == 0)
        rv = texts_check(t.name, t.advertise, t.peers, e);
    if (rv == 0 && strcmp(t.name, name) != 0)
        rv =
            err_set(e, ERR_INVALID,
                    "the join token is for %s, this node is called %s: change the name in the configuration, or make a "
                    "token for it with `mailctl member add`",
                    t.name, name);
    SSL_CTX *client = NULL, *server = NULL;
    if (rv == 0)
        rv = identity_contexts_make(t.ca_pem, t.cert_pem, t.key_pem, &client, &server, e);
    uint64_t named = 0;
    if (rv == 0 &&
        (t.id == 0 || t.cluster_id == 0 ||
         identity_subject_check(SSL_CTX_get0_certificate(client), t.cluster_id, &named) != 0 || named != t.id))
        rv = err_set(e, ERR_INVALID, "the join token's certificate is of another node or cluster");
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    if (rv == 0) {
        struct identity_file f = {.cluster_id = t.cluster_id,
                                  .node_id = t.id,
                                  .instance = nonce(),
                                  .name = t.name,
                                  .advertise = t.advertise,
                                  .peers = t.peers};
        rv = identity_write(data_dir, &f, t.ca_pem, t.cert_pem, t.key_pem, e);
    }
    identity_token_close(&t);
    return rv;
}
