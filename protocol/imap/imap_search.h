/* SEARCH keys as a tree (RFC 9051 6.4.4; RFC 3501's NEW, OLD, RECENT; MODSEQ of RFC 7162; EMAILID of RFC 8474), and
 * whether a message matches, as far as what is known of it tells. */
#ifndef IMAP_SEARCH_H
#define IMAP_SEARCH_H

#include "protocol/imap/imap.h"
#include "protocol/mime/text.h"

enum { SEARCH_KEYS_MAX = 2000 };

enum search_kind {
    SEARCH_AND,
    SEARCH_OR, /* of its two children */
    SEARCH_NOT,
    SEARCH_NONE, /* matches nothing */
    SEARCH_SET,
    SEARCH_FLAG,
    SEARCH_KEYWORD,
    SEARCH_BEFORE,
    SEARCH_ON,
    SEARCH_SINCE,
    SEARCH_LARGER,
    SEARCH_SMALLER,
    SEARCH_MODSEQ,
    SEARCH_EMAILID,
    SEARCH_SENTBEFORE, /* from here on the summary is needed */
    SEARCH_SENTON,
    SEARCH_SENTSINCE,
    SEARCH_FIELD,
    SEARCH_HEADER, /* from here on the body */
    SEARCH_BODY,
    SEARCH_TEXT,
};

struct search_key {
    enum search_kind kind;
    struct search_key *child, *next; /* next: of the same parent */
    uint32_t flag;
    uint64_t number; /* octets, MODSEQ, EMAILID; the keyword's bit once resolved */
    int32_t day;
    int field;         /* enum mime_field */
    struct slice name; /* keyword, header field */
    struct text_needle *needle;
    struct search_key *needle_next;
    bool uid; /* SET: of UIDs */
    struct imap_set set;
    struct uid_set uids; /* SET, once resolved */
    struct search_key *set_next;
};

enum search_return { RETURN_MIN = 1, RETURN_MAX = 2, RETURN_ALL = 4, RETURN_COUNT = 8, RETURN_SAVE = 16 };

struct search {
    struct search_key *root;
    struct search_key *needles, *sets; /* all keys that have one, for freeing and resolving */
    unsigned keys;
    bool has_return, has_modseq, bad_charset;
    unsigned returns;
};
void search_close(struct search *s); /* needles and sets */

enum search_verdict { SEARCH_NO, SEARCH_YES, SEARCH_UNKNOWN };
struct search_message {
    const struct message_info *info;
    bool has_summary, has_body;
    struct slice summary, body;
};
/* Pure; any thread. SEARCH_UNKNOWN: depends on a part that m does not have. */
enum search_verdict search_match(const struct search_key *k, const struct search_message *m);

#endif
