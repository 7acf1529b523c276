/* Between the parts of replication/: who runs what on which thread, and how they speak to each other.
 *
 *   core.c      core loop: owns struct raft, control links, proposals, read index, membership
 *   applier.c   applier thread: store_apply in batches, answers, holding back during a state transfer
 *   bulk.c      bulk loop: bulk links, body put/get, background fetch of missing bodies, state transfer both ways
 *   identity.c  DIR/node: ids, certificate, key, CA; init, tokens, join
 *   link.c      links (link.h), on whichever loop they were made */
#ifndef REPLICATION_INTERNAL_H
#define REPLICATION_INTERNAL_H

#include "replication/link.h"
#include "replication/replication.h"
#include "store/blob.h"
#include "store/store.h"

/* ---- identity.c ---- */
/* Loads DIR/node. ERR_NOTFOUND: no member yet. The SSL contexts are made here. */
int identity_load(const char *data_dir, struct link_identity *id_r, struct err_detail *e);
void identity_close(struct link_identity *id);
/* Makes a token: certificate and key for node `id`, signed by the CA, the CA's certificate, ids, name, advertise
 * address and the members' peer addresses to dial first (host:port,...), base64 text. mem_free it. */
int identity_token_make(const char *ca_cert_pem, const char *ca_key_pem, uint64_t cluster_id, uint64_t id,
                        const char *name, const char *advertise, const char *peers, char **token_r,
                        struct err_detail *e);
/* How long a token made by identity_token_make can be used to join (checked by the joiner; the invitation in the state
 * decides). */
enum { IDENTITY_TOKEN_MS = 24 * 3600 * 1000 };
/* This node made the cluster (init): with an empty Raft log it bootstraps Raft with itself as the only voter. */
bool identity_is_first(const char *data_dir);
/* The number of this start: now_ms, or one more than the last start's when the clock was set back. Kept in DIR/node
 * before it is used, also on a full disk: a number used twice would give new requests the results of old ones, one
 * lower than earlier ones would be refused as too old, and what an earlier start leased would be nobody's
 * (queue_void.c). ERR_NOSPACE: there is no file yet to write over. */
int identity_boot_next(const char *data_dir, uint64_t now_ms, uint64_t *boot_r, struct err_detail *e);
/* The peers written by init (empty) or join: what a node that has no state yet dials. Comma separated; mem_free. */
char *identity_first_peers(const char *data_dir);

/* ---- bulk.c ---- */
struct bulk;
struct bulk_config {
    const struct link_identity *identity;
    const char *listen; /* host:port of the BULK listener */
    struct blob_log *blobs;
    struct store *store;
    unsigned dead_ms;
    void *arg;
    /* Any member may dial? Called on the bulk loop. */
    int (*hello_ok)(void *arg, const struct link_hello *peer);
    /* A body noted as missing that nobody had just now. On the bulk loop. */
    void (*nowhere)(void *arg, const struct body_hash *hash);
    void (*fatal)(void *arg, int status, const char *why);
};
int bulk_start(const struct bulk_config *c, struct bulk **b_r, struct err_detail *e);
unsigned bulk_port(const struct bulk *b); /* the one listened on, when the address said 0 */
void bulk_stop(struct bulk **b);          /* blocks; completes what is pending with ERR_CANCELED */
struct bulk_peer {
    uint64_t id;
    char address[128]; /* of its BULK listener */
    bool voter;
};
/* The present members without this node, and whether this node votes itself. Any thread; copied. */
void bulk_peers_set(struct bulk *b, const struct bulk_peer *peers, size_t n, bool self_voter);
/* Requests of replication.h; any thread. */
void bulk_body_put(struct bulk *b, struct body_put *p);
void bulk_body_get(struct bulk *b, struct body_get *g);
/* Apply found a reference to a body that is not here: fetch it in the background. Any thread. */
void bulk_missing_kick(struct bulk *b);
/* Streams a peer's state at an index >= min_index into a store_import; tries peers in turn, starting over after a
 * failure, until it has one or is stopped. done is posted home. One at a time. */
struct state_fetch {
    struct task task;
    struct task_queue *home;
    const char *data_dir;
    uint64_t min_index;
    uint64_t bytes, bytes_total; /* progress, read by anybody */
    int status;
    struct store_import *import; /* finished; the taker swaps or aborts it */
    struct store_position position;
};
void bulk_state_fetch(struct bulk *b, struct state_fetch *f);

#endif
