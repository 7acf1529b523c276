#include "protocol/admin/codec.h"

#include "node/base/mem.h"

#include <stdlib.h>

int64_t admin_line_find(struct slice in)
{
    size_t at = slice_find(slice_first(in, ADMIN_LINE_MAX), '\n');

    if (at < in.n && at < ADMIN_LINE_MAX)
        return (int64_t)at + 1;
    return in.n >= ADMIN_LINE_MAX ? ERR_TOOBIG : 0;
}

/* Nesting as written, before jansson builds the tree: brackets in strings do not count. */
static bool depth_allowed(struct slice line)
{
    size_t depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < line.n; i++) {
        uint8_t c = line.p[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            depth++;
        else if (!quoted && (c == '}' || c == ']') && depth > 0)
            depth--;
        if (depth > ADMIN_DEPTH_MAX)
            return false;
    }
    return true;
}

static json_t *object_parse(struct slice line)
{
    json_error_t error;

    if (line.n > ADMIN_LINE_MAX || !depth_allowed(line))
        return NULL;
    json_t *root = json_loadb((const char *)line.p, line.n, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(root))
        return root;
    json_decref(root);
    return NULL;
}

/* ---- arguments ---- */

static const struct admin_arg *arg_find(const struct admin_verb *verb, const char *name)
{
    for (const struct admin_arg *a = verb->args; a < verb->args + ADMIN_ARGS_MAX && a->name; a++)
        if (strcmp(a->name, name) == 0)
            return a;
    return NULL;
}

