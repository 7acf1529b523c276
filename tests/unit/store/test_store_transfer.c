#include "support_state.h"

#include "store/state.h"
#include "store/stream.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Export, import, the swap and crashes in it; scrub. */

static uint64_t fill(struct fx *f)
{
    fx_open(f);
    assert_int_equal(fx_domain(f, "x.org", "a@x.org"), 0);
    uint64_t a = fx_user(f, "a@x.org", 0), inbox = fx_mailbox(f, a, "INBOX");
    fx_append(f, inbox, 1, 900, 0, "kw");
    fx_flags(f, inbox, "5:9", 1, 9, NULL, UINT64_MAX);
    fx_expunge(f, inbox, "7,20:30", true);
    fx_copy(f, inbox, "1:6", fx_mailbox(f, a, "Sent"), false);
    fx_alias(f, "t@x.org", "a@x.org", NULL);
    fx_setting(f, "name", "value", false);
    fx_subscribe(f, a, "ghost", true);
    return a;
}

static void export_all(struct fx *f, size_t portion, struct buf *out, struct store_position *p)
{
    struct store_export *x;
    uint64_t total;
    bool done = false;
    assert_int_equal(store_export_begin(f->s, &x, p, &total), 0);
    assert_true(total > 0);
    while (!done) {
        size_t before = buf_len(out);
        assert_int_equal(store_export_next(x, portion, out, &done), 0);
        assert_true(buf_len(out) - before <= portion);
    }
    store_export_end(&x);
}

static int import_all(const char *dir, struct slice in, size_t portion, struct store_import **i)
{
    struct store_position p;
    struct err_detail e;
    assert_int_equal(store_import_begin(dir, i, &e), 0);
    while (in.n) {
        int rc = store_import_feed(*i, slice_first(in, portion), &e);
        if (rc)
            return rc;
        in = slice_from(in, portion);
    }
    return store_import_finish(*i, &p, &e);
}

static void test_transfer(void **state)
{
    struct fx f, g;
    struct buf stream = {0}, again = {0};
    struct store_position p, q;
    struct store_import *i;
    struct store_view *old;
    struct err_detail e;
    (void)state;
    uint64_t a = fill(&f);
    export_all(&f, 1000, &stream, &p);
    assert_true(p.index == f.index && p.digest.lo == fx_digest(&f).lo);
    fx_open(&g);
    fx_setting(&g, "other", "1", false);
    assert_int_equal(store_view_open(g.s, &old), 0);
    assert_int_equal(import_all(g.dir, buf_slice(&stream), 777, &i), 0);
    assert_int_equal(store_view_index(old), 1);
    store_position(g.s, &q);
    assert_int_equal(q.index, 1); /* nothing changed yet */
    assert_int_equal(store_import_swap(g.s, &i, &e), 0);
    assert_null(i);
    store_position(g.s, &q);
    assert_true(q.index == p.index && q.term == p.term && q.digest.hi == p.digest.hi && q.time_ms == p.time_ms);
    fx_scrub(&g);
    /* A view from before still sees what it saw. */
    struct slice value;
    assert_int_equal(store_setting_get(old, slice_str("other"), &value), 0);
    store_view_close(&old);
    assert_int_equal(fx_mailbox(&g, a, "INBOX"), fx_mailbox(&f, a, "INBOX"));
    /* Both go on alike. */
    g.index = f.index;
    g.seq = f.seq;
    fx_append(&f, fx_mailbox(&f, a, "INBOX"), 5, 3, 0, "kw2");
    fx_append(&g, fx_mailbox(&g, a, "INBOX"), 5, 3, 0, "kw2");
    fx_reopen(&g);
    assert_true(fx_digest(&f).lo == fx_digest(&g).lo && fx_digest(&f).hi == fx_digest(&g).hi);
    /* The same state gives the same bytes, wherever it came from. */
    buf_clear(&stream);
    export_all(&f, 1 << 20, &stream, &p);
    export_all(&g, 1 << 16, &again, &q);
    assert_true(slice_eq(buf_slice(&stream), buf_slice(&again)));
    buf_close(&stream);
    buf_close(&again);
    fx_close(&f);
    fx_close(&g);
}

static void test_empty(void **state)
{
    struct fx f;
    struct buf stream = {0};
    struct store_position p;
    struct store_import *i;
    struct err_detail e;
    struct store_export *x;
    uint64_t total;
    bool done;
    (void)state;
    fx_open(&f);
    assert_int_equal(store_export_begin(f.s, &x, &p, &total), 0);
    assert_int_equal(store_export_next(x, SIZE_MAX, &stream, &done), 0);
    assert_true(done && p.index == 0);
    store_export_end(&x);
    assert_int_equal(import_all(f.dir, buf_slice(&stream), 7, &i), 0);
    assert_int_equal(store_import_swap(f.s, &i, &e), 0);
    assert_int_equal(fx_setting(&f, "a", "b", false), 0);
    buf_close(&stream);
    fx_close(&f);
}

