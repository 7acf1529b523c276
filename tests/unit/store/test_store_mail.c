#include "support_state.h"

#include "store/state.h"

enum { SEEN = 1, FLAGGED = 4, DELETED = 8, REPLACE = 0, ADD = 1, REMOVE = 2 };
#define ANY UINT64_MAX

struct mail {
    struct fx f;
    uint64_t a, b, inbox, sent;
};

static void start(struct mail *m)
{
    fx_open(&m->f);
    assert_int_equal(fx_domain(&m->f, "x.org", NULL), 0);
    m->a = fx_user(&m->f, "a@x.org", 0);
    m->b = fx_user(&m->f, "b@x.org", 250);
    m->inbox = fx_mailbox(&m->f, m->a, "INBOX");
    m->sent = fx_mailbox(&m->f, m->a, "Sent");
    assert_true(m->a && m->b && m->inbox && m->sent);
}

static void test_deliver(void **state)
{
    struct mail m;
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    uint64_t to[] = {m.a, 999, m.b, m.a};
    assert_int_equal(fx_deliver(f, 1, to, 4), 0);
    assert_int_equal(f->result->n_account_status, 4);
    assert_int_equal(f->result->account_status[0], 0);
    assert_int_equal(f->result->account_status[1], ERR_NOTFOUND);
    assert_int_equal(f->result->account_status[2], 0);
    assert_int_equal(f->result->account_status[3], 0); /* named twice: one copy */
    assert_string_equal(fx_uids(f, m.inbox), "1");
    assert_int_equal(f->referenced, 1);
    assert_int_equal(fx_deliver(f, 2, to, 3), 0); /* 101 + 102 of 250 */
    assert_int_equal(f->result->account_status[2], 0);
    assert_int_equal(fx_deliver(f, 3, to, 3), 0);
    /* Over quota by now: RCPT took it, nobody could tell the sender any more that it was lost. */
    assert_int_equal(f->result->account_status[2], 0);
    assert_int_equal(fx_used(f, m.b), 306);
    assert_int_equal(fx_deliver(f, 4, to + 1, 1), 0); /* nobody: no reference */
    assert_int_equal(f->referenced, 3);
    assert_int_equal(fx_deliver(f, 4, to, 0), ERR_INVALID);
    struct store_message a = fx_message(f, m.inbox, 1), b = fx_message(f, fx_mailbox(f, m.b, "INBOX"), 1);
    assert_true(a.email_id == b.email_id && a.email_id != fx_message(f, m.inbox, 2).email_id);
    assert_true(a.internal_ms == f->time_ms && a.save_ms == f->time_ms && a.size == 101 && a.flags == 0);
    struct store_mailbox info = fx_info(f, m.inbox);
    assert_true(info.exists == 3 && info.unseen == 3 && info.first_unseen_uid == 1 && info.uidnext == 4);
    assert_true(info.bytes == 101 + 102 + 103 && info.highest_modseq == a.modseq + 2 * 4096);
    fx_close(f);
}

static void test_append(void **state)
{
    struct mail m;
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    uint64_t b_sent = fx_mailbox(f, m.b, "Sent");
    assert_int_equal(fx_append(f, m.sent, 1, 3, SEEN | DELETED, "$Label1"), 0);
    assert_string_equal(fx_text(f, f->result->uids, f->result->n_uids), "1:3");
    assert_int_equal(f->result->uidvalidity, fx_info(f, m.sent).uidvalidity);
    assert_int_equal(fx_message(f, m.sent, 2).keywords, 1);
    assert_int_equal(fx_message(f, m.sent, 3).modseq, f->result->modseq);
    struct store_mailbox info = fx_info(f, m.sent);
    assert_true(info.unseen == 0 && info.deleted == 3 && info.first_unseen_uid == 0 && info.keyword_n == 1);
    assert_int_equal(fx_append(f, b_sent, 1, 3, 0, NULL), ERR_QUOTA); /* all or none */
    assert_int_equal(fx_info(f, b_sent).exists, 0);
    assert_int_equal(fx_append(f, b_sent, 1, 2, 0, NULL), 0);
    assert_int_equal(fx_append(f, 999, 1, 1, 0, NULL), ERR_NOTFOUND);
    assert_int_equal(fx_append(f, m.sent, 1, 0, 0, NULL), ERR_INVALID);
    assert_int_equal(fx_append(f, m.sent, 1, 1, 32, NULL), ERR_INVALID);
    assert_int_equal(fx_append(f, m.sent, 1, 1, 0, "no space"), ERR_INVALID);
    assert_int_equal(fx_append(f, m.sent, 1, 1, 0, "\\Recent"), ERR_INVALID);
    fx_close(f);
}

