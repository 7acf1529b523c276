#include "jepsen-like/smtp.h"

#include <stdio.h>
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
        refusal_note(s->line.p);
    return s->line.p[0] - '0';
}

static bool open_as(struct smtp *s, unsigned node, unsigned port, const char *hello, unsigned timeout_ms)
{
    smtp_close(s);
    s->node = node;
    s->lmtp = port == LMTP_PORT;
    if (!conn_open(&s->c, node, port, 1000))
        return false;
    conn_limit(&s->c, timeout_ms);
    if (port == SUBMISSIONS_PORT && !conn_secure(&s->c))
        return false;
    if (reply_read(s) == 2 && conn_print(&s->c, "%s client.example\r\n", hello) && reply_read(s) == 2)
        return true;
    smtp_close(s);
    return false;
}

bool smtp_open(struct smtp *s, unsigned node, bool lmtp, unsigned timeout_ms)
{
    return open_as(s, node, lmtp ? LMTP_PORT : SMTP_PORT, lmtp ? "LHLO" : "EHLO", timeout_ms);
}

/* RFC 4616, in base64. */
static void plain_make(char out[200], const char *user)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char in[150] = {0};
    int n = snprintf((char *)in, sizeof in - 2, "%c%s@example.org%csecret", 0, user, 0);
    for (int i = 0; i < n; i += 3) {
        unsigned bits = (unsigned)in[i] << 16 | (unsigned)in[i + 1] << 8 | in[i + 2];
        for (int k = 0; k < 4; k++)
            *out++ = i + k > n ? '=' : digits[bits >> (18 - 6 * k) & 63];
    }
    *out = 0;
}

bool smtp_open_submission(struct smtp *s, unsigned node, const char *user, unsigned timeout_ms)
{
    char plain[200];
    if (!open_as(s, node, SUBMISSIONS_PORT, "EHLO", timeout_ms))
        return false;
    plain_make(plain, user);
    int first = conn_print(&s->c, "AUTH PLAIN %s\r\n", plain) ? reply_read(s) : 0;
    if (first == 2)
        return true;
    if (first == 5)
        fail("n%u does not know %s: %s", node, user, s->line.p);
    smtp_close(s);
    return false;
}

static bool envelope_send(struct smtp *s, const char *from, const char *const to[])
{
    if (!conn_print(&s->c, "MAIL FROM:<%s>\r\n", from) || reply_read(s) != 2)
        return false;
    for (; *to; to++)
        if (!conn_print(&s->c, "RCPT TO:<%s>\r\n", *to) || reply_read(s) != 2)
            return false;
    return conn_print(&s->c, "DATA\r\n") && reply_read(s) == 3;
}

enum outcome smtp_send(struct smtp *s, const char *from, const char *const to[], const char *message, size_t n,
                       unsigned timeout_ms)
{
    conn_limit(&s->c, timeout_ms);
    if (!envelope_send(s, from, to) || !conn_write(&s->c, message, n)) {
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

enum outcome smtp_deliver(struct smtp *s, const char *to, const char *message, size_t n, unsigned timeout_ms)
{
    char address[100];
    snprintf(address, sizeof address, "%s@example.org", to);
    return smtp_send(s, "sender@example.net", (const char *const[]){address, NULL}, message, n, timeout_ms);
}