static bool choice_valid(const char *choices, const char *value)
{
    size_t n = strlen(value);

    for (const char *at = choices; n > 0 && (at = strstr(at, value)) != NULL; at += n)
        if ((at == choices || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

static bool list_valid(const json_t *value)
{
    size_t i;
    json_t *item;

    if (!json_is_array(value) || json_array_size(value) == 0)
        return false;
    json_array_foreach(value, i, item)
    {
        if (!json_is_string(item) || json_string_length(item) == 0)
            return false;
    }
    return true;
}

static int arg_check(const struct admin_arg *a, const json_t *value, struct err_detail *detail)
{
    switch (a->type) {
    case ADMIN_STRING:
    case ADMIN_PASSWORD:
        if (!json_is_string(value))
            return err_set(detail, ERR_INVALID, "%s: a string is wanted", a->name);
        if (json_string_length(value) == 0 && !a->empty_ok)
            return err_set(detail, ERR_INVALID, "%s: must not be empty", a->name);
        if (a->choices && !choice_valid(a->choices, json_string_value(value)))
            return err_set(detail, ERR_INVALID, "%s: one of: %s", a->name, a->choices);
        return 0;
    case ADMIN_LIST:
        return list_valid(value) ? 0 : err_set(detail, ERR_INVALID, "%s: a list of strings is wanted", a->name);
    case ADMIN_SIZE:
        if (json_is_integer(value) && json_integer_value(value) >= 0)
            return 0;
        return err_set(detail, ERR_INVALID, "%s: a number of octets is wanted", a->name);
    case ADMIN_BOOL:
        return json_is_boolean(value) ? 0 : err_set(detail, ERR_INVALID, "%s: true or false is wanted", a->name);
    }
    return ERR_INVALID;
}

int admin_args_check(const struct admin_verb *verb, json_t *args, struct err_detail *detail)
{
    const char *name;
    json_t *value;

    json_object_foreach(args, name, value)
    {
        const struct admin_arg *a = arg_find(verb, name);
        if (!a)
            return err_set(detail, ERR_INVALID, "%s takes no argument %s", verb->name, name);
        int rv = arg_check(a, value, detail);
        if (rv != 0)
            return rv;
    }
    for (const struct admin_arg *a = verb->args; a < verb->args + ADMIN_ARGS_MAX && a->name; a++)
        if (a->required && !json_object_get(args, a->name))
            return err_set(detail, ERR_INVALID, "%s: %s is missing", verb->name, a->name);
    return 0;
}

/* ---- requests ---- */

static int request_take(json_t *root, struct admin_request *r_r, struct err_detail *detail)
{
    const char *name = json_string_value(json_object_get(root, "verb"));
    json_t *args = json_object_get(root, "args");

    if (!name || (args && !json_is_object(args)))
        return err_set(detail, ERR_PROTOCOL, "a request is {\"verb\":\"…\",\"args\":{…}}");
    const struct admin_verb *verb = admin_verb_find(name);
    if (!verb)
        return err_set(detail, ERR_NOTFOUND, "no such verb: %.64s", name);
    args = args ? json_incref(args) : json_object();
    int rv = admin_args_check(verb, args, detail);
    if (rv != 0) {
        json_decref(args);
        return rv;
    }
    *r_r = (struct admin_request){verb, args};
    return 0;
}

int admin_request_parse(struct slice line, struct admin_request *r_r, struct err_detail *detail)
{
    json_t *root = object_parse(line);

    if (!root)
        return err_set(detail, ERR_PROTOCOL, "not a JSON object");
    int rv = request_take(root, r_r, detail);
    json_decref(root);
    return rv;
}

void admin_request_close(struct admin_request *r)
{
    if (!r->args)
        return;
    for (const struct admin_arg *a = r->verb->args; a < r->verb->args + ADMIN_ARGS_MAX && a->name; a++) {
        json_t *value = json_object_get(r->args, a->name);
        if (a->type == ADMIN_PASSWORD && value) /* jansson's copy is ours to wipe: nobody else holds it */
            mem_wipe((void *)(uintptr_t)json_string_value(value), json_string_length(value));
    }
    json_decref(r->args);
    *r = (struct admin_request){0};
}

const char *admin_arg_string(const struct admin_request *r, const char *name)
{
    return json_string_value(json_object_get(r->args, name));
}

uint64_t admin_arg_size(const struct admin_request *r, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(r->args, name));
}

bool admin_arg_bool(const struct admin_request *r, const char *name)
{
    return json_is_true(json_object_get(r->args, name));
}

bool admin_arg_given(const struct admin_request *r, const char *name)
{
    return json_object_get(r->args, name) != NULL;
}

size_t admin_arg_list(const struct admin_request *r, const char *name, const char **items_r, size_t max)
{
    json_t *list = json_object_get(r->args, name), *item;
    size_t i, n = 0;

    json_array_foreach(list, i, item)
    {
        if (n < max)
            items_r[n++] = json_string_value(item);
    }
    return n;
}

/* ---- lines ---- */

/* Takes root. ERR_TOOBIG: nothing was appended. */
static int line_write(json_t *root, struct buf *out)
{
    char *text = json_dumps(root, JSON_COMPACT);
    size_t n = text ? strlen(text) : 0;
    int rv = 0;

    json_decref(root);
    ENSURE(text);
    if (n + 1 > ADMIN_LINE_MAX) {
        rv = ERR_TOOBIG;
    } else {
        buf_append(out, text, n);
        buf_append_byte(out, '\n');
    }
    mem_wipe(text, n); /* a request may hold a password */
    free(text);
    return rv;
}

int admin_request_write(const char *verb, json_t *args, struct buf *out)
{
    json_t *root = json_object();

    json_object_set_new(root, "verb", json_string(verb));
    json_object_set_new(root, "args", args ? json_incref(args) : json_object());
    return line_write(root, out);
}

/* Text that is not UTF-8 cannot be JSON: its octets above 127 become "?". */
static json_t *text_json(const char *text)
{
    json_t *value = json_string(text);

    if (value)
        return value;
    char *copy = mem_strdup(text);
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    value = json_string(copy);
    mem_free(copy);
    return value;
}

void admin_progress_write(const char *text, struct buf *out)
{
    json_t *root = json_object();

    json_object_set_new(root, "progress", text_json(text));
    (void)line_write(root, out);
}

void admin_ok_write(json_t *data, struct buf *out)
{
    json_t *root = json_object();

    json_object_set_new(root, "ok", json_true());
    if (data)
        json_object_set(root, "data", data);
    else
        json_object_set_new(root, "data", json_null());
    if (line_write(root, out) != 0)
        admin_error_write(ERR_TOOBIG, "the answer is too long", "ask for less, as for one domain", out);
}

void admin_error_write(int code, const char *text, const char *hint, struct buf *out)
{
    json_t *root = json_object();

    json_object_set_new(root, "ok", json_false());
    json_object_set_new(root, "code", json_string(err_name(code)));
    json_object_set_new(root, "error", text_json(text));
    if (hint)
        json_object_set_new(root, "hint", text_json(hint));
    (void)line_write(root, out);
}

/* ---- answers ---- */

static int code_of(const char *name)
{
    for (int i = 1; name && i < ERR_COUNT; i++)
        if (strcmp(err_name(-i), name) == 0)
            return -i;
    return ERR_INVALID;
}

static int answer_take(struct admin_answer *a)
{
    json_t *ok = json_object_get(a->root, "ok");

    if (!ok) {
        a->kind = ADMIN_PROGRESS;
        a->text = json_string_value(json_object_get(a->root, "progress"));
        return a->text ? 0 : ERR_PROTOCOL;
    }
    if (json_is_true(ok)) {
        a->kind = ADMIN_OK;
        a->data = json_object_get(a->root, "data");
        return 0;
    }
    a->kind = ADMIN_ERROR;
    a->text = json_string_value(json_object_get(a->root, "error"));
    a->hint = json_string_value(json_object_get(a->root, "hint"));
    a->code = code_of(json_string_value(json_object_get(a->root, "code")));
    return json_is_false(ok) && a->text ? 0 : ERR_PROTOCOL;
}

int admin_answer_parse(struct slice line, struct admin_answer *a_r)
{
    *a_r = (struct admin_answer){.root = object_parse(line)};
    if (!a_r->root)
        return ERR_PROTOCOL;
    int rv = answer_take(a_r);
    if (rv != 0)
        admin_answer_close(a_r);
    return rv;
}

void admin_answer_close(struct admin_answer *a)
{
    json_decref(a->root);
    *a = (struct admin_answer){0};
}
