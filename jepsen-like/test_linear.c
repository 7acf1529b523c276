/* The checker against histories that are known to be good or bad, and against all orders tried by hand. */
#include "jepsen-like/linear.h"
#include "jepsen-like/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { STATES = 1 << 20, LONG = 400 };
#define R(start, end, a)                                                                                               \
    {                                                                                                                  \
        start, end, LINEAR_READ, a, 0                                                                                  \
    }
#define W(start, end, a)                                                                                               \
    {                                                                                                                  \
        start, end, LINEAR_WRITE, a, 0                                                                                 \
    }
#define C(start, end, a, b)                                                                                            \
    {                                                                                                                  \
        start, end, LINEAR_CAS, a, b                                                                                   \
    }
#define F(start, end, a)                                                                                               \
    {                                                                                                                  \
        start, end, LINEAR_CAS_FAIL, a, 0                                                                              \
    }
#define NEVER LINEAR_NEVER

static const struct {
    const char *name;
    enum linear_result expected;
    struct linear_op ops[6];
} cases[] = {
    {"nothing", LINEAR_YES, {{0}}},
    {"read of the initial value", LINEAR_YES, {R(1, 2, 0)}},
    {"read of a value never written", LINEAR_NO, {R(1, 2, 7)}},
    {"write, then read", LINEAR_YES, {W(1, 2, 5), R(3, 4, 5)}},
    {"stale read", LINEAR_NO, {W(1, 2, 5), R(3, 4, 0)}},
    {"read during the write sees either", LINEAR_YES, {W(1, 9, 5), R(2, 3, 0), R(4, 5, 5)}},
    {"new, then old again", LINEAR_NO, {W(1, 9, 5), R(2, 3, 5), R(4, 5, 0)}},
    {"read before the write", LINEAR_NO, {R(1, 2, 5), W(3, 4, 5)}},
    {"an unknown write may be late", LINEAR_YES, {W(1, NEVER, 5), R(2, 3, 0), R(50, 60, 5)}},
    {"an unknown write may be none", LINEAR_YES, {W(1, NEVER, 5), R(2, 3, 0), R(50, 60, 0)}},
    {"an unknown write happens once", LINEAR_NO, {W(1, NEVER, 5), R(2, 3, 5), W(4, 5, 6), R(6, 7, 6), R(8, 9, 5)}},
    {"no unknown write before its start", LINEAR_NO, {R(1, 2, 5), W(3, NEVER, 5)}},
    {"compare-and-set of the value", LINEAR_YES, {W(1, 2, 5), C(3, 4, 5, 6), R(5, 6, 6)}},
    {"compare-and-set of an old value", LINEAR_NO, {W(1, 2, 5), W(3, 4, 6), C(5, 6, 5, 7)}},
    {"both of two win", LINEAR_NO, {W(1, 2, 5), C(3, 8, 5, 6), C(4, 7, 5, 9)}},
    {"one of two wins", LINEAR_YES, {W(1, 2, 5), C(3, 8, 5, 6), F(4, 7, 5)}},
    {"refused though it matched", LINEAR_NO, {W(1, 2, 5), F(3, 4, 5)}},
    {"an unknown one explains a refusal", LINEAR_YES, {W(1, 2, 5), C(3, NEVER, 5, 6), F(4, 7, 5), R(8, 9, 6)}},
    {"lost update", LINEAR_NO, {W(1, 2, 5), W(3, 4, 6), R(5, 6, 6), R(7, 8, 5)}},
    {"overlap in one instant", LINEAR_YES, {W(1, 2, 5), R(2, 3, 0)}},
};

static size_t count(const struct linear_op *ops)
{
    size_t n = 0;
    while (n < 6 && ops[n].start)
        n++;
    return n;
}

static void known_histories(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (linear_check(cases[i].ops, count(cases[i].ops), 0, STATES) != cases[i].expected)
            fail_msg("%s", cases[i].name);
}

/* ---- against a search that just tries every order ---- */

