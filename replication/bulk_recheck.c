/* After a crash the notes of missing bodies may lack some (blob_recheck_needed): every body that the state refers to is
 * looked up once, on a thread of its own, in short views. References that come meanwhile are apply's. */
#include "replication/bulk_impl.h"

enum { SLICE = 500, AGAIN_MS = 30000 };

struct slice_of_contents {
    struct blob_log *blobs;
    struct body_hash last;
    unsigned n;
    uint64_t missing;
};

static bool content_seen(void *arg, const struct store_content *c)
{
    struct slice_of_contents *s = arg;
    s->last = c->hash;
    if (!blob_has(s->blobs, &c->hash)) {
        blob_missing_add(s->blobs, &c->hash);
        s->missing++;
    }
    return ++s->n < SLICE;
}

static void rechecked(struct task *t)
{
    struct bulk *b = container_of(t, struct bulk, recheck);
    b->rechecking = false;
    b->outstanding--;
    b->recheck_next_ms = clock_steady_ms() + AGAIN_MS; /* a full disk may have kept it from being noted as done */
    if (!b->stopping)
        bulk_missing_kick(b);
}

/* The checker's thread. */
static void recheck_run(struct task *t)
{
    struct bulk *b = container_of(t, struct bulk, recheck);
    struct slice_of_contents s = {.blobs = b->c.blobs};
    uint64_t seen = 0;
    bool whole = false;
    do {
        struct store_view *v;
        struct body_hash after = s.last;
        if (store_view_open(b->c.store, &v) != 0)
            break;
        s.n = 0;
        store_content_each(v, seen ? &after : NULL, content_seen, &s);
        store_view_close(&v);
        seen += s.n;
        whole = s.n < SLICE;
    } while (!whole && !atomic_load(&b->recheck_stop));
    if (whole) { /* else at the next tick, or start */
        blob_recheck_done(b->c.blobs);
        log_event(LOG_INFO, "bodies compared with references", LOG_U("bodies", seen), LOG_U("missing", s.missing));
    }
    t->run = rechecked;
    bulk_home(b, t);
}

void recheck_tick(struct bulk *b, int64_t now)
{
    if (b->stopping || b->rechecking || now < b->recheck_next_ms || !blob_recheck_needed(b->c.blobs))
        return;
    b->rechecking = true;
    b->outstanding++;
    b->recheck.run = recheck_run;
    bulk_worker_post(&b->checker, &b->recheck);
}

void recheck_init(struct bulk *b)
{
    atomic_store(&b->recheck_stop, false);
}
