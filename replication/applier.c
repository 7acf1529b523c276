#include "replication/applier_internal.h"

#include "node/base/clock.h"
#include "node/base/log.h"

#include <errno.h>
#include <sys/statvfs.h>
#include <time.h>

enum { HOUSEKEEPING_MS = 1000, ENTRY_HEAD = 8 };

void applier_marker(struct buf *b)
{
    entry_begin(b);
    entry_end(b);
}

static bool is_marker(const struct applier_entry *e)
{
    return e->n == ENTRY_HEAD && get_le32(e->p + 4) == 0;
}

static void fail(struct applier *a, int status, const char *why)
{
    a->failed = true;
    a->c.fatal(a->c.arg, status, why);
}

static void news_run(struct task *t)
{
    struct applier *a = container_of(t, struct applier, task);
    atomic_store(&a->posted, false);
    a->c.news(a->c.arg);
}

static void news_post(struct applier *a)
{
    if (!atomic_exchange(&a->posted, true))
        task_post(a->c.home, &a->task);
}

/* ---- the store's events, during a batch ---- */

static void event_result(void *arg, struct request_id id, struct slice result)
{
    struct applier *a = arg;
    if (id.node != a->c.node || id.boot != a->c.boot)
        return;
    struct applier_result *x = mem_zalloc(sizeof *x);
    *x = (struct applier_result){.seq = id.seq, .index = a->current_index, .result = bytes_copy(result)};
    *a->batch_results_last = x;
    a->batch_results_last = &x->next;
}

static void event_mailbox(void *arg, uint64_t mailbox, uint64_t account)
{
    struct applier *a = arg;
    if (a->c.mailbox_changed)
        a->c.mailbox_changed(a->c.arg, mailbox, account);
}

static void event_body(void *arg, const struct body_hash *hash, uint64_t size, struct slice record)
{
    (void)size;
    applier_body_referenced(arg, hash, record);
}

static void event_cluster(void *arg)
{
    struct applier *a = arg;
    pthread_mutex_lock(&a->lock);
    a->news.cluster_changed = true;
    pthread_mutex_unlock(&a->lock);
    if (a->c.cluster_changed)
        a->c.cluster_changed(a->c.arg);
}

static void event_queue(void *arg, bool retry)
{
    struct applier *a = arg;
    if (a->c.queue_changed)
        a->c.queue_changed(a->c.arg, retry);
}

static void event_freed(void *arg, const struct body_hash *hash)
{
    (void)arg, (void)hash; /* the collector finds it */
}

/* ---- batches ---- */

/* Under the lock: the entries to apply now, cut off the queue. */
static struct applier_entry *batch_take(struct applier *a)
{
    if (a->holding || a->failed)
        return NULL;
    size_t bytes = 0;
    unsigned n = 0;
    struct applier_entry **end = &a->first;
    while (*end && (*end)->index <= a->persisted && n < APPLIER_BATCH_ENTRIES && bytes < APPLIER_BATCH_BYTES) {
        struct applier_entry *e = *end;
        bytes += e->n;
        n++;
        end = &e->next;
        /* A marker's digest, and a snapshot, are of exactly this index. */
        if (is_marker(e) || e->index == a->snapshot_index)
            break;
    }
    if (n == 0)
        return NULL;
    struct applier_entry *batch = a->first;
    a->first = *end;
    *end = NULL;
    if (!a->first)
        a->last = &a->first;
    a->queued_bytes -= bytes;
    return batch;
}

