#include "node/base/log.h"
#include "store/scrub.h"

/* Reads all records in one view and checks them against each other and against the incremental digest. Memory does not
 * grow with the state: references are compared as sums of checksums, once over messages and once over contents. */

enum { FLAG_BIT_SEEN = 1, FLAG_BIT_DELETED = 8, FINDINGS_MAX = 20 };

struct tally {
    uint64_t exists, unseen, deleted, bytes;
};

void scrub_finding(struct scrub *c, const char *what, uint64_t id)
{
    if (c->findings++ < FINDINGS_MAX)
        log_event(LOG_ERROR, "scrub: damage", LOG_S("what", what), LOG_U("id", id));
}

void scrub_expect(struct scrub *c, bool holds, const char *what, uint64_t id)
{
    if (!holds)
        scrub_finding(c, what, id);
}

/* ---- every record: its form, the digest ---- */

static void table_sum(struct scrub *c, enum table t)
{
    struct slice key, value;
    MDB_cursor *cursor = view_cursor(c->v, t);
    for (bool has = cursor_seek(cursor, slice_make(NULL, 0), &key, &value); has;
         has = cursor_next(cursor, &key, &value)) {
        if (!record_valid(t, key, value))
            scrub_finding(c, table_name(t), key.n >= 8 ? get_be64(key.p) : 0);
        sum128_add(&c->digest, record_sum(&c->scratch, t, key, value));
    }
    mdb_cursor_close(cursor);
}

uint64_t scrub_count(struct scrub *c, enum table t)
{
    MDB_stat st;
    return mdb_stat(c->v->txn, c->v->env->dbi[t], &st) ? 0 : st.ms_entries;
}

/* ---- messages of a mailbox ---- */

uint64_t scrub_reference(struct scrub *c, const struct body_hash *hash, uint64_t size)
{
    buf_clear(&c->scratch);
    buf_append(&c->scratch, hash->b, BODY_HASH_SIZE);
    buf_put_u64(&c->scratch, size);
    return checksum64(buf_slice(&c->scratch));
}

struct walk {
    struct scrub *c;
    uint64_t mailbox;
    const struct mailbox_record *r;
    struct tally t;
    struct uid_set uids;
};

static bool message_check(void *arg, const struct store_message *m)
{
    struct walk *w = arg;
    struct scrub *c = w->c;
    struct key k;
    struct slice value;
    bool unseen = !(m->flags & FLAG_BIT_SEEN), deleted = m->flags & FLAG_BIT_DELETED;
    w->t.exists++;
    w->t.unseen += unseen;
    w->t.deleted += deleted;
    w->t.bytes += m->size;
    uid_set_add(&w->uids, m->uid, m->uid);
    c->references += scrub_reference(c, &m->hash, m->size);
    scrub_expect(c, m->uid < w->r->uidnext && m->modseq <= w->r->highest_modseq, "uid or modseq too high", w->mailbox);
    scrub_expect(c, view_get(c->v, TABLE_CHANGE, key_modseq(&k, w->mailbox, m->modseq, m->uid), &value), "change index",
                 w->mailbox);
    scrub_expect(c, view_get(c->v, TABLE_MARK, key_mark(&k, w->mailbox, MARK_UNSEEN, m->uid), &value) == unseen,
                 "unseen index", w->mailbox);
    scrub_expect(c, view_get(c->v, TABLE_MARK, key_mark(&k, w->mailbox, MARK_DELETED, m->uid), &value) == deleted,
                 "deleted index", w->mailbox);
    return true;
}

static void mailbox_check(struct scrub *c, uint64_t id, const struct mailbox_record *r)
{
    struct walk w = {.c = c, .mailbox = id, .r = r};
    struct uid_set runs = {0};
    store_message_each(c->v, id, 1, UINT32_MAX, message_check, &w);
    store_uids(c->v, id, &runs);
    bool same = runs.n == w.uids.n;
    for (size_t i = 0; same && i < runs.n; i++)
        same = runs.ranges[i].first == w.uids.ranges[i].first && runs.ranges[i].last == w.uids.ranges[i].last;
    scrub_expect(c, same, "runs", id);
    scrub_expect(
        c, w.t.exists == r->exists && w.t.unseen == r->unseen && w.t.deleted == r->deleted && w.t.bytes == r->bytes,
        "mailbox counts", id);
    c->messages += w.t.exists;
    c->expected_marks += w.t.unseen + w.t.deleted;
    c->expected_expunges += r->expunge_n;
    c->mailboxes++;
    uid_set_close(&runs);
    uid_set_close(&w.uids);
}

/* ---- accounts: names, mailboxes, quota ---- */

