/* Any bytes at the admin socket, and as a node's answer to mailctl: lines are found alike however they arrive, what is
 * taken as a request keeps its verb's table, and what was understood is written so that it is understood again. */
#include "node/base/mem.h"
#include "protocol/admin/codec.h"
#include "tests/fuzz/fuzz.h"

static void ensure_arguments(const struct admin_request *r)
{
    const char *items[8];
    for (const struct admin_arg *a = r->verb->args; a < r->verb->args + ADMIN_ARGS_MAX && a->name; a++) {
        bool given = admin_arg_given(r, a->name);
        ENSURE(given || !a->required);
        if (a->type == ADMIN_STRING || a->type == ADMIN_PASSWORD)
            ENSURE(!given == !admin_arg_string(r, a->name));
        if (given && a->type == ADMIN_LIST)
            ENSURE(admin_arg_list(r, a->name, items, 8) > 0 && items[0]);
        if (given && a->type == ADMIN_SIZE)
            ENSURE(admin_arg_size(r, a->name) <= INT64_MAX);
        if (a->type == ADMIN_BOOL)
            (void)admin_arg_bool(r, a->name);
    }
}

static void request(struct slice line)
{
    struct admin_request r, again;
    struct err_detail e;
    int rv = admin_request_parse(line, &r, &e);
    ENSURE(rv == 0 || rv == ERR_PROTOCOL || rv == ERR_NOTFOUND || rv == ERR_INVALID);
    if (rv)
        return;
    ensure_arguments(&r);
    struct buf out = {0};
    rv = admin_request_write(r.verb->name, r.args, &out);
    ENSURE(rv == 0 || rv == ERR_TOOBIG); /* some octets are longer when they are escaped */
    if (rv == 0) {
        ENSURE(admin_line_find(buf_slice(&out)) == (int64_t)buf_len(&out));
        ENSURE(admin_request_parse(buf_slice(&out), &again, &e) == 0);
        ENSURE(again.verb == r.verb && json_equal(again.args, r.args));
        admin_request_close(&again);
    }
    admin_request_close(&r);
    buf_close(&out);
}

static void answer(struct slice line)
{
    struct admin_answer a, again;
    if (admin_answer_parse(line, &a))
        return;
    struct buf out = {0};
    ENSURE(a.kind == ADMIN_OK || a.text);
    if (a.kind == ADMIN_PROGRESS)
        admin_progress_write(a.text, &out);
    else if (a.kind == ADMIN_OK)
        admin_ok_write(a.data, &out);
    else
        admin_error_write(a.code, a.text, a.hint, &out);
    if (buf_len(&out) > 0) { /* else it was too long for a line */
        ENSURE(admin_line_find(buf_slice(&out)) == (int64_t)buf_len(&out));
        ENSURE(admin_answer_parse(buf_slice(&out), &again) == 0);
        ENSURE(again.kind == a.kind || again.kind == ADMIN_ERROR);
        admin_answer_close(&again);
    }
    admin_answer_close(&a);
    buf_close(&out);
}

/* Error texts come from names that anybody chose: what is written is JSON on one line all the same. */
static void text(struct slice in)
{
    char *s = mem_strndup(slice_first(in, slice_find(in, 0)));
    struct admin_answer a;
    struct buf out = {0};
    admin_error_write(ERR_DENIED, s, s, &out);
    struct slice line = buf_slice(&out);
    ENSURE(admin_line_find(line) == (int64_t)line.n && admin_answer_parse(line, &a) == 0);
    ENSURE(a.kind == ADMIN_ERROR && a.code == ERR_DENIED);
    admin_answer_close(&a);
    buf_close(&out);
    mem_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct fuzz_dice dice = fuzz_dice_take(&in);
    text(in);
    for (int64_t line; (line = admin_line_find(in)) > 0; in = slice_from(in, (size_t)line)) {
        ENSURE((size_t)line <= in.n && in.p[line - 1] == '\n');
        ENSURE(admin_line_find(slice_first(in, fuzz_roll(&dice, (uint32_t)line))) == 0);
        ENSURE(admin_line_find(slice_first(in, (size_t)line)) == line);
        request(slice_first(in, (size_t)line));
        answer(slice_first(in, (size_t)line));
    }
    request(in);
    answer(in);
    return 0;
}