static int entries_apply(struct applier *a, const struct applier_entry *e)
{
    for (; e; e = e->next) {
        if (e->index <= a->replay_until) {
            applier_bodies_replay(a, slice_make(e->p, e->n));
            continue;
        }
        a->current_index = e->index;
        int rc = is_marker(e) ? store_apply_nothing(a->c.store, e->index, e->term)
                              : store_apply(a->c.store, e->index, e->term, slice_make(e->p, e->n));
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void digest_note(struct applier *a)
{
    struct store_position p;
    store_position(a->c.store, &p);
    pthread_mutex_lock(&a->lock);
    unsigned at = a->digests_n++ % APPLIER_DIGESTS;
    a->digests[at].index = p.index;
    a->digests[at].digest = p.digest;
    pthread_mutex_unlock(&a->lock);
}

static void results_publish(struct applier *a, uint64_t applied)
{
    pthread_mutex_lock(&a->lock);
    *a->results_last = a->batch_results;
    if (a->batch_results)
        a->results_last = a->batch_results_last;
    pthread_mutex_unlock(&a->lock);
    a->batch_results = NULL;
    a->batch_results_last = &a->batch_results;
    if (applied > atomic_load(&a->applied))
        atomic_store(&a->applied, applied);
    if (a->missing_seen)
        a->c.missing(a->c.arg);
    a->missing_seen = false;
    news_post(a);
}

/* The outcome is certain once it is applied: the entries are on a majority's disks, and a crash before the commit
 * applies them again. So whoever need not see it in this node's views yet is answered before the commit's sync. */
static void results_early(struct applier *a)
{
    if (!a->batch_results)
        return;
    struct applier_result *first = NULL, **last = &first;
    for (const struct applier_result *x = a->batch_results; x; x = x->next) {
        struct applier_result *copy = mem_zalloc(sizeof *copy);
        *copy =
            (struct applier_result){.seq = x->seq, .index = x->index, .early = true, .result = bytes_ref(x->result)};
        *last = copy;
        last = &copy->next;
    }
    pthread_mutex_lock(&a->lock);
    *a->results_last = first;
    a->results_last = last;
    pthread_mutex_unlock(&a->lock);
    news_post(a);
}

static void batch_apply(struct applier *a, struct applier_entry *batch)
{
    const struct applier_entry *end = batch;
    while (end->next)
        end = end->next;
    int rc = store_batch_begin(a->c.store);
    if (rc == 0 && (rc = entries_apply(a, batch)) != 0) {
        store_batch_abort(a->c.store);
    } else if (rc == 0) {
        results_early(a);
        rc = store_batch_commit(a->c.store);
    }
    if (rc != 0) {
        log_event(LOG_ERROR, "apply failed", LOG_E("error", rc), LOG_U("index", a->current_index));
        fail(a, rc, "apply committed entries");
    } else {
        if (end->index > a->store_index)
            a->store_index = end->index;
        if (is_marker(end))
            digest_note(a);
        results_publish(a, end->index);
    }
    while (batch) {
        struct applier_entry *e = batch;
        batch = e->next;
        mem_free(e);
    }
}

/* Barriers and configuration changes carry nothing to apply, but the index counts: a peer may ask for a copy of the
 * state from there on. */
static bool gap_apply(struct applier *a)
{
    uint64_t to = a->committed < a->persisted ? a->committed : a->persisted, term = a->committed_term;
    if (a->holding || a->failed)
        return false;
    if (a->first && a->first->index - 1 < to)
        to = a->first->index - 1;
    if (to > atomic_load(&a->applied))
        atomic_store(&a->applied, to);
    if (to <= a->store_index)
        return false;
    pthread_mutex_unlock(&a->lock);
    int rc = store_batch_begin(a->c.store);
    if (rc == 0 && (rc = store_apply_nothing(a->c.store, to, term)) != 0)
        store_batch_abort(a->c.store);
    else if (rc == 0)
        rc = store_batch_commit(a->c.store);
    if (rc != 0)
        fail(a, rc, "advance the applied index");
    a->store_index = to;
    results_publish(a, to);
    pthread_mutex_lock(&a->lock);
    return true;
}

/* ---- snapshot and import ---- */

/* Under the lock. The store is made durable once it is at the snapshot's index and the bodies of its commands are
 * durable too. */
static bool snapshot_step(struct applier *a)
{
    if (a->snapshot_index == 0 || a->holding || a->failed || a->store_index < a->snapshot_index)
        return false;
    if (!a->snapshot_reached) {
        a->snapshot_reached = true;
        a->blobs_wanted = atomic_load(&a->blobs_issued);
    }
    if (atomic_load(&a->blobs_done) < a->blobs_wanted || atomic_load(&a->unstored_n) > 0)
        return false;
    uint64_t index = a->snapshot_index;
    pthread_mutex_unlock(&a->lock);
    struct store_position p;
    store_position(a->c.store, &p);
    int rc = store_sync(a->c.store);
    if (rc != 0)
        fail(a, rc, "make the store durable");
    pthread_mutex_lock(&a->lock);
    a->snapshot_index = 0;
    a->snapshot_reached = false;
    if (rc == 0) {
        a->news.snapshot_done = true;
        a->news.snapshot_index = index;
        a->news.snapshot = p;
        news_post(a);
    }
    return true;
}

static void queue_drop(struct applier *a, uint64_t until)
{
    while (a->first && a->first->index <= until) {
        struct applier_entry *e = a->first;
        a->first = e->next;
        a->queued_bytes -= e->n;
        mem_free(e);
    }
    if (!a->first)
        a->last = &a->first;
}

static void import_swapped(struct applier *a, const struct store_position *p)
{
    struct store_position now;
    store_position(a->c.store, &now);
    a->store_index = now.index;
    a->replay_until = now.index;
    atomic_store(&a->applied, now.index);
    log_event(LOG_INFO, "state copied", LOG_U("index", p->index));
    pthread_mutex_lock(&a->lock);
    queue_drop(a, now.index);
    a->holding = false;
    a->news.import_done = true;
    a->news.cluster_changed = true;
    pthread_mutex_unlock(&a->lock);
    if (a->c.cluster_changed)
        a->c.cluster_changed(a->c.arg);
    event_queue(a, false);
    a->c.missing(a->c.arg);
}

/* Every body that the copied state refers to: here, or missing. */
static bool content_check(void *arg, const struct store_content *c)
{
    struct applier *a = arg;
    if (!blob_has(a->c.blobs, &c->hash))
        blob_missing_add(a->c.blobs, &c->hash);
    return true;
}

/* In one view, on this thread: nothing is applied meanwhile, so it keeps no page from being used again, and the node is
 * syncing still. It must be whole before the node counts as level: who promotes or removes members goes by its count of
 * missing bodies. */
static void bodies_check(struct applier *a)
{
    struct store_view *v;
    if (store_view_open(a->c.store, &v) != 0)
        return;
    store_content_each(v, NULL, content_check, a);
    store_view_close(&v);
}

/* Under the lock. Waits until the own log has reached the copy: a store ahead of its log may not vote after a crash. */
static bool import_step(struct applier *a)
{
    if (!a->import || a->failed)
        return false;
    struct store_position p = a->import_position;
    struct store_import *i = a->import;
    if (a->holding && p.index >= a->hold_min && (a->persisted < p.index || a->committed < p.index))
        return false;
    a->import = NULL;
    if (!a->holding || p.index < a->hold_min) {
        a->news.import_short = a->holding;
        a->news.import_min = a->hold_min;
        pthread_mutex_unlock(&a->lock);
        store_import_abort(&i);
    } else {
        pthread_mutex_unlock(&a->lock);
        struct err_detail e = {""};
        int rc = store_import_swap(a->c.store, &i, &e);
        if (rc != 0) {
            fail(a, rc, e.text);
        } else {
            bodies_check(a);
            import_swapped(a, &p);
        }
    }
    news_post(a);
    pthread_mutex_lock(&a->lock);
    return true;
}

/* ---- the thread ---- */

static void housekeeping(struct applier *a)
{
    int64_t now = clock_steady_ms();
    if (now - a->housekeeping_ms < HOUSEKEEPING_MS)
        return;
    a->housekeeping_ms = now;
    pthread_mutex_unlock(&a->lock);
    struct statvfs s;
    if (statvfs(a->c.data_dir, &s) == 0)
        atomic_store(&a->disk_free, (uint64_t)s.f_bavail * (uint64_t)s.f_frsize);
    applier_bodies_retry(a);
    if (a->c.mark && mark_sync(a->c.mark) != 0)
        fail(a, ERR_IO, "sync the mark of acknowledged entries");
    pthread_mutex_lock(&a->lock);
}

static void *run(void *arg)
{
    struct applier *a = arg;
    pthread_setname_np(pthread_self(), "applier");
    pthread_mutex_lock(&a->lock);
    while (!a->stop) {
        housekeeping(a);
        if (import_step(a) || snapshot_step(a) || applier_nowhere_step(a))
            continue;
        struct applier_entry *batch = batch_take(a);
        if (batch) {
            pthread_mutex_unlock(&a->lock);
            batch_apply(a, batch);
            pthread_mutex_lock(&a->lock);
            continue;
        }
        if (gap_apply(a) || a->stop)
            continue;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 1;
        pthread_cond_timedwait(&a->wake, &a->lock, &until);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

int applier_start(const struct applier_config *c, struct applier **a_r)
{
    struct applier *a = mem_zalloc(sizeof *a);
    a->c = *c;
    a->last = &a->first;
    list_init(&a->refused);
    a->results_last = &a->news.results;
    a->batch_results_last = &a->batch_results;
    a->task.run = news_run;
    struct store_position p;
    store_position(c->store, &p);
    a->store_index = a->replay_until = p.index;
    a->applied = p.index;
    a->disk_free = UINT64_MAX;
    struct store_events events = {.arg = a,
                                  .result = event_result,
                                  .mailbox_changed = event_mailbox,
                                  .body_referenced = event_body,
                                  .body_freed = event_freed,
                                  .cluster_changed = event_cluster,
                                  .queue_changed = event_queue};
    store_set_events(c->store, &events);
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a->wake, &attr);
    pthread_condattr_destroy(&attr);
    int rc = pthread_create(&a->thread, NULL, run, a);
    if (rc != 0) {
        mem_free(a);
        return err_from_errno(rc);
    }
    *a_r = a;
    return 0;
}

void applier_stop(struct applier *a)
{
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
}

void applier_free(struct applier **ap)
{
    struct applier *a = *ap;
    if (!a)
        return;
    *ap = NULL;
    queue_drop(a, UINT64_MAX);
    applier_bodies_close(a);
    if (a->import)
        store_import_abort(&a->import);
    while (a->news.results) {
        struct applier_result *x = a->news.results;
        a->news.results = x->next;
        bytes_unref(&x->result);
        mem_free(x);
    }
    pthread_cond_destroy(&a->wake);
    pthread_mutex_destroy(&a->lock);
    mem_free(a);
}

/* ---- from the core ---- */

void applier_give(struct applier *a, struct applier_entry *first, uint64_t committed, uint64_t term, uint64_t persisted)
{
    pthread_mutex_lock(&a->lock);
    *a->last = first;
    for (; *a->last; a->last = &(*a->last)->next)
        a->queued_bytes += (*a->last)->n;
    a->committed = committed;
    a->committed_term = term;
    a->persisted = persisted;
    while (a->holding && a->queued_bytes > APPLIER_HELD_BYTES && a->first) {
        uint64_t index = a->first->index;
        queue_drop(a, index);
        if (index > a->hold_min)
            a->hold_min = index;
    }
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

void applier_snapshot(struct applier *a, uint64_t index)
{
    pthread_mutex_lock(&a->lock);
    a->snapshot_index = index;
    a->snapshot_reached = false;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

void applier_hold(struct applier *a, uint64_t min_index)
{
    pthread_mutex_lock(&a->lock);
    a->holding = true;
    if (min_index > a->hold_min)
        a->hold_min = min_index;
    pthread_mutex_unlock(&a->lock);
}

void applier_import(struct applier *a, struct store_import *i, const struct store_position *p)
{
    pthread_mutex_lock(&a->lock);
    ENSURE(!a->import);
    a->import = i;
    a->import_position = *p;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

void applier_take(struct applier *a, struct applier_news *n_r)
{
    pthread_mutex_lock(&a->lock);
    *n_r = a->news;
    a->news = (struct applier_news){.results = NULL};
    a->results_last = &a->news.results;
    pthread_mutex_unlock(&a->lock);
    n_r->applied = atomic_load(&a->applied);
}

uint64_t applier_applied(const struct applier *a)
{
    return atomic_load(&a->applied);
}

uint64_t applier_pending(const struct applier *a)
{
    return atomic_load(&a->blobs_issued) - atomic_load(&a->blobs_done) - atomic_load(&a->refused_n);
}

uint64_t applier_refused(const struct applier *a)
{
    return atomic_load(&a->unstored_n);
}

uint64_t applier_disk_free(const struct applier *a)
{
    return atomic_load(&a->disk_free);
}

int applier_digest(struct applier *a, uint64_t index, struct sum128 *digest_r)
{
    int rc = ERR_NOTFOUND;
    pthread_mutex_lock(&a->lock);
    for (unsigned i = 0; i < APPLIER_DIGESTS; i++) {
        if (index != 0 && a->digests[i].index == index) {
            *digest_r = a->digests[i].digest;
            rc = 0;
        }
    }
    pthread_mutex_unlock(&a->lock);
    return rc;
}
