/* Snapshots are descriptors; the store itself is the snapshot. A node whose store is behind a descriptor is syncing:
 *
 *   restore(index) ──► hold entries back ──► fetch a peer's state (bulk) ──► import when the own log reached it ──►
 * level ▲                         │ └── too old by now ◄──────┘
 */
#include "replication/core.h"

enum { DESCRIPTOR_MAGIC = 0x4e534c4d /* "MLSN" */, DESCRIPTOR_VERSION = 1 };

/* u32 magic, u32 version, u64 index, u64 term, u64 digest (two), u64 the store's own index at the digest, u32 format,
 * u32 0, u64 checksum. libraft has no checksum over snapshot data: this is ours. */
void descriptor_encode(uint8_t out[CORE_DESCRIPTOR], uint64_t index, uint64_t term, const struct store_position *p)
{
    put_le32(out, DESCRIPTOR_MAGIC);
    put_le32(out + 4, DESCRIPTOR_VERSION);
    put_le64(out + 8, index);
    put_le64(out + 16, term);
    put_le64(out + 24, p->digest.lo);
    put_le64(out + 32, p->digest.hi);
    put_le64(out + 40, p->index);
    put_le32(out + 48, p->format);
    put_le32(out + 52, 0);
    put_le64(out + 56, checksum64(slice_make(out, 56)));
}

int descriptor_decode(struct slice in, uint64_t *index_r, struct store_position *p_r)
{
    if (in.n != CORE_DESCRIPTOR || get_le32(in.p) != DESCRIPTOR_MAGIC ||
        get_le64(in.p + 56) != checksum64(slice_first(in, 56)))
        return ERR_CORRUPT;
    if (get_le32(in.p + 4) != DESCRIPTOR_VERSION)
        return ERR_VERSION;
    *index_r = get_le64(in.p + 8);
    *p_r = (struct store_position){.index = get_le64(in.p + 40),
                                   .term = get_le64(in.p + 16),
                                   .digest = {get_le64(in.p + 24), get_le64(in.p + 32)},
                                   .format = get_le32(in.p + 48)};
    return 0;
}

/* Only room is given now; it is filled when the store is durable at this index (raft_guard holds the put until then).
 *
 * libraft may ask between applying a configuration and noting that it is committed, when it applies two in one go, as
 * after a start. Its snapshot would have the older one: the node's next life takes the newer one for uncommitted and,
 * as leader, refuses every change; once the log is cut off behind the entry it goes back to the old membership. An
 * error makes libraft ask again at its next step.
 *
 * Nor while the state is being copied: the snapshot would wait for the copy, the copy until the log has reached it, and
 * a log that others have cut off grows by their snapshot alone, which is dropped while one of our own is taken. */
int core_fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct replication *r = fsm->data;
    uint64_t noted = r->raft.configuration_uncommitted_index;
    if (noted != 0 && noted <= raft_commit_index(&r->raft))
        return RAFT_BUSY;
    if (r->syncing)
        return RAFT_BUSY;
    *bufs = raft_malloc(sizeof **bufs);
    ENSURE(*bufs);
    (*bufs)[0] = (struct raft_buffer){raft_calloc(1, CORE_DESCRIPTOR), CORE_DESCRIPTOR};
    ENSURE((*bufs)[0].base);
    *n_bufs = 1;
    return 0;
}

int core_fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct replication *r = fsm->data;
    uint64_t index;
    struct store_position p, own;
    int rc = descriptor_decode(slice_make(buf->base, buf->len), &index, &p);
    if (rc == 0 && p.format > STORE_FORMAT_MAX)
        rc = ERR_VERSION;
    if (rc != 0) {
        if (r->started)
            core_fatal(r, rc, "a snapshot's descriptor is damaged or of a newer format");
        else
            r->load_status = err_set(&r->load_error, rc,
                                     "the snapshot's descriptor in %s is damaged: set the data directory aside and "
                                     "join the cluster again (maild join)",
                                     r->raft_dir);
        return RAFT_CORRUPT;
    }
    raft_free(buf->base);
    store_position(r->store, &own);
    if (own.index >= index)
        return 0;
    log_event(LOG_WARN, "state is behind, syncing from a peer", LOG_U("index", own.index), LOG_U("wanted", index));
    r->syncing = true;
    if (index > r->sync_min)
        r->sync_min = index;
    applier_hold(r->applier, r->sync_min);
    return 0;
}

static void fetch_done(struct task *t)
{
    struct state_fetch *f = container_of(t, struct state_fetch, task);
    struct replication *r = container_of(f, struct replication, fetch);
    if (f->status != 0 || r->life == CORE_CLOSING) {
        r->fetching = false;
        if (f->status == 0)
            store_import_abort(&f->import);
        return;
    }
    struct store_import *i = f->import;
    f->import = NULL;
    applier_import(r->applier, i, &f->position); /* fetching until the applier says what came of it */
}

void core_sync_tick(struct replication *r)
{
    if (!r->syncing || r->fetching || r->life == CORE_CLOSING)
        return;
    r->fetching = true;
    r->fetch = (struct state_fetch){
        .task.run = fetch_done, .home = &r->loop.queue, .data_dir = r->data_dir, .min_index = r->sync_min};
    bulk_state_fetch(r->bulk, &r->fetch);
}

void core_sync_news(struct replication *r, const struct applier_news *n)
{
    if (n->snapshot_done) {
        uint8_t d[CORE_DESCRIPTOR];
        descriptor_encode(d, n->snapshot_index, core_term_of(r, n->snapshot_index), &n->snapshot);
        raft_guard_snapshot_put(&r->guard, slice_make(d, sizeof d));
    }
    if (n->import_short) {
        r->fetching = false;
        if (n->import_min > r->sync_min)
            r->sync_min = n->import_min;
    }
    if (n->import_done) {
        r->fetching = false;
        r->syncing = false;
        r->sync_min = 0;
    }
}
