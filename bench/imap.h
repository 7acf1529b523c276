/* An IMAP client (RFC 3501) of few words: one command at a time, what it asked for counted and kept. */
#ifndef MERLION_BENCH_IMAP_H
#define MERLION_BENCH_IMAP_H

#include "bench/conn.h"

struct imap {
    struct conn c;
    unsigned tag;
    long exists;   /* of the last EXISTS */
    long fetched;  /* FETCH responses to the last command */
    long found;    /* numbers in its SEARCH response, -1 without one */
    char *literal; /* the last literal of the last command, on the heap */
    size_t length; /* of it */
    size_t room;
};

/* Connects, starts TLS as said and logs in. */
void imap_open(struct imap *i, const struct load_options *o, const struct load_target *target, int user);

/* Sends the command and reads until its tagged OK; anything else ends the program. */
void imap_command(struct imap *i, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sends IDLE (RFC 2177) and waits for the continuation. */
void imap_idle(struct imap *i);

/* Ends IDLE. */
void imap_done(struct imap *i);

/* LOGOUT, and closes. */
void imap_close(struct imap *i);

#endif