static void test_body_refused(void **state)
{
    struct mail m;
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    struct fx_body b;
    Merlion__Deliver d = MERLION__DELIVER__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_DELIVER;
    c.deliver = &d;
    d.accounts = &m.a;
    d.n_accounts = 1;
    assert_int_equal(fx_run(f, &c), ERR_INVALID); /* none */
    assert_int_equal(fx_deliver(f, 7, &m.a, 1), 0);
    fx_body(&b, 7);
    d.body = &b.body;
    b.body.size++;
    assert_int_equal(fx_run(f, &c), ERR_INVALID); /* known with another size */
    b.body.size = UINT64_MAX;
    assert_int_equal(fx_run(f, &c), ERR_TOOBIG);
    fx_body(&b, 8);
    b.body.hash.len = 31;
    assert_int_equal(fx_run(f, &c), ERR_INVALID);
    fx_close(f);
}

static void test_flags(void **state)
{
    struct mail m;
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    fx_append(f, m.inbox, 1, 5, 0, NULL);
    uint64_t first = f->result->modseq;
    assert_int_equal(fx_flags(f, m.inbox, "2:3,9", ADD, SEEN | DELETED, "Work", ANY), 0);
    uint64_t second = f->result->modseq;
    assert_true(second > first && fx_message(f, m.inbox, 2).modseq == second &&
                fx_message(f, m.inbox, 1).modseq == first);
    struct store_mailbox info = fx_info(f, m.inbox);
    assert_true(info.unseen == 3 && info.deleted == 2 && info.first_unseen_uid == 1 && info.highest_modseq == second);
    /* Nothing changes: no new MODSEQ, not even for those that have it already. */
    assert_int_equal(fx_flags(f, m.inbox, "2", ADD, SEEN, "WORK", ANY), 0);
    assert_int_equal(fx_info(f, m.inbox).highest_modseq, second);
    unsigned changed = f->changed;
    assert_int_equal(fx_flags(f, m.inbox, "2:3", REMOVE, DELETED, "none", ANY), 0);
    assert_int_equal(f->changed, changed + 1);
    assert_int_equal(f->changed_mailbox, m.inbox);
    assert_int_equal(fx_info(f, m.inbox).keyword_n, 1); /* removing makes no keyword */
    assert_int_equal(fx_flags(f, m.inbox, "3", REPLACE, FLAGGED, NULL, ANY), 0);
    struct store_message msg = fx_message(f, m.inbox, 3);
    assert_true(msg.flags == FLAGGED && msg.keywords == 0);
    assert_int_equal(fx_flags(f, m.inbox, "1", ADD, SEEN, NULL, ANY), 0);
    assert_int_equal(fx_info(f, m.inbox).first_unseen_uid, 3);
    assert_int_equal(fx_flags(f, m.inbox, "1", 3, SEEN, NULL, ANY), ERR_INVALID);
    assert_int_equal(fx_flags(f, m.inbox, "1", ADD, 64, NULL, ANY), ERR_INVALID);
    assert_int_equal(fx_flags(f, m.inbox, "3:1", ADD, SEEN, NULL, ANY), ERR_INVALID);
    assert_int_equal(fx_flags(f, m.inbox, "0", ADD, SEEN, NULL, ANY), ERR_INVALID);
    assert_int_equal(fx_flags(f, 999, "1", ADD, SEEN, NULL, ANY), ERR_NOTFOUND);
    fx_close(f);
}

static void test_unchanged_since(void **state)
{
    struct mail m;
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    fx_append(f, m.inbox, 1, 4, 0, NULL);
    uint64_t first = f->result->modseq;
    fx_flags(f, m.inbox, "2,3", ADD, FLAGGED, NULL, ANY);
    uint64_t second = f->result->modseq;
    assert_int_equal(fx_flags(f, m.inbox, "1:4", ADD, SEEN, NULL, first), 0);
    assert_string_equal(fx_text(f, f->result->modified, f->result->n_modified), "2:3");
    assert_int_equal(fx_info(f, m.inbox).unseen, 2);
    assert_int_equal(fx_flags(f, m.inbox, "1:4", ADD, SEEN, NULL, second), 0);
    assert_string_equal(fx_text(f, f->result->modified, f->result->n_modified), "1,4");
    assert_int_equal(fx_flags(f, m.inbox, "1:4", ADD, DELETED, NULL, 0), 0);
    assert_string_equal(fx_text(f, f->result->modified, f->result->n_modified), "1:4");
    assert_int_equal(fx_info(f, m.inbox).deleted, 0);
    fx_close(f);
}

