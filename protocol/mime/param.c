#include "protocol/mime/param.h"

#include "protocol/mime/summary.h"

/* A parameter as written: "filename*1*" is name "filename", section 1, extended. */
struct section {
    struct slice name, value;
    int number; /* -1: none */
    bool extended, used;
};

struct value_parser {
    struct slice in;
    size_t at;
    struct arena *arena;
    struct section sections[MIME_PARAMS_MAX];
    size_t n;
};

static int peek(const struct value_parser *p)
{
    return p->at < p->in.n ? p->in.p[p->at] : -1;
}

static bool is_space(int c)
{
    return c >= 0 && c <= ' ';
}

static void comment_skip(struct value_parser *p)
{
    unsigned depth = 0;
    while (p->at < p->in.n) {
        uint8_t c = p->in.p[p->at++];
        if (c == '\\' && p->at < p->in.n)
            p->at++;
        else if (c == '(')
            depth++;
        else if (c == ')' && --depth == 0)
            return;
    }
}

static void space_skip(struct value_parser *p)
{
    for (;;) {
        if (is_space(peek(p)))
            p->at++;
        else if (peek(p) == '(')
            comment_skip(p);
        else
            return;
    }
}

struct slice mime_lower(struct arena *a, struct slice s)
{
    uint8_t *p = arena_alloc(a, s.n + 1);
    for (size_t i = 0; i < s.n; i++)
        p[i] = (uint8_t)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] | 0x20 : s.p[i]);
    return slice_make(p, s.n);
}

/* "text / plain": blanks around the slash are dropped, other blanks end the token. */
static struct slice token_read(struct value_parser *p)
{
    uint8_t *out = arena_alloc(p->arena, p->in.n + 1);
    size_t n = 0;
    space_skip(p);
    while (p->at < p->in.n && peek(p) != ';') {
        while (p->at < p->in.n && !is_space(peek(p)) && !strchr(";(", peek(p)))
            out[n++] = p->in.p[p->at++];
        size_t before = p->at;
        space_skip(p);
        if (peek(p) != '/' && (n == 0 || out[n - 1] != '/'))
            break;
        if (p->at == before && peek(p) == ';')
            break;
    }
    return slice_make(out, n);
}

static struct slice quoted_read(struct value_parser *p)
{
    const uint8_t *from = p->in.p + ++p->at;
    size_t quotes = 0;
    while (p->at < p->in.n && p->in.p[p->at] != '"') {
        if (p->in.p[p->at] == '\\' && p->at + 1 < p->in.n) {
            quotes++;
            p->at++;
        }
        p->at++;
    }
    struct slice raw = slice_make(from, (size_t)(p->in.p + p->at - from));
    if (p->at < p->in.n)
        p->at++;
    if (quotes == 0)
        return raw;
    uint8_t *out = arena_alloc(p->arena, raw.n);
    size_t n = 0;
    for (size_t i = 0; i < raw.n; i++) {
        if (raw.p[i] == '\\' && i + 1 < raw.n)
            i++;
        out[n++] = raw.p[i];
    }
    return slice_make(out, n);
}

/* Unquoted values often hold blanks and specials although they must not: up to ';' or a comment is taken. */
static struct slice bare_read(struct value_parser *p)
{
    size_t from = p->at;
    while (p->at < p->in.n && peek(p) != ';' && !(peek(p) == '(' && p->at > from && is_space(p->in.p[p->at - 1])))
        p->at++;
    return slice_trim(slice_make(p->in.p + from, p->at - from));
}

/* RFC 2231 7: attribute [section] ["*"]; sections above MIME_PARAMS_MAX are plain names. */
static void name_split(struct slice raw, struct section *s)
{
    *s = (struct section){.name = raw, .number = -1};
    struct slice name = raw;
    if (name.n > 1 && name.p[name.n - 1] == '*') {
        s->extended = true;
        name.n--;
        s->name = name;
    }
    size_t star = slice_find(name, '*');
    uint64_t number;
    if (star > 0 && star + 1 < name.n && slice_u64(slice_from(name, star + 1), MIME_PARAMS_MAX - 1, &number) == 0) {
        s->number = (int)number;
        s->name = slice_first(name, star);
    }
}

