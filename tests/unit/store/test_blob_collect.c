/* Freeing space: what is live or leased stays readable, the rest goes. */
#include "tests/unit/store/support_blob.h"

#include <stdlib.h>

enum { BODIES = 400 };

struct refs {
    struct body_hash hash[BODIES];
    bool live[BODIES];
};

static bool is_live(void *arg, const struct body_hash *hash)
{
    struct refs *r = arg;
    for (unsigned i = 0; i < BODIES; i++) {
        if (body_hash_eq(&r->hash[i], hash))
            return r->live[i];
    }
    return false;
}

static struct refs *refs_new(unsigned every)
{
    struct refs *r = mem_zalloc(sizeof *r);
    for (unsigned i = 0; i < BODIES; i++) {
        r->hash[i] = blob_bench_hash(i);
        r->live[i] = i % every == 0;
    }
    return r;
}

static uint64_t collect_all(struct blob_bench *t, struct refs *r)
{
    uint64_t sum = 0, freed;
    while ((freed = blob_collect(t->log, is_live, r)) > 0)
        sum += freed;
    return sum;
}

static void keeps_live_and_leased(void **state)
{
    struct blob_bench *t = *state;
    struct refs *r = refs_new(7);
    struct blob_stats before, after;
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, BODIES), 0);
    assert_int_equal(collect_all(t, r), 0); /* all are leased */
    blob_bench_now += 900;
    assert_int_equal(blob_touch(t->log, &r->hash[1]), 0);
    assert_int_equal(blob_bench_append(t, 2, 3), 0); /* appended again: another lease as well */
    blob_bench_now += 200;
    blob_stats(t->log, &before);
    assert_true(collect_all(t, r) > 0);
    blob_stats(t->log, &after);
    assert_true(after.bytes < before.bytes / 2);
    for (int round = 0; round < 2; round++) {
        unsigned gone = 0;
        for (unsigned i = 0; i < BODIES; i++) {
            int err = blob_bench_check(t, i);
            if (r->live[i] || i == 1 || i == 2)
                assert_int_equal(err, 0);
            else if (err)
                assert_int_equal(err, ERR_NOTFOUND);
            gone += err != 0;
        }
        assert_true(gone > BODIES / 2);
        assert_int_equal(after.bodies, BODIES - gone);
        assert_int_equal(blob_missing_count(t->log), 0);
        blob_close(&t->log);
        blob_bench_open(t);
    }
    mem_free(r);
}

static void dense_segments_stay(void **state)
{
    struct blob_bench *t = *state;
    struct refs *r = refs_new(1);
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, BODIES), 0);
    blob_bench_now += 5000;
    assert_int_equal(collect_all(t, r), 0);
    mem_free(r);
}

/* Moved bodies keep their lease: once it is over and they are not referred to, they go. */
static void moving_gives_no_new_lease(void **state)
{
    struct blob_bench *t = *state;
    struct refs *r = refs_new(7);
    struct blob_stats st;
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, BODIES), 0);
    blob_bench_now += 5000;
    assert_true(collect_all(t, r) > 0);
    for (unsigned i = 0; i < BODIES; i++)
        r->live[i] = false;
    assert_int_equal(blob_bench_append(t, BODIES, BODIES + 60), 0); /* so that the moved ones' segment is full */
    collect_all(t, r);
    blob_stats(t->log, &st);
    assert_true(st.bodies < BODIES / 7 + 60);
    mem_free(r);
}

static void nothing_freed_for_a_lease_after_a_crash(void **state)
{
    struct blob_bench *t = *state;
    struct refs *r = refs_new(7);
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, BODIES), 0);
    blob_bench_now += 5000;
    blob_bench_mark(t);
    assert_int_equal(blob_touch(t->log, &r->hash[3]), 0); /* lost by the crash */
    blob_bench_crash(t);
    blob_bench_open(t);
    assert_int_equal(collect_all(t, r), 0);
    blob_close(&t->log); /* and it stays so over a clean restart */
    blob_bench_open(t);
    assert_int_equal(collect_all(t, r), 0);
    assert_int_equal(blob_bench_check(t, 3), 0);
    blob_bench_now += 1001;
    assert_true(collect_all(t, r) > 0);
    mem_free(r);
}

