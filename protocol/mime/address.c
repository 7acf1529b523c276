/* address-list of RFC 5322 3.4 by one pass without going back.
 *
 *   phrase ─┬─ '<' angle '>' ──► mailbox with a name
 *           ├─ '@' domain ─────► mailbox (and a '<' after it: all of that was the name)
 *           ├─ ':' ────────────► group begins (';' ends it)
 *           └─ ',' ';' end ────► a lone word: mailbox without domain; several words: a name without an address */
#include "protocol/mime/address.h"

struct address_parser {
    struct slice in;
    size_t at;
    struct buf phrase; /* words as in a display name */
    struct buf local;  /* the same words as a local part: no blanks around dots */
    struct buf name, route, mailbox, host, comment;
    unsigned words;
    bool after_dot, in_group, stopped;
    bool (*each)(void *arg, const struct mime_address *a);
    void *arg;
};

static int peek(const struct address_parser *p)
{
    return p->at < p->in.n ? p->in.p[p->at] : -1;
}

static bool is_space(int c)
{
    return c >= 0 && (c <= ' ' || c == 0x7f);
}

/* comment = "(" *(ctext / quoted-pair / comment) ")"; the parser keeps the text of the last one. */
static void comment_skip(struct address_parser *p)
{
    buf_clear(&p->comment);
    unsigned depth = 0;
    for (; p->at < p->in.n; p->at++) {
        uint8_t c = p->in.p[p->at];
        if (c == '\\' && p->at + 1 < p->in.n) {
            c = p->in.p[++p->at];
        } else if (c == '(') {
            if (depth++ == 0)
                continue;
        } else if (c == ')' && --depth == 0) {
            p->at++;
            return;
        }
        buf_append_byte(&p->comment, c);
    }
}

static bool space_skip(struct address_parser *p)
{
    size_t from = p->at;
    while (p->at < p->in.n) {
        if (is_space(peek(p)))
            p->at++;
        else if (peek(p) == '(')
            comment_skip(p);
        else
            break;
    }
    return p->at > from;
}

static void quoted_read(struct address_parser *p, struct buf *out)
{
    p->at++;
    while (p->at < p->in.n) {
        uint8_t c = p->in.p[p->at++];
        if (c == '"')
            return;
        if (c == '\\' && p->at < p->in.n)
            c = p->in.p[p->at++];
        if (c != '\r' && c != '\n')
            buf_append_byte(out, c);
    }
}

/* More than atext: brackets and backslashes happen in names. */
static bool is_atom(int c)
{
    return c > ' ' && c != 0x7f && !strchr("()<>:;@,.\"", c);
}

static void atom_read(struct address_parser *p, struct buf *out)
{
    size_t from = p->at;
    while (is_atom(peek(p)))
        p->at++;
    buf_append(out, p->in.p + from, p->at - from);
}

/* phrase / local-part, obsolete forms too, up to one of , ; : < @ or the end; stray ')' and '>' are dropped. */
static void words_read(struct address_parser *p)
{
    struct buf word = {0};
    for (;;) {
        bool gap = space_skip(p);
        int c = peek(p);
        if (c == ')' || c == '>') {
            p->at++;
            continue;
        }
        bool dot = c == '.';
        buf_clear(&word);
        if (c == '"')
            quoted_read(p, &word);
        else if (is_atom(c))
            atom_read(p, &word);
        else if (dot)
            buf_append_byte(&word, p->in.p[p->at++]);
        else
            break;
        if (gap && p->words > 0)
            buf_append_byte(&p->phrase, ' ');
        if (gap && p->words > 0 && !dot && !p->after_dot)
            buf_append_byte(&p->local, ' ');
        buf_append_slice(&p->phrase, buf_slice(&word));
        buf_append_slice(&p->local, buf_slice(&word));
        p->after_dot = dot;
        p->words++;
    }
    buf_close(&word);
}

static void words_clear(struct address_parser *p)
{
    buf_clear(&p->phrase);
    buf_clear(&p->local);
    p->words = 0;
    p->after_dot = false;
}

/* domain = dot-atom / domain-literal, blanks and comments around dots (RFC 5322 4.4). */
static void domain_read(struct address_parser *p)
{
    space_skip(p);
    if (peek(p) == '[') {
        while (p->at < p->in.n && !strchr(">,;", p->in.p[p->at] ? p->in.p[p->at] : ' ')) {
            uint8_t c = p->in.p[p->at++];
            if (!is_space(c))
                buf_append_byte(&p->host, c);
            if (c == ']')
                return;
        }
        return;
    }
    while (is_atom(peek(p)) || peek(p) == '.') {
        if (peek(p) == '.')
            buf_append_byte(&p->host, p->in.p[p->at++]);
        else
            atom_read(p, &p->host);
        bool dotted = p->in.p[p->at - 1] == '.';
        if (space_skip(p) && !dotted && peek(p) != '.')
            return;
    }
}