/* The 65th keyword is ignored, the command is not refused; what exists still works. */
static void test_keywords_limit(void **state)
{
    struct mail m;
    char name[16];
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    fx_append(f, m.inbox, 1, 1, 0, NULL);
    for (int i = 0; i < 65; i++) {
        snprintf(name, sizeof name, "k%d", i);
        assert_int_equal(fx_flags(f, m.inbox, "1", ADD, 0, name, ANY), 0);
    }
    assert_true(fx_message(f, m.inbox, 1).keywords == UINT64_MAX);
    assert_int_equal(fx_info(f, m.inbox).keyword_n, 64);
    assert_int_equal(fx_flags(f, m.inbox, "1", REMOVE, 0, "K63", ANY), 0);
    assert_true(fx_message(f, m.inbox, 1).keywords == UINT64_MAX >> 1);
    fx_close(f);
}

static void test_copy(void **state)
{
    struct mail m;
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    fx_append(f, m.sent, 90, 1, 0, "zero"); /* another order of keywords there */
    fx_append(f, m.inbox, 1, 4, SEEN, "one");
    uint64_t used = fx_used(f, m.a);
    f->time_ms += 5000;
    assert_int_equal(fx_copy(f, m.inbox, "2:3,7", m.sent, false), 0);
    assert_string_equal(fx_text(f, f->result->uids, f->result->n_uids), "2:3");
    assert_string_equal(fx_text(f, f->result->uids_to, f->result->n_uids_to), "2:3");
    assert_int_equal(f->result->uidvalidity, fx_info(f, m.sent).uidvalidity);
    struct store_message from = fx_message(f, m.inbox, 2), to = fx_message(f, m.sent, 2);
    assert_true(from.email_id == to.email_id && body_hash_eq(&from.hash, &to.hash) && to.flags == SEEN);
    assert_true(from.keywords == 1 && to.keywords == 2 && to.save_ms == f->time_ms &&
                to.internal_ms == from.internal_ms);
    assert_true(to.modseq > from.modseq && from.save_ms < to.save_ms);
    assert_int_equal(fx_used(f, m.a), used + 102 + 103);
    assert_int_equal(fx_copy(f, m.inbox, "9", m.sent, false), 0);
    assert_int_equal(f->result->n_uids, 0);
    uint64_t b_inbox = fx_mailbox(f, m.b, "INBOX");
    assert_int_equal(fx_copy(f, m.inbox, "1:4", b_inbox, false), ERR_QUOTA);
    assert_int_equal(fx_info(f, b_inbox).exists, 0);
    assert_int_equal(fx_copy(f, m.inbox, "1:2", b_inbox, true), 0); /* from account to account */
    assert_int_equal(fx_used(f, m.b), 203);
    assert_int_equal(fx_used(f, m.a), used + 2);
    assert_int_equal(fx_copy(f, m.inbox, "1", 999, false), ERR_NOTFOUND);
    assert_int_equal(fx_copy(f, 999, "1", m.sent, false), ERR_NOTFOUND);
    assert_int_equal(fx_copy(f, m.inbox, "0", m.sent, false), ERR_INVALID);
    fx_close(f);
}

static void test_move(void **state)
{
    struct mail m;
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    uint64_t b_inbox = fx_mailbox(f, m.b, "INBOX"), b_sent = fx_mailbox(f, m.b, "Sent");
    fx_append(f, b_inbox, 1, 2, 0, NULL);                          /* 203 of 250 */
    assert_int_equal(fx_copy(f, b_inbox, "1:2", b_sent, true), 0); /* within the account: no quota needed */
    assert_string_equal(fx_uids(f, b_inbox), "");
    assert_string_equal(fx_uids(f, b_sent), "1:2");
    assert_int_equal(fx_used(f, m.b), 203);
    assert_int_equal(f->freed, 0);
    fx_append(f, m.inbox, 1, 3, DELETED, NULL);
    assert_int_equal(fx_copy(f, m.inbox, "2", m.inbox, true), 0); /* onto itself */
    assert_string_equal(fx_uids(f, m.inbox), "1,3:4");
    assert_string_equal(fx_text(f, f->result->uids_to, f->result->n_uids_to), "4");
    assert_int_equal(fx_info(f, m.inbox).deleted, 3);
    fx_close(f);
}

