#include "protocol/mime/build.h"

#include "protocol/mime/address.h"
#include "protocol/mime/text.h"

/* The fields of an envelope, as they are gathered; lists are encoded addresses. */
enum { LIST_FROM, LIST_SENDER, LIST_REPLY_TO, LIST_TO, LIST_CC, LIST_BCC, LISTS };
enum { TEXT_DATE, TEXT_SUBJECT, TEXT_IN_REPLY_TO, TEXT_MESSAGE_ID, TEXTS };

struct content {
    struct mime_builder *b;
    struct mime_node *node;
    struct slice text[TEXTS];
    struct buf list[LISTS];
    uint64_t list_n[LISTS];
    unsigned filling; /* list under way */
    bool has_type, has_encoding, has_disposition, has_language;
};

/* ---- what is kept is charged ---- */

static bool charge(struct mime_builder *b, size_t n)
{
    if (n > b->budget)
        return false;
    b->budget -= n;
    return true;
}

/* A copy that the budget allows: whole, or cut, or nothing. p is not NULL. */
static struct slice keep(struct mime_builder *b, struct slice s)
{
    s = slice_first(s, MIME_STRING_MAX);
    s = slice_first(s, b->budget);
    charge(b, s.n);
    s = arena_copy(&b->arena, s);
    return s.p ? s : slice_make("", 0);
}

/* ---- envelope ---- */

static bool address_add(void *arg, const struct mime_address *a)
{
    struct content *c = arg;
    struct buf *out = &c->list[c->filling];
    size_t size = a->name.n + a->route.n + a->mailbox.n + a->host.n + 16;
    /* The end of a group that is in is never left out. */
    bool end = a->kind == MIME_ADDRESS_GROUP_END;
    if (!end && (c->b->addresses_left == 0 || size > MIME_STRING_MAX || !charge(c->b, size + 4)))
        return a->kind != MIME_ADDRESS_GROUP;
    c->b->addresses_left -= end ? 0 : 1;
    unsigned bits = a->kind == MIME_ADDRESS_MAILBOX ? 0 : a->kind == MIME_ADDRESS_GROUP ? 1 : 2;
    bits |= a->name.n ? MIME_ADDRESS_NAME : 0;
    bits |= a->route.n ? MIME_ADDRESS_ROUTE : 0;
    buf_append_byte(out, (uint8_t)bits);
    if (a->name.n)
        mime_put_string(out, a->name);
    if (a->route.n)
        mime_put_string(out, a->route);
    if (a->kind == MIME_ADDRESS_MAILBOX) {
        mime_put_string(out, a->mailbox);
        mime_put_string(out, a->host);
    }
    c->list_n[c->filling]++;
    return true;
}

static void list_read(struct content *c, unsigned list, struct slice value)
{
    c->filling = list;
    mime_address_each(value, address_add, c);
}

static void text_read(struct content *c, unsigned text, struct slice value)
{
    if (!c->text[text].p)
        c->text[text] = keep(c->b, slice_trim(value));
}

static void envelope_encode(struct content *c)
{
    struct buf out = {0};
    mime_put_optional(&out, c->text[TEXT_DATE]);
    mime_put_optional(&out, c->text[TEXT_SUBJECT]);
    for (unsigned i = 0; i < LISTS; i++) {
        mime_put_number(&out, c->list_n[i]);
        buf_append_slice(&out, buf_slice(&c->list[i]));
    }
    mime_put_optional(&out, c->text[TEXT_IN_REPLY_TO]);
    mime_put_optional(&out, c->text[TEXT_MESSAGE_ID]);
    c->node->envelope = arena_copy(&c->b->arena, buf_slice(&out));
    buf_close(&out);
}

/* ---- content ---- */

