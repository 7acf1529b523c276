/* The workloads' checks against histories and dumps with one thing wrong in each. */
#include "jepsen-like/sink.h"
#include "jepsen-like/workload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct verdict run(const struct workload *w, const struct op *ops, size_t op_n, struct dump_message *messages,
                          size_t message_n)
{
    struct verdict v = {0};
    struct dump d = {.messages = messages, .n = message_n};
    history_free();
    for (size_t i = 0; i < op_n; i++)
        history_add(&ops[i]);
    w->check(&d, &v);
    history_free();
    return v;
}

static struct op deliver(uint64_t start, uint64_t end, enum outcome outcome, uint64_t id)
{
    return (struct op){
        .start = start, .end = end, .kind = OP_DELIVER, .outcome = (uint8_t)outcome, .key = id, .node = 1};
}

static struct dump_message stored(uint64_t uid, uint64_t id)
{
    return (struct dump_message){"INBOX", uid, id, "set", NULL};
}

#define RUN_SET(ops, messages)                                                                                         \
    run(&workload_set, ops, sizeof(ops) / sizeof((ops)[0]), messages, sizeof(messages) / sizeof((messages)[0]))

static void set_good(void **state)
{
    struct op ops[] = {deliver(1, 2, OUTCOME_OK, 7), deliver(3, 4, OUTCOME_INFO, 8), deliver(3, 9, OUTCOME_OK, 9),
                       deliver(4, 5, OUTCOME_FAIL, 10), deliver(5, 6, OUTCOME_INFO, 11)};
    struct dump_message messages[] = {stored(1, 7), stored(2, 9), stored(3, 11)};
    struct verdict v = RUN_SET(ops, messages);
    (void)state;
    assert_int_equal(v.lost + v.dup + v.stale + v.nonlinearizable + v.unknown, 0);
}

static void set_lost(void **state)
{
    struct op ops[] = {deliver(1, 2, OUTCOME_OK, 7), deliver(3, 4, OUTCOME_OK, 8)};
    struct dump_message messages[] = {stored(1, 7)};
    (void)state;
    assert_int_equal(RUN_SET(ops, messages).lost, 1);
}

static void set_damaged(void **state)
{
    struct op ops[] = {deliver(1, 2, OUTCOME_OK, 7)};
    struct dump_message messages[] = {stored(1, 7), stored(2, 0)};
    messages[1].group[0] = 0;
    (void)state;
    assert_int_equal(RUN_SET(ops, messages).lost, 1);
}

static void set_twice(void **state)
{
    struct op ops[] = {deliver(1, 2, OUTCOME_OK, 7), deliver(1, 2, OUTCOME_INFO, 8)};
    struct dump_message messages[] = {stored(1, 7), stored(2, 8), stored(3, 7), stored(4, 8)};
    (void)state;
    assert_int_equal(RUN_SET(ops, messages).dup, 2);
}

static void set_refused_but_there(void **state)
{
    struct op ops[] = {deliver(1, 2, OUTCOME_FAIL, 7)};
    struct dump_message messages[] = {stored(1, 7)};
    (void)state;
    assert_int_equal(RUN_SET(ops, messages).nonlinearizable, 1);
}

static void set_never_sent(void **state)
{
    struct op ops[] = {deliver(1, 2, OUTCOME_OK, 7)};
    struct dump_message messages[] = {stored(1, 7), stored(2, 70)};
    (void)state;
    assert_int_equal(RUN_SET(ops, messages).nonlinearizable, 1);
}

static void set_order(void **state)
{
    struct op ops[] = {deliver(1, 2, OUTCOME_OK, 7), deliver(3, 4, OUTCOME_OK, 8)};
    struct op overlap[] = {deliver(1, 3, OUTCOME_OK, 7), deliver(2, 4, OUTCOME_OK, 8)};
    struct dump_message messages[] = {stored(1, 8), stored(2, 7)};
    (void)state;
    assert_int_equal(RUN_SET(ops, messages).nonlinearizable, 1);
    assert_int_equal(RUN_SET(overlap, messages).nonlinearizable, 0);
}