/* Any flipped bit, any cut and anything appended is noticed. */
static void test_damage(void **state)
{
    struct fx f;
    struct buf stream = {0};
    struct store_position p;
    struct store_import *i;
    (void)state;
    fx_open(&f);
    fx_domain(&f, "x.org", NULL);
    fx_user(&f, "a@x.org", 0);
    export_all(&f, 1 << 20, &stream, &p);
    struct slice whole = buf_slice(&stream);
    uint8_t *bytes = stream.base + stream.start;
    for (size_t at = 0; at < whole.n; at += at < 100 || at + 60 > whole.n ? 1 : 37) {
        bytes[at] ^= 0x10;
        assert_true(import_all(f.dir, whole, SIZE_MAX / 2, &i) < 0);
        store_import_abort(&i);
        bytes[at] ^= 0x10;
        assert_true(import_all(f.dir, slice_first(whole, at), 4096, &i) < 0);
        store_import_abort(&i);
    }
    buf_append_byte(&stream, 0);
    assert_true(import_all(f.dir, buf_slice(&stream), SIZE_MAX / 2, &i) < 0);
    store_import_abort(&i);
    assert_null(i);
    store_import_abort(&i);
    buf_close(&stream);
    fx_close(&f);
}

/* Well-formed, checksums right, and still not to be believed: records that lie. */
static int import_lie(const char *dir, unsigned table, struct slice key, uint32_t value_n, struct slice value,
                      unsigned times)
{
    struct buf b = {0}, block = {0}, trailer = {0};
    struct store_import *i;
    buf_append(&b, "MLX\x01", 4);
    for (int n = 0; n < 4; n++)
        buf_put_u64(&b, 1);
    buf_put_u32(&b, 1);
    buf_put_u64(&b, 1);
    buf_put_u64(&b, checksum64(buf_slice(&b)));
    for (unsigned n = 0; n < times; n++) {
        buf_put_u8(&block, (uint8_t)table);
        buf_put_u16(&block, (uint16_t)key.n);
        buf_put_u32(&block, value_n);
        buf_append_slice(&block, key);
        buf_append_slice(&block, value);
    }
    buf_put_u32(&b, (uint32_t)buf_len(&block));
    buf_put_u64(&b, checksum64(buf_slice(&block)));
    buf_append_slice(&b, buf_slice(&block));
    buf_put_u32(&trailer, 0);
    for (int n = 0; n < 3; n++)
        buf_put_u64(&trailer, 1);
    buf_put_u64(&trailer, checksum64(buf_slice(&trailer)));
    buf_append_slice(&b, buf_slice(&trailer));
    int rc = import_all(dir, buf_slice(&b), SIZE_MAX / 2, &i);
    store_import_abort(&i);
    buf_close(&b);
    buf_close(&block);
    buf_close(&trailer);
    return rc;
}