static struct slice params_encode(struct mime_builder *b, const struct mime_value *v, uint32_t *n_r)
{
    struct buf out = {0};
    *n_r = 0;
    for (size_t i = 0; i < v->n; i++) {
        const struct mime_param *p = &v->params[i];
        if (p->value.n > MIME_STRING_MAX || !charge(b, p->name.n + p->value.n + 8))
            continue;
        mime_put_string(&out, p->name);
        mime_put_string(&out, p->value);
        ++*n_r;
    }
    struct slice s = arena_copy(&b->arena, buf_slice(&out));
    buf_close(&out);
    return s;
}

void mime_content_reset(struct mime_node *node, const char *type, const char *subtype)
{
    node->kind = MIME_LEAF;
    node->type = slice_str(type);
    node->subtype = slice_str(subtype);
    node->params = slice_make(NULL, 0);
    node->param_n = 0;
    node->boundary = slice_make(NULL, 0);
}

/* RFC 2045 5.2: what has no type, or none that can be read, is text/plain in us-ascii. */
static void type_default(struct content *c)
{
    static const struct mime_param ascii = {SLICE_LITERAL("charset"), SLICE_LITERAL("us-ascii")};
    struct mime_value v = {.params = (struct mime_param *)(uintptr_t)&ascii, .n = 1};
    mime_content_reset(c->node, "text", "plain");
    c->node->params = params_encode(c->b, &v, &c->node->param_n);
}

static enum mime_kind kind_of(const struct mime_node *node)
{
    if (slice_eq(node->type, SLICE_LITERAL("multipart")))
        return MIME_MULTIPART;
    if (slice_eq(node->type, SLICE_LITERAL("message")) &&
        (slice_eq(node->subtype, SLICE_LITERAL("rfc822")) || slice_eq(node->subtype, SLICE_LITERAL("global"))))
        return MIME_MESSAGE;
    return MIME_LEAF;
}

static void type_read(struct content *c, struct slice value)
{
    if (c->has_type)
        return;
    struct mime_value v;
    mime_value_parse(value, &c->b->arena, &v);
    size_t slash = slice_find(v.token, '/');
    struct slice type = slice_first(v.token, slash), subtype = slice_from(v.token, slash + 1);
    if (type.n == 0 || subtype.n == 0)
        return; /* a later field may be better */
    c->has_type = true;
    mime_content_reset(c->node, "application", "octet-stream");
    if (type.n <= MIME_TOKEN_MAX && subtype.n <= MIME_TOKEN_MAX) {
        c->node->type = type;
        c->node->subtype = subtype;
    }
    c->node->params = params_encode(c->b, &v, &c->node->param_n);
    c->node->kind = kind_of(c->node);
    if (c->node->kind == MIME_MULTIPART) {
        struct slice boundary = mime_value_param(&v, "boundary");
        while (boundary.n > 0 && boundary.p[boundary.n - 1] == ' ')
            boundary.n--;
        c->node->boundary = boundary;
    }
}

static void encoding_read(struct content *c, struct slice value)
{
    struct slice token;
    if (c->has_encoding || mime_tokens_parse(value, &token, 1) == 0)
        return;
    token = slice_first(token, slice_find(token, ';'));
    if (token.n == 0 || token.n > MIME_TOKEN_MAX)
        return;
    c->has_encoding = true;
    c->node->encoding = mime_lower(&c->b->arena, token);
}

static void disposition_read(struct content *c, struct slice value)
{
    struct mime_value v;
    if (c->has_disposition)
        return;
    mime_value_parse(value, &c->b->arena, &v);
    if (v.token.n == 0)
        return;
    c->has_disposition = true;
    c->node->disposition = keep(c->b, v.token);
    c->node->disposition_params = params_encode(c->b, &v, &c->node->disposition_param_n);
}

static void language_read(struct content *c, struct slice value)
{
    struct slice tags[MIME_PARAMS_MAX];
    size_t n = c->has_language ? 0 : mime_tokens_parse(value, tags, MIME_PARAMS_MAX);
    if (n == 0)
        return;
    c->has_language = true;
    struct buf out = {0};
    for (size_t i = 0; i < n; i++) {
        if (tags[i].n > MIME_STRING_MAX || !charge(c->b, tags[i].n + 4))
            continue;
        mime_put_string(&out, tags[i]);
        c->node->language_n++;
    }
    c->node->languages = arena_copy(&c->b->arena, buf_slice(&out));
    buf_close(&out);
}

