/* The comparison that every measurement relies on must notice a changed, cut or misdelivered message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/message.h"

static const char recipient[] = "u1@example.sg";
static const size_t sizes[] = {MESSAGE_MIN, 4096, MESSAGE_ALONE, MESSAGE_ALONE + 1, 65536, 1 << 20, MESSAGE_MAX};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* load.c has main. */
uint64_t load_random(uint64_t *state)
{
    return *state = *state * 6364136223846793005u + 1442695040888963407u;
}

noreturn void load_fail(const char *format, ...)
{
    fprintf(stderr, "%s\n", format);
    abort();
}

/* A trace header as servers add it, then the message. */
static char *joined(uint64_t seed, size_t size, size_t *length_r)
{
    static const char trace[] = "Received: from bench by node1; Mon, 6 Jan 2025 00:00:00 +0000\r\n";
    struct message m;
    message_make(&m, seed, size, recipient);
    char *all = malloc(sizeof trace + m.length), *at = all;
    assert_non_null(all);
    memcpy(at, trace, sizeof trace - 1);
    at += sizeof trace - 1;
    for (int i = 0; i < m.parts; i++) {
        memcpy(at, m.part[i].bytes, m.part[i].length);
        at += m.part[i].length;
    }
    *length_r = (size_t)(at - all);
    assert_int_equal(*length_r - (sizeof trace - 1), m.length);
    return all;
}

static void test_size(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 200; seed++) {
        struct message m;
        size_t size = sizes[seed % SIZES];
        message_make(&m, seed, size, recipient);
        assert_true(m.length <= size);
        assert_true(m.length > size - 200); /* whole lines */
    }
}

static void test_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        size_t length;
        char *all = joined(7 + i, sizes[i], &length);
        assert_memory_equal(all + length - 2, "\r\n", 2);
        for (size_t k = 0; k < length; k++) {
            if (all[k] == '\n') {
                assert_int_equal(all[k - 1], '\r');
                assert_true(k + 1 == length || all[k + 1] != '.');
            }
        }
        free(all);
    }
}

static void test_match(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        size_t length;
        char *all = joined(99 + i, sizes[i], &length);
        assert_true(message_matches(all, length, recipient));
        assert_false(message_matches(all, length, "u2@example.sg"));
        assert_false(message_matches(all, length - 1, recipient));
        for (size_t k = length - 1; k > length / 2; k -= 1 + length / 50) {
            all[k] ^= 1;
            assert_false(message_matches(all, length, recipient));
            all[k] ^= 1;
        }
        free(all);
    }
    assert_false(message_matches("", 0, recipient));
    assert_false(message_matches("X-Bench: 1 99999999999\r\n\r\n", 26, recipient));
    static const char cut[] = {'X', '-', 'B', 'e', 'n', 'c', 'h', ':', ' ', '1', ' ', '4', '0', '9', '6'};
    assert_false(message_matches(cut, sizeof cut, recipient)); /* no NUL after it */
}

static void test_unique(void **state)
{
    (void)state;
    size_t a_length, b_length;
    char *a = joined(1, 4096, &a_length), *b = joined(2, 4096, &b_length);
    assert_true(a_length != b_length || memcmp(a, b, a_length) != 0);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_size), cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_match), cmocka_unit_test(test_unique)};
    message_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