static void name_check(struct scrub *c, uint64_t account, struct slice name, uint64_t id, struct tally *t)
{
    struct key k;
    struct slice value;
    struct mailbox_record r;
    if (!view_get(c->v, TABLE_MAILBOX, key_u64(&k, id), &value) || !record_mailbox_read(value, &r)) {
        scrub_finding(c, "name without mailbox", id);
        return;
    }
    scrub_expect(c, r.account == account && slice_eq(r.name, name), "name of a mailbox", id);
    mailbox_check(c, id, &r);
    t->bytes += r.bytes;
    t->exists += r.exists;
    c->named++;
}

static void account_check(struct scrub *c, uint64_t id, const struct account_record *a)
{
    struct key k;
    struct slice key, value;
    struct name_record n;
    struct tally t = {0};
    uint32_t names = 0;
    MDB_cursor *cursor = view_cursor(c->v, TABLE_NAME);
    for (bool has = cursor_seek(cursor, key_u64(&k, id), &key, &value); has && get_be64(key.p) == id;
         has = cursor_next(cursor, &key, &value)) {
        names++;
        if (record_name_read(value, &n) && n.mailbox)
            name_check(c, id, slice_from(key, 8), n.mailbox, &t);
    }
    mdb_cursor_close(cursor);
    scrub_expect(c, names == a->names, "number of names", id);
    scrub_expect(c, t.bytes == a->used && t.exists == a->messages, "account counts", id);
    struct address_record ar;
    bool found = view_get(c->v, TABLE_ADDRESS, key_address(&k, a->address), &value) && record_address_read(value, &ar);
    scrub_expect(c, found && ar.kind == ADDRESS_USER && ar.account == id, "address", id);
    c->accounts++;
}

static void accounts_check(struct scrub *c)
{
    struct slice key, value;
    struct account_record a;
    MDB_cursor *cursor = view_cursor(c->v, TABLE_ACCOUNT);
    for (bool has = cursor_seek(cursor, slice_make(NULL, 0), &key, &value); has;
         has = cursor_next(cursor, &key, &value))
        if (record_account_read(value, &a))
            account_check(c, get_be64(key.p), &a);
    mdb_cursor_close(cursor);
}

/* ---- contents, totals ---- */

static bool content_check(void *arg, const struct store_content *content)
{
    struct scrub *c = arg;
    struct slice value;
    c->references -= content->refs * scrub_reference(c, &content->hash, content->size);
    c->bodies++;
    c->body_bytes += content->size;
    scrub_expect(c, content->refs > 0, "content without references", 0);
    scrub_expect(c, view_get(c->v, TABLE_SUMMARY, key_hash(&content->hash), &value), "content without summary", 0);
    return true;
}

static void totals_check(struct scrub *c)
{
    struct slice value;
    struct state_record st = {0};
    if (view_get(c->v, TABLE_STATE, key_state(), &value))
        record_state_read(value, &st);
    scrub_expect(c, c->references == 0, "references to contents", 0);
    scrub_expect(c, st.accounts == c->accounts && st.mailboxes == c->mailboxes && st.messages == c->messages, "totals",
                 0);
    scrub_expect(c, st.bodies == c->bodies && st.body_bytes == c->body_bytes, "totals of bodies", 0);
    scrub_expect(c, scrub_count(c, TABLE_MAILBOX) == c->named, "mailbox without name", 0);
    scrub_expect(c, scrub_count(c, TABLE_MESSAGE) == c->messages, "message without mailbox", 0);
    scrub_expect(c, scrub_count(c, TABLE_CHANGE) == c->messages, "stray change index", 0);
    scrub_expect(c, scrub_count(c, TABLE_MARK) == c->expected_marks, "stray mark", 0);
    scrub_expect(c, scrub_count(c, TABLE_EXPUNGED) == c->expected_expunges, "expunge records", 0);
    scrub_expect(c, scrub_count(c, TABLE_SUMMARY) == c->bodies, "summary without content", 0);
}

int store_scrub(struct store *s, struct sum128 *digest_r)
{
    struct scrub c = {0};
    struct slice value;
    struct position_record p = {0};
    int rc = store_view_open(s, &c.v);
    if (rc)
        return rc;
    for (unsigned t = TABLE_POSITION + 1; t < TABLE_N; t++)
        table_sum(&c, t);
    if (view_get(c.v, TABLE_POSITION, key_position(), &value))
        scrub_expect(&c, record_position_read(value, &p), "position", 0);
    scrub_expect(&c, sum128_eq(c.digest, p.digest), "digest", 0);
    accounts_check(&c);
    scrub_queue(&c);
    store_content_each(c.v, NULL, content_check, &c);
    totals_check(&c);
    *digest_r = c.digest;
    store_view_close(&c.v);
    buf_close(&c.scratch);
    return c.findings ? ERR_CORRUPT : 0;
}
