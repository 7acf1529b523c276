/* A blocking client connection, plain or with TLS, that reads lines. One thread uses it at a time.
 * Every failure and every wait past CONN_TIMEOUT_S ends the program (load_fail). */
#ifndef MERLION_BENCH_CONN_H
#define MERLION_BENCH_CONN_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/load.h"

enum { CONN_TIMEOUT_S = 60, CONN_IN = 16384 };

struct conn {
    int fd;
    void *ssl;    /* SSL *, NULL without TLS */
    size_t start; /* of what is unread in in[] */
    size_t end;
    const struct load_target *target;
    char *in; /* CONN_IN bytes */
};

/* Connects; with implicit TLS shakes hands too. */
void conn_open(struct conn *c, const struct load_target *target, enum load_tls tls);

/* The TLS 1.3 handshake, after the server agreed to STARTTLS. The certificate is not checked: it is a local test
 * server. */
void conn_start_tls(struct conn *c);

/* more says that another write follows at once: without TLS the kernel then sends both in one segment. */
void conn_write(struct conn *c, const void *bytes, size_t length, bool more);
void conn_print(struct conn *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One line without its line end into out_r, NUL after it. Returns its length; a line of size bytes or more is an error.
 */
size_t conn_line(struct conn *c, char *out_r, size_t size);

/* Exactly length bytes. */
void conn_read(struct conn *c, char *out_r, size_t length);

void conn_close(struct conn *c);

#endif
