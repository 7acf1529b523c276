/* A cursor over one whole command (imap_input.h): takes the pieces of RFC 9051 section 9's grammar. Every taker returns
 * false, or an empty slice, and sets `error` (static text) once something is wrong; from then on all fail. Strings are
 * slices of the command or of the arena, valid as long as both. */
#ifndef IMAP_ARGS_H
#define IMAP_ARGS_H

#include "protocol/imap/imap_input.h"

enum { IMAP_NESTING_MAX = 50, IMAP_LIST_MAX = 1000 /* header fields of an item */, IMAP_SET_MAX = 20000 };

struct imap_args {
    struct slice in;
    size_t at;
    const struct imap_input *input; /* for messages kept apart; may be NULL */
    struct arena *arena;
    const char *error;
};

/* Sequence set as written (RFC 9051 sequence-set); 0 stands for "*". */
struct imap_span {
    uint32_t first, last;
};
struct imap_set {
    struct imap_span *spans;
    size_t n;
    bool saved; /* "$" (RFC 9051 6.4.4.1) */
};

bool imap_args_fail(struct imap_args *a, const char *why); /* returns false */
int imap_args_peek(const struct imap_args *a);             /* next octet, or -1 */
bool imap_args_end(struct imap_args *a);                   /* nothing may follow */
bool imap_args_char(struct imap_args *a, char c);          /* must be there */
bool imap_args_try(struct imap_args *a, char c);           /* taken when it is there; never an error */
bool imap_args_space(struct imap_args *a);
/* Takes the word, in any case, when it comes next and no atom character follows. Never an error. */
bool imap_args_word(struct imap_args *a, const char *word);

struct slice imap_args_atom(struct imap_args *a);
struct slice imap_args_tag(struct imap_args *a);
struct slice imap_args_string(struct imap_args *a); /* quoted or literal */
struct slice imap_args_astring(struct imap_args *a);
struct slice imap_args_list_mailbox(struct imap_args *a); /* a pattern: astring with % and * */
bool imap_args_nil(struct imap_args *a);                  /* takes NIL when it comes next */
/* A message kept apart; NULL when something else is there. A borrowed reference. */
struct bytes *imap_args_body(struct imap_args *a);

bool imap_args_number(struct imap_args *a, uint64_t max, uint64_t *n_r);
bool imap_args_set(struct imap_args *a, struct imap_set *set_r);
bool imap_args_date(struct imap_args *a, int32_t *day_r); /* days since the epoch */
bool imap_args_date_time(struct imap_args *a, int64_t *ms_r);

struct imap_flags {
    uint32_t flags;
    struct slice *keywords;
    unsigned keyword_n;
};
/* flag-list, or (bare) flags without parentheses up to the end (STORE). */
bool imap_args_flags(struct imap_args *a, bool bare, struct imap_flags *flags_r);

#endif
