#include "bench/imap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/message.h"

enum { LINE_SIZE = 32768 };

static void take_search(struct imap *i, const char *numbers)
{
    i->found = 0;
    for (const char *p = numbers; *p; p++)
        if (*p == ' ' && p[1] >= '0' && p[1] <= '9')
            i->found++;
}

static void take_untagged(struct imap *i, const char *line)
{
    char word[16];
    long n;
    if (strncmp(line, "* SEARCH", 8) == 0)
        take_search(i, line + 8);
    else if (sscanf(line, "* %ld %15s", &n, word) == 2) {
        if (strcmp(word, "EXISTS") == 0)
            i->exists = n;
        else if (strcmp(word, "FETCH") == 0)
            i->fetched++;
    }
}

/* Reads the literal that the line announces at its end. Returns whether there is one. */
static bool take_literal(struct imap *i, const char *line, size_t length)
{
    const char *brace = strrchr(line, '{');
    size_t size;
    if (length == 0 || line[length - 1] != '}' || !brace || sscanf(brace, "{%zu}", &size) != 1)
        return false;
    if (size > 2 * MESSAGE_MAX)
        load_fail("a literal of %zu bytes", size);
    if (size > i->room) {
        i->room = size;
        if (!(i->literal = realloc(i->literal, size)))
            load_fail("out of memory");
    }
    conn_read(&i->c, i->literal, size);
    i->length = size;
    return true;
}

/* Reads responses until the tagged one, or until a continuation when that is asked for. */
static void read_reply(struct imap *i, bool continuation)
{
    char line[LINE_SIZE], tag[16];
    size_t tag_length = (size_t)snprintf(tag, sizeof tag, "a%u ", i->tag);
    for (bool inside = false;;) {
        size_t length = conn_line(&i->c, line, sizeof line);
        if (!inside && continuation && line[0] == '+')
            return;
        if (!inside && strncmp(line, tag, tag_length) == 0) {
            if (strncmp(line + tag_length, "OK", 2) != 0 || continuation)
                load_fail("%s:%s says: %s", i->c.target->host, i->c.target->port, line);
            return;
        }
        if (!inside)
            take_untagged(i, line);
        inside = take_literal(i, line, length);
    }
}

void imap_command(struct imap *i, const char *format, ...)
{
    char line[1024];
    size_t used = (size_t)snprintf(line, sizeof line, "a%u ", ++i->tag);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + used, sizeof line - used - 2, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof line - used - 2)
        load_fail("a command is too long");
    used += (size_t)n;
    memcpy(line + used, "\r\n", 2);
    i->fetched = 0;
    i->found = -1;
    i->length = 0;
    conn_write(&i->c, line, used + 2, false);
    read_reply(i, false);
}

void imap_open(struct imap *i, const struct load_options *o, const struct load_target *target, int user)
{
    char line[LINE_SIZE], address[128];
    *i = (struct imap){0};
    conn_open(&i->c, target, o->tls);
    conn_line(&i->c, line, sizeof line);
    if (strncmp(line, "* OK", 4) != 0)
        load_fail("%s:%s greets: %s", target->host, target->port, line);
    if (o->tls == LOAD_TLS_STARTTLS) {
        imap_command(i, "STARTTLS");
        conn_start_tls(&i->c);
    }
    load_address(o, user, address, sizeof address);
    imap_command(i, "LOGIN %s %s", address, o->password);
}

void imap_idle(struct imap *i)
{
    conn_print(&i->c, "a%u IDLE\r\n", ++i->tag);
    read_reply(i, true);
}

void imap_done(struct imap *i)
{
    conn_print(&i->c, "DONE\r\n");
    read_reply(i, false);
}

void imap_close(struct imap *i)
{
    imap_command(i, "LOGOUT");
    conn_close(&i->c);
    free(i->literal);
    i->literal = NULL;
}
