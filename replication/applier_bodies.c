/* Bodies of applied commands: appended when they ride in the command, noted as missing when they are not here. */
#include "replication/applier_internal.h"

#include "store/command.pb-c.h"

/* There may be nobody to ask for a body that rode in the command: while it found no space it is kept here, and counted
 * as not done, so that the snapshot waits and the log keeps the record. New mail is refused meanwhile (core_raft_tick);
 * what comes past this much memory, proposed by other members, they have. */
enum { REFUSED_BYTES_MAX = 64 * 1024 * 1024 };

struct body_append {
    struct blob_append append;
    struct applier *a;
    struct list item; /* applier.refused */
    struct body_hash hash;
    bool refused; /* once at least; counted in applier.unstored_n */
};

static void body_free(struct body_append *b)
{
    bytes_unref(&b->append.record);
    mem_free(b);
}

/* Done for good: the snapshot need not wait for it. */
static void body_settle(struct body_append *b)
{
    struct applier *a = b->a;
    atomic_fetch_add(&a->blobs_done, 1);
    if (b->refused)
        atomic_fetch_sub(&a->unstored_n, 1);
    body_free(b);
    pthread_mutex_lock(&a->lock);
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

/* Noted as missing too: a peer that has it may be faster than space here. */
static void body_refused(struct body_append *b)
{
    struct applier *a = b->a;
    if (!b->refused)
        atomic_fetch_add(&a->unstored_n, 1);
    b->refused = true;
    blob_missing_add(a->c.blobs, &b->hash);
    a->c.missing(a->c.arg);
    pthread_mutex_lock(&a->lock);
    bool keep = a->refused_bytes + b->append.record->n <= REFUSED_BYTES_MAX;
    if (keep) {
        a->refused_bytes += b->append.record->n;
        atomic_fetch_add(&a->refused_n, 1);
        list_append(&a->refused, &b->item);
    }
    pthread_mutex_unlock(&a->lock);
    if (!keep)
        body_settle(b);
}

static void body_appended(struct task *t)
{
    struct body_append *b = container_of(t, struct body_append, append.task);
    struct applier *a = b->a;
    int status = b->append.status;
    if (status == ERR_NOSPACE) {
        body_refused(b);
        return;
    }
    if (status != 0)
        a->c.fatal(a->c.arg, status, "append a body");
    body_settle(b);
}

static struct body_append *refused_take(struct applier *a, uint64_t *left)
{
    struct body_append *b = NULL;
    pthread_mutex_lock(&a->lock);
    if (*left > 0 && !list_empty(&a->refused)) {
        b = container_of(a->refused.next, struct body_append, item);
        list_remove(&b->item);
        a->refused_bytes -= b->append.record->n;
        atomic_fetch_sub(&a->refused_n, 1);
        --*left;
    }
    pthread_mutex_unlock(&a->lock);
    return b;
}

void applier_bodies_retry(struct applier *a)
{
    uint64_t left = atomic_load(&a->refused_n); /* those of now, each once */
    for (struct body_append *b = refused_take(a, &left); b; b = refused_take(a, &left)) {
        if (blob_has(a->c.blobs, &b->hash))
            body_settle(b);
        else
            blob_append(a->c.blobs, &b->append);
    }
}

void applier_bodies_close(struct applier *a)
{
    while (!list_empty(&a->refused)) {
        struct body_append *b = container_of(a->refused.next, struct body_append, item);
        list_remove(&b->item);
        body_free(b);
    }
}

/* Not waited for here: the entry stays in the log until the append is durable (the snapshot waits for it), and is met
 * again after a crash. */
static void record_append(struct applier *a, const struct body_hash *hash, struct slice record)
{
    struct body_append *b = mem_zalloc(sizeof *b);
    b->a = a;
    list_init(&b->item);
    b->hash = *hash;
    b->append.task.run = body_appended;
    b->append.home = a->c.home;
    b->append.record = bytes_copy(record);
    atomic_fetch_add(&a->blobs_issued, 1);
    blob_append(a->c.blobs, &b->append);
}

void applier_body_referenced(struct applier *a, const struct body_hash *hash, struct slice record)
{
    if (blob_has(a->c.blobs, hash))
        return;
    struct body_hash named;
    uint64_t size;
    if (record.n > 0 && blob_record_check(record, &named, &size) == 0 && body_hash_eq(&named, hash)) {
        record_append(a, hash, record);
    } else {
        blob_missing_add(a->c.blobs, hash);
        a->missing_seen = true;
    }
}

/* Damage can name a body of which nobody ever heard, and a reference can go while its body is looked for. Judged here,
 * because only this thread notes what the state misses, and between batches its view has all that was noted for. */
static void unreferenced_drop(struct applier *a, const struct body_hash *hash, unsigned n)
{
    struct store_view *v;
    struct store_content content;
    if (store_view_open(a->c.store, &v) != 0)
        return;
    for (unsigned i = 0; i < n; i++)
        if (store_content_get(v, &hash[i], &content) == ERR_NOTFOUND)
            blob_missing_drop(a->c.blobs, &hash[i]);
    store_view_close(&v);
}

bool applier_nowhere_step(struct applier *a)
{
    struct body_hash hash[APPLIER_NOWHERE];
    unsigned n = a->nowhere_n;
    if (n == 0 || a->holding || a->failed) /* held back, the state lacks what is in the log */
        return false;
    memcpy(hash, a->nowhere, n * sizeof *hash);
    a->nowhere_n = 0;
    pthread_mutex_unlock(&a->lock);
    unreferenced_drop(a, hash, n);
    pthread_mutex_lock(&a->lock);
    return true;
}

void applier_body_nowhere(struct applier *a, const struct body_hash *hash)
{
    pthread_mutex_lock(&a->lock);
    if (a->nowhere_n < APPLIER_NOWHERE)
        a->nowhere[a->nowhere_n++] = *hash;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

static void body_replay(struct applier *a, const Merlion__Body *body)
{
    struct body_hash hash;
    struct store_view *v;
    struct store_content content;
    if (!body || body->hash.len != BODY_HASH_SIZE)
        return;
    memcpy(hash.b, body->hash.data, BODY_HASH_SIZE);
    if (blob_has(a->c.blobs, &hash) || store_view_open(a->c.store, &v) != 0)
        return;
    bool referenced = store_content_get(v, &hash, &content) == 0;
    store_view_close(&v);
    if (referenced)
        applier_body_referenced(a, &hash, slice_make(body->record.data, body->record.len));
}

static int command_replay(void *arg, struct slice command)
{
    Merlion__Command *c = merlion__command__unpack(NULL, command.n, command.p);
    if (!c)
        return 0;
    if (c->op_case == MERLION__COMMAND__OP_DELIVER)
        body_replay(arg, c->deliver->body);
    if (c->op_case == MERLION__COMMAND__OP_APPEND)
        for (size_t i = 0; i < c->append->n_messages; i++)
            body_replay(arg, c->append->messages[i]->body);
    merlion__command__free_unpacked(c, NULL);
    return 0;
}

void applier_bodies_replay(struct applier *a, struct slice entry)
{
    entry_each(entry, command_replay, a);
}
