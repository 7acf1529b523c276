#include "protocol/imap/imap_args.h"

#include "node/base/err.h"
#include "protocol/backend.h"

bool imap_args_fail(struct imap_args *a, const char *why)
{
    if (a->error == NULL)
        a->error = why;
    return false;
}

int imap_args_peek(const struct imap_args *a)
{
    return a->error == NULL && a->at < a->in.n ? a->in.p[a->at] : -1;
}

bool imap_args_end(struct imap_args *a)
{
    if (a->error == NULL && a->at < a->in.n)
        imap_args_fail(a, "Unexpected text at the end");
    return a->error == NULL;
}

bool imap_args_try(struct imap_args *a, char c)
{
    if (imap_args_peek(a) != (uint8_t)c)
        return false;
    a->at++;
    return true;
}

bool imap_args_char(struct imap_args *a, char c)
{
    if (imap_args_try(a, c))
        return true;
    return imap_args_fail(a, c == ' '   ? "Missing space or argument"
                             : c == ')' ? "Missing )"
                             : c == '(' ? "Missing ("
                                        : "Syntax error");
}

bool imap_args_space(struct imap_args *a)
{
    return imap_args_char(a, ' ');
}

/* ATOM-CHAR: any CHAR but atom-specials. "]" (resp-specials) is let in only where ASTRING-CHAR says so. */
static bool is_atom_char(uint8_t c)
{
    return c > ' ' && c < 127 && memchr("(){%*\"\\]", c, 8) == NULL;
}

static struct slice take_while(struct imap_args *a, bool (*is)(uint8_t c), const char *why)
{
    size_t start = a->at;
    if (a->error != NULL)
        return (struct slice){NULL, 0};
    while (a->at < a->in.n && is(a->in.p[a->at]))
        a->at++;
    if (a->at == start)
        imap_args_fail(a, why);
    return slice_make(a->in.p + start, a->at - start);
}

bool imap_args_word(struct imap_args *a, const char *word)
{
    struct slice w = slice_str(word), rest = slice_from(a->in, a->at);
    if (a->error != NULL || !slice_istarts(rest, w))
        return false;
    if (rest.n > w.n && is_atom_char(rest.p[w.n]))
        return false;
    a->at += w.n;
    return true;
}

struct slice imap_args_atom(struct imap_args *a)
{
    return take_while(a, is_atom_char, "Expected an atom");
}

static bool is_tag_char(uint8_t c)
{
    return c != '+' && (is_atom_char(c) || c == ']');
}
static bool is_astring_char(uint8_t c)
{
    return is_atom_char(c) || c == ']';
}
static bool is_list_char(uint8_t c)
{
    return is_astring_char(c) || c == '%' || c == '*';
}

struct slice imap_args_tag(struct imap_args *a)
{
    return take_while(a, is_tag_char, "Expected a tag");
}

static struct slice take_quoted(struct imap_args *a)
{
    size_t end = ++a->at;
    bool escaped = false;
    for (; end < a->in.n && a->in.p[end] != '"'; end++) {
        uint8_t c = a->in.p[end];
        if (c == '\\') {
            escaped = true;
            end++;
        }
        if (end >= a->in.n || a->in.p[end] == '\r' || a->in.p[end] == '\n')
            break;
        if (c == '\\' && a->in.p[end] != '"' && a->in.p[end] != '\\')
            break;
    }
    if (end >= a->in.n || a->in.p[end] != '"') {
        imap_args_fail(a, "Malformed quoted string");
        return (struct slice){NULL, 0};
    }
    struct slice s = slice_make(a->in.p + a->at, end - a->at);
    a->at = end + 1;
    if (!escaped)
        return s;
    uint8_t *to = arena_alloc(a->arena, s.n);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        to[n++] = s.p[i] == '\\' ? s.p[++i] : s.p[i];
    return slice_make(to, n);
}

/* "{" number ["+"] "}" CRLF, which imap_input found to be well formed. */
static bool literal_header(struct imap_args *a, uint64_t *n_r)
{
    imap_args_try(a, '~');
    if (!imap_args_char(a, '{') || !imap_args_number(a, INT64_MAX, n_r))
        return false;
    if (!imap_args_try(a, '+'))
        imap_args_try(a, '-');
    imap_args_char(a, '}');
    imap_args_try(a, '\r');
    return imap_args_char(a, '\n');
}

static struct slice take_literal(struct imap_args *a)
{
    uint64_t n;
    struct slice none = {NULL, 0};
    if (!literal_header(a, &n))
        return none;
    for (size_t i = 0; a->input != NULL && i < a->input->body_n; i++)
        if (a->input->bodies[i].at == a->at)
            return imap_args_fail(a, "Unexpected message literal"), none;
    if (n > a->in.n - a->at)
        return imap_args_fail(a, "Literal is cut off"), none;
    struct slice s = slice_make(a->in.p + a->at, (size_t)n);
    a->at += (size_t)n;
    return s;
}

