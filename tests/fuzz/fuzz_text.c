/* Decoding and search: in portions it gives what it gives at once, and UTF-8 always comes out. */
#include "protocol/mime/charset.h"
#include "protocol/mime/match.h"
#include "protocol/mime/text.h"
#include "protocol/mime/transfer.h"
#include "node/base/utf8.h"
#include "tests/fuzz/fuzz.h"

static const char *const charsets[] = {"utf-8",       "iso-8859-1", "iso-2022-jp",  "utf-7",  "utf-16",       "gb18030",
                                       "big5",        "euc-jp",     "shift_jis",    "euc-kr", "windows-1255", "utf-32",
                                       "iso-2022-kr", "big5-hkscs", "windows-1258", "tcvn"};
static const char *const encodings[] = {"base64", "quoted-printable", "8bit"};

/* Both steps, cut as the dice say; seed 0: at once. */
static void decode(struct slice in, const char *encoding, const char *charset, struct fuzz_dice *dice, struct buf *out)
{
    struct transfer t;
    struct charset c;
    ENSURE(charset_open(&c, slice_str(charset)) == 0);
    transfer_open(&t, slice_str(encoding));
    while (in.n > 0) {
        struct buf octets = {0};
        struct slice part = dice ? slice_first(in, 1 + fuzz_roll(dice, 40)) : in;
        transfer_feed(&t, part, &octets);
        charset_feed(&c, buf_slice(&octets), out);
        in = slice_from(in, part.n);
        buf_close(&octets);
    }
    struct buf octets = {0};
    transfer_end(&t, &octets);
    charset_feed(&c, buf_slice(&octets), out);
    charset_end(&c, out);
    buf_close(&octets);
    transfer_close(&t);
    charset_close(&c);
}

static void match(struct slice key, struct slice text, struct fuzz_dice *dice)
{
    struct text_needle *needle = text_needle_new(key);
    struct text_match m;
    bool found = text_needle_in(needle, text);
    text_match_begin(&m, needle);
    for (struct slice left = text; left.n > 0;) {
        struct slice part = slice_first(left, 1 + fuzz_roll(dice, 9));
        text_match_feed(&m, part);
        left = slice_from(left, part.n);
    }
    ENSURE(m.found == found);
    text_needle_free(&needle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct fuzz_dice dice = fuzz_dice_take(&in);
    const char *charset = charsets[fuzz_roll(&dice, sizeof(charsets) / sizeof(charsets[0]))];
    const char *encoding = encodings[fuzz_roll(&dice, 3)];
    struct buf whole = {0}, parts = {0}, words = {0};
    decode(in, encoding, charset, NULL, &whole);
    decode(in, encoding, charset, &dice, &parts);
    ENSURE(slice_eq(buf_slice(&whole), buf_slice(&parts)));
    ENSURE(utf8_valid(buf_slice(&whole)));
    struct slice text = buf_slice(&whole);
    size_t from = text.n ? fuzz_roll(&dice, (uint32_t)text.n) : 0;
    struct slice key = slice_first(slice_from(text, from), fuzz_roll(&dice, 12));
    match(key, text, &dice);
    match(slice_first(in, fuzz_roll(&dice, 12)), in, &dice);
    text_decode_words(in, &words);
    buf_close(&whole);
    buf_close(&parts);
    buf_close(&words);
    return 0;
}
