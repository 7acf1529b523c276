/* One pass over the lines of a message. Open parts form a chain, root to innermost; multiparts in it have a boundary
 * until their closing delimiter was seen.
 *
 *   "--b"    closes all that is open below the multipart of b, opens its next part
 *   "--b--"  closes them too; what follows is that multipart's epilogue
 *
 * Lines end with CRLF. A message whose first line ends with a lone LF is taken as one with LF line ends throughout; in
 * others a lone LF is data in bodies (headers are read tolerantly in any case).
 * RFC 2046 5.1.1: a delimiter is a prefix of its line; when boundaries are prefixes of each other the longest wins, and
 * of equal ones the innermost.
 * A multipart without boundary parameter or without any delimiter is shown as text/plain: its text stays reachable. */
#include "protocol/mime/build.h"

struct open_part {
    uint32_t node;
    struct slice boundary; /* empty: not a multipart, or its end was seen */
};

struct scan {
    struct mime_builder *b;
    struct open_part open[MIME_DEPTH_MAX + 1];
    unsigned depth; /* open parts */
    size_t at;      /* start of the next line */
    uint64_t lines; /* line ends before at */
    unsigned eol;   /* octets of the line end just before at; 0 at the very start */
    bool lf_only;
};

static bool lf_only(struct slice m)
{
    size_t lf = slice_find(m, '\n');
    return lf < m.n && (lf == 0 || m.p[lf - 1] != '\r');
}

/* Behind the line that starts at `at`. In a header a lone LF ends a line always. */
static size_t line_skip(struct scan *s, bool in_header)
{
    struct slice m = s->b->message;
    size_t at = s->at;
    while (at < m.n) {
        const uint8_t *lf = memchr(m.p + at, '\n', m.n - at);
        if (!lf)
            break;
        at = (size_t)(lf - m.p) + 1;
        bool crlf = at - s->at >= 2 && m.p[at - 2] == '\r';
        if (crlf || in_header || s->lf_only) {
            s->eol = crlf ? 2 : 1;
            s->lines++;
            return at;
        }
    }
    s->eol = 0;
    return m.n;
}

/* Position in open[] of the multipart that the line at s->at delimits, or -1. */
static int delimiter_find(const struct scan *s, bool *closing_r)
{
    struct slice line = slice_from(s->b->message, s->at);
    if (line.n < 2 || line.p[0] != '-' || line.p[1] != '-')
        return -1;
    line = slice_from(line, 2);
    int best = -1;
    size_t best_n = 0;
    for (int i = (int)s->depth - 1; i >= 0; i--) {
        struct slice b = s->open[i].boundary;
        if (b.n > best_n && b.n <= line.n && memcmp(b.p, line.p, b.n) == 0) {
            best = i;
            best_n = b.n;
        }
    }
    line = slice_from(line, best_n);
    *closing_r = line.n >= 2 && line.p[0] == '-' && line.p[1] == '-';
    return best;
}

/* Closes open parts down to `depth` ones; their bodies end before `end`, at which `lines` line ends were counted. */
static void parts_close(struct scan *s, unsigned depth, size_t end, uint64_t lines)
{
    while (s->depth > depth) {
        struct mime_node *n = &s->b->nodes[s->open[--s->depth].node];
        n->body_n = end > n->body_at ? end - n->body_at : 0;
        n->lines = lines > n->lines ? lines - n->lines : 0;
        if (n->body_n == 0)
            n->lines = 0;
        if (n->kind == MIME_MULTIPART && n->child_n == 0)
            mime_content_reset(n, "text", "plain");
    }
}

static uint32_t node_add(struct scan *s)
{
    struct mime_builder *b = s->b;
    uint32_t at = b->n++;
    if (b->n > b->cap) {
        b->cap = b->cap ? b->cap * 2 : 8;
        b->nodes = mem_realloc(b->nodes, b->cap * sizeof(*b->nodes));
    }
    struct mime_node *n = &b->nodes[at];
    *n = (struct mime_node){0};
    n->depth = s->depth + 1;
    if (s->depth > 0) {
        struct mime_node *parent = &b->nodes[s->open[s->depth - 1].node];
        if (parent->last_child)
            b->nodes[parent->last_child].next = at;
        else
            parent->first_child = at;
        parent->last_child = at;
        parent->child_n++;
    }
    n->header_at = s->at;
    return at;
}

/* Moves behind the header that starts here: to behind its empty line, or to a delimiter or the end. */
static void header_scan(struct scan *s)
{
    struct slice m = s->b->message;
    bool closing;
    while (s->at < m.n && delimiter_find(s, &closing) < 0) {
        size_t from = s->at;
        s->at = line_skip(s, true);
        if (s->at - from == s->eol)
            return;
    }
}

/* May this composite part have parts below it? */
static bool opens(const struct scan *s, const struct mime_node *n)
{
    return n->depth < MIME_DEPTH_MAX && (n->kind != MIME_MESSAGE || s->b->n < MIME_PARTS_MAX);
}

/* Opens the part whose header starts here, and the message in it, and so on. */
static void part_open(struct scan *s, bool is_message)
{
    for (;;) {
        bool in_digest = false;
        if (s->depth > 0 && !is_message)
            in_digest = slice_eq(s->b->nodes[s->open[s->depth - 1].node].subtype, SLICE_LITERAL("digest"));
        uint32_t at = node_add(s);
        struct mime_node *n = &s->b->nodes[at];
        header_scan(s);
        n->header_n = s->at - n->header_at;
        n->body_at = s->at;
        n->lines = s->lines;
        mime_content_read(s->b, n, is_message, in_digest);
        if (n->kind != MIME_LEAF && !opens(s, n))
            mime_content_reset(n, "application", "octet-stream");
        s->open[s->depth++] = (struct open_part){at, n->boundary};
        if (n->kind != MIME_MESSAGE)
            return;
        is_message = true;
    }
}

static void delimiter_take(struct scan *s, int at, bool closing)
{
    unsigned depth = (unsigned)at + 1;
    parts_close(s, depth, s->at - s->eol, s->lines - (s->eol ? 1 : 0));
    s->at = line_skip(s, false);
    if (closing)
        s->open[at].boundary = slice_make(NULL, 0);
    else if (s->b->n < MIME_PARTS_MAX)
        part_open(s, false);
}

void mime_summary_build(struct slice message, struct buf *out)
{
    if (!message.p)
        message = slice_make("", 0);
    struct mime_builder b = {.message = message, .budget = MIME_BUDGET, .addresses_left = MIME_ADDRESSES_MAX};
    struct scan s = {.b = &b, .lf_only = lf_only(message)};
    part_open(&s, true);
    while (s.at < message.n) {
        bool closing;
        int found = delimiter_find(&s, &closing);
        if (found >= 0)
            delimiter_take(&s, found, closing);
        else
            s.at = line_skip(&s, false);
    }
    parts_close(&s, 0, message.n, s.lines);
    mime_encode(&b, out);
    mem_free(b.nodes);
    arena_close(&b.arena);
}
