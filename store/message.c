#include "store/state.h"

static void message_put(struct store *s, uint64_t mailbox, const struct store_message *msg, bool is_new)
{
    struct key k;
    struct slice key = key_uid(&k, mailbox, msg->uid);
    struct buf *b = batch_value(s);
    record_message_write(b, msg);
    if (is_new)
        batch_insert(s, TABLE_MESSAGE, key, buf_slice(b));
    else
        batch_put(s, TABLE_MESSAGE, key, buf_slice(b));
}

static void index_set(struct store *s, enum table t, struct slice key, bool on)
{
    struct buf *b = batch_value(s);
    record_empty_write(b);
    if (on)
        batch_insert(s, t, key, buf_slice(b));
    else
        batch_del(s, t, key);
}

/* The indexes and counts that hang on flags, from nothing (a new message) or to nothing (one that goes). */
static void flags_move(struct store *s, struct mailbox *m, uint32_t uid, bool was_unseen, bool unseen, bool was_deleted,
                       bool deleted)
{
    struct key k;
    if (was_unseen != unseen) {
        index_set(s, TABLE_MARK, key_mark(&k, m->id, MARK_UNSEEN, uid), unseen);
        m->r.unseen = unseen ? m->r.unseen + 1 : m->r.unseen - 1;
    }
    if (was_deleted != deleted) {
        index_set(s, TABLE_MARK, key_mark(&k, m->id, MARK_DELETED, uid), deleted);
        m->r.deleted = deleted ? m->r.deleted + 1 : m->r.deleted - 1;
    }
}

enum { FLAG_BIT_SEEN = 1, FLAG_BIT_DELETED = 8 }; /* protocol/backend.h enum message_flag */

void batch_message_add(struct store *s, struct mailbox *m, struct store_message *msg)
{
    struct key k;
    msg->uid = m->r.uidnext++;
    msg->modseq = s->modseq;
    message_put(s, m->id, msg, true);
    index_set(s, TABLE_CHANGE, key_modseq(&k, m->id, msg->modseq, msg->uid), true);
    flags_move(s, m, msg->uid, false, !(msg->flags & FLAG_BIT_SEEN), false, msg->flags & FLAG_BIT_DELETED);
    m->r.exists++;
    m->r.bytes += msg->size;
    s->st.messages++;
    mailbox_touch(s, m);
}

void batch_message_flag(struct store *s, struct mailbox *m, struct store_message *msg, uint32_t flags,
                        uint64_t keywords)
{
    struct key k;
    index_set(s, TABLE_CHANGE, key_modseq(&k, m->id, msg->modseq, msg->uid), false);
    flags_move(s, m, msg->uid, !(msg->flags & FLAG_BIT_SEEN), !(flags & FLAG_BIT_SEEN), msg->flags & FLAG_BIT_DELETED,
               flags & FLAG_BIT_DELETED);
    msg->flags = flags;
    msg->keywords = keywords;
    msg->modseq = s->modseq;
    message_put(s, m->id, msg, false);
    index_set(s, TABLE_CHANGE, key_modseq(&k, m->id, msg->modseq, msg->uid), true);
    mailbox_touch(s, m);
}

void batch_message_remove(struct store *s, struct mailbox *m, const struct store_message *msg, bool keep_content)
{
    struct key k;
    batch_del(s, TABLE_MESSAGE, key_uid(&k, m->id, msg->uid));
    index_set(s, TABLE_CHANGE, key_modseq(&k, m->id, msg->modseq, msg->uid), false);
    flags_move(s, m, msg->uid, !(msg->flags & FLAG_BIT_SEEN), false, msg->flags & FLAG_BIT_DELETED, false);
    if (!keep_content)
        batch_content_unref(s, &msg->hash);
    m->r.exists--;
    m->r.bytes -= msg->size;
    s->st.messages--;
    mailbox_touch(s, m);
}

/* Drops every record of one table under a mailbox. */
static void prefix_drop(struct store *s, enum table t, uint64_t mailbox)
{
    struct key k, found;
    struct slice key, v;
    while (batch_seek(s, t, key_u64(&k, mailbox), &key, &v) && get_be64(key.p) == mailbox) {
        memcpy(found.b, key.p, key.n);
        batch_del(s, t, slice_make(found.b, key.n));
    }
}