static void set_other_uid_than_told(void **state)
{
    struct op ops[] = {deliver(1, 2, OUTCOME_OK, 7)};
    struct dump_message messages[] = {stored(5, 7)};
    ops[0].a = 4;
    (void)state;
    assert_int_equal(RUN_SET(ops, messages).stale, 1);
}

/* ---- registers ---- */

static struct op reg(enum op_kind kind, uint64_t start, enum outcome outcome, int64_t a, int64_t b, int64_t c)
{
    return (struct op){.start = start,
                       .end = start + 1,
                       .kind = (uint8_t)kind,
                       .outcome = (uint8_t)outcome,
                       .key = 3,
                       .a = a,
                       .b = b,
                       .c = c};
}

#define RUN_REGISTER(ops) run(&workload_register, ops, sizeof(ops) / sizeof((ops)[0]), NULL, 0)

static void register_good(void **state)
{
    struct op ops[] = {reg(OP_WRITE, 10, OUTCOME_OK, 1, 1, 1),   reg(OP_READ, 20, OUTCOME_OK, 1, 100, 0),
                       reg(OP_CAS, 30, OUTCOME_OK, 1, 2, 1),     reg(OP_CAS, 40, OUTCOME_OK, 1, 3, 0),
                       reg(OP_WRITE, 50, OUTCOME_INFO, 4, 4, 0), reg(OP_WRITE, 60, OUTCOME_FAIL, 5, 5, 0),
                       reg(OP_READ, 70, OUTCOME_OK, 4, 101, 0)};
    struct verdict v = RUN_REGISTER(ops);
    (void)state;
    assert_int_equal(v.nonlinearizable + v.dup + v.unknown, 0);
}

static void register_stale(void **state)
{
    struct op ops[] = {reg(OP_WRITE, 10, OUTCOME_OK, 1, 1, 1), reg(OP_READ, 20, OUTCOME_OK, 0, 0, 0)};
    (void)state;
    assert_int_equal(RUN_REGISTER(ops).nonlinearizable, 1);
}

static void register_refused_but_seen(void **state)
{
    struct op ops[] = {reg(OP_WRITE, 10, OUTCOME_FAIL, 1, 1, 0), reg(OP_READ, 20, OUTCOME_OK, 1, 100, 0)};
    (void)state;
    assert_int_equal(RUN_REGISTER(ops).nonlinearizable, 1);
}

static void register_set_twice(void **state)
{
    struct op ops[] = {reg(OP_WRITE, 10, OUTCOME_OK, 1, 1, 1), reg(OP_READ, 20, OUTCOME_OK, 1, 100, 0),
                       reg(OP_READ, 30, OUTCOME_OK, 1, 101, 0)};
    (void)state;
    assert_int_equal(RUN_REGISTER(ops).dup, 1);
}

/* ---- STATUS ---- */

static void status_falls(void **state)
{
    struct op ops[] = {{.start = 1, .end = 2, .kind = OP_STATUS, .a = 5, .b = 50, .c = 1},
                       {.start = 3, .end = 4, .kind = OP_STATUS, .a = 5, .b = 49, .c = 1},
                       {.start = 3, .end = 4, .kind = OP_STATUS, .a = 6, .b = 50, .c = 1}};
    (void)state;
    assert_int_equal(run(&workload_session, ops, 3, NULL, 0).stale, 1);
}

/* ---- the queue ---- */

static struct op submit(enum outcome outcome, uint64_t id, bool local)
{
    return (struct op){
        .start = 1, .end = 2, .kind = OP_SUBMIT, .outcome = (uint8_t)outcome, .key = id, .node = 1, .a = local};
}

static struct verdict run_queue(struct op op, const struct sink_arrival *arrivals, unsigned n,
                                struct dump_message *messages, unsigned message_n)
{
    sink_forget();
    for (unsigned i = 0; i < n; i++)
        sink_arrival_note(&arrivals[i]);
    return run(&workload_queue, &op, 1, messages, message_n);
}

