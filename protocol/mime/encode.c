#include "protocol/mime/build.h"

static const struct mime_node *child_of(const struct mime_builder *b, const struct mime_node *n)
{
    return n->first_child ? &b->nodes[n->first_child] : NULL;
}

static void extra_encode(const struct mime_node *n, struct buf *out)
{
    mime_put_optional(out, n->md5);
    mime_put_optional(out, n->disposition);
    mime_put_number(out, n->disposition_param_n);
    buf_append_slice(out, n->disposition_params);
    mime_put_number(out, n->language_n);
    buf_append_slice(out, n->languages);
    mime_put_optional(out, n->location);
}

static void node_encode(const struct mime_builder *b, const struct mime_node *n, size_t parent_at, struct buf *out)
{
    bool named = n->id.p || n->description.p;
    bool extra = n->md5.p || n->disposition.p || n->language_n || n->location.p;
    buf_append_byte(out, (uint8_t)(n->kind | (named ? MIME_PART_NAMED : 0) | (extra ? MIME_PART_EXTRA : 0)));
    mime_put_number(out, n->header_at - parent_at);
    mime_put_number(out, n->header_n);
    mime_put_number(out, n->body_n);
    mime_put_number(out, n->lines);
    mime_put_string(out, n->type);
    mime_put_string(out, n->subtype);
    mime_put_string(out, n->encoding);
    mime_put_number(out, n->param_n);
    buf_append_slice(out, n->params);
    if (named) {
        mime_put_optional(out, n->id);
        mime_put_optional(out, n->description);
    }
    if (extra)
        extra_encode(n, out);
    if (n->kind == MIME_MULTIPART)
        mime_put_number(out, n->child_n);
    else if (n->kind == MIME_MESSAGE)
        mime_put_string(out, child_of(b, n)->envelope);
    for (uint32_t i = n->first_child; i != 0; i = b->nodes[i].next)
        node_encode(b, &b->nodes[i], n->body_at, out);
}

void mime_encode(const struct mime_builder *b, struct buf *out)
{
    buf_append_byte(out, MIME_VERSION);
    mime_put_string(out, b->nodes[0].envelope);
    node_encode(b, &b->nodes[0], 0, out);
}