static void test_expunge(void **state)
{
    struct mail m;
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    fx_append(f, m.inbox, 1, 9, 0, NULL);
    fx_flags(f, m.inbox, "2:3,5,8", ADD, DELETED, NULL, ANY);
    assert_int_equal(fx_expunge(f, m.inbox, "1:2,5", false), 0); /* UID EXPUNGE: only those with \Deleted */
    assert_string_equal(fx_text(f, f->result->uids, f->result->n_uids), "2,5");
    assert_int_equal(f->freed, 2);
    assert_int_equal(fx_expunge(f, m.inbox, NULL, false), 0);
    assert_string_equal(fx_text(f, f->result->uids, f->result->n_uids), "3,8");
    assert_int_equal(fx_expunge(f, m.inbox, "1,9", true), 0);
    assert_string_equal(fx_uids(f, m.inbox), "4,6:7");
    uint64_t highest = f->result->modseq;
    assert_int_equal(fx_info(f, m.inbox).highest_modseq, highest);
    assert_int_equal(fx_expunge(f, m.inbox, NULL, false), 0); /* none */
    assert_int_equal(fx_info(f, m.inbox).highest_modseq, highest);
    fx_append(f, m.inbox, 30, 1, 0, NULL);
    assert_string_equal(fx_uids(f, m.inbox), "4,6:7,10"); /* UIDs are not used again */
    assert_int_equal(fx_expunge(f, 999, NULL, false), ERR_NOTFOUND);
    assert_int_equal(fx_expunge(f, m.inbox, "2:1", false), ERR_INVALID);
    assert_int_equal(f->freed, 6);
    fx_close(f);
}

/* A body freed and taken again in one batch is not told as freed. */
static void test_freed_in_batch(void **state)
{
    struct mail m;
    struct buf entry = {0};
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    fx_append(f, m.inbox, 1, 1, DELETED, NULL);
    Merlion__Expunge x = MERLION__EXPUNGE__INIT;
    x.mailbox = m.inbox;
    x.all_deleted = true;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_EXPUNGE;
    c.expunge = &x;
    fx_entry(f, &c, &entry);
    store_batch_begin(f->s);
    assert_int_equal(store_apply(f->s, ++f->index, 1, buf_slice(&entry)), 0);
    struct fx_body b;
    fx_body(&b, 1);
    Merlion__Deliver d = MERLION__DELIVER__INIT;
    d.body = &b.body;
    d.accounts = &m.a;
    d.n_accounts = 1;
    c.op_case = MERLION__COMMAND__OP_DELIVER;
    c.deliver = &d;
    fx_entry(f, &c, &entry);
    assert_int_equal(store_apply(f->s, ++f->index, 1, buf_slice(&entry)), 0);
    assert_int_equal(store_batch_commit(f->s), 0);
    assert_int_equal(f->freed, 0);
    fx_expunge(f, m.inbox, "1:9", true);
    assert_int_equal(f->freed, 1);
    assert_true(body_hash_eq(&f->freed_hash, (const struct body_hash *)(const void *)b.hash));
    buf_close(&entry);
    fx_close(f);
}

struct changes {
    char text[256];
};

static bool change_note(void *arg, const struct store_message *msg)
{
    struct changes *c = arg;
    size_t n = strlen(c->text);
    snprintf(c->text + n, sizeof c->text - n, "%s%u", n ? "," : "", msg->uid);
    return true;
}

static int changes(struct fx *f, uint64_t mailbox, uint64_t since, struct changes *c)
{
    struct store_view *v;
    struct uid_set gone = {0};
    *c = (struct changes){0};
    assert_int_equal(store_view_open(f->s, &v), 0);
    int rc = store_changes(v, mailbox, since, change_note, c, &gone);
    for (size_t i = 0; i < gone.n; i++) {
        size_t n = strlen(c->text);
        snprintf(c->text + n, sizeof c->text - n, " -%u:%u", gone.ranges[i].first, gone.ranges[i].last);
    }
    uid_set_close(&gone);
    store_view_close(&v);
    return rc;
}

