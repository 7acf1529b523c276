/* Decoding and searching. */
#include "protocol/mime/charset.h"
#include "protocol/mime/text.h"
#include "protocol/mime/transfer.h"
#include "protocol/sasl/sasl.h"
#include "tests/cost/cost.h"

#define SHAPE_REPEAT(function, text)                                                                                   \
    static void function(unsigned n, struct buf *out)                                                                  \
    {                                                                                                                  \
        repeat(out, text, n);                                                                                          \
    }
SHAPE_REPEAT(words, "=?utf-8?q?a?= ")
SHAPE_REPEAT(words_base64, "=?utf-8?b?YWJj?=\r\n ")
SHAPE_REPEAT(words_open, "=?utf-8?q?")
SHAPE_REPEAT(words_begun, "=?")
SHAPE_REPEAT(words_unknown, "=?no-such?q?a?= ")
SHAPE_REPEAT(words_mixed, "=?utf-8?q?a?= =?x-no?q?b?= =?iso-8859-1?b?YQ==?= ")
SHAPE_REPEAT(words_long, "=")
SHAPE_REPEAT(letters, "a")
SHAPE_REPEAT(soft, "=\r\n")
SHAPE_REPEAT(blank, " ")
SHAPE_REPEAT(blank_lines, "a  \t \r\n")
SHAPE_REPEAT(escapes, "=C3=BC")
SHAPE_REPEAT(base64, "YWJj\r\n")
SHAPE_REPEAT(base64_ends, "YQ==")
SHAPE_REPEAT(umlauts, "\xc3\xbc")
SHAPE_REPEAT(halves, "\xc3")
SHAPE_REPEAT(escapes_2022, "\x1b$B!!\x1b(B")
SHAPE_REPEAT(utf7, "+AGE-")
SHAPE_REPEAT(combining, "\xcc\x81")
SHAPE_REPEAT(ligatures, "\xef\xb7\xba") /* one character that folds into eighteen */

static void decode_words(struct slice in, unsigned n)
{
    struct buf out = {0};
    (void)n;
    text_decode_words(in, &out);
    buf_close(&out);
}

static void transfer(struct slice in, const char *encoding, const char *name, size_t step)
{
    struct transfer t;
    struct charset c;
    struct buf octets = {0}, text = {0};
    transfer_open(&t, slice_str(encoding));
    (void)charset_open(&c, slice_str(name));
    for (; in.n > 0; in = slice_from(in, step)) {
        buf_clear(&octets);
        transfer_feed(&t, slice_first(in, step), &octets);
        charset_feed(&c, buf_slice(&octets), &text);
    }
    transfer_end(&t, &octets);
    charset_end(&c, &text);
    transfer_close(&t);
    charset_close(&c);
    buf_close(&octets);
    buf_close(&text);
}

static void quoted(struct slice in, unsigned n)
{
    (void)n;
    transfer(in, "quoted-printable", "utf-8", 1000);
}
static void quoted_octets(struct slice in, unsigned n)
{
    (void)n;
    transfer(in, "quoted-printable", "utf-8", 1);
}
static void decode_base64(struct slice in, unsigned n)
{
    struct buf out = {0};
    (void)n;
    transfer(in, "base64", "utf-8", 1000);
    (void)base64_decode(in, SIZE_MAX, &out);
    buf_close(&out);
}
static void japanese(struct slice in, unsigned n)
{
    (void)n;
    transfer(in, "8bit", "iso-2022-jp", 7);
}
static void seven(struct slice in, unsigned n)
{
    (void)n;
    transfer(in, "8bit", "utf-7", 7);
}

/* The key is the text but for its last letter: a plain search compares everything with everything. */
static void search(struct slice in, unsigned n)
{
    struct buf key = {0};
    buf_append_slice(&key, slice_first(in, in.n / 2));
    buf_append_str(&key, "b");
    struct text_needle *needle = text_needle_new(buf_slice(&key));
    (void)text_needle_in(needle, in);
    text_needle_free(&needle);
    buf_close(&key);
    (void)n;
}

enum { MANY = 512000, SOME = 64000 };

const struct shape shapes_text[] = {
    {"encoded words", 1000, SOME, words, decode_words},
    {"encoded words, base64", 1000, SOME, words_base64, decode_words},
    {"encoded words, open", 1000, SOME, words_open, decode_words},
    {"encoded words, begun", 1000, SOME, words_begun, decode_words},
    {"encoded words, unknown charset", 1000, SOME, words_unknown, decode_words},
    {"encoded words, mixed", 1000, SOME, words_mixed, decode_words},
    {"encoded words, equal signs", 1000, MANY, words_long, decode_words},
    {"quoted-printable, soft line ends", 1000, SOME, soft, quoted},
    {"quoted-printable, blanks", 1000, SOME, blank, quoted},
    {"quoted-printable, blanks by one", 1000, SOME, blank, quoted_octets},
    {"quoted-printable, blanks at ends", 1000, SOME, blank_lines, quoted},
    {"quoted-printable, escapes", 1000, SOME, escapes, quoted},
    {"quoted-printable, equal signs", 1000, SOME, words_long, quoted},
    {"base64", 1000, SOME, base64, decode_base64},
    {"base64, ends", 1000, SOME, base64_ends, decode_base64},
    {"iso-2022-jp", 1000, SOME, escapes_2022, japanese},
    {"utf-7", 1000, SOME, utf7, seven},
    {"search", 1000, MANY, letters, search},
    {"search, two octets", 1000, SOME, umlauts, search},
    {"search, no UTF-8", 1000, SOME, halves, search},
    {"search, combining", 1000, SOME, combining, search},
    {"search, long foldings", 1000, SOME, ligatures, search},
    {0},
};
