/* A client's connection: blocking, with a time limit on everything. One thread uses it at a time. */
#ifndef MERLION_JEPSEN_CONN_H
#define MERLION_JEPSEN_CONN_H

#include "jepsen-like/util.h"

enum { CONN_LITERAL_MAX = 4 << 20, CONN_LINE_MAX = 1 << 20 };

struct conn {
    int fd;             /* -1: closed */
    struct ssl_st *tls; /* NULL: none */
    uint64_t deadline;
    size_t start, end;
    char in[16384];
};

/* Of what a client asked for. INFO: the answer did not come, so it may have happened, or may still. */
enum outcome { OUTCOME_OK, OUTCOME_FAIL, OUTCOME_INFO };
const char *outcome_name(enum outcome o);

/* The server answered that it cannot do it now (SMTP 4xx but 421, IMAP NO [UNAVAILABLE], POP3 -ERR [SYS/TEMP]): the
 * calling thread's current operation is refused. refusal_take tells and forgets it. */
void refusal_note(const char *reply);
bool refusal_take(void);
const char *refusal_reply(void); /* of the one that was taken last */
/* Operations of clients that were refused so far. Any thread. */
unsigned refusals_count(void);
/* One more; said while that is on, with the words. */
void refusals_add(const char *format, ...) __attribute__((format(printf, 1, 2)));
void refusals_say(bool on);

/* Connects from the host that the thread is in to 10.77.0.HOST. Returns whether it did; else c is closed. */
bool conn_open(struct conn *c, unsigned host, unsigned port, unsigned timeout_ms);
/* TLS from here on. Returns whether it is; else c is closed. */
bool conn_secure(struct conn *c);
/* Takes over a socket that was accepted; it must not block. */
void conn_adopt(struct conn *c, int fd);
void conn_close(struct conn *c);

/* Everything after it must be done within so long. */
void conn_limit(struct conn *c, unsigned timeout_ms);

/* These close c and return false when the connection is lost or time is up. */
bool conn_write(struct conn *c, const void *bytes, size_t n);
bool conn_print(struct conn *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends one line to the text, without its line end. */
bool conn_line(struct conn *c, struct text *line);
bool conn_bytes(struct conn *c, struct text *bytes, size_t n);

/* Waits for input for at most that long; false when none came. A lost connection counts as input. */
bool conn_wait(struct conn *c, unsigned timeout_ms);

/* Whether it can be used for a new command: open, and nothing unasked (a BYE, the end) has come. */
bool conn_idle(struct conn *c);

/* ---- between conn.c and conn_tls.c ---- */

/* Waits until the socket is ready for these events of poll. false: time is up. */
bool conn_ready(struct conn *c, short events);
void conn_tls_close(struct conn *c);
/* Some bytes, or -1: done for. */
long conn_tls_write(struct conn *c, const void *bytes, size_t n);
long conn_tls_read(struct conn *c, void *bytes, size_t n);
/* Whether there is something to read, or the end. Does not wait. */
bool conn_tls_input(struct conn *c);

#endif
