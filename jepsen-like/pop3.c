#include "jepsen-like/pop3.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void pop3_close(struct pop3 *p)
{
    conn_close(&p->c);
}

void pop3_free(struct pop3 *p)
{
    pop3_close(p);
    text_free(&p->reply);
}

static enum outcome reply_read(struct pop3 *p, bool multi_line)
{
    text_clear(&p->reply);
    if (!conn_line(&p->c, &p->reply))
        return OUTCOME_INFO;
    text_append(&p->reply, "\n", 1);
    if (strncmp(p->reply.p, "-ERR [SYS/TEMP]", 15) == 0)
        refusal_note(p->reply.p);
    if (p->reply.p[0] != '+')
        return OUTCOME_FAIL;
    while (multi_line) {
        size_t start = p->reply.n;
        if (!conn_line(&p->c, &p->reply))
            return OUTCOME_INFO;
        if (strcmp(p->reply.p + start, ".") == 0) {
            p->reply.p[p->reply.n = start] = 0;
            break;
        }
        text_append(&p->reply, "\n", 1);
    }
    return OUTCOME_OK;
}

enum outcome pop3_command(struct pop3 *p, bool multi_line, unsigned timeout_ms, const char *format, ...)
{
    char line[500];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    conn_limit(&p->c, timeout_ms);
    return conn_print(&p->c, "%s\r\n", line) ? reply_read(p, multi_line) : OUTCOME_INFO;
}

bool pop3_open(struct pop3 *p, unsigned node, const char *user, unsigned timeout_ms)
{
    pop3_close(p);
    p->node = node;
    if (!conn_open(&p->c, node, POP3_PORT, 1000))
        return false;
    conn_limit(&p->c, timeout_ms);
    if (reply_read(p, false) == OUTCOME_OK &&
        pop3_command(p, false, timeout_ms, "USER %s@example.org", user) == OUTCOME_OK &&
        pop3_command(p, false, timeout_ms, "PASS secret") == OUTCOME_OK)
        return true;
    pop3_close(p);
    return false;
}