static void params_read(struct value_parser *p)
{
    while (p->n < MIME_PARAMS_MAX) {
        while (space_skip(p), peek(p) == ';')
            p->at++;
        if (p->at >= p->in.n)
            return;
        size_t from = p->at;
        while (p->at < p->in.n && !is_space(peek(p)) && peek(p) != '=' && peek(p) != ';')
            p->at++;
        struct slice name = slice_make(p->in.p + from, p->at - from);
        space_skip(p);
        if (peek(p) != '=')
            continue;
        p->at++;
        space_skip(p);
        struct slice value = peek(p) == '"' ? quoted_read(p) : bare_read(p);
        if (name.n > 0) {
            name_split(mime_lower(p->arena, name), &p->sections[p->n]);
            p->sections[p->n++].value = value;
        }
    }
}

static bool is_attribute_char(uint8_t c)
{
    return c > ' ' && c < 0x7f && !strchr("*'%()<>@,;:\\\"/[]?=", c);
}

static void percent_append(struct buf *b, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (is_attribute_char(s.p[i]))
            buf_append_byte(b, s.p[i]);
        else
            buf_printf(b, "%%%02X", s.p[i]);
    }
}

static struct section *section_find(struct value_parser *p, struct slice name, int number)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->sections[i].number == number && slice_eq(p->sections[i].name, name))
            return &p->sections[i];
    return NULL;
}

/* Joins sections 0, 1, ... of a name up to the first that is missing; all of them are used up. */
static struct mime_param sections_join(struct value_parser *p, struct slice name)
{
    struct section *parts[MIME_PARAMS_MAX];
    size_t n = 0;
    bool extended = false;
    while (n < MIME_PARAMS_MAX && (parts[n] = section_find(p, name, (int)n)) != NULL)
        extended |= parts[n++]->extended;
    for (size_t i = 0; i < p->n; i++)
        p->sections[i].used |= p->sections[i].number >= 0 && slice_eq(p->sections[i].name, name);
    struct buf value = {0}, key = {0};
    buf_append_slice(&key, name);
    if (extended)
        buf_append_byte(&key, '*');
    if (extended && !parts[0]->extended)
        buf_append_str(&value, "''");
    for (size_t i = 0; i < n; i++) {
        if (extended && !parts[i]->extended)
            percent_append(&value, parts[i]->value);
        else
            buf_append_slice(&value, parts[i]->value);
    }
    struct mime_param param = {arena_copy(p->arena, buf_slice(&key)), arena_copy(p->arena, buf_slice(&value))};
    buf_close(&value);
    buf_close(&key);
    return param;
}

static struct mime_param plain_param(struct value_parser *p, const struct section *s)
{
    struct mime_param param = {s->name, s->value};
    if (s->extended) { /* "name*" as it was: the star is behind the name still */
        param.name.n++;
    } else if (slice_eq(s->name, SLICE_LITERAL("charset"))) {
        param.value = mime_lower(p->arena, s->value);
    }
    return param;
}

void mime_value_parse(struct slice value, struct arena *a, struct mime_value *value_r)
{
    struct value_parser p = {.in = value, .arena = a};
    value_r->token = mime_lower(a, token_read(&p));
    params_read(&p);
    value_r->params = arena_alloc(a, (p.n + 1) * sizeof(*value_r->params));
    value_r->n = 0;
    for (size_t i = 0; i < p.n; i++) {
        struct section *s = &p.sections[i];
        if (s->used)
            continue;
        if (s->number < 0)
            value_r->params[value_r->n++] = plain_param(&p, s);
        else if (section_find(&p, s->name, 0))
            value_r->params[value_r->n++] = sections_join(&p, s->name);
    }
}

struct slice mime_value_param(const struct mime_value *v, const char *name)
{
    for (size_t i = 0; i < v->n; i++)
        if (slice_eq(v->params[i].name, slice_str(name)))
            return v->params[i].value;
    return slice_make(NULL, 0);
}

size_t mime_tokens_parse(struct slice value, struct slice *out, size_t max)
{
    struct value_parser p = {.in = value};
    size_t n = 0;
    while (p.at < p.in.n && n < max) {
        space_skip(&p);
        size_t from = p.at;
        while (p.at < p.in.n && !is_space(peek(&p)) && !strchr(",(", peek(&p)))
            p.at++;
        if (p.at > from)
            out[n++] = slice_make(p.in.p + from, p.at - from);
        space_skip(&p);
        if (peek(&p) == ',')
            p.at++;
    }
    return n;
}