/* Damage in a segment that is being freed: payload, and a header that hides the record from the walk. */
static void damaged_live_bodies_become_missing(void **state)
{
    struct blob_bench *t = *state;
    struct refs *r = refs_new(7);
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, BODIES), 0);
    struct blob_place payload = blob_bench_place(t, 7), header = blob_bench_place(t, 14),
                      dead = blob_bench_place(t, 15);
    blob_bench_flip(t, payload.segment, payload.offset + RECORD_HEADER_SIZE);
    blob_bench_flip(t, header.segment, header.offset + 45);
    blob_bench_flip(t, dead.segment, dead.offset + 45);
    blob_bench_now += 5000;
    assert_true(collect_all(t, r) > 0);
    assert_int_equal(blob_missing_count(t->log), 2);
    assert_int_equal(blob_bench_check(t, 7), ERR_NOTFOUND);
    assert_int_equal(blob_bench_check(t, 14), ERR_NOTFOUND);
    for (unsigned i = 21; i < BODIES; i += 7)
        assert_int_equal(blob_bench_check(t, i), 0);
    assert_int_equal(blob_bench_append(t, 7, 8), 0);
    assert_int_equal(blob_bench_append(t, 14, 15), 0);
    assert_int_equal(blob_missing_count(t->log), 0);
    mem_free(r);
}

/* A full disk refuses mail but not the moves that make room. */
static void collects_below_the_reserve(void **state)
{
    struct blob_bench *t = *state;
    struct refs *r = refs_new(7);
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, BODIES), 0);
    blob_bench_now += 5000;
    t->log->o.reserve_bytes = (uint64_t)1 << 60;
    assert_int_equal(blob_bench_append(t, 1000, 1001), ERR_NOSPACE);
    assert_true(collect_all(t, r) > 0);
    for (unsigned i = 0; i < BODIES; i += 7)
        assert_int_equal(blob_bench_check(t, i), 0);
    mem_free(r);
}

/* Random appends, touches, references, reopenings, crashes and collections against a model. */
static void property(void **state)
{
    struct blob_bench *t = *state;
    struct refs *r = refs_new(BODIES);
    int64_t lease[BODIES] = {0};
    r->live[0] = false;
    unsigned seed = 20240607;
    blob_bench_open(t);
    blob_bench_mark(t);
    for (unsigned step = 0; step < 400; step++) {
        unsigned i = (unsigned)rand_r(&seed) % (BODIES - 16), what = (unsigned)rand_r(&seed) % 100;
        blob_bench_now += 20;
        if (what < 40) {
            unsigned to = i + 1 + (unsigned)rand_r(&seed) % 16;
            assert_int_equal(blob_bench_append(t, i, to), 0);
            for (; i < to; i++)
                lease[i] = blob_bench_now + 1000;
        } else if (what < 60) {
            if (blob_touch(t->log, &r->hash[i]) == 0) {
                lease[i] = blob_bench_now + 1000;
                r->live[i] = true;
            }
        } else if (what < 80) {
            r->live[i] = false;
        } else if (what < 95) {
            blob_collect(t->log, is_live, r);
        } else if (what < 97) {
            blob_close(&t->log);
            blob_bench_open(t);
            blob_bench_mark(t);
        } else {
            blob_bench_mark(t);
            assert_int_equal(blob_bench_append(t, i, i + 1), 0);
            lease[i] = blob_bench_now + 1000;
            blob_bench_crash(t);
            blob_bench_open(t);
            blob_bench_mark(t);
        }
        if (step % 10 == 0)
            for (unsigned k = 0; k < BODIES; k++) {
                int err = blob_bench_check(t, k);
                assert_true(err == 0 || err == ERR_NOTFOUND);
                if (lease[k] > blob_bench_now || (r->live[k] && lease[k]))
                    assert_int_equal(err, 0);
            }
        assert_int_equal(blob_missing_count(t->log), 0);
    }
    mem_free(r);
}

#define ON_BENCH(f) cmocka_unit_test_setup_teardown(f, blob_bench_setup, blob_bench_teardown)

int main(void)
{
    log_set_level(LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        ON_BENCH(keeps_live_and_leased),
        ON_BENCH(dense_segments_stay),
        ON_BENCH(moving_gives_no_new_lease),
        ON_BENCH(nothing_freed_for_a_lease_after_a_crash),
        ON_BENCH(damaged_live_bodies_become_missing),
        ON_BENCH(collects_below_the_reserve),
        ON_BENCH(property),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
