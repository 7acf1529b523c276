/* Views: the store's structs copied over to the protocol's. The two sides do not know each other (DESIGN section 2). */
#include "node/backend_internal.h"
#include "node/base/log.h"

_Static_assert((int)KEYWORDS_MAX == (int)STORE_KEYWORDS_MAX, "one keyword table");

struct view {
    struct backend_view view;
    struct store_view *store;
};

static struct store_view *store_of(struct backend_view *v)
{
    return container_of(v, struct view, view)->store;
}

static void view_close(struct backend_view *v)
{
    struct view *view = container_of(v, struct view, view);
    store_view_close(&view->store);
    mem_free(view);
}

static void mailbox_convert(const struct store_mailbox *m, struct mailbox_info *info)
{
    *info = (struct mailbox_info){
        .id = m->id,
        .account = m->account,
        .name = m->name,
        .uidvalidity = m->uidvalidity,
        .uidnext = m->uidnext,
        .highest_modseq = m->highest_modseq,
        .exists = m->exists,
        .unseen = m->unseen,
        .deleted = m->deleted,
        .first_unseen_uid = m->first_unseen_uid,
        .bytes = m->bytes,
        .use = (enum special_use)m->use,
        .subscribed = m->subscribed,
        .has_children = m->has_children,
        .selectable = m->selectable,
        .keyword_n = m->keyword_n,
    };
    memcpy(info->keyword, m->keyword, m->keyword_n * sizeof m->keyword[0]);
}

static void message_convert(const struct store_message *m, struct message_info *info)
{
    *info = (struct message_info){
        .uid = m->uid,
        .flags = m->flags,
        .keywords = m->keywords,
        .modseq = m->modseq,
        .internal_ms = m->internal_ms,
        .save_ms = m->save_ms,
        .size = m->size,
        .hash = m->hash,
        .email_id = m->email_id,
    };
}

static int view_mailbox_find(struct backend_view *v, uint64_t account, struct slice name, struct mailbox_info *info_r)
{
    struct store_mailbox m;
    int r = store_mailbox_find(store_of(v), account, name, &m);
    if (r == 0)
        mailbox_convert(&m, info_r);
    return r;
}

static int view_mailbox_get(struct backend_view *v, uint64_t mailbox, struct mailbox_info *info_r)
{
    struct store_mailbox m;
    int r = store_mailbox_get(store_of(v), mailbox, &m);
    if (r == 0)
        mailbox_convert(&m, info_r);
    return r;
}

struct mailbox_each {
    bool (*each)(void *arg, const struct mailbox_info *info);
    void *arg;
};

static bool mailbox_each_one(void *arg, const struct store_mailbox *m)
{
    struct mailbox_each *e = arg;
    struct mailbox_info info;
    mailbox_convert(m, &info);
    return e->each(e->arg, &info);
}

static void view_mailbox_each(struct backend_view *v, uint64_t account,
                              bool (*each)(void *arg, const struct mailbox_info *info), void *arg)
{
    store_mailbox_each(store_of(v), account, mailbox_each_one, &(struct mailbox_each){each, arg});
}

struct message_each {
    bool (*each)(void *arg, const struct message_info *info);
    void *arg;
};

static bool message_each_one(void *arg, const struct store_message *m)
{
    struct message_each *e = arg;
    struct message_info info;
    message_convert(m, &info);
    return e->each(e->arg, &info);
}

static void view_message_each(struct backend_view *v, uint64_t mailbox, uint32_t first, uint32_t last,
                              bool (*each)(void *arg, const struct message_info *info), void *arg)
{
    store_message_each(store_of(v), mailbox, first, last, message_each_one, &(struct message_each){each, arg});
}

static int view_message_get(struct backend_view *v, uint64_t mailbox, uint32_t uid, struct message_info *info_r)
{
    struct store_message m;
    int r = store_message_get(store_of(v), mailbox, uid, &m);
    if (r == 0)
        message_convert(&m, info_r);
    return r;
}

static void view_uids(struct backend_view *v, uint64_t mailbox, struct uid_set *set)
{
    store_uids(store_of(v), mailbox, set);
}

static int view_changes(struct backend_view *v, uint64_t mailbox, uint64_t since,
                        bool (*changed)(void *arg, const struct message_info *info), void *arg,
                        struct uid_set *expunged)
{
    return store_changes(store_of(v), mailbox, since, message_each_one, &(struct message_each){changed, arg}, expunged);
}

static int view_summary(struct backend_view *v, const struct body_hash *hash, struct slice *summary_r)
{
    return store_summary(store_of(v), hash, summary_r);
}

static int view_quota(struct backend_view *v, uint64_t account, uint64_t *used_r, uint64_t *limit_r)
{
    struct store_account a;
    int r = store_account_get(store_of(v), account, &a);
    if (r == 0) {
        *used_r = a.used_bytes;
        *limit_r = a.quota_bytes;
    }
    return r;
}

static const struct backend_view_ops view_ops = {
    .close = view_close,
    .mailbox_find = view_mailbox_find,
    .mailbox_get = view_mailbox_get,
    .mailbox_each = view_mailbox_each,
    .message_each = view_message_each,
    .message_get = view_message_get,
    .uids = view_uids,
    .changes = view_changes,
    .summary = view_summary,
    .quota = view_quota,
};

/* Never fails. A view that showed nothing would be told to clients as mailboxes that are gone, and they would delete
 * their copies: rather end the process, as with any trouble of the storage (DESIGN section 3). */
struct backend_view *backend_view_open(struct backend *b)
{
    struct view *v = mem_zalloc(sizeof *v);
    v->view.ops = &view_ops;
    int r = store_view_open(worker_of(b)->services->store, &v->store);
    if (r)
        log_event(LOG_ERROR, "the store cannot be read", LOG_E("code", r));
    ENSURE(r == 0);
    return &v->view;
}
