/* Collects one IMAP command with its literals from bytes that arrive in any portions (RFC 9051 section 4.3, RFC 7888).
 *
 *      LINE ──LF──► no literal: COMMAND event ──imap_input_reset──► LINE
 *       ▲  └──LF──► {n}: LITERAL event, DECIDE ──take/body/refuse──► INLINE, BODY or DISCARD ──n octets──┐
 *       └───────────────────────────────────────────────────────────────────────────────────────────────┘
 * Pure. Text over text_max, and what follows a refused literal, is read and thrown away; the command then ends with
 * `refused` set. One owner, one thread. */
#ifndef IMAP_INPUT_H
#define IMAP_INPUT_H

#include "node/base/buf.h"
#include "node/base/mem.h"

enum imap_event {
    IMAP_NEED_MORE,
    IMAP_COMMAND, /* imap_input_text is whole: use it, then imap_input_reset */
    IMAP_LITERAL, /* literal_size octets are announced: say where they go */
};

enum imap_input_state { IMAP_IN_LINE, IMAP_IN_DECIDE, IMAP_IN_INLINE, IMAP_IN_BODY, IMAP_IN_DISCARD, IMAP_IN_READY };

enum { IMAP_BODIES_MAX = 64, IMAP_TAIL_MAX = 32 };

/* A literal kept apart from the text: a message of APPEND. */
struct imap_body {
    size_t at; /* offset in the text just behind the literal's {n} CRLF */
    struct bytes *bytes;
};

struct imap_input {
    enum imap_input_state state;
    bool raw;            /* set by the session: lines of AUTHENTICATE and IDLE have no literals */
    size_t text_max;     /* limit of text without literals, set by the session */
    size_t text_n;       /* octets of text so far */
    size_t inline_n;     /* octets of literals in the text */
    struct buf line;     /* text and inline literals */
    const char *refused; /* why the command is refused: a response after the tag, "BAD …"; static */
    uint64_t literal_size;
    bool literal_sync;           /* the client waits for "+" */
    bool literal_binary;         /* literal8: NUL is allowed (RFC 9051 4.3) */
    uint64_t left;               /* octets of the literal to come */
    uint8_t tail[IMAP_TAIL_MAX]; /* end of the current line */
    size_t tail_n;
    struct imap_body *bodies;
    size_t body_n;
};

/* Takes bytes up to the next event; returns how many were taken. None in DECIDE and READY. */
size_t imap_input_feed(struct imap_input *in, struct slice bytes, enum imap_event *event_r);
/* The command without its last line end; valid until reset. */
struct slice imap_input_text(const struct imap_input *in);

/* After IMAP_LITERAL, one of: */
void imap_input_literal_inline(struct imap_input *in);
void imap_input_literal_body(struct imap_input *in); /* literal_size was limited by the caller */
/* A client that waits for "+" gets the answer at once (returns true: the command is ready, as after IMAP_COMMAND);
 * otherwise the rest is thrown away first. */
bool imap_input_literal_refuse(struct imap_input *in, const char *why);

void imap_input_reset(struct imap_input *in); /* for the next command; frees bodies, keeps little memory */
void imap_input_close(struct imap_input *in);

#endif
