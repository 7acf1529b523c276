#include "node/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>

static double answer(void *arg)
{
    return *(double *)arg;
}

static void exposition(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    double temperature = -1.5, whole = 3e9;
    struct counter *b = metrics_counter(m, "b_total", "Second.", "protocol=\"imap\"");
    struct counter *b2 = metrics_counter(m, "b_total", "Second.", "protocol=\"pop3\"");
    metrics_gauge(m, "a_value", "First,\nwith \\ in it.", NULL, answer, &temperature);
    metrics_counter_read(m, "d_total", "Fourth.", "", answer, &whole);
    const double bounds[] = {0.5, 1};
    struct histogram *h = metrics_histogram(m, "c_seconds", "Third.", "op=\"x\"", bounds, 2);
    assert_ptr_equal(metrics_counter(m, "b_total", "Second.", "protocol=\"imap\""), b);
    assert_ptr_equal(metrics_histogram(m, "c_seconds", "Third.", "op=\"x\"", bounds, 2), h);
    counter_add(b, 2);
    counter_add(b2, 18446744073709551615U);
    histogram_observe(h, 0.5); /* a bound belongs to its bucket */
    histogram_observe(h, 0.75);
    histogram_observe(h, 100);
    struct buf out = {0};
    metrics_write(m, &out);
    buf_append_byte(&out, 0);
    assert_string_equal((const char *)buf_slice(&out).p, "# HELP a_value First,\\nwith \\\\ in it.\n"
                                                         "# TYPE a_value gauge\n"
                                                         "a_value -1.5\n"
                                                         "# HELP b_total Second.\n"
                                                         "# TYPE b_total counter\n"
                                                         "b_total{protocol=\"imap\"} 2\n"
                                                         "b_total{protocol=\"pop3\"} 18446744073709551615\n"
                                                         "# HELP c_seconds Third.\n"
                                                         "# TYPE c_seconds histogram\n"
                                                         "c_seconds_bucket{op=\"x\",le=\"0.5\"} 1\n"
                                                         "c_seconds_bucket{op=\"x\",le=\"1\"} 2\n"
                                                         "c_seconds_bucket{op=\"x\",le=\"+Inf\"} 3\n"
                                                         "c_seconds_sum{op=\"x\"} 101.25\n"
                                                         "c_seconds_count{op=\"x\"} 3\n"
                                                         "# HELP d_total Fourth.\n"
                                                         "# TYPE d_total counter\n"
                                                         "d_total 3000000000\n");
    buf_close(&out);
    metrics_free(&m);
    assert_null(m);
}

enum { ROUNDS = 20000 };

static void *count(void *arg)
{
    struct metrics *m = arg;
    struct counter *c = metrics_counter(m, "c_total", "C.", NULL);
    struct histogram *h = metrics_histogram(m, "h_seconds", "H.", NULL, NULL, 0);
    for (int i = 0; i < ROUNDS; i++) {
        counter_add(c, 1);
        histogram_observe(h, 1);
    }
    return NULL;
}

static void threads(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, count, m);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    struct buf out = {0};
    metrics_write(m, &out);
    buf_append_byte(&out, 0);
    assert_non_null(strstr((const char *)buf_slice(&out).p, "\nc_total 60000\n"));
    assert_non_null(strstr((const char *)buf_slice(&out).p, "\nh_seconds_sum 60000\n"));
    assert_non_null(strstr((const char *)buf_slice(&out).p, "h_seconds_bucket{le=\"+Inf\"} 60000\n"));
    assert_non_null(strstr((const char *)buf_slice(&out).p, "h_seconds_bucket{le=\"0.5\"} 0\n"));
    buf_close(&out);
    metrics_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(exposition), cmocka_unit_test(threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