/* obs-route = *("," / CFWS) "@" domain *("," [CFWS] ["@" domain]) ":" */
static void route_read(struct address_parser *p)
{
    while (p->at < p->in.n && p->in.p[p->at] != '>') {
        uint8_t c = p->in.p[p->at];
        if (c == '(') {
            comment_skip(p);
            continue;
        }
        p->at++;
        if (c == ':')
            return;
        if (!is_space(c))
            buf_append_byte(&p->route, c);
    }
}

/* angle-addr, from its '<' to behind its '>', or before a comma when there is no '>'. */
static void angle_read(struct address_parser *p)
{
    p->at++;
    words_clear(p);
    buf_clear(&p->host);
    space_skip(p);
    if (peek(p) == '@')
        route_read(p);
    /* words_read drops '>', so it is looked for word by word. */
    for (int c; space_skip(p), c = peek(p), c >= 0 && c != '>' && c != '@' && c != ',';) {
        if (c == '"')
            quoted_read(p, &p->local);
        else if (is_atom(c))
            atom_read(p, &p->local);
        else if (p->at++, c == '.' || c == ':')
            buf_append_byte(&p->local, (uint8_t)c);
    }
    buf_append_slice(&p->mailbox, buf_slice(&p->local));
    if (peek(p) == '@') {
        p->at++;
        domain_read(p);
    }
    while (p->at < p->in.n && p->in.p[p->at] != '>' && p->in.p[p->at] != ',')
        p->at++;
    if (peek(p) == '>')
        p->at++;
}

static void emit(struct address_parser *p, const struct mime_address *a)
{
    if (!p->stopped && !p->each(p->arg, a))
        p->stopped = true;
}

static void mailbox_emit(struct address_parser *p)
{
    struct mime_address a = {MIME_ADDRESS_MAILBOX, slice_trim(buf_slice(&p->name)), buf_slice(&p->route),
                             buf_slice(&p->mailbox), buf_slice(&p->host)};
    if (a.name.n == 0)
        a.name = slice_trim(buf_slice(&p->comment));
    emit(p, &a);
}

static void group_end(struct address_parser *p)
{
    if (p->in_group)
        emit(p, &(struct mime_address){.kind = MIME_ADDRESS_GROUP_END});
    p->in_group = false;
}

/* What is before a lone '@': the local part, and the domain after it. A '<' that follows makes all of it a name. */
static void addr_spec_read(struct address_parser *p)
{
    p->at++;
    buf_append_slice(&p->mailbox, buf_slice(&p->local));
    domain_read(p);
    space_skip(p);
    if (peek(p) != '<')
        return;
    buf_append_slice(&p->name, buf_slice(&p->mailbox));
    buf_append_byte(&p->name, '@');
    buf_append_slice(&p->name, buf_slice(&p->host));
    buf_clear(&p->mailbox);
    angle_read(p);
}

static void address_read(struct address_parser *p)
{
    words_read(p);
    int c = peek(p);
    if (c == '<') {
        buf_append_slice(&p->name, buf_slice(&p->phrase));
        angle_read(p);
    } else if (c == '@') {
        addr_spec_read(p);
    } else if (c == ':') {
        p->at++;
        if (!p->in_group) {
            p->in_group = true;
            emit(p, &(struct mime_address){.kind = MIME_ADDRESS_GROUP, .name = slice_trim(buf_slice(&p->phrase))});
        }
        return;
    } else if (p->words > 1) {
        buf_append_slice(&p->name, buf_slice(&p->phrase));
    } else if (p->words == 1) {
        buf_append_slice(&p->mailbox, buf_slice(&p->local));
    } else {
        return;
    }
    space_skip(p); /* a comment after the address names the person */
    mailbox_emit(p);
    /* Junk up to the next separator; a group's ':' cannot come here. */
    while (p->at < p->in.n && peek(p) != ',' && peek(p) != ';')
        p->at++;
}

void mime_address_each(struct slice value, bool (*each)(void *arg, const struct mime_address *a), void *arg)
{
    struct address_parser p = {.in = value, .each = each, .arg = arg};
    while (p.at < value.n && !p.stopped) {
        words_clear(&p);
        buf_clear(&p.name);
        buf_clear(&p.route);
        buf_clear(&p.mailbox);
        buf_clear(&p.host);
        buf_clear(&p.comment);
        address_read(&p);
        if (peek(&p) == ';')
            group_end(&p);
        if (peek(&p) == ',' || peek(&p) == ';')
            p.at++;
    }
    group_end(&p);
    struct buf *all[] = {&p.phrase, &p.local, &p.name, &p.route, &p.mailbox, &p.host, &p.comment};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        buf_close(all[i]);
}
