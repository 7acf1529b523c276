#include "protocol/smtp/trace.h"

#include "node/base/hash.h"
#include "protocol/mime/text.h"

#include <inttypes.h>
#include <time.h>

void smtp_date_write(int64_t ms, struct buf *out)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t t = (time_t)(ms / 1000);
    struct tm tm = {0};

    gmtime_r(&t, &tm);
    buf_printf(out, "%s, %d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
               tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void smtp_with_name(const struct smtp_with *w, char name_r[16])
{
    const char *base = w->lmtp ? (w->utf8 ? "UTF8LMTP" : "LMTP")
                               : (w->utf8       ? "UTF8SMTP"
                                  : w->extended ? "ESMTP"
                                                : "SMTP");
    size_t n = strlen(base);

    memcpy(name_r, base, n + 1);
    /* RFC 3848 names the suffixes for the extended protocols only. */
    if (!w->extended && !w->lmtp && !w->utf8)
        return;
    if (w->tls)
        name_r[n++] = 'S';
    if (w->auth)
        name_r[n++] = 'A';
    name_r[n] = '\0';
}

void smtp_return_path_write(const char *sender, struct buf *out)
{
    buf_printf(out, "Return-Path: <%s>\r\n", sender);
}

/* What a client says of itself goes into the header only as far as it cannot be mistaken for more. */
static void helo_write(const char *helo, struct buf *out)
{
    for (; *helo; helo++) {
        uint8_t c = (uint8_t)*helo;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("-._:[]", c);
        buf_append_byte(out, plain ? c : '?');
    }
}

static bool is_ascii(const char *s)
{
    for (; *s; s++)
        if ((uint8_t)*s >= 0x80)
            return false;
    return true;
}

void smtp_received_write(const struct smtp_trace *t, struct buf *out)
{
    const struct session_peer *peer = t->peer;

    buf_append_str(out, "Received: from ");
    helo_write(t->helo[0] ? t->helo : "unknown", out);
    if (peer->address[0])
        buf_printf(out, " ([%s%s])", strchr(peer->address, ':') ? "IPv6:" : "", peer->address);
    if (peer->tls && peer->tls_version[0])
        buf_printf(out, "\r\n\t(using %s with cipher %s)", peer->tls_version, peer->tls_cipher);
    buf_printf(out, "\r\n\tby %s (Merlion) with %s id %s", peer->local_name, t->with, t->id);
    if (t->for_only && is_ascii(t->for_only))
        buf_printf(out, "\r\n\tfor <%s>", t->for_only);
    buf_append_str(out, ";\r\n\t");
    smtp_date_write(t->now_ms, out);
    buf_append_str(out, "\r\n");
}

void smtp_date_field_write(int64_t now_ms, struct buf *out)
{
    buf_append_str(out, "Date: ");
    smtp_date_write(now_ms, out);
    buf_append_str(out, "\r\n");
}

void smtp_message_id_write(int64_t now_ms, const char *host, struct buf *out)
{
    uint64_t random;

    random_bytes(&random, sizeof(random));
    buf_printf(out, "Message-ID: <%" PRIx64 ".%016" PRIx64 "@%s>\r\n", (uint64_t)now_ms, random, host);
}

void smtp_header_look(struct slice message, struct smtp_header_facts *f_r)
{
    struct slice header = slice_first(message, header_length(message));
    struct header_field field;
    size_t at = 0;

    *f_r = (struct smtp_header_facts){0};
    while (header_next(header, &at, &field)) {
        if (slice_ieq(field.name, SLICE_LITERAL("Received")))
            f_r->received++;
        else if (slice_ieq(field.name, SLICE_LITERAL("Date")))
            f_r->date = true;
        else if (slice_ieq(field.name, SLICE_LITERAL("Message-ID")))
            f_r->message_id = true;
    }
}
