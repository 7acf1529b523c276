/* Slices, buffers, readers, arenas, tasks, hashes, error names. */
#include "node/base/buf.h"
#include "node/base/err.h"
#include "node/base/hash.h"
#include "node/base/mem.h"
#include "node/base/task.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t max, value;
        int status;
    } rows[] = {
        {"0", 9, 0, 0},
        {"007", 9, 7, 0},
        {"10", 9, 0, ERR_INVALID},
        {"4294967295", UINT32_MAX, UINT32_MAX, 0},
        {"4294967296", UINT32_MAX, 0, ERR_INVALID},
        {"18446744073709551615", UINT64_MAX, UINT64_MAX, 0},
        {"18446744073709551616", UINT64_MAX, 0, ERR_INVALID},
        {"99999999999999999999999", UINT64_MAX, 0, ERR_INVALID},
        {"", 9, 0, ERR_INVALID},
        {"-1", 9, 0, ERR_INVALID},
        {"1 ", 9, 0, ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t v = 0;
        assert_int_equal(slice_u64(slice_str(rows[i].text), rows[i].max, &v), rows[i].status);
        if (rows[i].status == 0)
            assert_true(v == rows[i].value);
    }
}

static void test_buf_moves(void **state)
{
    (void)state;
    struct buf b = {0};
    size_t in = 0, out = 0;
    unsigned seed = 7;
    while (in < 200000) {
        size_t n = (size_t)rand_r(&seed) % 700;
        for (size_t i = 0; i < n; i++)
            buf_append_byte(&b, (uint8_t)(in++ % 251));
        size_t take = buf_len(&b) ? (size_t)rand_r(&seed) % (buf_len(&b) + 1) : 0;
        for (size_t i = 0; i < take; i++)
            assert_int_equal(buf_slice(&b).p[i], out++ % 251);
        buf_consume(&b, take);
    }
    assert_int_equal(in - out, buf_len(&b));
    assert_true(b.cap <= 512 * 1024);
    buf_close(&b);
    assert_non_null(buf_reserve(&b, 0));
    buf_commit(&b, 0);
    assert_true(buf_slice(&b).n == 0);
    buf_close(&b);
}

static void test_reader(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_put_u8(&b, 1);
    buf_put_u16(&b, 0x0203);
    buf_put_u32(&b, 0x04050607);
    buf_put_u64(&b, 0x08090a0b0c0d0e0f);
    buf_put_bytes(&b, SLICE_LITERAL("abc"));
    static const uint8_t golden[] = {1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8, 3, 0, 0, 0, 'a', 'b', 'c'};
    assert_true(slice_eq(buf_slice(&b), slice_make(golden, sizeof golden)));
    for (size_t cut = 0; cut <= sizeof golden; cut++) {
        struct reader r = {slice_make(golden, cut), false};
        read_u8(&r);
        read_u16(&r);
        read_u32(&r);
        uint64_t v = read_u64(&r);
        struct slice s = read_bytes(&r, 3);
        assert_int_equal(r.failed, cut < sizeof golden);
        if (!r.failed) {
            assert_true(v == 0x08090a0b0c0d0e0f);
            assert_true(slice_eq(s, SLICE_LITERAL("abc")));
        }
    }
    struct reader limited = {slice_make(golden + 15, sizeof golden - 15), false};
    read_bytes(&limited, 2);
    assert_true(limited.failed);
    buf_close(&b);
}

