/* Delivery status notifications about any mail: what strangers chose (addresses, replies, names, the mail itself) stays
 * where it belongs. The notice has three parts whatever is in it, its own lines are short and end with CRLF, and octets
 * above 127 are only where it says so. */
#include "protocol/mime/summary.h"
#include "protocol/mime/text.h"
#include "protocol/smtp/dsn.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>

enum { RECIPIENTS = 3 };

static struct slice part_take(struct slice *in, struct fuzz_dice *dice)
{
    struct slice part = slice_first(*in, fuzz_roll(dice, 40));
    *in = slice_from(*in, part.n);
    return part;
}

/* RFC 5322 2.1.1, RFC 2045 2.8. Of a part of ours. */
static void ensure_lines(struct slice s, bool eight)
{
    size_t column = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool crlf = s.p[i] == '\r' && i + 1 < s.n && s.p[i + 1] == '\n';
        ENSURE(crlf || (s.p[i] != '\r' && s.p[i] != '\n' && s.p[i] != 0));
        ENSURE(eight || s.p[i] < 0x80);
        column = crlf ? 0 : column + 1;
        ENSURE(column <= 998);
        i += crlf;
    }
}

static unsigned count_of(struct slice s, const char *line)
{
    unsigned n = 0;
    size_t length = strlen(line);
    for (size_t i = 0; i + length <= s.n; i++)
        n += memcmp(s.p + i, line, length) == 0;
    return n;
}

static void ensure_notice(const struct dsn *d, struct slice notice)
{
    struct buf summary = {0};
    struct mime_part status, original;
    mime_summary_build(notice, &summary);
    struct slice s = buf_slice(&summary);
    uint32_t second = 2, third = 3, fourth = 4;
    struct mime_part p;
    ENSURE(mime_part_find(s, &second, 1, &status) == 0 && mime_part_find(s, &third, 1, &original) == 0);
    ENSURE(mime_part_find(s, &fourth, 1, &p) != 0);
    ensure_lines(slice_first(notice, original.body_at), d->utf8);
    struct slice fields = slice_first(slice_from(notice, status.body_at), status.body_n);
    ENSURE(count_of(fields, "\r\nFinal-Recipient: ") == d->n && count_of(fields, "\r\nAction: ") == d->n);
    ENSURE(count_of(fields, "\r\n\r\n") >= d->n);
    ENSURE(header_length(notice) < notice.n && count_of(slice_first(notice, header_length(notice)), "\r\nTo: ") == 1);
    buf_close(&summary);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct fuzz_dice dice = fuzz_dice_take(&in);
    struct dsn_recipient recipients[RECIPIENTS] = {0};
    struct dsn d = {.reporting = SLICE_LITERAL("mx.x.test"),
                    .from = SLICE_LITERAL("mailer-daemon@x.test"),
                    .now_ms = 1700000000000,
                    .message_id = "1.2.3@mx.x.test",
                    .recipients = recipients,
                    .n = 1 + fuzz_roll(&dice, RECIPIENTS),
                    .full = fuzz_roll(&dice, 2),
                    .full_max = 4096,
                    .utf8 = fuzz_roll(&dice, 2)};
    d.to = part_take(&in, &dice);
    d.envid = part_take(&in, &dice);
    for (size_t i = 0; i < RECIPIENTS; i++) {
        struct dsn_recipient *r = &recipients[i];
        r->action = (enum dsn_action)fuzz_roll(&dice, DSN_EXPANDED + 1);
        r->address = part_take(&in, &dice);
        r->orcpt = part_take(&in, &dice);
        r->reply = part_take(&in, &dice);
        r->host = part_take(&in, &dice);
        r->code = fuzz_roll(&dice, 2) ? 550 : 0;
        snprintf(r->enhanced, sizeof r->enhanced, "5.1.1");
    }
    d.original = in;
    struct buf out = {0};
    dsn_write(&d, &out);
    ensure_notice(&d, buf_slice(&out));
    buf_close(&out);
    return 0;
}
