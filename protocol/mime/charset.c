#include "protocol/mime/charset.h"

#include "node/base/err.h"
#include "protocol/mime/text.h"
#include "node/base/utf8.h"

#include <errno.h>
#include <stdio.h>

/* Names that begin so are iconv's business. ISO-2022-CN-EXT is left out: its converter is rare and was unsafe. */
static const char *const prefixes[] = {
    "iso-8859-", "iso8859-", "iso_8859-", "windows-12",  "windows-874", "windows-9", "cp12",      "cp4",
    "cp7",       "cp8",      "cp9",       "koi8-",       "utf-16",      "utf-32",    "utf-7",     "gb18030",
    "gbk",       "big5",     "euc-",      "iso-2022-jp", "iso-2022-kr", "tis-620",   "macintosh", "viscii",
    "johab",     "uhc",      "armscii-8", "georgian-ps", "ibm8",        "latin1",    "latin2",    "tcvn"};

/* What senders mean by some names: the superset that their software really uses. */
static const char *const aliases[][2] = {
    {"gb2312", "GB18030"},       {"gb_2312-80", "GB18030"},  {"x-gbk", "GB18030"},     {"shift_jis", "CP932"},
    {"shift-jis", "CP932"},      {"sjis", "CP932"},          {"x-sjis", "CP932"},      {"windows-31j", "CP932"},
    {"ks_c_5601-1987", "CP949"}, {"ks_c_5601", "CP949"},     {"euc-kr", "CP949"},      {"HZ"},
    {"windows-874", "CP874"},    {"windows-936", "GB18030"}, {"windows-949", "CP949"}, {"windows-932", "CP932"},
    {"windows-950", "BIG5"}};

static bool name_is_utf8(struct slice name)
{
    static const char *const names[] = {"utf-8", "utf8", "us-ascii", "ascii", "ansi_x3.4-1968", "unicode-1-1-utf-8"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (slice_ieq(name, slice_str(names[i])))
            return true;
    return false;
}

static bool name_is_plain(struct slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i], lower = c | 0x20;
        if (!((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || strchr("-_.:", c ? c : ' ')))
            return false;
    }
    return name.n > 0 && name.n < CHARSET_NAME_MAX;
}

/* The name for iconv, or NULL; tmp has CHARSET_NAME_MAX bytes. */
static const char *iconv_name(struct slice name, char *tmp)
{
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (slice_ieq(name, slice_str(aliases[i][0])))
            return aliases[i][1];
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (!slice_istarts(name, slice_str(prefixes[i])))
            continue;
        memcpy(tmp, name.p, name.n);
        tmp[name.n] = 0;
        return tmp;
    }
    return NULL;
}

int charset_open(struct charset *c, struct slice name)
{
    *c = (struct charset){0};
    name = slice_trim(name);
    if (name_is_utf8(name)) {
        c->is_utf8 = true;
        return 0;
    }
    char tmp[CHARSET_NAME_MAX];
    const char *known = name_is_plain(name) ? iconv_name(name, tmp) : NULL;
    if (!known)
        return ERR_NOTFOUND;
    c->iconv = iconv_open("UTF-8", known);
    return c->iconv == (iconv_t)-1 ? ERR_NOTFOUND : 0; /* NOLINT(performance-no-int-to-ptr) iconv's own error value */
}

/* Copies valid runs, replaces the rest; returns how much of in was used (all but an incomplete end). */
static size_t utf8_clean(struct slice in, struct buf *out)
{
    size_t run = 0, at = 0;
    while (at < in.n) {
        int32_t code;
        int step = utf8_step(in.p + at, in.n - at, &code);
        if (step > 0) {
            at += (size_t)step;
            continue;
        }
        if (step == UTF8_INCOMPLETE)
            break;
        buf_append(out, in.p + run, at - run);
        utf8_append_replacement(out);
        run = ++at;
    }
    buf_append(out, in.p + run, at - run);
    return at;
}

static size_t iconv_clean(struct charset *c, struct slice in, struct buf *out)
{
    char *from = (char *)(uintptr_t)in.p; /* iconv does not write there */
    size_t left = in.n;
    while (left > 0) {
        size_t room = left * 2 + 64, n = room;
        char *to = (char *)buf_reserve(out, room);
        size_t result = iconv(c->iconv, &from, &left, &to, &n);
        int error = errno;
        buf_commit(out, room - n);
        if (result != (size_t)-1 || error == E2BIG)
            continue;
        if (error == EINVAL && left < 16)
            break;
        utf8_append_replacement(out);
        from++;
        left--;
    }
    return in.n - left;
}

static size_t clean(struct charset *c, struct slice in, struct buf *out)
{
    return c->is_utf8 ? utf8_clean(in, out) : iconv_clean(c, in, out);
}

void charset_feed(struct charset *c, struct slice in, struct buf *out)
{
    if (in.n == 0)
        return;
    if (buf_len(&c->in) == 0) {
        buf_append_slice(&c->in, slice_from(in, clean(c, in, out)));
        return;
    }
    buf_append_slice(&c->in, in);
    buf_consume(&c->in, clean(c, buf_slice(&c->in), out));
}

void charset_end(struct charset *c, struct buf *out)
{
    if (buf_len(&c->in) > 0)
        utf8_append_replacement(out);
    buf_clear(&c->in);
    if (c->is_utf8)
        return;
    size_t room = 64, n = room;
    char *to = (char *)buf_reserve(out, room);
    iconv(c->iconv, NULL, NULL, &to, &n);
    buf_commit(out, room - n);
    iconv(c->iconv, NULL, NULL, NULL, NULL);
}

void charset_close(struct charset *c)
{
    if (!c->is_utf8 && c->iconv)
        iconv_close(c->iconv);
    c->iconv = NULL;
    buf_close(&c->in);
}

int text_to_utf8(struct slice charset, struct slice in, struct buf *out)
{
    struct charset c;
    int error = charset_open(&c, charset);
    if (error)
        return error;
    charset_feed(&c, in, out);
    charset_end(&c, out);
    charset_close(&c);
    return 0;
}