static void test_arena(void **state)
{
    (void)state;
    struct arena a = {0};
    for (size_t n = 0; n < 10000; n += 97) {
        uint8_t *p = arena_alloc(&a, n);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    arena_reset(&a);
    assert_string_equal(arena_str(&a, SLICE_LITERAL("text")), "text");
    arena_close(&a);
}

enum { POSTERS = 4, TASKS = 5000 };
struct counted {
    struct task task;
    unsigned poster, number;
};
static unsigned seen[POSTERS];
static struct task_queue queue;
static _Atomic unsigned wakes;

static void counted_run(struct task *t)
{
    struct counted *c = container_of(t, struct counted, task);
    if (seen[c->poster] != c->number) /* in order of posting */
        abort();
    seen[c->poster]++;
    free(c);
}

static void *poster_run(void *arg)
{
    for (unsigned i = 0; i < TASKS; i++) {
        struct counted *c = calloc(1, sizeof *c);
        c->task.run = counted_run;
        c->poster = (unsigned)(uintptr_t)arg;
        c->number = i;
        task_post(&queue, &c->task);
    }
    return NULL;
}

static void wake(void *arg)
{
    (void)arg;
    atomic_fetch_add(&wakes, 1);
}

static void test_tasks(void **state)
{
    (void)state;
    pthread_t posters[POSTERS];
    task_queue_init(&queue, wake, NULL);
    for (unsigned i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&posters[i], NULL, poster_run, (void *)(uintptr_t)i), 0);
    unsigned total = 0;
    while (total < POSTERS * TASKS) {
        task_queue_run(&queue);
        total = 0;
        for (unsigned i = 0; i < POSTERS; i++)
            total += seen[i];
    }
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(posters[i], NULL);
    assert_true(atomic_load(&wakes) > 0);
    assert_false(task_queue_run(&queue));
}

static void test_names(void **state)
{
    (void)state;
    char hex[2 * BODY_HASH_SIZE + 1];
    struct body_hash h = body_hash_of(SLICE_LITERAL("abc")); /* FIPS 180-2, B.1 */
    hex_encode(slice_make(h.b, BODY_HASH_SIZE), hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    uint8_t back[BODY_HASH_SIZE];
    assert_int_equal(hex_decode(slice_str(hex), back, sizeof back), 0);
    assert_memory_equal(back, h.b, sizeof back);
    assert_int_equal(hex_decode(SLICE_LITERAL("0g"), back, 1), ERR_INVALID);
    assert_string_equal(err_name(ERR_NOTLEADER), "notleader");
    assert_string_equal(err_name(0), "ok");
    assert_string_equal(err_name(-999), "unknown");
    assert_int_equal(err_from_errno(ENOSPC), ERR_NOSPACE);
}

static void test_slices(void **state)
{
    (void)state;
    assert_true(slice_ieq(SLICE_LITERAL("InBox"), SLICE_LITERAL("INBOX")));
    assert_false(slice_ieq(SLICE_LITERAL("["), SLICE_LITERAL("{"))); /* differ in the case bit alone */
    assert_true(slice_istarts(SLICE_LITERAL("UID FETCH"), SLICE_LITERAL("uid ")));
    assert_true(slice_cmp(SLICE_LITERAL("a"), SLICE_LITERAL("ab")) < 0);
    assert_true(slice_cmp(SLICE_LITERAL("\xff"), SLICE_LITERAL("a")) > 0);
    assert_true(slice_eq(slice_trim(SLICE_LITERAL(" \t x y \t")), SLICE_LITERAL("x y")));
    assert_int_equal(slice_trim(SLICE_LITERAL("  ")).n, 0);
}

/* With no memory left at all, the end needs none: a line is written, and the process is gone. */
static void test_memory_lacks(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they need address space without limit */
#endif
    int out[2], status;
    char said[512] = "";
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(out[1], STDERR_FILENO);
        setrlimit(RLIMIT_AS, &(struct rlimit){64 << 20, 64 << 20});
        for (size_t n = 1 << 20; n >= 8; n /= 2)
            while (malloc(n))
                continue;
        mem_alloc(24);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(read(out[0], said, sizeof said - 1) > 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 70);
    assert_non_null(strstr(said, "event=\"out of memory\" octets=24\n"));
    close(out[0]);
    close(out[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_buf_moves),    cmocka_unit_test(test_reader),
        cmocka_unit_test(test_arena),   cmocka_unit_test(test_tasks),        cmocka_unit_test(test_names),
        cmocka_unit_test(test_slices),  cmocka_unit_test(test_memory_lacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
