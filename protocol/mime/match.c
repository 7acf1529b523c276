#include "protocol/mime/match.h"

#include "node/base/mem.h"
#include "node/base/utf8.h"

#include <utf8proc.h>

enum { FOLDED_MAX = 32, REPLACEMENT = 0xfffd }; /* code points of one character; 18 is the most (U+FDFA) */

struct text_needle {
    size_t n;
    uint8_t *folded; /* UTF-8 */
    size_t *border;  /* longest proper prefix of folded[0..i] that is its suffix too */
};

/* Folds one character to UTF-8; returns its length. */
static size_t fold(int32_t code, uint8_t out[FOLDED_MAX * 4])
{
    utf8proc_int32_t folded[FOLDED_MAX];
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(code, folded, FOLDED_MAX,
                                                 UTF8PROC_CASEFOLD | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, &boundary);
    if (n < 0 || n > FOLDED_MAX) {
        folded[0] = code;
        n = 1;
    }
    size_t length = 0;
    for (utf8proc_ssize_t i = 0; i < n; i++)
        length += (size_t)utf8proc_encode_char(folded[i], out + length);
    return length;
}

/* The character at in[at]: its length in the input, at least 1; invalid octets are U+FFFD, one each. */
static size_t next_code(struct slice in, size_t at, int32_t *code_r)
{
    int step = utf8_step(in.p + at, in.n - at, code_r);
    if (step > 0)
        return (size_t)step;
    *code_r = REPLACEMENT;
    return 1;
}

struct text_needle *text_needle_new(struct slice key)
{
    struct buf folded = {0};
    for (size_t at = 0; at < key.n;) {
        int32_t code;
        uint8_t tmp[FOLDED_MAX * 4];
        at += next_code(key, at, &code);
        buf_append(&folded, tmp, fold(code, tmp));
    }
    struct text_needle *n = mem_zalloc(sizeof(*n));
    n->n = buf_len(&folded);
    n->folded = mem_alloc(n->n + 1);
    n->border = mem_alloc((n->n + 1) * sizeof(*n->border));
    if (n->n > 0)
        memcpy(n->folded, buf_slice(&folded).p, n->n);
    buf_close(&folded);
    n->border[0] = 0;
    for (size_t i = 1, k = 0; i < n->n; i++) {
        while (k > 0 && n->folded[i] != n->folded[k])
            k = n->border[k - 1];
        if (n->folded[i] == n->folded[k])
            k++;
        n->border[i] = k;
    }
    return n;
}

void text_needle_free(struct text_needle **n)
{
    if (!*n)
        return;
    mem_free((*n)->folded);
    mem_free((*n)->border);
    mem_free(*n);
    *n = NULL;
}

void text_match_begin(struct text_match *m, const struct text_needle *n)
{
    *m = (struct text_match){.needle = n, .found = n->n == 0};
}

static void match_octet(struct text_match *m, uint8_t c)
{
    const struct text_needle *n = m->needle;
    while (m->at > 0 && n->folded[m->at] != c)
        m->at = n->border[m->at - 1];
    if (n->folded[m->at] == c)
        m->at++;
    if (m->at == n->n) {
        m->found = true;
        m->at = 0;
    }
}

static void match_code(struct text_match *m, int32_t code)
{
    uint8_t tmp[FOLDED_MAX * 4];
    size_t n = fold(code, tmp);
    for (size_t i = 0; i < n && !m->found; i++)
        match_octet(m, tmp[i]);
}

/* Completes the character begun in the portion before; returns the octets used of in. */
static size_t part_complete(struct text_match *m, struct slice in)
{
    size_t used = 0;
    while (m->part_n > 0) {
        int32_t code;
        int step = utf8_step(m->part, m->part_n, &code);
        if (step == UTF8_INCOMPLETE) {
            if (used == in.n)
                return used;
            m->part[m->part_n++] = in.p[used++];
            continue;
        }
        /* Invalid: the first octet stands alone; those taken from in are read again by the caller. */
        size_t taken = step > 0 ? m->part_n : 1, again = m->part_n - taken;
        match_code(m, step > 0 ? code : REPLACEMENT);
        size_t back = again < used ? again : used;
        memmove(m->part, m->part + taken, again - back);
        m->part_n = again - back;
        used -= back;
    }
    return used;
}

bool text_match_feed(struct text_match *m, struct slice in)
{
    if (m->found)
        return true;
    for (size_t at = part_complete(m, in); at < in.n && !m->found;) {
        uint8_t c = in.p[at];
        if (c < 0x80) {
            match_octet(m, c >= 'A' && c <= 'Z' ? c | 0x20 : c);
            at++;
            continue;
        }
        int32_t code;
        if (utf8_step(in.p + at, in.n - at, &code) == UTF8_INCOMPLETE) {
            m->part_n = in.n - at;
            memcpy(m->part, in.p + at, m->part_n);
            return false;
        }
        at += next_code(in, at, &code);
        match_code(m, code);
    }
    return m->found;
}

void text_match_break(struct text_match *m)
{
    m->at = 0;
    m->part_n = 0;
}

bool text_needle_in(const struct text_needle *n, struct slice haystack)
{
    struct text_match m;
    text_match_begin(&m, n);
    return text_match_feed(&m, haystack);
}
