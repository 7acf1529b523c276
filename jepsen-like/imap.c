#include "jepsen-like/imap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void imap_close(struct imap *i)
{
    conn_close(&i->c);
    i->selected[0] = 0;
}

void imap_free(struct imap *i)
{
    imap_close(i);
    text_free(&i->reply);
    text_free(&i->last);
}

bool imap_usable(struct imap *i)
{
    /* Untagged news may wait in the buffer between commands; an unread BYE or the end shows as readable. */
    if (i->c.fd >= 0 && !conn_idle(&i->c))
        imap_close(i);
    return i->c.fd >= 0;
}

/* One response into reply, with literals. Returns where it starts, or -1. */
static long response_read(struct imap *i)
{
    size_t start = i->reply.n;
    for (;;) {
        size_t line = i->reply.n;
        if (!conn_line(&i->c, &i->reply))
            return -1;
        const char *p = i->reply.p + line, *brace = strrchr(p, '{');
        unsigned long n;
        char close, rest;
        if (!brace || sscanf(brace, "{%lu%c%c", &n, &close, &rest) != 2 || close != '}')
            break;
        text_append(&i->reply, "\n", 1);
        if (n > CONN_LITERAL_MAX || !conn_bytes(&i->c, &i->reply, n))
            return -1;
    }
    text_append(&i->reply, "\n", 1);
    return (long)start;
}

/* Until the tagged line, which goes to last. */
static enum outcome reply_read(struct imap *i)
{
    char tag[16];
    size_t n = (size_t)snprintf(tag, sizeof tag, "a%u ", i->tag);
    text_clear(&i->last);
    for (;;) {
        long start = response_read(i);
        if (start < 0) {
            imap_close(i);
            return OUTCOME_INFO;
        }
        const char *p = i->reply.p + start;
        if (strncmp(p, tag, n) == 0) {
            text_append(&i->last, p + n, i->reply.n - (size_t)start - n - 1);
            i->reply.n = (size_t)start;
            i->reply.p[start] = 0;
            if (strncmp(i->last.p, "NO [UNAVAILABLE]", 16) == 0)
                refusal_note(i->last.p);
            return strncmp(i->last.p, "OK", 2) == 0 ? OUTCOME_OK : OUTCOME_FAIL;
        }
    }
}

static enum outcome command_run(struct imap *i, unsigned timeout_ms, const struct text *command)
{
    text_clear(&i->reply);
    conn_limit(&i->c, timeout_ms);
    if (!conn_write(&i->c, command->p, command->n)) {
        imap_close(i);
        return OUTCOME_INFO;
    }
    return reply_read(i);
}

enum outcome imap_command(struct imap *i, unsigned timeout_ms, const char *format, ...)
{
    char line[1500];
    struct text t = {0};
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof line)
        fail("a command is too long: %.60s", line);
    text_printf(&t, "a%u %s\r\n", ++i->tag, line);
    enum outcome o = command_run(i, timeout_ms, &t);
    text_free(&t);
    return o;
}

enum outcome imap_literal(struct imap *i, unsigned timeout_ms, const char *command, const char *literal, size_t n)
{
    struct text t = {0};
    text_printf(&t, "a%u %s {%zu+}\r\n", ++i->tag, command, n);
    text_append(&t, literal, n);
    text_append(&t, "\r\n", 2);
    enum outcome o = command_run(i, timeout_ms, &t);
    text_free(&t);
    return o;
}

bool imap_open(struct imap *i, unsigned node, const char *user, unsigned timeout_ms)
{
    imap_close(i);
    i->node = node;
    if (!conn_open(&i->c, node, IMAP_PORT, 1000))
        return false;
    conn_limit(&i->c, timeout_ms);
    text_clear(&i->reply);
    if (response_read(i) < 0 || strncmp(i->reply.p, "* OK", 4) != 0 ||
        imap_command(i, timeout_ms, "LOGIN %s@example.org secret", user) != OUTCOME_OK ||
        imap_command(i, timeout_ms, "ENABLE CONDSTORE") != OUTCOME_OK) {
        imap_close(i);
        return false;
    }
    return true;
}

bool imap_select(struct imap *i, const char *mailbox, unsigned timeout_ms)
{
    if (strcmp(i->selected, mailbox) == 0)
        return true;
    i->selected[0] = 0;
    if (imap_command(i, timeout_ms, "SELECT %s", mailbox) != OUTCOME_OK)
        return false;
    snprintf(i->selected, sizeof i->selected, "%s", mailbox);
    return true;
}

enum outcome imap_idle(struct imap *i, unsigned ms, unsigned timeout_ms)
{
    uint64_t end = now_ns() + ms * NS_PER_MS;
    text_clear(&i->reply);
    conn_limit(&i->c, timeout_ms);
    conn_print(&i->c, "a%u IDLE\r\n", ++i->tag);
    for (bool idling = false; !idling;) {
        long start = response_read(i);
        if (start < 0)
            break;
        idling = i->reply.p[start] == '+';
        if (idling)
            i->reply.p[i->reply.n = (size_t)start] = 0;
    }
    while (i->c.fd >= 0 && now_ns() < end)
        if (conn_wait(&i->c, (unsigned)((end - now_ns()) / NS_PER_MS) % 10000 + 1))
            response_read(i);
    conn_limit(&i->c, timeout_ms);
    conn_print(&i->c, "DONE\r\n");
    enum outcome o = reply_read(i);
    if (o != OUTCOME_OK)
        imap_close(i);
    return o;
}

uint64_t imap_number(const char *text, const char *word)
{
    const char *p = strstr(text, word);
    if (!p)
        return 0;
    p += strlen(word);
    while (*p == ' ' || *p == '(')
        p++;
    return strtoull(p, NULL, 10);
}
