/* Many appenders, readers, a collector and stats at the same time; run under the thread sanitizer too. Tells the speed.
 */
#include "tests/unit/store/support_blob.h"

#include "node/base/clock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { WRITERS = 3, READERS = 3, EACH = 300, OUTSTANDING = 64 };

struct crew {
    struct blob_bench *t;
    unsigned number;
    _Atomic unsigned *acknowledged; /* bodies of a writer that are answered, by writer */
    _Atomic bool *stop;
};

static bool is_live(void *arg, const struct body_hash *hash)
{
    (void)arg;
    return hash->b[0] % 2;
}

static unsigned body_number(unsigned writer, unsigned i)
{
    return writer * 10000 + i;
}

static void *write_bodies(void *arg)
{
    struct crew *c = arg;
    struct blob_bench *mine; /* a home queue of its own on the same log */
    void *state;
    blob_bench_setup(&state);
    mine = state;
    mine->log = c->t->log;
    for (unsigned i = 0; i < EACH; i += 5) {
        assert_int_equal(blob_bench_append(mine, body_number(c->number, i), body_number(c->number, i + 5)), 0);
        atomic_store(&c->acknowledged[c->number], i + 5);
        struct body_hash hash = blob_bench_hash(900000 + body_number(c->number, i));
        blob_missing_add(c->t->log, &hash);
    }
    mine->log = NULL;
    blob_bench_teardown(&state);
    return NULL;
}

static void *read_bodies(void *arg)
{
    struct crew *c = arg;
    unsigned seed = c->number + 1;
    while (!atomic_load(c->stop)) {
        unsigned w = (unsigned)rand_r(&seed) % WRITERS, n = atomic_load(&c->acknowledged[w]);
        if (!n)
            continue;
        unsigned number = body_number(w, (unsigned)rand_r(&seed) % n);
        struct body_hash hash = blob_bench_hash(number);
        int err = blob_bench_check(c->t, number);
        assert_true(err == 0 || (err == ERR_NOTFOUND && !is_live(NULL, &hash)));
        if (number % 16 == 0)
            (void)blob_touch(c->t->log, &hash);
    }
    return NULL;
}

static void *collect(void *arg)
{
    struct crew *c = arg;
    struct blob_stats st;
    struct body_hash list[16];
    while (!atomic_load(c->stop)) {
        __atomic_add_fetch(&blob_bench_now, 300, __ATOMIC_RELAXED);
        blob_collect(c->t->log, is_live, NULL);
        blob_stats(c->t->log, &st);
        blob_missing_list(c->t->log, NULL, list, 16);
        assert_int_equal(blob_index_flush(c->t->log), 0);
        usleep(2000);
    }
    return NULL;
}

static void all_at_once(void **state)
{
    struct blob_bench *t = *state;
    _Atomic unsigned acknowledged[WRITERS] = {0};
    _Atomic bool stop = false;
    pthread_t thread[WRITERS + READERS + 1];
    struct crew crew[WRITERS + READERS + 1];
    struct blob_stats st;
    blob_bench_open(t);
    for (unsigned i = 0; i < WRITERS + READERS + 1; i++) {
        crew[i] = (struct crew){t, i, acknowledged, &stop};
        assert_int_equal(pthread_create(&thread[i], NULL,
                                        i < WRITERS             ? write_bodies
                                        : i < WRITERS + READERS ? read_bodies
                                                                : collect,
                                        &crew[i]),
                         0);
    }
    for (unsigned i = 0; i < WRITERS + READERS + 1; i++) {
        if (i == WRITERS)
            atomic_store(&stop, true);
        pthread_join(thread[i], NULL);
    }
    blob_stats(t->log, &st);
    assert_int_equal(st.corrupt, 0);
    assert_int_equal(blob_missing_count(t->log), WRITERS * EACH / 5);
    for (unsigned w = 0; w < WRITERS; w++)
        for (unsigned i = 0; i < EACH; i++) {
            struct body_hash hash = blob_bench_hash(body_number(w, i));
            if (is_live(NULL, &hash))
                assert_int_equal(blob_bench_check(t, body_number(w, i)), 0);
        }
}

/* 64 bodies of 4 KB outstanding at any time. */
struct flow {
    struct blob_append append;
    struct blob_log *log;
    unsigned *left, *flying;
    uint64_t *made;
};

static void flow_next(struct flow *f)
{
    struct bytes *body = bytes_new(4096);
    memset(body->p, 'm', body->n);
    uint64_t x = ++*f->made;
    for (size_t i = 0; i < body->n; i += 8) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        memcpy(body->p + i, &x, 8);
    }
    struct body_hash hash = body_hash_of(bytes_slice(body));
    f->append.record = blob_encode(&hash, bytes_slice(body));
    bytes_unref(&body);
    --*f->left;
    ++*f->flying;
    blob_append(f->log, &f->append);
}

static void flow_done(struct task *task)
{
    struct flow *f = container_of(task, struct flow, append.task);
    assert_int_equal(f->append.status, 0);
    bytes_unref(&f->append.record);
    --*f->flying;
    if (*f->left)
        flow_next(f);
}

static void many_share_a_sync(void **state)
{
    struct blob_bench *t = *state;
    const char *count = getenv("BLOB_TEST_APPENDS");
    unsigned total = count ? (unsigned)atoi(count) : 2000, left = total, flying = 0;
    uint64_t made = 0;
    t->o.segment_bytes = 0;
    blob_bench_open(t);
    struct flow flow[OUTSTANDING];
    int64_t from = clock_steady_us();
    for (unsigned i = 0; i < OUTSTANDING; i++) {
        flow[i] = (struct flow){{.task.run = flow_done, .home = &t->home}, t->log, &left, &flying, &made};
        flow_next(&flow[i]);
    }
    while (flying) {
        pthread_mutex_lock(&t->lock);
        while (!t->woke)
            pthread_cond_wait(&t->woken, &t->lock);
        t->woke = false;
        pthread_mutex_unlock(&t->lock);
        task_queue_run(&t->home);
    }
    int64_t us = clock_steady_us() - from;
    struct blob_stats st;
    blob_stats(t->log, &st);
    print_message("%u appends of 4 KB in %lld ms: %.0f/s, %llu syncs\n", total, (long long)us / 1000,
                  total * 1e6 / (double)us, (unsigned long long)st.syncs);
    assert_int_equal(st.appends, total);
    assert_true(st.syncs < total / 4);
}

#define ON_BENCH(f) cmocka_unit_test_setup_teardown(f, blob_bench_setup, blob_bench_teardown)

int main(void)
{
    log_set_level(LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {ON_BENCH(all_at_once), ON_BENCH(many_share_a_sync)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
