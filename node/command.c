#include "node/command.h"

#include "store/command.pb-c.h"

static char *text(struct arena *a, struct slice s)
{
    return arena_str(a, s);
}

static Merlion__UidRange **ranges(struct arena *a, const struct uid_set *set, size_t *n_r)
{
    *n_r = set ? set->n : 0;
    Merlion__UidRange **out = arena_alloc(a, (*n_r + 1) * sizeof *out);
    for (size_t i = 0; i < *n_r; i++) {
        out[i] = arena_alloc(a, sizeof **out);
        merlion__uid_range__init(out[i]);
        out[i]->first = set->ranges[i].first;
        out[i]->last = set->ranges[i].last;
    }
    return out;
}

static char **texts(struct arena *a, const struct slice *in, unsigned n)
{
    char **out = arena_alloc(a, (n + 1) * sizeof *out);
    for (unsigned i = 0; i < n; i++)
        out[i] = text(a, in[i]);
    return out;
}

static Merlion__Body *body(struct arena *a, const struct command_body *in)
{
    Merlion__Body *b = arena_alloc(a, sizeof *b);
    merlion__body__init(b);
    b->hash = (ProtobufCBinaryData){BODY_HASH_SIZE, (uint8_t *)in->hash->b};
    b->size = in->size;
    b->summary = (ProtobufCBinaryData){in->summary.n, (uint8_t *)in->summary.p};
    b->record = (ProtobufCBinaryData){in->record.n, (uint8_t *)in->record.p};
    return b;
}

#define OP(type, field, case_name)                                                                                     \
    Merlion__##type *op = arena_alloc(a, sizeof *op);                                                                  \
    merlion__##field##__init(op);                                                                                      \
    c->field = op;                                                                                                     \
    c->op_case = MERLION__COMMAND__OP_##case_name

static void pack_deliver(struct arena *a, Merlion__Command *c, const struct write *w, const struct command_body *bodies)
{
    OP(Deliver, deliver, DELIVER);
    op->body = body(a, &bodies[0]);
    op->n_accounts = w->account_n;
    op->accounts = (uint64_t *)w->accounts;
    op->internal_ms = w->messages[0].internal_ms;
    op->sender = text(a, w->sender);
}

static void pack_append(struct arena *a, Merlion__Command *c, const struct write *w, const struct command_body *bodies)
{
    OP(Append, append, APPEND);
    op->mailbox = w->mailbox;
    op->n_messages = w->message_n;
    op->messages = arena_alloc(a, w->message_n * sizeof *op->messages);
    for (unsigned i = 0; i < w->message_n; i++) {
        const struct write_message *in = &w->messages[i];
        Merlion__AppendMessage *m = op->messages[i] = arena_alloc(a, sizeof *m);
        merlion__append_message__init(m);
        m->body = body(a, &bodies[i]);
        m->flags = in->flags;
        m->n_keywords = in->keyword_n;
        m->keywords = texts(a, in->keywords, in->keyword_n);
        m->internal_ms = in->internal_ms;
    }
}

static void pack_store(struct arena *a, Merlion__Command *c, const struct write *w, const struct command_body *bodies)
{
    static const Merlion__StoreFlags__Mode modes[] = {
        [STORE_REPLACE] = MERLION__STORE_FLAGS__MODE__REPLACE,
        [STORE_ADD] = MERLION__STORE_FLAGS__MODE__ADD,
        [STORE_REMOVE] = MERLION__STORE_FLAGS__MODE__REMOVE,
    };
    (void)bodies;
    OP(StoreFlags, store_flags, STORE_FLAGS);
    op->mailbox = w->mailbox;
    op->uids = ranges(a, w->uids, &op->n_uids);
    op->mode = modes[w->mode];
    op->flags = w->flags;
    op->n_keywords = w->keyword_n;
    op->keywords = texts(a, w->keywords, w->keyword_n);
    op->has_unchanged_since = w->has_unchanged_since;
    op->unchanged_since = w->unchanged_since;
}

static void pack_copy(struct arena *a, Merlion__Command *c, const struct write *w, const struct command_body *bodies)
{
    (void)bodies;
    OP(Copy, copy, COPY);
    op->source = w->mailbox;
    op->target = w->target;
    op->uids = ranges(a, w->uids, &op->n_uids);
    op->move = w->move;
}