enum { NAME_ID, NAME_DESCRIPTION, NAME_MD5, NAME_LOCATION };

static void name_read(struct content *c, unsigned which, struct slice value)
{
    struct mime_node *n = c->node;
    struct slice *fields[] = {&n->id, &n->description, &n->md5, &n->location};
    value = slice_trim(value);
    if (!fields[which]->p && value.n > 0)
        *fields[which] = keep(c->b, value);
}

/* ---- fields ---- */

enum field_use { USE_LIST, USE_TEXT, USE_NAME, USE_TYPE, USE_ENCODING, USE_DISPOSITION, USE_LANGUAGE };

static const struct field {
    const char *name;
    enum field_use use;
    unsigned which;
    bool of_message; /* only in a message's own header */
} fields[] = {
    {"date", USE_TEXT, TEXT_DATE, true},
    {"subject", USE_TEXT, TEXT_SUBJECT, true},
    {"in-reply-to", USE_TEXT, TEXT_IN_REPLY_TO, true},
    {"message-id", USE_TEXT, TEXT_MESSAGE_ID, true},
    {"from", USE_LIST, LIST_FROM, true},
    {"sender", USE_LIST, LIST_SENDER, true},
    {"reply-to", USE_LIST, LIST_REPLY_TO, true},
    {"to", USE_LIST, LIST_TO, true},
    {"cc", USE_LIST, LIST_CC, true},
    {"bcc", USE_LIST, LIST_BCC, true},
    {"content-type", USE_TYPE, 0, false},
    {"content-transfer-encoding", USE_ENCODING, 0, false},
    {"content-disposition", USE_DISPOSITION, 0, false},
    {"content-language", USE_LANGUAGE, 0, false},
    {"content-id", USE_NAME, NAME_ID, false},
    {"content-description", USE_NAME, NAME_DESCRIPTION, false},
    {"content-md5", USE_NAME, NAME_MD5, false},
    {"content-location", USE_NAME, NAME_LOCATION, false},
};

static const struct field *field_find(struct slice name)
{
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (slice_ieq(name, slice_str(fields[i].name)))
            return &fields[i];
    return NULL;
}

static void field_read(struct content *c, const struct field *f, struct slice value)
{
    switch (f->use) {
    case USE_LIST:
        list_read(c, f->which, value);
        break;
    case USE_TEXT:
        text_read(c, f->which, value);
        break;
    case USE_NAME:
        name_read(c, f->which, value);
        break;
    case USE_TYPE:
        type_read(c, value);
        break;
    case USE_ENCODING:
        encoding_read(c, value);
        break;
    case USE_DISPOSITION:
        disposition_read(c, value);
        break;
    case USE_LANGUAGE:
        language_read(c, value);
        break;
    }
}

void mime_content_read(struct mime_builder *b, struct mime_node *node, bool is_message, bool in_digest)
{
    struct content c = {.b = b, .node = node};
    struct slice header = slice_make(b->message.p + node->header_at, node->header_n);
    struct buf line = {0};
    struct header_field f;
    node->encoding = SLICE_LITERAL("7bit");
    for (size_t at = 0; header_next(header, &at, &f);) {
        const struct field *field = field_find(f.name);
        if (!field || (field->of_message && !is_message))
            continue;
        buf_clear(&line);
        header_unfold(f.value, &line);
        field_read(&c, field, arena_copy(&b->arena, buf_slice(&line)));
    }
    if (!c.has_type && in_digest) {
        mime_content_reset(node, "message", "rfc822");
        node->kind = MIME_MESSAGE;
    } else if (!c.has_type) {
        type_default(&c);
    }
    if (is_message)
        envelope_encode(&c);
    for (unsigned i = 0; i < LISTS; i++)
        buf_close(&c.list[i]);
    buf_close(&line);
}
