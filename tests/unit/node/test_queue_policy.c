/* What the queue does when: schedules, expiry, notices, shares; and the settings' texts. */
#include "node/queue_policy.h"
#include "node/base/err.h"
#include "node/queue_settings.h"
#include "store/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { S = 1000, M = 60 * S, H = 60 * M, D = 24 * H };

static void test_duration(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
        int64_t ms;
    } table[] = {{"0", 0, 0},
                 {"90s", 0, 90 * S},
                 {"5m", 0, 5 * M},
                 {"2h", 0, 2 * H},
                 {"5d", 0, 5 * (int64_t)D},
                 {"365d", 0, 365 * (int64_t)D},
                 {"366d", ERR_INVALID, 0},
                 {"", ERR_INVALID, 0},
                 {"5", ERR_INVALID, 0},
                 {"m", ERR_INVALID, 0},
                 {"5M", ERR_INVALID, 0},
                 {"-5m", ERR_INVALID, 0},
                 {"5 m", ERR_INVALID, 0},
                 {"99999999999999999999d", ERR_INVALID, 0}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int64_t ms = 0;
        assert_int_equal(queue_duration_parse(slice_str(table[i].text), &ms), table[i].rc);
        assert_int_equal(ms, table[i].ms);
    }
}

static void test_schedule(void **state)
{
    (void)state;
    struct queue_schedule s = queue_schedule_default;
    assert_int_equal(queue_schedule_parse(SLICE_LITERAL(" 1m  2m\t1h "), &s), 0);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.waits_ms[2], H);
    assert_int_equal(s.lifetime_ms, 5 * (int64_t)D); /* the rest stays */
    assert_int_equal(queue_schedule_parse(SLICE_LITERAL(""), &s), ERR_INVALID);
    assert_int_equal(queue_schedule_parse(SLICE_LITERAL("5m 0"), &s), ERR_INVALID);
    assert_int_equal(queue_schedule_parse(SLICE_LITERAL("5m x"), &s), ERR_INVALID);
    assert_int_equal(s.n, 3); /* unchanged by what is no schedule */
    char many[3 * 40] = "";
    for (int i = 0; i < 33; i++)
        strcat(many, "1s ");
    assert_int_equal(queue_schedule_parse(slice_str(many), &s), ERR_TOOBIG);
}

/* Waits follow the schedule, the last one repeats, jitter stays within a tenth, the last attempt is at the end of life.
 */
static void test_next(void **state)
{
    (void)state;
    const struct queue_schedule *s = &queue_schedule_default;
    static const int64_t waits[] = {5 * M, 10 * M, 30 * M, H, 2 * H, 4 * H, 4 * H, 4 * H};
    int64_t far = 100 * (int64_t)D;
    for (unsigned a = 1; a <= 8; a++) {
        int64_t low = INT64_MAX, high = 0;
        for (uint32_t r = 0; r < 4002; r++) {
            int64_t next = queue_next_ms(s, a, 1000, far, r) - 1000;
            low = next < low ? next : low;
            high = next > high ? next : high;
        }
        assert_int_equal(low, waits[a - 1] - waits[a - 1] / 10);
        assert_int_equal(high, waits[a - 1] + waits[a - 1] / 10);
    }
    assert_int_equal(queue_next_ms(s, 1, 1000, 1000 + M, 1000), 1000 + M);
    assert_true(queue_next_ms(s, 1, 2000, 2000, 1000) > 2000); /* expired: the time means nothing any more */
    assert_false(queue_is_expired(999, 1000));
    assert_true(queue_is_expired(1000, 1000));
}

static void test_lifetime_text(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } table[] = {
        {5 * (int64_t)D, "5 days"},    {5 * (int64_t)D - 17, "5 days"}, {D, "1 day"},         {D - 900, "1 day"},
        {36 * (int64_t)H, "36 hours"}, {6 * H - 3, "6 hours"},          {90 * S - 1, "90 s"}, {0, "0 s"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char text[32];
        queue_lifetime_text(1000, 1000 + table[i].ms, text, sizeof text);
        assert_string_equal(text, table[i].text);
    }
}

