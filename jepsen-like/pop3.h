/* A POP3 client (RFC 1939). */
#ifndef MERLION_JEPSEN_POP3_H
#define MERLION_JEPSEN_POP3_H

#include "jepsen-like/conn.h"

enum { POP3_PORT = 110 };

struct pop3 {
    struct conn c;
    unsigned node;
    struct text reply; /* the status line, LF, then the lines of a multi-line reply without the dot, each with LF */
};

bool pop3_open(struct pop3 *p, unsigned node, const char *user, unsigned timeout_ms);
void pop3_close(struct pop3 *p);
void pop3_free(struct pop3 *p);

/* INFO closes p. */
enum outcome pop3_command(struct pop3 *p, bool multi_line, unsigned timeout_ms, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