static void test_lies(void **state)
{
    struct fx f;
    (void)state;
    fx_open(&f);
    struct slice name = slice_str("name"), good = slice_make("\x01\x01\x00\x00\x00v", 6);
    uint8_t long_key[KEY_MAX + 1] = {0};
    assert_int_equal(import_lie(f.dir, TABLE_SETTING, name, 6, good, 1),
                     ERR_CORRUPT); /* good, but not what the digest says */
    assert_int_equal(import_lie(f.dir, TABLE_SETTING, name, 6, good, 2), ERR_PROTOCOL); /* twice */
    assert_int_equal(import_lie(f.dir, TABLE_SETTING, name, UINT32_MAX, good, 1), ERR_PROTOCOL);
    assert_int_equal(import_lie(f.dir, TABLE_SETTING, name, 7, good, 1), ERR_PROTOCOL);
    assert_int_equal(import_lie(f.dir, TABLE_MAILBOX, name, 6, good, 1), ERR_PROTOCOL);
    assert_int_equal(import_lie(f.dir, TABLE_POSITION, slice_str("p"), 6, good, 1), ERR_PROTOCOL);
    assert_int_equal(import_lie(f.dir, TABLE_N, name, 6, good, 1), ERR_PROTOCOL);
    assert_int_equal(import_lie(f.dir, TABLE_SETTING, slice_make(long_key, sizeof long_key), 6, good, 1), ERR_PROTOCOL);
    /* UIDs that were expunged, backwards and from 0. */
    uint8_t expunged[20] = {[15] = 1, [19] = 9};
    assert_int_equal(import_lie(f.dir, TABLE_EXPUNGED, slice_make(expunged, 20), 5, slice_make("\x01\x09\0\0\0", 5), 1),
                     ERR_CORRUPT);
    assert_int_equal(import_lie(f.dir, TABLE_EXPUNGED, slice_make(expunged, 20), 5, slice_make("\x01\x08\0\0\0", 5), 1),
                     ERR_PROTOCOL);
    expunged[19] = 0;
    assert_int_equal(import_lie(f.dir, TABLE_EXPUNGED, slice_make(expunged, 20), 5, slice_make("\x01\x08\0\0\0", 5), 1),
                     ERR_PROTOCOL);
    /* A state of a format that the header does not tell of could not be opened once it has taken our place. */
    struct buf b = {0};
    struct state_record promised = {.format = 1, .time_ms = 1}, other = {.format = 1793, .time_ms = 1},
                        later = {.format = 1, .time_ms = 2};
    struct state_record *states[] = {&promised, &other, &later};
    for (size_t i = 0; i < 3; i++) {
        record_state_write(&b, states[i]);
        assert_int_equal(import_lie(f.dir, TABLE_STATE, slice_str("s"), (uint32_t)buf_len(&b), buf_slice(&b), 1),
                         i == 0 ? ERR_CORRUPT : ERR_PROTOCOL);
        buf_clear(&b);
    }
    buf_close(&b);
    fx_close(&f);
}

static void rename_in(const char *dir, const char *from, const char *to)
{
    char *a = store_files_path(dir, from), *b = store_files_path(dir, to);
    assert_int_equal(rename(a, b), 0);
    mem_free(a);
    mem_free(b);
}

static bool there(const char *dir, const char *name)
{
    struct stat st;
    char *path = store_files_path(dir, name);
    bool is = stat(path, &st) == 0;
    mem_free(path);
    return is;
}

/* The process dies after each step of the swap; opening ends with either the old state or the new one, whole. */
static void test_crash(void **state)
{
    struct fx f, g;
    struct buf stream = {0};
    struct store_position p;
    (void)state;
    fill(&f);
    export_all(&f, 1 << 20, &stream, &p);
    for (int step = 0; step < 4; step++) {
        struct store_import *i;
        struct err_detail e;
        fx_open(&g);
        fx_setting(&g, "other", "1", false);
        assert_int_equal(store_import_begin(g.dir, &i, &e), 0);
        assert_int_equal(store_import_feed(i, buf_slice(&stream), &e), 0);
        if (step > 0)
            assert_int_equal(store_import_finish(i, &p, &e), 0);
        store_close(&g.s);
        if (step > 1)
            rename_in(g.dir, "state", "state.old");
        if (step > 2)
            rename_in(g.dir, "state.incoming", "state");
        fx_reopen(&g);
        assert_int_equal(fx_digest(&g).lo == fx_digest(&f).lo, step > 1);
        assert_false(there(g.dir, "state.old") || there(g.dir, "state.incoming") || there(g.dir, "state/complete"));
        /* The copy's folder is gone or in place; what is left is memory. */
        store_import_abort(&i);
        fx_close(&g);
    }
    buf_close(&stream);
    fx_close(&f);
}

/* No state, and a copy that was never complete beside the old one. */
static void test_crash_old(void **state)
{
    struct fx f;
    (void)state;
    fx_open(&f);
    fx_setting(&f, "kept", "1", false);
    store_close(&f.s);
    rename_in(f.dir, "state", "state.old");
    char *incoming = store_files_path(f.dir, "state.incoming");
    assert_int_equal(mkdir(incoming, 0700), 0);
    mem_free(incoming);
    fx_reopen(&f);
    struct store_view *v;
    struct slice value;
    assert_int_equal(store_view_open(f.s, &v), 0);
    assert_int_equal(store_setting_get(v, slice_str("kept"), &value), 0);
    store_view_close(&v);
    fx_close(&f);
}

/* The power went while the first state was being made: LMDB does not take such a file for one of its own. */
static void test_crash_making(void **state)
{
    struct store_options o = {.map_size = (size_t)1 << 30};
    struct fx f;
    struct err_detail e;
    (void)state;
    fx_open(&f);
    store_close(&f.s);
    rename_in(f.dir, "state", "state.incoming");
    char *path = store_files_path(f.dir, "state.incoming/data.mdb");
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(truncate(path, 8192), 0);
    mem_free(path);
    assert_int_equal(store_open(f.dir, &o, &f.s, &e), 0);
    assert_true(there(f.dir, "state/data.mdb"));
    assert_false(there(f.dir, "state.incoming") || there(f.dir, "state/complete"));
    fx_reopen(&f);
    fx_setting(&f, "kept", "1", false);
    fx_close(&f);
}

