#include "store/env.h"

/* Reads of mailboxes and messages. What a read meets of damage ends the process (store_options.damaged); until then it
 * is left out. */

static const struct slice inbox = {(const uint8_t *)"INBOX", 5};

static bool children_exist(struct store_view *v, uint64_t account, struct slice name)
{
    struct key k;
    struct slice key, value;
    struct name_record r;
    if (name.n > KEY_MAX - 9)
        return false;
    struct slice prefix = key_name(&k, account, name);
    k.b[prefix.n++] = '/';
    bool found = false;
    MDB_cursor *c = view_cursor(v, TABLE_NAME);
    for (bool has = cursor_seek(c, prefix, &key, &value); has && !found && key_starts(key, prefix);
         has = cursor_next(c, &key, &value))
        found = view_whole(v, TABLE_NAME, record_name_read(value, &r)) && r.mailbox;
    mdb_cursor_close(c);
    return found;
}

/* The lowest UID without \Seen. */
static uint32_t unseen_first(struct store_view *v, uint64_t mailbox)
{
    struct key k;
    struct slice key, value;
    MDB_cursor *c = view_cursor(v, TABLE_MARK);
    bool has = cursor_seek(c, key_mark(&k, mailbox, MARK_UNSEEN, 0), &key, &value);
    uint32_t uid = has && get_be64(key.p) == mailbox && key.p[8] == MARK_UNSEEN ? get_be32(key.p + 9) : 0;
    mdb_cursor_close(c);
    return uid;
}

static int mailbox_read(struct store_view *v, uint64_t id, struct store_mailbox *m_r)
{
    struct key k;
    struct slice value;
    struct mailbox_record r;
    struct name_record name;
    if (!view_get(v, TABLE_MAILBOX, key_u64(&k, id), &value))
        return ERR_NOTFOUND;
    if (!view_whole(v, TABLE_MAILBOX, record_mailbox_read(value, &r)))
        return ERR_CORRUPT;
    bool named = view_get(v, TABLE_NAME, key_name(&k, r.account, r.name), &value) &&
                 view_whole(v, TABLE_NAME, record_name_read(value, &name));
    *m_r = (struct store_mailbox){
        .id = id,
        .account = r.account,
        .name = r.name,
        .uidvalidity = r.uidvalidity,
        .uidnext = r.uidnext,
        .highest_modseq = r.highest_modseq,
        .exists = r.exists,
        .unseen = r.unseen,
        .deleted = r.deleted,
        .first_unseen_uid = r.unseen ? unseen_first(v, id) : 0,
        .bytes = r.bytes,
        .use = r.use,
        .subscribed = named && name.subscribed,
        .has_children = children_exist(v, r.account, r.name),
        .selectable = r.selectable,
        .keyword_n = r.keyword_n,
    };
    memcpy(m_r->keyword, r.keyword, r.keyword_n * sizeof *r.keyword);
    return 0;
}

int store_mailbox_get(struct store_view *v, uint64_t id, struct store_mailbox *m_r)
{
    return mailbox_read(v, id, m_r);
}

int store_mailbox_find(struct store_view *v, uint64_t account, struct slice name, struct store_mailbox *m_r)
{
    struct key k;
    struct slice value;
    struct name_record r;
    if (name.n > KEY_MAX - 8)
        return ERR_NOTFOUND;
    struct slice key = key_name(&k, account, name);
    if (slice_istarts(name, inbox) && (name.n == inbox.n || name.p[inbox.n] == '/'))
        memcpy(k.b + 8, inbox.p, inbox.n);
    if (!view_get(v, TABLE_NAME, key, &value) || !view_whole(v, TABLE_NAME, record_name_read(value, &r)) || !r.mailbox)
        return ERR_NOTFOUND;
    return mailbox_read(v, r.mailbox, m_r);
}

/* What a name record stands for: a mailbox, or only a subscription. */
static bool name_resolve(struct store_view *v, struct slice key, struct slice value, struct store_mailbox *m_r)
{
    struct name_record r;
    if (!view_whole(v, TABLE_NAME, record_name_read(value, &r)))
        return false;
    if (r.mailbox)
        return mailbox_read(v, r.mailbox, m_r) == 0;
    struct slice name = slice_from(key, 8);
    uint64_t account = get_be64(key.p);
    *m_r = (struct store_mailbox){.account = account, .name = name, .subscribed = r.subscribed};
    m_r->has_children = children_exist(v, account, name);
    return true;
}

void store_mailbox_each(struct store_view *v, uint64_t account, bool (*each)(void *arg, const struct store_mailbox *m),
                        void *arg)
{
    struct key k;
    struct slice key, value;
    struct store_mailbox m;
    struct slice first = key_name(&k, account, inbox);
    bool more = true;
    if (view_get(v, TABLE_NAME, first, &value) && name_resolve(v, first, value, &m))
        more = each(arg, &m);
    MDB_cursor *c = view_cursor(v, TABLE_NAME);
    for (bool has = cursor_seek(c, slice_first(first, 8), &key, &value); has && more && get_be64(key.p) == account;
         has = cursor_next(c, &key, &value))
        if (!slice_eq(key, first) && name_resolve(v, key, value, &m))
            more = each(arg, &m);
    mdb_cursor_close(c);
}

void store_message_each(struct store_view *v, uint64_t mailbox, uint32_t first, uint32_t last,
                        bool (*each)(void *arg, const struct store_message *m), void *arg)
{
    struct key k;
    struct slice key, value;
    struct store_message m;
    MDB_cursor *c = view_cursor(v, TABLE_MESSAGE);
    for (bool has = cursor_seek(c, key_uid(&k, mailbox, first), &key, &value);
         has && get_be64(key.p) == mailbox && get_be32(key.p + 8) <= last; has = cursor_next(c, &key, &value)) {
        if (!view_whole(v, TABLE_MESSAGE, record_message_read(value, &m)))
            continue;
        m.uid = get_be32(key.p + 8);
        if (!each(arg, &m))
            break;
    }
    mdb_cursor_close(c);
}