void batch_mailbox_purge(struct store *s, struct mailbox *m)
{
    struct uid_set all = {0};
    struct message_list list = {0};
    struct account *a = batch_account(s, m->r.account);
    uid_set_add(&all, 1, UINT32_MAX);
    batch_messages(s, m, &all, false, &list);
    if (a) {
        a->r.used -= m->r.bytes;
        a->r.messages -= m->r.exists;
        a->dirty = true;
    }
    for (size_t i = 0; i < list.n && !s->failed; i++)
        batch_message_remove(s, m, &list.at[i], false);
    prefix_drop(s, TABLE_RUNS, m->id);
    prefix_drop(s, TABLE_EXPUNGED, m->id);
    m->r.expunge_n = 0;
    m->r.expunge_floor = s->modseq;
    message_list_close(&list);
    uid_set_close(&all);
}

/* Forgets the oldest expunges of a mailbox past the limit; what is older than the floor cannot be told any more. */
static void expunge_prune(struct store *s, struct mailbox *m)
{
    struct key k;
    struct slice key, v;
    while (m->r.expunge_n > s->expunge_records_max && batch_seek(s, TABLE_EXPUNGED, key_u64(&k, m->id), &key, &v) &&
           get_be64(key.p) == m->id) {
        uint64_t modseq = get_be64(key.p + 8);
        batch_del(s, TABLE_EXPUNGED, key_modseq(&k, m->id, modseq, get_be32(key.p + 16)));
        m->r.expunge_n--;
        m->r.expunge_floor = modseq;
    }
}

void batch_expunged(struct store *s, struct mailbox *m, const struct uid_set *uids)
{
    struct key k;
    for (size_t i = 0; i < uids->n && !s->failed; i++) {
        const struct uid_range *r = &uids->ranges[i];
        struct buf *b = batch_value(s);
        batch_runs_remove(s, m->id, r->first, r->last);
        b = batch_value(s);
        record_u32_write(b, r->last);
        batch_insert(s, TABLE_EXPUNGED, key_modseq(&k, m->id, s->modseq, r->first), buf_slice(b));
        m->r.expunge_n++;
    }
    if (uids->n)
        mailbox_touch(s, m);
    expunge_prune(s, m);
}

static void list_add(struct store *s, struct message_list *list, uint32_t uid, struct slice value)
{
    if (list->n == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 64;
        list->at = mem_realloc(list->at, list->cap * sizeof *list->at);
    }
    if (!record_message_read(value, &list->at[list->n])) {
        batch_fail(s, ERR_CORRUPT, "message", 0);
        return;
    }
    list->at[list->n++].uid = uid;
}

static void range_messages(struct store *s, struct mailbox *m, struct uid_range r, struct message_list *list)
{
    struct key k;
    struct slice key, v;
    for (bool has = batch_seek(s, TABLE_MESSAGE, key_uid(&k, m->id, r.first), &key, &v);
         has && get_be64(key.p) == m->id && get_be32(key.p + 8) <= r.last; has = batch_next(s, TABLE_MESSAGE, &key, &v))
        list_add(s, list, get_be32(key.p + 8), v);
}

static void range_deleted(struct store *s, struct mailbox *m, struct uid_range r, struct message_list *list)
{
    struct key k, found;
    struct slice key, v;
    for (bool has = batch_seek(s, TABLE_MARK, key_mark(&k, m->id, MARK_DELETED, r.first), &key, &v);
         has && get_be64(key.p) == m->id && key.p[8] == MARK_DELETED && get_be32(key.p + 9) <= r.last;
         has = batch_next(s, TABLE_MARK, &key, &v)) {
        uint32_t uid = get_be32(key.p + 9);
        if (batch_get(s, TABLE_MESSAGE, key_uid(&found, m->id, uid), &v))
            list_add(s, list, uid, v);
        else
            batch_fail(s, ERR_CORRUPT, "mark", 0);
    }
}

void batch_messages(struct store *s, struct mailbox *m, const struct uid_set *uids, bool deleted_only,
                    struct message_list *list)
{
    for (size_t i = 0; i < uids->n && !s->failed; i++)
        if (deleted_only)
            range_deleted(s, m, uids->ranges[i], list);
        else
            range_messages(s, m, uids->ranges[i], list);
}

static int keyword_find(const struct mailbox_record *r, struct slice name)
{
    for (unsigned i = 0; i < r->keyword_n; i++)
        if (slice_ieq(r->keyword[i], name))
            return (int)i;
    return -1;
}

uint64_t batch_keywords(struct store *s, struct mailbox *m, const struct slice *names, size_t n, bool add)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        int at = keyword_find(&m->r, names[i]);
        if (at < 0 && add && m->r.keyword_n < STORE_KEYWORDS_MAX) {
            at = (int)m->r.keyword_n++;
            m->r.keyword[at] = arena_copy(&s->batch_arena, names[i]);
            m->dirty = m->changed = true;
        }
        if (at >= 0)
            bits |= (uint64_t)1 << at;
    }
    return bits;
}
