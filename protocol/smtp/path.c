#include "protocol/smtp/path.h"

#include "node/base/err.h"
#include "node/base/utf8.h"

#include <arpa/inet.h>

static bool is_alnum(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* atext of RFC 5322 3.2.3, with UTF8-non-ascii of RFC 6531. */
static bool is_atext(uint8_t c)
{
    return is_alnum(c) || c >= 0x80 || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool is_dot_string(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool edge = i == 0 || i + 1 == s.n || s.p[i - 1] == '.';
        if (!is_atext(s.p[i]) && (s.p[i] != '.' || edge))
            return false;
    }
    return s.n > 0;
}

/* "[" ( IPv4 / "IPv6:" IPv6 / tag ":" 1*dcontent ) "]" (RFC 5321 4.1.3); s is what the brackets hold. */
static bool literal_valid(struct slice s)
{
    char text[INET6_ADDRSTRLEN];
    struct slice prefix = SLICE_LITERAL("IPv6:");
    bool six = slice_istarts(s, prefix);
    struct slice address = six ? slice_from(s, prefix.n) : s;
    unsigned char raw[16];

    if (address.n >= sizeof(text))
        return false;
    memcpy(text, address.p, address.n);
    text[address.n] = '\0';
    return strlen(text) == address.n && inet_pton(six ? AF_INET6 : AF_INET, text, raw) == 1;
}

bool smtp_domain_valid(struct slice s, bool utf8)
{
    if (s.n == 0 || s.n > SMTP_DOMAIN_MAX)
        return false;
    if (s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
        return literal_valid(slice_make(s.p + 1, s.n - 2));
    size_t label = 0;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        if (c == '.') {
            if (label == 0 || i + 1 == s.n)
                return false;
            label = 0;
            continue;
        }
        /* Underscores are in no host name, but in senders' domains. */
        if (!is_alnum(c) && c != '_' && c != '-' && !(utf8 && c >= 0x80))
            return false;
        if (++label > 63 && !utf8)
            return false;
    }
    return !utf8 || utf8_valid(s);
}

/* DQUOTE *( qtext / quoted-pair ) DQUOTE. Writes the content without quotes and backslashes to text. Returns the octets
 * taken, 0 when it is none. */
static size_t quoted_take(struct slice in, char *text, size_t max, size_t *n_r)
{
    size_t n = 0;

    for (size_t i = 1; i < in.n; i++) {
        uint8_t c = in.p[i];
        if (c == '"') {
            *n_r = n;
            return i + 1;
        }
        if (c == '\\' && ++i < in.n)
            c = in.p[i];
        if (c < ' ' || c == 0x7f || i >= in.n || n >= max)
            return 0;
        text[n++] = (char)c;
    }
    return 0;
}

static void path_add(struct smtp_path *p, uint8_t c)
{
    p->address[p->n++] = (char)c;
}

/* Local part into p: quoted again only if it must be. Returns the octets taken, 0 for a syntax error. */
static size_t local_take(struct slice in, struct smtp_path *p)
{
    char text[SMTP_LOCAL_MAX];
    size_t n = 0, used = 0;

    if (in.n > 0 && in.p[0] == '"') {
        used = quoted_take(in, text, sizeof(text) / 2 - 1, &n);
        if (used == 0)
            return 0;
    } else {
        while (used < in.n && used < sizeof(text) && (is_atext(in.p[used]) || in.p[used] == '.'))
            used++;
        n = used;
        if (n == 0)
            return 0;
        memcpy(text, in.p, n);
        if (!is_dot_string(slice_make(text, n)))
            return 0;
    }
    bool quote = !is_dot_string(slice_make(text, n));
    if (quote)
        path_add(p, '"');
    for (size_t i = 0; i < n; i++) {
        if (quote && (text[i] == '"' || text[i] == '\\'))
            path_add(p, '\\');
        path_add(p, (uint8_t)text[i]);
    }
    if (quote)
        path_add(p, '"');
    return used;
}

/* A-d-l ":" of RFC 5321 4.1.2: "@a,@b:". Returns the octets taken; in.n + 1 for a syntax error. */
static size_t route_skip(struct slice in)
{
    size_t i = 0;

    if (in.n == 0 || in.p[0] != '@')
        return 0;
    for (;;) {
        size_t start = ++i;
        while (i < in.n && in.p[i] != ',' && in.p[i] != ':')
            i++;
        if (i >= in.n || !smtp_domain_valid(slice_make(in.p + start, i - start), true))
            return in.n + 1;
        if (in.p[i] == ':')
            return i + 1;
        if (++i >= in.n || in.p[i] != '@')
            return in.n + 1;
    }
}

/* What is between the angle brackets, from i on; up to and with ">". */
static enum smtp_path_status mailbox_take(struct slice in, size_t *i, enum smtp_path_kind kind, struct smtp_path *p)
{
    size_t local = local_take(slice_from(in, *i), p);

    if (local == 0)
        return SMTP_PATH_SYNTAX;
    *i += local;
    struct slice rest = slice_from(in, *i);
    if (rest.n > 0 && rest.p[0] == '>' && kind == SMTP_PATH_FORWARD &&
        slice_ieq(slice_make(p->address, p->n), SLICE_LITERAL("postmaster"))) {
        (*i)++;
        return SMTP_PATH_OK;
    }
    if (rest.n == 0 || rest.p[0] != '@')
        return local == SMTP_LOCAL_MAX ? SMTP_PATH_TOO_LONG : SMTP_PATH_SYNTAX;
    struct slice domain = slice_from(rest, 1);
    domain = slice_first(domain, slice_find(domain, '>'));
    if (domain.n + 2 > rest.n)
        return SMTP_PATH_SYNTAX;
    if (domain.n > SMTP_DOMAIN_MAX)
        return SMTP_PATH_TOO_LONG;
    if (!smtp_domain_valid(domain, true))
        return SMTP_PATH_SYNTAX;
    path_add(p, '@');
    memcpy(p->address + p->n, domain.p, domain.n);
    p->n += domain.n;
    *i += 1 + domain.n + 1;
    return SMTP_PATH_OK;
}

enum smtp_path_status smtp_path_parse(struct slice in, enum smtp_path_kind kind, struct smtp_path *p_r, size_t *used_r)
{
    size_t i = 1;

    *p_r = (struct smtp_path){0};
    if (in.n < 2 || in.p[0] != '<')
        return SMTP_PATH_SYNTAX;
    if (in.p[1] == '>') {
        *used_r = 2;
        return kind == SMTP_PATH_RETURN ? SMTP_PATH_OK : SMTP_PATH_SYNTAX;
    }
    i += route_skip(slice_from(in, i));
    if (i > in.n)
        return SMTP_PATH_SYNTAX;
    enum smtp_path_status status = mailbox_take(in, &i, kind, p_r);
    if (status != SMTP_PATH_OK)
        return status;
    for (size_t k = 0; k < p_r->n; k++)
        p_r->utf8 |= (uint8_t)p_r->address[k] >= 0x80;
    if (p_r->utf8 && !utf8_valid(slice_make(p_r->address, p_r->n)))
        return SMTP_PATH_SYNTAX;
    *used_r = i;
    return SMTP_PATH_OK;
}

static bool keyword_valid(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && (s.p[i] != '-' || i == 0))
            return false;
    return s.n > 0;
}

static bool value_valid(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == '=' || s.p[i] == 0x7f)
            return false;
    return s.n > 0;
}

int smtp_params_parse(struct slice in, struct smtp_param *params, size_t max, size_t *n_r)
{
    size_t n = 0;

    if (in.n > 0 && in.p[0] != ' ')
        return ERR_INVALID;
    for (in = slice_trim(in); in.n > 0; in = slice_trim(in)) {
        struct slice word = slice_first(in, slice_find(in, ' '));
        size_t equals = slice_find(word, '=');
        struct smtp_param p = {slice_first(word, equals), {NULL, 0}};

        if (equals < word.n) {
            p.value = slice_from(word, equals + 1);
            if (!value_valid(p.value))
                return ERR_INVALID;
        }
        if (n == max || !keyword_valid(p.name))
            return ERR_INVALID;
        for (size_t i = 0; i < n; i++)
            if (slice_ieq(params[i].name, p.name))
                return ERR_INVALID;
        params[n++] = p;
        in = slice_from(in, word.n);
    }
    *n_r = n;
    return 0;
}