static void queue_good(void **state)
{
    struct sink_arrival there = {.id = 7, .at = 10, .told = 11, .whole = true};
    struct dump_message here = {"INBOX", 1, 7, "que", NULL};
    struct verdict v = run_queue(submit(OUTCOME_OK, 7, true), &there, 1, &here, 1);
    (void)state;
    assert_int_equal(v.lost + v.dup + v.nonlinearizable, 0);
    v = run_queue(submit(OUTCOME_INFO, 7, true), NULL, 0, NULL, 0);
    assert_int_equal(v.lost + v.dup + v.nonlinearizable, 0);
}

static void queue_lost(void **state)
{
    struct sink_arrival damaged = {.id = 7, .at = 10, .told = 11};
    (void)state;
    assert_int_equal(run_queue(submit(OUTCOME_OK, 7, false), NULL, 0, NULL, 0).lost, 1);
    assert_int_equal(run_queue(submit(OUTCOME_OK, 7, false), &damaged, 1, NULL, 0).lost, 1);
}

static void queue_refused_but_there(void **state)
{
    struct sink_arrival there = {.id = 7, .at = 10, .told = 11, .whole = true};
    (void)state;
    assert_int_equal(run_queue(submit(OUTCOME_FAIL, 7, false), &there, 1, NULL, 0).nonlinearizable, 1);
    assert_int_equal(run_queue(submit(OUTCOME_OK, 8, false), &there, 1, NULL, 0).nonlinearizable, 1);
}

static void queue_twice(void **state)
{
    struct sink_arrival read[] = {{.id = 7, .at = 10, .told = 11, .whole = true},
                                  {.id = 7, .at = 20, .told = 21, .whole = true}};
    struct sink_arrival unread[] = {{.id = 7, .at = 10, .whole = true}, {.id = 7, .at = 20, .told = 21, .whole = true}};
    (void)state;
    assert_int_equal(run_queue(submit(OUTCOME_OK, 7, false), read, 2, NULL, 0).dup, 1);
    assert_int_equal(run_queue(submit(OUTCOME_OK, 7, false), unread, 2, NULL, 0).dup, 0);
}

static void queue_half(void **state)
{
    struct sink_arrival there = {.id = 7, .at = 10, .told = 11, .whole = true};
    struct dump_message here[] = {{"INBOX", 1, 7, "que", NULL}, {"INBOX", 2, 7, "que", NULL}};
    (void)state;
    assert_int_equal(run_queue(submit(OUTCOME_INFO, 7, true), &there, 1, NULL, 0).nonlinearizable, 1);
    assert_int_equal(run_queue(submit(OUTCOME_OK, 7, true), &there, 1, NULL, 0).lost, 1);
    assert_int_equal(run_queue(submit(OUTCOME_OK, 7, true), &there, 1, here, 2).dup, 1);
    sink_forget();
}

/* ---- messages ---- */

static void message_whole_or_not(void **state)
{
    struct rng r = {5};
    struct text t = {0};
    char group[MESSAGE_GROUP_MAX];
    uint64_t id;
    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        message_make(&t, "set", 1000 + i, &r);
        assert_true(message_parse(t.p, t.n, group, &id));
        assert_string_equal(group, "set");
        assert_int_equal(id, 1000 + i);
        t.p[t.n - 1 - rng_below(&r, 50)] ^= 1;
        assert_false(message_parse(t.p, t.n, group, &id));
    }
    text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_good),
        cmocka_unit_test(set_lost),
        cmocka_unit_test(set_damaged),
        cmocka_unit_test(set_twice),
        cmocka_unit_test(set_refused_but_there),
        cmocka_unit_test(set_never_sent),
        cmocka_unit_test(set_order),
        cmocka_unit_test(set_other_uid_than_told),
        cmocka_unit_test(register_good),
        cmocka_unit_test(register_stale),
        cmocka_unit_test(register_refused_but_seen),
        cmocka_unit_test(register_set_twice),
        cmocka_unit_test(status_falls),
        cmocka_unit_test(queue_good),
        cmocka_unit_test(queue_lost),
        cmocka_unit_test(queue_refused_but_there),
        cmocka_unit_test(queue_twice),
        cmocka_unit_test(queue_half),
        cmocka_unit_test(message_whole_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
