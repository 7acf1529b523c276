#include "protocol/smtp/client_internal.h"

#include <stdarg.h>
#include <stdio.h>

/* What a code says when no enhanced one stands beside it (RFC 3463); a guess at more would mislead. */
static const char *enhanced_of(int code)
{
    static const struct {
        int code;
        const char *enhanced;
    } known[] = {
        {421, "4.3.2"}, {450, "4.2.0"}, {451, "4.3.0"}, {452, "4.3.1"}, {454, "4.7.0"}, {455, "4.5.4"},
        {500, "5.5.2"}, {501, "5.5.4"}, {502, "5.5.1"}, {503, "5.5.1"}, {504, "5.5.4"}, {521, "5.3.2"},
        {530, "5.7.0"}, {535, "5.7.8"}, {541, "5.7.1"}, {552, "5.2.2"}, {555, "5.5.4"}, {556, "5.1.10"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].code == code)
            return known[i].enhanced;
    return code >= 500 ? "5.0.0" : code >= 300 ? "4.0.0" : "2.0.0";
}

void client_outcome_reply(struct smtp_outcome *o, const struct client_reply *r)
{
    *o = (struct smtp_outcome){.code = r->code};
    o->kind = r->code / 100 == 2 ? SMTP_DELIVERED : r->code / 100 == 5 ? SMTP_FAILED : SMTP_DEFERRED;
    snprintf(o->enhanced, sizeof(o->enhanced), "%s", r->enhanced[0] ? r->enhanced : enhanced_of(r->code));
    memcpy(o->text, r->text, sizeof(o->text));
}

void client_outcome_local(struct smtp_outcome *o, enum smtp_outcome_kind kind, const char *enhanced, const char *format,
                          ...)
{
    char text[sizeof(o->text)];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    *o = (struct smtp_outcome){.kind = kind};
    snprintf(o->enhanced, sizeof(o->enhanced), "%s", enhanced);
    client_text_copy(slice_str(text), o->text, sizeof(o->text));
}
