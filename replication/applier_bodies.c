/* Bodies of applied commands: appended when they ride in the command, noted as missing when they are not here. */
#include "replication/applier_internal.h"

#include "store/command.pb-c.h"

struct body_append {
    struct blob_append append;
    struct applier *a;
    struct body_hash hash;
};

static void body_appended(struct task *t)
{
    struct body_append *b = container_of(t, struct body_append, append.task);
    struct applier *a = b->a;
    int status = b->append.status;
    if (status == ERR_NOSPACE) {
        blob_missing_add(a->c.blobs, &b->hash);
        a->c.missing(a->c.arg);
    } else if (status != 0) {
        a->c.fatal(a->c.arg, status, "append a body");
    }
    bytes_unref(&b->append.record);
    mem_free(b);
    atomic_fetch_add(&a->blobs_done, 1);
    pthread_mutex_lock(&a->lock);
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

/* Not waited for here: the entry stays in the log until the append is durable (the snapshot waits for it), and is met
 * again after a crash. */
static void record_append(struct applier *a, const struct body_hash *hash, struct slice record)
{
    struct body_append *b = mem_zalloc(sizeof *b);
    b->a = a;
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
