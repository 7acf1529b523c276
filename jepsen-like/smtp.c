#include "jepsen-like/smtp.h"

#include <string.h>

void smtp_close(struct smtp *s)
{
    conn_close(&s->c);
}

void smtp_free(struct smtp *s)
{
    smtp_close(s);
    text_free(&s->line);
}

/* The first digit of a reply, 0 when the connection was lost. */
static int reply_read(struct smtp *s)
{
    do {
        text_clear(&s->line);
        if (!conn_line(&s->c, &s->line))
            return 0;
    } while (s->line.n > 3 && s->line.p[3] == '-');
    if (s->line.n < 3 || s->line.p[0] < '2' || s->line.p[0] > '5') {
        smtp_close(s);
        return 0;
    }
    if (s->line.p[0] == '4' && strncmp(s->line.p, "421", 3) != 0)
        refusal_note();
    return s->line.p[0] - '0';
}

bool smtp_open(struct smtp *s, unsigned node, bool lmtp, unsigned timeout_ms)
{
    smtp_close(s);
    s->node = node;
    s->lmtp = lmtp;
    if (!conn_open(&s->c, node, lmtp ? LMTP_PORT : SMTP_PORT, 1000))
        return false;
    conn_limit(&s->c, timeout_ms);
    if (reply_read(s) == 2 && conn_print(&s->c, "%s client.example\r\n", lmtp ? "LHLO" : "EHLO") && reply_read(s) == 2)
        return true;
    smtp_close(s);
    return false;
}

enum outcome smtp_deliver(struct smtp *s, const char *to, const char *message, size_t n, unsigned timeout_ms)
{
    conn_limit(&s->c, timeout_ms);
    if (!conn_print(&s->c, "MAIL FROM:<sender@example.net>\r\n") || reply_read(s) != 2 ||
        !conn_print(&s->c, "RCPT TO:<%s@example.org>\r\n", to) || reply_read(s) != 2 ||
        !conn_print(&s->c, "DATA\r\n") || reply_read(s) != 3 || !conn_write(&s->c, message, n)) {
        smtp_close(s); /* the next one starts afresh */
        return OUTCOME_FAIL;
    }
    if (!conn_write(&s->c, ".\r\n", 3))
        return OUTCOME_INFO;
    int first = reply_read(s);
    /* 421 says that the connection ends, not what became of the message. */
    if (first == 4 && strncmp(s->line.p, "421", 3) == 0) {
        smtp_close(s);
        return OUTCOME_INFO;
    }
    return first == 2 ? OUTCOME_OK : first ? OUTCOME_FAIL : OUTCOME_INFO;
}
