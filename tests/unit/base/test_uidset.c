/* uid_set against a plain array of booleans, over seeded random operations. */
#include "node/base/uidset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { UIDS = 64, ROUNDS = 20000 };

static void check(const struct uid_set *s, const bool *model)
{
    uint64_t rank = 0;
    for (uint32_t uid = 1; uid < UIDS; uid++) {
        assert_int_equal(uid_set_has(s, uid), model[uid]);
        rank += model[uid];
        assert_int_equal(uid_set_rank(s, uid), rank);
        if (model[uid])
            assert_int_equal(uid_set_at(s, rank), uid);
    }
    assert_int_equal(uid_set_count(s), rank);
    assert_int_equal(uid_set_at(s, rank + 1), 0);
    for (size_t i = 0; i < s->n; i++) {
        assert_true(s->ranges[i].first <= s->ranges[i].last);
        if (i)
            assert_true(s->ranges[i].first > s->ranges[i - 1].last + 1);
    }
}

static void test_random(void **state)
{
    (void)state;
    unsigned seed = 1;
    struct uid_set s = {0};
    bool model[UIDS] = {false};
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t a = 1 + (uint32_t)rand_r(&seed) % (UIDS - 1), b = a + (uint32_t)rand_r(&seed) % 6;
        b = b < UIDS ? b : UIDS - 1;
        bool add = rand_r(&seed) % 2;
        if (add)
            uid_set_add(&s, a, b);
        else
            uid_set_remove(&s, a, b);
        for (uint32_t uid = a; uid <= b; uid++)
            model[uid] = add;
        check(&s, model);
    }
    struct uid_set copy = {0};
    uid_set_copy(&copy, &s);
    check(&copy, model);
    uid_set_close(&copy);
    uid_set_close(&s);
}

static void test_subtract(void **state)
{
    (void)state;
    unsigned seed = 2;
    for (int round = 0; round < ROUNDS; round++) {
        struct uid_set s = {0}, what = {0};
        bool model[UIDS] = {false};
        for (int i = rand_r(&seed) % 10; i > 0; i--) {
            uint32_t a = 1 + (uint32_t)rand_r(&seed) % (UIDS - 1), b = a + (uint32_t)rand_r(&seed) % 12;
            b = b < UIDS ? b : UIDS - 1;
            uid_set_add(&s, a, b);
        }
        for (int i = rand_r(&seed) % 10; i > 0; i--) {
            uint32_t a = 1 + (uint32_t)rand_r(&seed) % (UIDS - 1), b = a + (uint32_t)rand_r(&seed) % 6;
            uid_set_add(&what, a, b);
        }
        for (uint32_t uid = 1; uid < UIDS; uid++)
            model[uid] = uid_set_has(&s, uid) && !uid_set_has(&what, uid);
        uid_set_subtract(&s, &what);
        check(&s, model);
        uid_set_close(&s);
        uid_set_close(&what);
    }
    struct uid_set all = {0}, end = {0};
    uid_set_add(&all, 1, UINT32_MAX);
    uid_set_add(&end, UINT32_MAX, UINT32_MAX);
    uid_set_subtract(&all, &end);
    assert_true(all.n == 1 && all.ranges[0].last == UINT32_MAX - 1);
    uid_set_subtract(&all, &all);
    assert_int_equal(all.n, 0);
    uid_set_close(&all);
    uid_set_close(&end);
}

static void test_add_many(void **state)
{
    (void)state;
    unsigned seed = 3;
    for (int round = 0; round < ROUNDS; round++) {
        struct uid_set s = {0};
        struct uid_range many[12];
        bool model[UIDS] = {false};
        size_t n = (size_t)rand_r(&seed) % 12;
        for (size_t i = 0; i < n + 4; i++) {
            uint32_t a = 1 + (uint32_t)rand_r(&seed) % (UIDS - 1), b = a + (uint32_t)rand_r(&seed) % 6;
            b = b < UIDS ? b : UIDS - 1;
            for (uint32_t uid = a; uid <= b; uid++)
                model[uid] = true;
            if (i < n)
                many[i] = (struct uid_range){a, b};
            else
                uid_set_add(&s, a, b);
        }
        uid_set_add_many(&s, many, n);
        check(&s, model);
        uid_set_close(&s);
    }
}

static void test_edges(void **state)
{
    (void)state;
    struct uid_set s = {0};
    uid_set_add(&s, UINT32_MAX - 1, UINT32_MAX);
    uid_set_add(&s, 1, 1);
    uid_set_add(&s, 2, UINT32_MAX - 2);
    assert_int_equal(s.n, 1);
    assert_int_equal(uid_set_count(&s), UINT32_MAX);
    uid_set_remove(&s, UINT32_MAX, UINT32_MAX);
    assert_int_equal(s.ranges[0].last, UINT32_MAX - 1);
    uid_set_remove(&s, 1, UINT32_MAX);
    assert_int_equal(s.n, 0);
    uid_set_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_subtract),
                                       cmocka_unit_test(test_add_many), cmocka_unit_test(test_edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