/* ---- scrub ---- */

/* Changes one record behind the store's back, with or without keeping the digest right. */
static void tamper(struct fx *f, enum table t, struct slice key, struct slice value, bool digest_too)
{
    struct store *s = f->s;
    assert_int_equal(store_batch_begin(s), 0);
    struct sum128 digest = s->digest;
    if (value.n)
        batch_put(s, t, key, value);
    else
        batch_del(s, t, key);
    if (!digest_too)
        s->digest = digest;
    assert_int_equal(store_batch_commit(s), 0);
}

static void test_scrub(void **state)
{
    (void)state;
    for (int kind = 0; kind < 8; kind++) {
        struct fx f;
        struct key k;
        struct sum128 digest;
        struct buf b = {0};
        uint64_t a = fill(&f), inbox = fx_mailbox(&f, a, "INBOX");
        struct body_hash hash = fx_message(&f, inbox, 1).hash;
        struct uid_range run = {1, 5};
        fx_scrub(&f);
        switch (kind) {
        case 0: /* a value changed on disk */
            record_bytes_write(&b, slice_str("changed"));
            tamper(&f, TABLE_SETTING, slice_str("name"), buf_slice(&b), false);
            break;
        case 1: /* a reference too many */
            record_content_write(&b, 3, 101);
            tamper(&f, TABLE_CONTENT, key_hash(&hash), buf_slice(&b), true);
            break;
        case 2:
            tamper(&f, TABLE_MARK, key_mark(&k, inbox, MARK_UNSEEN, 1), slice_str(""), true);
            break;
        case 3:
            record_empty_write(&b);
            tamper(&f, TABLE_MARK, key_mark(&k, 999, MARK_UNSEEN, 1), buf_slice(&b), true);
            break;
        case 4:
            record_runs_write(&b, &run, 1);
            tamper(&f, TABLE_RUNS, key_uid(&k, inbox, 1), buf_slice(&b), true);
            break;
        case 5:
            tamper(&f, TABLE_MESSAGE, key_uid(&k, inbox, 2), slice_str(""), true);
            break;
        case 6:
            tamper(&f, TABLE_SUMMARY, key_hash(&hash), slice_str(""), true);
            break;
        case 7:
            tamper(&f, TABLE_NAME, key_name(&k, a, slice_str("Trash")), slice_str(""), true);
            break;
        }
        assert_int_equal(store_scrub(f.s, &digest), ERR_CORRUPT);
        buf_close(&b);
        store_close(&f.s);
        merlion__result__free_unpacked(f.result, NULL);
        fx_remove(f.dir);
    }
}

/* A message whose content is gone: the batch fails as a whole, nothing asserts. */
static void test_damaged_apply(void **state)
{
    struct fx f;
    struct buf entry = {0};
    (void)state;
    uint64_t a = fill(&f), inbox = fx_mailbox(&f, a, "INBOX");
    struct body_hash hash = fx_message(&f, inbox, 10).hash;
    tamper(&f, TABLE_CONTENT, key_hash(&hash), slice_str(""), true);
    Merlion__Expunge x = MERLION__EXPUNGE__INIT;
    Merlion__UidRange r = MERLION__UID_RANGE__INIT, *list[] = {&r};
    r.first = r.last = 10;
    x.mailbox = inbox;
    x.uids = list;
    x.n_uids = 1;
    x.even_undeleted = true;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_EXPUNGE;
    c.expunge = &x;
    fx_entry(&f, &c, &entry);
    unsigned results = f.results;
    store_batch_begin(f.s);
    assert_int_equal(store_apply(f.s, f.index + 1, 1, buf_slice(&entry)), ERR_CORRUPT);
    store_batch_abort(f.s);
    assert_int_equal(f.results, results); /* nobody was told that it worked */
    buf_close(&entry);
    store_close(&f.s);
    merlion__result__free_unpacked(f.result, NULL);
    fx_remove(f.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transfer),     cmocka_unit_test(test_empty), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_lies),         cmocka_unit_test(test_crash), cmocka_unit_test(test_crash_old),
        cmocka_unit_test(test_crash_making), cmocka_unit_test(test_scrub), cmocka_unit_test(test_damaged_apply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
