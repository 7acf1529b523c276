/* Any lines as a client's part of a SASL exchange, and any bytes as base64 and as PLAIN's message. */
#include "node/base/err.h"
#include "protocol/sasl/sasl.h"
#include "tests/fuzz/fuzz.h"

static void base64_try(struct slice in)
{
    struct buf text = {0}, back = {0}, again = {0};
    base64_encode(in, &text);
    ENSURE(base64_decode(buf_slice(&text), in.n, &back) == 0 && slice_eq(buf_slice(&back), in));
    ENSURE(in.n == 0 || base64_decode(buf_slice(&text), in.n - 1, &back) == ERR_TOOBIG);
    ENSURE(buf_len(&back) == in.n);
    buf_clear(&back);
    if (base64_decode(in, SIZE_MAX, &back) == 0) { /* strict: there is one text for some bytes */
        base64_encode(buf_slice(&back), &again);
        ENSURE(slice_eq(buf_slice(&again), in));
    } else {
        ENSURE(buf_len(&back) == 0);
    }
    buf_close(&text);
    buf_close(&back);
    buf_close(&again);
}

static void ensure_credentials(struct slice user, struct slice password)
{
    ENSURE(user.n > 0 && user.n <= SASL_USER_MAX && slice_find(user, 0) == user.n);
    ENSURE(password.n > 0 && password.n <= SASL_PASSWORD_MAX && slice_find(password, 0) == password.n);
}

static void plain_try(struct slice in)
{
    struct sasl_credentials c;
    int rv = sasl_plain_parse(in, &c);
    ENSURE(rv == 0 || rv == ERR_INVALID || rv == ERR_DENIED);
    if (rv == 0)
        ensure_credentials(c.authcid, c.password);
}

static struct slice line_take(struct slice *in)
{
    size_t n = slice_find(*in, '\n');
    struct slice line = slice_first(*in, n);
    *in = slice_from(*in, n + 1);
    return line;
}

static void exchange(struct slice in, struct fuzz_dice *dice)
{
    static const char *const names[] = {"PLAIN", "plain", "LOGIN", "LoGiN", "CRAM-MD5", ""};
    struct sasl s = {0};
    struct buf challenge = {0};
    uint32_t name = fuzz_roll(dice, 6);
    bool initial = fuzz_roll(dice, 2);
    enum sasl_result r = sasl_start(&s, slice_str(names[name]), initial, initial ? line_take(&in) : in, &challenge);
    ENSURE((r == SASL_UNKNOWN) == (name > 3));
    unsigned lines = 0;
    for (; r == SASL_MORE; lines++) {
        ENSURE(lines < 3);
        struct buf nothing = {0};
        ENSURE(base64_decode(buf_slice(&challenge), 64, &nothing) == 0);
        buf_close(&nothing);
        buf_clear(&challenge);
        r = sasl_respond(&s, line_take(&in), &challenge);
    }
    if (r == SASL_READY)
        ensure_credentials(s.user, s.password);
    else
        ENSURE(s.step == SASL_STEP_IDLE && buf_len(&s.message) == 0);
    sasl_close(&s);
    buf_close(&challenge);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct fuzz_dice dice = fuzz_dice_take(&in);
    base64_try(in);
    plain_try(in);
    exchange(in, &dice);
    /* The same bytes as messages that are base64 already. */
    struct buf lines = {0};
    for (struct slice rest = in; rest.n > 0;) {
        base64_encode(line_take(&rest), &lines);
        buf_append_byte(&lines, '\n');
    }
    exchange(buf_slice(&lines), &dice);
    buf_close(&lines);
    return 0;
}