static void test_notices(void **state)
{
    (void)state;
    const struct queue_schedule *s = &queue_schedule_default;
    static const struct {
        uint32_t notify;
        bool failed, relayed, delayed;
    } table[] = {
        {0, true, false, true},
        {QUEUE_NOTIFY_NEVER, false, false, false},
        {QUEUE_NOTIFY_SUCCESS, false, true, false},
        {QUEUE_NOTIFY_FAILURE, true, false, false},
        {QUEUE_NOTIFY_DELAY, false, false, true},
        {QUEUE_NOTIFY_SUCCESS | QUEUE_NOTIFY_FAILURE | QUEUE_NOTIFY_DELAY, true, true, true},
        {QUEUE_NOTIFY_NEVER | QUEUE_NOTIFY_FAILURE | QUEUE_NOTIFY_SUCCESS | QUEUE_NOTIFY_DELAY, false, false, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        uint32_t n = table[i].notify;
        assert_int_equal(queue_notice_failed(n), table[i].failed);
        assert_int_equal(queue_notice_relayed(n), table[i].relayed);
        assert_int_equal(queue_notice_delayed(s, n, false, 0, 4 * H), table[i].delayed);
        assert_false(queue_notice_delayed(s, n, true, 0, 4 * H));      /* once */
        assert_false(queue_notice_delayed(s, n, false, 0, 4 * H - 1)); /* not yet */
    }
    struct queue_schedule none = *s;
    none.notice_after_ms = 0;
    assert_false(queue_notice_delayed(&none, 0, false, 0, 100 * (int64_t)D));
}

static void test_shares(void **state)
{
    (void)state;
    static const struct {
        unsigned max, nodes, deliveries, share;
    } table[] = {{20, 1, 100, 20}, {20, 3, 100, 7}, {20, 5, 100, 4}, {0, 3, 100, 50}, {1000, 3, 100, 50},
                 {1, 3, 100, 1},   {20, 3, 1, 1},   {20, 3, 2, 1},   {20, 0, 100, 20}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_int_equal(queue_share(table[i].max, table[i].nodes, table[i].deliveries), table[i].share);
    unsigned wanted[] = {100, 1, 3, 0, 2}, given[5];
    assert_int_equal(queue_fair_share(wanted, given, 5, 9), 9);
    assert_memory_equal(given, ((unsigned[]){3, 1, 3, 0, 2}), sizeof given);
    assert_int_equal(queue_fair_share(wanted, given, 5, 2), 2);
    assert_memory_equal(given, ((unsigned[]){1, 1, 0, 0, 0}), sizeof given);
    assert_int_equal(queue_fair_share(wanted, given, 5, 1000), 106);
    assert_int_equal(queue_fair_share(wanted, given, 5, 0), 0);
    assert_int_equal(queue_fair_share(wanted, given, 0, 10), 0);
}

static void test_settings(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        int rc;
    } table[] = {
        {"queue.schedule", "5m 10m", 0},
        {"queue.schedule", "", 0},
        {"queue.schedule", "soon", ERR_INVALID},
        {"queue.lifetime", "5d", 0},
        {"queue.lifetime", "0", ERR_INVALID},
        {"queue.notice_after", "0", 0},
        {"queue.notice_after", "4", ERR_INVALID},
        {"queue.destination_max", "20", 0},
        {"queue.destination_max", "many", ERR_INVALID},
        {"queue.rate", "0", 0},
        {"queue.rate", "-1", ERR_INVALID},
        {"queue.sender", "own", 0},
        {"queue.sender", "all", ERR_INVALID},
        {"queue.routes", "* host=[192.0.2.1]:2525", 0},
        {"queue.routes", "* host=", ERR_INVALID},
        {"queue.sources", "@example.com 192.0.2.1", 0},
        {"queue.sources", "example.com 192.0.2.1", ERR_INVALID},
        {"queue.hosts", "mx.example.com 127.0.0.1:2525,[::1]:2525", 0},
        {"queue.hosts", "mx.example.com nowhere", ERR_INVALID},
        {"queue.nothing", "1", ERR_NOTFOUND},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct err_detail e = {{0}};
        int rc = queue_setting_check(slice_str(table[i].name), slice_str(table[i].value), &e);
        if (rc != table[i].rc)
            fail_msg("%s = %s: %s, %s", table[i].name, table[i].value, err_name(rc), e.text);
        assert_int_equal(rc == ERR_INVALID, e.text[0] != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_duration),      cmocka_unit_test(test_schedule), cmocka_unit_test(test_next),
        cmocka_unit_test(test_lifetime_text), cmocka_unit_test(test_notices),  cmocka_unit_test(test_shares),
        cmocka_unit_test(test_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