static int64_t apply(const struct linear_op *op, int64_t value, bool *ok_r)
{
    *ok_r = op->kind == LINEAR_WRITE || (value == op->a) == (op->kind != LINEAR_CAS_FAIL);
    return op->kind == LINEAR_WRITE ? op->a : op->kind == LINEAR_CAS ? op->b : value;
}

static bool any_order(const struct linear_op *ops, size_t n, unsigned done, int64_t value)
{
    bool complete = true;
    uint64_t first_end = LINEAR_NEVER;
    for (size_t i = 0; i < n; i++)
        if (!(done >> i & 1)) {
            complete = complete && ops[i].end == LINEAR_NEVER;
            first_end = ops[i].end < first_end ? ops[i].end : first_end;
        }
    if (complete)
        return true;
    for (size_t i = 0; i < n; i++) {
        bool ok;
        if ((done >> i & 1) || ops[i].start > first_end)
            continue;
        int64_t next = apply(&ops[i], value, &ok);
        if (ok && any_order(ops, n, done | 1u << i, next))
            return true;
    }
    return false;
}

static void random_histories(void **state)
{
    struct rng r = {42};
    unsigned results[2] = {0, 0};
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        struct linear_op ops[7];
        size_t n = 1 + rng_below(&r, 7);
        for (size_t i = 0; i < n; i++) {
            uint64_t start = 1 + rng_below(&r, 20);
            ops[i] = (struct linear_op){start, start + rng_below(&r, 8), (enum linear_kind)rng_below(&r, 4),
                                        rng_below(&r, 3), rng_below(&r, 3)};
            if ((ops[i].kind == LINEAR_WRITE || ops[i].kind == LINEAR_CAS) && rng_below(&r, 5) == 0)
                ops[i].end = LINEAR_NEVER;
        }
        bool expected = any_order(ops, n, 0, 0);
        results[expected]++;
        assert_int_equal(linear_check(ops, n, 0, STATES), expected ? LINEAR_YES : LINEAR_NO);
    }
    assert_true(results[0] > 1000 && results[1] > 1000);
}

/* Clients that really share a register, with calls of unknown outcome among them: long, and good. */
static size_t history_make(struct linear_op *ops, size_t n, struct rng *r)
{
    int64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t at = 1000 + i * 10, before = rng_below(r, 60), after = rng_below(r, 60);
        enum linear_kind kind = (enum linear_kind)rng_below(r, 3);
        ops[i] = (struct linear_op){at - before, at + after, kind, value, 0};
        if (kind == LINEAR_WRITE)
            ops[i].a = value = (int64_t)i + 1;
        if (kind == LINEAR_CAS)
            ops[i].b = value = (int64_t)i + 1;
        if (kind != LINEAR_READ && rng_below(r, 60) == 0)
            ops[i].end = LINEAR_NEVER;
    }
    return n;
}

static void long_histories(void **state)
{
    struct rng r = {7};
    struct linear_op *ops = xzalloc(LONG * sizeof *ops);
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        size_t n = history_make(ops, LONG, &r);
        assert_int_equal(linear_check(ops, n, 0, STATES), LINEAR_YES);
        ops[LONG / 2] =
            (struct linear_op){ops[LONG / 2].start, ops[LONG / 2].end, LINEAR_READ, 123456, 0}; /* never written */
        assert_int_equal(linear_check(ops, n, 0, STATES), LINEAR_NO);
    }
    free(ops);
}

static void too_much_is_unknown(void **state)
{
    struct linear_op ops[40];
    (void)state;
    for (unsigned i = 0; i < 39; i++)
        ops[i] = (struct linear_op){1, 100, LINEAR_WRITE, i, 0};
    ops[39] = (struct linear_op){50, 100, LINEAR_READ, 77, 0};
    assert_int_equal(linear_check(ops, 40, 0, 1000), LINEAR_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_histories),
        cmocka_unit_test(random_histories),
        cmocka_unit_test(long_histories),
        cmocka_unit_test(too_much_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