static void test_changes(void **state)
{
    struct mail m;
    struct changes c;
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    m.f.s->expunge_records_max = 3;
    uint64_t start_modseq = fx_info(f, m.inbox).highest_modseq;
    fx_append(f, m.inbox, 1, 20, 0, NULL);
    uint64_t first = f->result->modseq;
    fx_flags(f, m.inbox, "3,1", ADD, SEEN, NULL, ANY);
    uint64_t second = f->result->modseq;
    assert_int_equal(changes(f, m.inbox, first, &c), 0);
    assert_string_equal(c.text, "1,3");
    fx_expunge(f, m.inbox, "3:5,9", true); /* 2 records */
    uint64_t third = f->result->modseq;
    assert_int_equal(changes(f, m.inbox, second, &c), 0);
    assert_string_equal(c.text, " -3:5 -9:9");
    assert_int_equal(changes(f, m.inbox, start_modseq, &c), 0);
    assert_string_equal(c.text, "2,6,7,8,10,11,12,13,14,15,16,17,18,19,20,1 -3:5 -9:9");
    assert_int_equal(changes(f, m.inbox, third, &c), 0);
    assert_string_equal(c.text, "");
    fx_expunge(f, m.inbox, "11,13", true); /* 4 records: the oldest is pruned */
    assert_int_equal(changes(f, m.inbox, second, &c), ERR_STALE);
    assert_int_equal(changes(f, m.inbox, third, &c), 0);
    assert_string_equal(c.text, " -11:11 -13:13");
    assert_int_equal(changes(f, 999, 1, &c), ERR_NOTFOUND);
    fx_close(f);
}

/* Runs over many records: every second of 1000 goes, then blocks across record borders, then all. */
static void test_runs(void **state)
{
    struct mail m;
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    fx_append(f, m.inbox, 1, 1000, 0, NULL);
    assert_string_equal(fx_uids(f, m.inbox), "1:1000");
    char uids[512];
    for (uint32_t uid = 2; uid <= 1000; uid += 100) {
        uids[0] = 0;
        for (uint32_t i = 0; i < 50; i++)
            snprintf(uids + strlen(uids), sizeof uids - strlen(uids), "%s%u", i ? "," : "", uid + 2 * i);
        assert_int_equal(fx_expunge(f, m.inbox, uids, true), 0);
    }
    assert_int_equal(fx_info(f, m.inbox).exists, 500);
    struct store_view *v;
    struct uid_set set = {0};
    store_view_open(f->s, &v);
    store_uids(v, m.inbox, &set);
    store_view_close(&v);
    assert_int_equal(set.n, 500);
    uid_set_close(&set);
    fx_scrub(f);
    fx_expunge(f, m.inbox, "101:899,1", true);
    assert_int_equal(fx_info(f, m.inbox).exists, 99);
    fx_scrub(f);
    fx_append(f, m.inbox, 1, 2, 0, NULL);
    fx_scrub(f);
    fx_expunge(f, m.inbox, "1:4294967295", true);
    assert_string_equal(fx_uids(f, m.inbox), "");
    fx_append(f, m.inbox, 1, 2, 0, NULL);
    assert_string_equal(fx_uids(f, m.inbox), "1003:1004");
    fx_close(f);
}

static void test_summary(void **state)
{
    struct mail m;
    struct slice summary;
    struct store_view *v;
    struct store_content content;
    (void)state;
    start(&m);
    struct fx *f = &m.f;
    uint64_t to[] = {m.a, m.b};
    fx_deliver(f, 5, to, 2);
    struct body_hash hash = fx_message(f, m.inbox, 1).hash, none = {{0}};
    store_view_open(f->s, &v);
    assert_int_equal(store_summary(v, &hash, &summary), 0);
    assert_true(slice_eq(summary, slice_str("summary 5")));
    assert_int_equal(store_summary(v, &none, &summary), ERR_NOTFOUND);
    assert_int_equal(store_content_get(v, &hash, &content), 0);
    assert_true(content.refs == 2 && content.size == 105);
    store_view_close(&v);
    struct store_stats st;
    store_stats(f->s, &st);
    assert_true(st.accounts == 2 && st.messages == 2 && st.bodies == 1 && st.body_bytes == 105 && st.mailboxes == 12);
    assert_true(st.map_used > 0 && st.map_used < st.map_size);
    fx_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deliver),
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_body_refused),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_unchanged_since),
        cmocka_unit_test(test_keywords_limit),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_expunge),
        cmocka_unit_test(test_freed_in_batch),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_summary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