struct bytes *imap_args_body(struct imap_args *a)
{
    uint64_t n;
    if (!literal_header(a, &n))
        return NULL;
    for (size_t i = 0; a->input != NULL && i < a->input->body_n; i++)
        if (a->input->bodies[i].at == a->at)
            return a->input->bodies[i].bytes;
    imap_args_fail(a, "Expected a message literal");
    return NULL;
}

struct slice imap_args_string(struct imap_args *a)
{
    int c = imap_args_peek(a);
    if (c == '"')
        return take_quoted(a);
    if (c == '{' || c == '~')
        return take_literal(a);
    imap_args_fail(a, "Expected a string");
    return (struct slice){NULL, 0};
}

struct slice imap_args_astring(struct imap_args *a)
{
    int c = imap_args_peek(a);
    if (c == '"' || c == '{')
        return imap_args_string(a);
    return take_while(a, is_astring_char, "Expected a string or an atom");
}

struct slice imap_args_list_mailbox(struct imap_args *a)
{
    int c = imap_args_peek(a);
    if (c == '"' || c == '{')
        return imap_args_string(a);
    return take_while(a, is_list_char, "Expected a mailbox pattern");
}

bool imap_args_nil(struct imap_args *a)
{
    return imap_args_word(a, "NIL");
}

bool imap_args_number(struct imap_args *a, uint64_t max, uint64_t *n_r)
{
    size_t start = a->at;
    *n_r = 0;
    if (a->error != NULL)
        return false;
    while (a->at < a->in.n && a->in.p[a->at] >= '0' && a->in.p[a->at] <= '9')
        a->at++;
    if (slice_u64(slice_make(a->in.p + start, a->at - start), max, n_r) != 0)
        return imap_args_fail(a, "Expected a number in range");
    return true;
}

/* seq-number = nz-number / "*" */
static bool take_set_number(struct imap_args *a, uint32_t *n_r)
{
    uint64_t n = 0;
    *n_r = 0;
    if (imap_args_try(a, '*'))
        return true;
    if (!imap_args_number(a, UINT32_MAX, &n))
        return false;
    *n_r = (uint32_t)n;
    return n > 0 || imap_args_fail(a, "0 is no message number");
}

bool imap_args_set(struct imap_args *a, struct imap_set *set_r)
{
    *set_r = (struct imap_set){0};
    if (imap_args_try(a, '$'))
        return set_r->saved = true;
    size_t max = 1;
    for (size_t i = a->at; i < a->in.n && memchr("0123456789:*,", a->in.p[i], 13) != NULL; i++)
        max += a->in.p[i] == ',';
    if (max > IMAP_SET_MAX)
        return imap_args_fail(a, "Too many ranges in a set");
    set_r->spans = arena_alloc(a->arena, max * sizeof *set_r->spans);
    do {
        struct imap_span *s = &set_r->spans[set_r->n];
        if (!take_set_number(a, &s->first))
            return false;
        s->last = s->first;
        if (imap_args_try(a, ':') && !take_set_number(a, &s->last))
            return false;
        set_r->n++;
    } while (imap_args_try(a, ','));
    return a->error == NULL;
}

static uint32_t system_flag(struct slice name)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } table[] = {
        {"Seen", FLAG_SEEN},       {"Answered", FLAG_ANSWERED}, {"Flagged", FLAG_FLAGGED},
        {"Deleted", FLAG_DELETED}, {"Draft", FLAG_DRAFT},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (slice_ieq(name, slice_str(table[i].name)))
            return table[i].flag;
    return 0;
}

static bool take_flag(struct imap_args *a, struct imap_flags *f)
{
    bool system = imap_args_try(a, '\\');
    struct slice name = imap_args_atom(a);
    if (a->error != NULL)
        return false;
    if (system) {
        uint32_t flag = system_flag(name);
        f->flags |= flag;
        return flag != 0 || imap_args_fail(a, "Unknown system flag");
    }
    if (name.n > KEYWORD_NAME_MAX)
        return imap_args_fail(a, "Keyword is too long");
    for (unsigned i = 0; i < f->keyword_n; i++)
        if (slice_ieq(f->keywords[i], name))
            return true;
    if (f->keyword_n == KEYWORDS_MAX)
        return imap_args_fail(a, "Too many keywords");
    f->keywords[f->keyword_n++] = name;
    return true;
}

bool imap_args_flags(struct imap_args *a, bool bare, struct imap_flags *flags_r)
{
    *flags_r = (struct imap_flags){.keywords = arena_alloc(a->arena, KEYWORDS_MAX * sizeof(struct slice))};
    bool list = imap_args_try(a, '(');
    if (!list && !bare)
        return imap_args_fail(a, "Missing (");
    if (list && imap_args_try(a, ')'))
        return true;
    do {
        if (!take_flag(a, flags_r))
            return false;
    } while (imap_args_try(a, ' '));
    return !list || imap_args_char(a, ')');
}