int store_message_get(struct store_view *v, uint64_t mailbox, uint32_t uid, struct store_message *m_r)
{
    struct key k;
    struct slice value;
    if (!view_get(v, TABLE_MESSAGE, key_uid(&k, mailbox, uid), &value))
        return ERR_NOTFOUND;
    if (!view_whole(v, TABLE_MESSAGE, record_message_read(value, m_r)))
        return ERR_CORRUPT;
    m_r->uid = uid;
    return 0;
}

void store_uids(struct store_view *v, uint64_t mailbox, struct uid_set *set)
{
    struct key k;
    struct slice key, value;
    struct uid_range ranges[RUNS_MAX];
    size_t n;
    MDB_cursor *c = view_cursor(v, TABLE_RUNS);
    for (bool has = cursor_seek(c, key_uid(&k, mailbox, 0), &key, &value); has && get_be64(key.p) == mailbox;
         has = cursor_next(c, &key, &value)) {
        if (!view_whole(v, TABLE_RUNS, record_runs_read(value, ranges, &n)))
            continue;
        for (size_t i = 0; i < n; i++)
            uid_set_add(set, ranges[i].first, ranges[i].last);
    }
    mdb_cursor_close(c);
}

static void changed_each(struct store_view *v, uint64_t mailbox, uint64_t since,
                         bool (*changed)(void *arg, const struct store_message *m), void *arg)
{
    struct key k;
    struct slice key, value;
    struct store_message m;
    MDB_cursor *c = view_cursor(v, TABLE_CHANGE);
    for (bool has = cursor_seek(c, key_modseq(&k, mailbox, since + 1, 0), &key, &value);
         has && get_be64(key.p) == mailbox; has = cursor_next(c, &key, &value))
        if (store_message_get(v, mailbox, get_be32(key.p + 16), &m) == 0 && !changed(arg, &m))
            break;
    mdb_cursor_close(c);
}

/* In the order of time, which may be any order of UIDs. */
static void expunged_collect(struct store_view *v, uint64_t mailbox, uint64_t since, struct uid_set *expunged)
{
    struct key k;
    struct slice key, value;
    struct buf ranges = {0};
    struct uid_range r;
    MDB_cursor *c = view_cursor(v, TABLE_EXPUNGED);
    for (bool has = cursor_seek(c, key_modseq(&k, mailbox, since + 1, 0), &key, &value);
         has && get_be64(key.p) == mailbox; has = cursor_next(c, &key, &value))
        if (view_whole(v, TABLE_EXPUNGED,
                       record_valid(TABLE_EXPUNGED, key, value) && record_u32_read(value, &r.last))) {
            r.first = get_be32(key.p + 16);
            buf_append(&ranges, &r, sizeof r);
        }
    mdb_cursor_close(c);
    uid_set_add_many(expunged, (struct uid_range *)(void *)ranges.base, buf_len(&ranges) / sizeof r);
    buf_close(&ranges);
}

int store_changes(struct store_view *v, uint64_t mailbox, uint64_t since,
                  bool (*changed)(void *arg, const struct store_message *m), void *arg, struct uid_set *expunged)
{
    struct key k;
    struct slice value;
    struct mailbox_record r;
    if (!view_get(v, TABLE_MAILBOX, key_u64(&k, mailbox), &value))
        return ERR_NOTFOUND;
    if (!view_whole(v, TABLE_MAILBOX, record_mailbox_read(value, &r)))
        return ERR_CORRUPT;
    if (since < r.highest_modseq) {
        if (changed)
            changed_each(v, mailbox, since, changed, arg);
        if (expunged)
            expunged_collect(v, mailbox, since, expunged);
    }
    return since < r.expunge_floor ? ERR_STALE : 0;
}

/* ---- contents ---- */

int store_summary(struct store_view *v, const struct body_hash *hash, struct slice *summary_r)
{
    struct slice value;
    if (!view_get(v, TABLE_SUMMARY, key_hash(hash), &value))
        return ERR_NOTFOUND;
    return view_whole(v, TABLE_SUMMARY, record_opaque_read(value, summary_r)) ? 0 : ERR_CORRUPT;
}

int store_content_get(struct store_view *v, const struct body_hash *hash, struct store_content *c_r)
{
    struct slice value;
    if (!view_get(v, TABLE_CONTENT, key_hash(hash), &value))
        return ERR_NOTFOUND;
    c_r->hash = *hash;
    return view_whole(v, TABLE_CONTENT, record_content_read(value, &c_r->refs, &c_r->size)) ? 0 : ERR_CORRUPT;
}

void store_content_each(struct store_view *v, const struct body_hash *after,
                        bool (*each)(void *arg, const struct store_content *c), void *arg)
{
    struct slice key, value, start = after ? key_hash(after) : slice_make(NULL, 0);
    struct store_content content;
    MDB_cursor *c = view_cursor(v, TABLE_CONTENT);
    for (bool has = cursor_seek(c, start, &key, &value); has; has = cursor_next(c, &key, &value)) {
        if ((after && slice_eq(key, start)) || key.n != BODY_HASH_SIZE ||
            !view_whole(v, TABLE_CONTENT, record_content_read(value, &content.refs, &content.size)))
            continue;
        memcpy(content.hash.b, key.p, BODY_HASH_SIZE);
        if (!each(arg, &content))
            break;
    }
    mdb_cursor_close(c);
}