static void pack_expunge(struct arena *a, Merlion__Command *c, const struct write *w, const struct command_body *bodies)
{
    (void)bodies;
    OP(Expunge, expunge, EXPUNGE);
    op->mailbox = w->mailbox;
    op->uids = ranges(a, w->uids, &op->n_uids);
    op->all_deleted = w->all_deleted;
    op->even_undeleted = w->even_undeleted;
}

static void pack_create(struct arena *a, Merlion__Command *c, const struct write *w, const struct command_body *bodies)
{
    (void)bodies;
    OP(MailboxCreate, mailbox_create, MAILBOX_CREATE);
    op->account = w->account;
    op->name = text(a, w->name);
    op->use = w->use;
}

static void pack_delete(struct arena *a, Merlion__Command *c, const struct write *w, const struct command_body *bodies)
{
    (void)bodies;
    OP(MailboxDelete, mailbox_delete, MAILBOX_DELETE);
    op->account = w->account;
    op->name = text(a, w->name);
}

static void pack_rename(struct arena *a, Merlion__Command *c, const struct write *w, const struct command_body *bodies)
{
    (void)bodies;
    OP(MailboxRename, mailbox_rename, MAILBOX_RENAME);
    op->account = w->account;
    op->from = text(a, w->name);
    op->to = text(a, w->name_to);
}

static void pack_subscribe(struct arena *a, Merlion__Command *c, const struct write *w,
                           const struct command_body *bodies)
{
    (void)bodies;
    OP(Subscribe, subscribe, SUBSCRIBE);
    op->account = w->account;
    op->name = text(a, w->name);
    op->on = w->subscribe;
}

typedef void pack_fn(struct arena *a, Merlion__Command *c, const struct write *w, const struct command_body *bodies);
static pack_fn *const packers[] = {
    [WRITE_DELIVER] = pack_deliver,       [WRITE_APPEND] = pack_append,
    [WRITE_STORE] = pack_store,           [WRITE_COPY] = pack_copy,
    [WRITE_EXPUNGE] = pack_expunge,       [WRITE_MAILBOX_CREATE] = pack_create,
    [WRITE_MAILBOX_DELETE] = pack_delete, [WRITE_MAILBOX_RENAME] = pack_rename,
    [WRITE_SUBSCRIBE] = pack_subscribe,
};

size_t command_pack(const struct write *w, const struct command_body *bodies, struct Merlion__Enqueue *enqueue,
                    uint8_t **out_r)
{
    struct arena a = {0};
    Merlion__Command c = MERLION__COMMAND__INIT;
    packers[w->kind](&a, &c, w, bodies);
    if (enqueue)
        c.deliver->enqueue = enqueue;
    size_t n = merlion__command__get_packed_size(&c);
    *out_r = mem_alloc(n);
    merlion__command__pack(&c, *out_r);
    arena_close(&a);
    return n;
}

static void take_ranges(struct uid_set *out, size_t n, Merlion__UidRange **in)
{
    for (size_t i = 0; i < n; i++)
        if (in[i]->first && in[i]->first <= in[i]->last)
            uid_set_add(out, in[i]->first, in[i]->last);
}

int command_result(struct slice result, struct write *w, uint64_t *id_r)
{
    Merlion__Result *r = merlion__result__unpack(NULL, result.n, result.p);
    if (!r)
        return ERR_PROTOCOL;
    w->uidvalidity = r->uidvalidity;
    w->modseq = r->modseq;
    w->mailbox_r = *id_r = r->id;
    take_ranges(&w->uids_r, r->n_uids, r->uids);
    take_ranges(&w->uids_to_r, r->n_uids_to, r->uids_to);
    take_ranges(&w->modified_r, r->n_modified, r->modified);
    for (unsigned i = 0; i < w->account_n && w->account_status; i++)
        w->account_status[i] = r->status ? r->status : i < r->n_account_status ? r->account_status[i] : 0;
    int status = r->status;
    merlion__result__free_unpacked(r, NULL);
    return status;
}
