#include "support_state.h"

#include <pthread.h>

/* Views on several threads while batches commit and a copy is swapped in: each view is consistent in itself. */

enum { READERS = 3, ROUNDS = 150 };

struct readers {
    struct fx *f;
    uint64_t mailbox;
    _Atomic bool stop;
    _Atomic unsigned reads, broken;
};

static bool count(void *arg, const struct store_message *m)
{
    (void)m;
    ++*(uint64_t *)arg;
    return true;
}

static void *reader(void *arg)
{
    struct readers *r = arg;
    uint64_t last_modseq = 0;
    while (!r->stop) {
        struct store_view *v;
        struct store_mailbox m;
        struct uid_set uids = {0};
        uint64_t messages = 0;
        if (store_view_open(r->f->s, &v) || store_mailbox_get(v, r->mailbox, &m)) {
            r->broken++;
            return NULL;
        }
        store_uids(v, r->mailbox, &uids);
        store_message_each(v, r->mailbox, 1, UINT32_MAX, count, &messages);
        r->broken += messages != m.exists || uid_set_count(&uids) != m.exists || m.highest_modseq < last_modseq ||
                     m.highest_modseq > store_view_index(v) * 4096 + 4095;
        last_modseq = m.highest_modseq;
        uid_set_close(&uids);
        store_view_close(&v);
        r->reads++;
    }
    return NULL;
}

static void swap(struct fx *f)
{
    struct store_export *x;
    struct store_import *i;
    struct store_position p;
    struct err_detail e;
    struct buf all = {0};
    uint64_t total;
    bool done;
    assert_int_equal(store_export_begin(f->s, &x, &p, &total), 0);
    assert_int_equal(store_export_next(x, SIZE_MAX, &all, &done), 0);
    store_export_end(&x);
    assert_int_equal(store_import_begin(f->dir, &i, &e), 0);
    assert_int_equal(store_import_feed(i, buf_slice(&all), &e), 0);
    assert_int_equal(store_import_finish(i, &p, &e), 0);
    assert_int_equal(store_import_swap(f->s, &i, &e), 0);
    buf_close(&all);
}

static void test_threads(void **state)
{
    struct fx f;
    pthread_t threads[READERS];
    (void)state;
    fx_open(&f);
    fx_domain(&f, "x.org", NULL);
    uint64_t a = fx_user(&f, "a@x.org", 0);
    struct readers r = {.f = &f, .mailbox = fx_mailbox(&f, a, "INBOX")};
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &r), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        char uids[32];
        assert_int_equal(fx_append(&f, r.mailbox, i, 3, 0, NULL), 0);
        snprintf(uids, sizeof uids, "%u:%u", i, 2 * i + 1);
        if (i)
            assert_int_equal(fx_expunge(&f, r.mailbox, uids, i % 7 == 0), 0);
        if (i % 50 == 25)
            swap(&f);
    }
    r.stop = true;
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(r.broken, 0);
    assert_true(r.reads > READERS);
    fx_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
