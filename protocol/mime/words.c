/* Encoded words (RFC 2047, language tags of RFC 2231 5). Looser than the grammar, as senders are: words count wherever
 * they stand, Q text may hold blanks, and a character may be split over adjacent words of one charset. */
#include "protocol/mime/charset.h"
#include "protocol/mime/text.h"
#include "protocol/mime/transfer.h"

/* Opening converters is slow: a header gets this many different charsets, others stay as they are written. */
enum { WORD_CHARSETS_MAX = 8, WORD_CHARSET_NAME_MAX = 64 };

struct word {
    struct slice charset, text;
    bool base64;
    size_t n; /* with =? and ?= */
};

struct decoder {
    struct charset charsets[WORD_CHARSETS_MAX];
    struct slice names[WORD_CHARSETS_MAX]; /* into the input */
    bool known[WORD_CHARSETS_MAX];
    size_t n;
    struct charset *open; /* of the word before, when nothing but blanks came since */
    struct buf raw;
    struct buf *out;
};

/* encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?=". Stops at the third '?', so that all
 * tries together are linear. */
static bool word_parse(struct slice s, struct word *w)
{
    if (s.n < 7 || s.p[0] != '=' || s.p[1] != '?')
        return false;
    struct slice rest = slice_from(s, 2);
    size_t charset_n = slice_find(slice_first(rest, WORD_CHARSET_NAME_MAX), '?');
    if (charset_n == 0 || charset_n >= WORD_CHARSET_NAME_MAX || charset_n + 2 >= rest.n || rest.p[charset_n + 2] != '?')
        return false;
    uint8_t encoding = rest.p[charset_n + 1] | 0x20;
    if (encoding != 'b' && encoding != 'q')
        return false;
    struct slice text = slice_from(rest, charset_n + 3);
    size_t text_n = slice_find(text, '?');
    if (text_n + 1 >= text.n || text.p[text_n + 1] != '=')
        return false;
    w->charset = slice_first(rest, charset_n);
    w->charset.n = slice_find(w->charset, '*');
    w->text = slice_first(text, text_n);
    w->base64 = encoding == 'b';
    w->n = 2 + charset_n + 3 + text_n + 2;
    return true;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 2047 4.2 */
static void q_decode(struct slice in, struct buf *out)
{
    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = in.p[i];
        if (c == '=' && in.n - i > 2 && hex_value(in.p[i + 1]) >= 0 && hex_value(in.p[i + 2]) >= 0) {
            c = (uint8_t)(hex_value(in.p[i + 1]) << 4 | hex_value(in.p[i + 2]));
            i += 2;
        } else if (c == '_') {
            c = ' ';
        }
        buf_append_byte(out, c);
    }
}

/* The converter of this name, opened once a header; NULL: unknown, or too many. */
static struct charset *charset_of(struct decoder *d, struct slice name)
{
    for (size_t i = 0; i < d->n; i++)
        if (slice_ieq(d->names[i], name))
            return d->known[i] ? &d->charsets[i] : NULL;
    if (d->n == WORD_CHARSETS_MAX)
        return NULL;
    size_t i = d->n++;
    d->names[i] = name;
    d->known[i] = charset_open(&d->charsets[i], name) == 0;
    return d->known[i] ? &d->charsets[i] : NULL;
}

static void run_end(struct decoder *d)
{
    if (d->open)
        charset_end(d->open, d->out);
    d->open = NULL;
}

static bool word_decode(struct decoder *d, const struct word *w)
{
    struct charset *c = charset_of(d, w->charset);
    if (!c)
        return false;
    if (d->open != c)
        run_end(d);
    buf_clear(&d->raw);
    if (w->base64)
        text_decode_base64(w->text, &d->raw);
    else
        q_decode(w->text, &d->raw);
    charset_feed(c, buf_slice(&d->raw), d->out);
    d->open = c;
    return true;
}

static bool is_gap(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != ' ' && s.p[i] != '\t' && s.p[i] != '\r' && s.p[i] != '\n')
            return false;
    return true;
}

/* The next "=?" at or behind `at`, or the end. */
static size_t word_find(struct slice in, size_t at)
{
    while (at < in.n) {
        size_t equals = at + slice_find(slice_from(in, at), '=');
        if (equals + 1 < in.n && in.p[equals + 1] == '?')
            return equals;
        at = equals + 1;
    }
    return in.n;
}

void text_decode_words(struct slice in, struct buf *out)
{
    struct decoder d = {.out = out};
    size_t done = 0; /* written up to here */
    for (size_t at = word_find(in, 0); at < in.n;) {
        struct word w;
        struct slice before = slice_make(in.p + done, at - done);
        if (!word_parse(slice_from(in, at), &w)) {
            at = word_find(in, at + 1);
            continue;
        }
        if (!d.open || !is_gap(before)) { /* blanks between two words are dropped (RFC 2047 6.2) */
            run_end(&d);
            buf_append_slice(out, before);
            done = at;
        }
        if (word_decode(&d, &w))
            done = at + w.n;
        at = word_find(in, at + w.n);
    }
    run_end(&d);
    buf_append_slice(out, slice_from(in, done));
    for (size_t i = 0; i < d.n; i++)
        if (d.known[i])
            charset_close(&d.charsets[i]);
    buf_close(&d.raw);
}
