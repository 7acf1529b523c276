#include "protocol/admin/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static int parse(const char *text, struct admin_request *r, struct err_detail *d)
{
    /* A copy of just that size lets the sanitizer see a read past the end. */
    size_t n = strlen(text);
    uint8_t *copy = malloc(n ? n : 1);

    memcpy(copy, text, n);
    int rv = admin_request_parse(slice_make(copy, n), r, d);
    free(copy);
    return rv;
}

static void requests_refused(void **state)
{
    static const struct {
        const char *line;
        int code;
        const char *detail;
    } cases[] = {
        {"", ERR_PROTOCOL, "not a JSON object"},
        {"[]", ERR_PROTOCOL, "not a JSON object"},
        {"{\"verb\":\"status\"", ERR_PROTOCOL, "not a JSON object"},
        {"{\"verb\":\"status\"} x", ERR_PROTOCOL, "not a JSON object"},
        {"{\"verb\":\"status\",\"verb\":\"status\"}", ERR_PROTOCOL, "not a JSON object"},
        {"{\"verb\":\"st\\u0000\"}", ERR_PROTOCOL, "not a JSON object"},
        {"{\"verb\":7}", ERR_PROTOCOL, NULL},
        {"{\"verb\":\"status\",\"args\":[]}", ERR_PROTOCOL, NULL},
        {"{\"verb\":\"fly\"}", ERR_NOTFOUND, "no such verb: fly"},
        {"{\"verb\":\"user add\",\"args\":{\"address\":\"a@b\"}}", ERR_INVALID, "user add: password is missing"},
        {"{\"verb\":\"user lock\",\"args\":{\"address\":\"\"}}", ERR_INVALID, "address: must not be empty"},
        {"{\"verb\":\"user lock\",\"args\":{\"address\":1}}", ERR_INVALID, "address: a string is wanted"},
        {"{\"verb\":\"user lock\",\"args\":{\"address\":\"a\",\"x\":1}}", ERR_INVALID, "user lock takes no argument x"},
        {"{\"verb\":\"user quota\",\"args\":{\"address\":\"a\",\"quota\":-1}}", ERR_INVALID, NULL},
        {"{\"verb\":\"user quota\",\"args\":{\"address\":\"a\",\"quota\":\"1\"}}", ERR_INVALID, NULL},
        {"{\"verb\":\"alias add\",\"args\":{\"address\":\"a\",\"targets\":[]}}", ERR_INVALID, NULL},
        {"{\"verb\":\"alias add\",\"args\":{\"address\":\"a\",\"targets\":[\"\"]}}", ERR_INVALID, NULL},
        {"{\"verb\":\"alias add\",\"args\":{\"address\":\"a\",\"targets\":\"b\"}}", ERR_INVALID, NULL},
        {"{\"verb\":\"member remove\",\"args\":{\"name\":\"a\",\"force\":1}}", ERR_INVALID, NULL},
        {"{\"verb\":\"member role\",\"args\":{\"name\":\"a\",\"role\":\"king\"}}", ERR_INVALID,
         "role: one of: voter standby spare"},
        {"{\"verb\":\"member role\",\"args\":{\"name\":\"a\",\"role\":\"vote\"}}", ERR_INVALID, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct admin_request r = {0};
        struct err_detail d;
        assert_int_equal(parse(cases[i].line, &r, &d), cases[i].code);
        if (cases[i].detail)
            assert_string_equal(d.text, cases[i].detail);
        assert_null(r.args);
    }
}

static void request_there_and_back(void **state)
{
    struct buf line = {0};
    struct admin_request r;
    struct err_detail d;
    const char *targets[8];
    json_t *args = json_pack("{s:s, s:s, s:I}", "address", "ann@example.org", "password", "geh\xc3\xa4im", "quota",
                             (json_int_t)1 << 40);

    (void)state;
    assert_int_equal(admin_request_write("user add", args, &line), 0);
    json_decref(args);
    assert_int_equal(admin_line_find(buf_slice(&line)), (int64_t)buf_len(&line));
    assert_int_equal(admin_line_find(slice_first(buf_slice(&line), buf_len(&line) - 1)), 0);
    assert_int_equal(admin_request_parse(buf_slice(&line), &r, &d), 0);
    assert_string_equal(r.verb->name, "user add");
    assert_string_equal(admin_arg_string(&r, "address"), "ann@example.org");
    assert_string_equal(admin_arg_string(&r, "password"), "geh\xc3\xa4im");
    assert_true(admin_arg_size(&r, "quota") == (uint64_t)1 << 40);
    assert_true(admin_arg_given(&r, "quota") && !admin_arg_given(&r, "force"));
    admin_request_close(&r);
    admin_request_close(&r);

    assert_int_equal(
        parse("{\"verb\":\"alias add\",\"args\":{\"address\":\"a\",\"targets\":[\"b\",\"c\",\"d\"]}}", &r, &d), 0);
    assert_int_equal(admin_arg_list(&r, "targets", targets, 2), 2);
    assert_string_equal(targets[1], "c");
    assert_null(admin_arg_string(&r, "targets"));
    admin_request_close(&r);
    assert_int_equal(parse("{\"verb\":\"status\"}\n", &r, &d), 0);
    admin_request_close(&r);
    assert_int_equal(parse("{\"verb\":\"settings set\",\"args\":{\"name\":\"x\",\"value\":\"\"}}", &r, &d), 0);
    admin_request_close(&r);
    buf_close(&line);
}

static void limits(void **state)
{
    struct buf line = {0};
    struct admin_request r;
    struct admin_answer a;
    struct err_detail d;

    (void)state;
    for (int depth = ADMIN_DEPTH_MAX - 1; depth <= 100000; depth = depth < 1000 ? depth + 200 : depth * 10) {
        buf_clear(&line);
        buf_append_str(&line, "{\"verb\":\"status\",\"x\":");
        for (int i = 0; i < depth; i++)
            buf_append_byte(&line, '[');
        for (int i = 0; i < depth; i++)
            buf_append_byte(&line, ']');
        buf_append_byte(&line, '}');
        int rv = admin_request_parse(buf_slice(&line), &r, &d);
        assert_int_equal(rv, depth < ADMIN_DEPTH_MAX ? 0 : ERR_PROTOCOL);
        if (rv == 0)
            admin_request_close(&r);
    }
    buf_clear(&line);
    while (buf_len(&line) < ADMIN_LINE_MAX)
        buf_append_str(&line, "xxxxxxxxxxxxxxxx");
    assert_int_equal(admin_line_find(buf_slice(&line)), ERR_TOOBIG);
    buf_append_byte(&line, '\n');
    assert_int_equal(admin_line_find(buf_slice(&line)), ERR_TOOBIG);

    /* An answer that would be too long becomes an error. */
    json_t *data = json_array();
    for (int i = 0; i < 30000; i++)
        json_array_append_new(data, json_string("0123456789012345678901234567890123456789"));
    buf_clear(&line);
    admin_ok_write(data, &line);
    json_decref(data);
    assert_int_equal(admin_answer_parse(buf_slice(&line), &a), 0);
    assert_int_equal(a.kind, ADMIN_ERROR);
    assert_int_equal(a.code, ERR_TOOBIG);
    admin_answer_close(&a);
    buf_close(&line);
}

static void answers(void **state)
{
    static const char *bad[] = {"", "{}", "{\"ok\":1}", "{\"ok\":false}", "{\"progress\":1}", "[]"};
    struct buf line = {0};
    struct admin_answer a;
    json_t *data = json_pack("{s:i}", "n", 7);

    (void)state;
    admin_ok_write(data, &line);
    json_decref(data);
    assert_true(slice_eq(buf_slice(&line), slice_str("{\"ok\":true,\"data\":{\"n\":7}}\n")));
    assert_int_equal(admin_answer_parse(buf_slice(&line), &a), 0);
    assert_true(a.kind == ADMIN_OK && json_integer_value(json_object_get(a.data, "n")) == 7);
    admin_answer_close(&a);
    buf_clear(&line);
    admin_error_write(ERR_NOTFOUND, "no such user: \xff", NULL, &line);
    assert_int_equal(admin_answer_parse(buf_slice(&line), &a), 0);
    assert_true(a.kind == ADMIN_ERROR && a.code == ERR_NOTFOUND && !a.hint);
    assert_string_equal(a.text, "no such user: ?");
    admin_answer_close(&a);
    buf_clear(&line);
    admin_progress_write("10 of 20\n", &line);
    assert_int_equal(admin_line_find(buf_slice(&line)), (int64_t)buf_len(&line));
    assert_int_equal(admin_answer_parse(buf_slice(&line), &a), 0);
    assert_int_equal(a.kind, ADMIN_PROGRESS);
    admin_answer_close(&a);
    assert_int_equal(admin_answer_parse(slice_str("{\"ok\":false,\"error\":\"x\",\"code\":\"newer\"}"), &a), 0);
    assert_int_equal(a.code, ERR_INVALID);
    admin_answer_close(&a);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(admin_answer_parse(slice_str(bad[i]), &a), ERR_PROTOCOL);
    buf_close(&line);
}

/* What the table promises to those who use it. */
static void verbs(void **state)
{
    (void)state;
    for (size_t i = 0; i < admin_verb_n; i++) {
        const struct admin_verb *v = &admin_verbs[i];
        bool optional = false;
        assert_ptr_equal(admin_verb_find(v->name), v); /* no name twice */
        assert_non_null(v->summary);
        assert_non_null(v->about);
        assert_non_null(strstr(v->examples, v->name));
        assert_null(v->args[ADMIN_ARGS_MAX - 1].name);
        assert_null(v->columns[ADMIN_COLUMNS_MAX - 1].key);
        assert_true(v->columns[0].key || v->done);
        for (const struct admin_arg *a = v->args; a->name; a++) {
            assert_non_null(a->help);
            optional |= a->positional && !a->required;
            if (a->positional && a->required)
                assert_false(optional); /* by place: the required ones first */
            for (const struct admin_arg *b = a + 1; a->type == ADMIN_LIST && a->positional && b->name; b++)
                assert_false(b->positional); /* a list takes all that is left */
        }
    }
    assert_null(admin_verb_find("user"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_refused),
        cmocka_unit_test(request_there_and_back),
        cmocka_unit_test(limits),
        cmocka_unit_test(answers),
        cmocka_unit_test(verbs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
