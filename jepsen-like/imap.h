/* An IMAP client (RFC 9051), one command at a time. */
#ifndef MERLION_JEPSEN_IMAP_H
#define MERLION_JEPSEN_IMAP_H

#include "jepsen-like/conn.h"

enum { IMAP_PORT = 143 };

struct imap {
    struct conn c;
    unsigned tag, node;
    char selected[64]; /* mailbox of the last SELECT that worked */
    struct text reply; /* untagged lines of the last command, each ended by LF, literals as they came */
    struct text last;  /* its tagged line */
};

/* Connects to the node and logs in. Without it i is closed. A command may take timeout_ms. */
bool imap_open(struct imap *i, unsigned node, const char *user, unsigned timeout_ms);
void imap_close(struct imap *i);
void imap_free(struct imap *i);
bool imap_usable(struct imap *i);

/* Sends the command and reads until its tagged line. INFO closes i. */
enum outcome imap_command(struct imap *i, unsigned timeout_ms, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The command, then the literal without waiting (RFC 7888). */
enum outcome imap_literal(struct imap *i, unsigned timeout_ms, const char *command, const char *literal, size_t n);

/* SELECT unless it is selected already. */
bool imap_select(struct imap *i, const char *mailbox, unsigned timeout_ms);

/* IDLE for so long; what comes goes to i->reply. FAIL or INFO closes i. */
enum outcome imap_idle(struct imap *i, unsigned ms, unsigned timeout_ms);

/* The number after the word in the text, as in "UIDNEXT 5" or "MODSEQ (12": 0 without it. */
uint64_t imap_number(const char *text, const char *word);

#endif
