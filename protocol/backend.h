/* What a session may ask of the mail store. Implemented by node/backend for real, and by tests/unit/fake_backend in
 * memory. A session sees nothing else of the server.
 *
 * Threads: everything is called on the session's worker; completions come on the same thread.
 * Two kinds of calls:
 *  - reads of metadata are immediate, from a *view*: one consistent state of this node. Open it, use it, close it
 *    before returning to the loop. Slices and infos from a view are valid until it is closed.
 *  - everything else is an operation: a struct that the session owns (usually embedded), with `done` set by the session.
 *    It never completes before the call returns, always completes exactly once, and the session keeps the struct and
 *    all that it points to alive until then (session_op_begin/session_op_end in session.h).
 * Linearizable reads: run `sync` first, open the view in its completion (DESIGN section 1, promise 4).
 * After a completed write the node's views contain that write. */
#ifndef PROTOCOL_BACKEND_H
#define PROTOCOL_BACKEND_H

#include "node/base/err.h"
#include "node/base/hash.h"
#include "node/base/mem.h"
#include "node/base/slice.h"
#include "node/base/uidset.h"

struct backend;
struct backend_view;
struct write;

/* ---- data ---- */

/* Message flags (RFC 9051 2.3.2); keywords are bits in a per-mailbox table. */
enum message_flag {
    FLAG_SEEN = 1,
    FLAG_ANSWERED = 2,
    FLAG_FLAGGED = 4,
    FLAG_DELETED = 8,
    FLAG_DRAFT = 16,
};
enum { KEYWORDS_MAX = 64, KEYWORD_NAME_MAX = 100 };

struct message_info {
    uint32_t uid;
    uint32_t flags;         /* FLAG_* */
    uint64_t keywords;      /* bit i: mailbox keyword i */
    uint64_t modseq;
    int64_t internal_ms;    /* INTERNALDATE, ms since the epoch, UTC */
    int64_t save_ms;        /* SAVEDATE */
    uint64_t size;          /* RFC822.SIZE */
    struct body_hash hash;
    uint64_t email_id;      /* RFC 8474 EMAILID: the same for copies */
};

/* Special use (RFC 6154), one a mailbox. */
enum special_use { USE_NONE, USE_ARCHIVE, USE_DRAFTS, USE_FLAGGED, USE_JUNK, USE_SENT, USE_TRASH };

struct mailbox_info {
    uint64_t id;
    uint64_t account;
    struct slice name;      /* UTF-8, NFC, '/' between levels; "INBOX" in capitals */
    uint32_t uidvalidity, uidnext;
    uint64_t highest_modseq; /* >= 1 */
    uint32_t exists, unseen, deleted;
    uint32_t first_unseen_uid; /* 0: none */
    uint64_t bytes;
    enum special_use use;
    bool subscribed;
    bool has_children;
    bool selectable;         /* false: a name that only exists as a parent (\NonExistent or \Noselect) */
    unsigned keyword_n;
    struct slice keyword[KEYWORDS_MAX];
};

/* ---- immediate reads ---- */

struct backend_view_ops {
    void (*close)(struct backend_view *v);
    /* 0 or ERR_NOTFOUND. INBOX is found in any case. */
    int (*mailbox_find)(struct backend_view *v, uint64_t account, struct slice name, struct mailbox_info *info_r);
    int (*mailbox_get)(struct backend_view *v, uint64_t mailbox, struct mailbox_info *info_r);
    /* All mailboxes and subscribed names of the account in name order (INBOX first), including subscribed names that do not exist (selectable
     * false, id 0). Stops when each returns false. info is valid during the call. */
    void (*mailbox_each)(struct backend_view *v, uint64_t account,
                         bool (*each)(void *arg, const struct mailbox_info *info), void *arg);
    /* Messages with first <= uid <= last, ascending. Stops when each returns false. */
    void (*message_each)(struct backend_view *v, uint64_t mailbox, uint32_t first, uint32_t last,
                         bool (*each)(void *arg, const struct message_info *info), void *arg);
    int (*message_get)(struct backend_view *v, uint64_t mailbox, uint32_t uid, struct message_info *info_r);
    /* The UIDs that exist, without reading the messages. Adds to set. */
    void (*uids)(struct backend_view *v, uint64_t mailbox, struct uid_set *set);
    /* What happened after `since`: messages changed or added, in UID order of no particular kind; UIDs expunged.
     * Returns ERR_STALE when expunges that old were pruned (then compare with uids()). */
    int (*changes)(struct backend_view *v, uint64_t mailbox, uint64_t since,
                   bool (*changed)(void *arg, const struct message_info *info), void *arg, struct uid_set *expunged);
    /* The parsed form of a body (protocol/mime/summary.h). 0 or ERR_NOTFOUND. */
    int (*summary)(struct backend_view *v, const struct body_hash *hash, struct slice *summary_r);
    /* Bytes used and allowed (0: no limit). */
    int (*quota)(struct backend_view *v, uint64_t account, uint64_t *used_r, uint64_t *limit_r);
};
struct backend_view {
    const struct backend_view_ops *ops;
};

/* ---- operations ---- */

/* First member of each operation. */
struct backend_op {
    void (*done)(struct backend_op *op); /* set by the session */
    void *owner;                         /* the session's, free to use */
    /* 0 or err.h, at completion. Of a write, ERR_TIMEOUT: it may have taken effect, or may still; the session must not
     * say that it did not. All others: it did not and will not. */
    int status;
};

/* Makes sure that views opened from the completion on show everything acknowledged anywhere before the call.
 * ERR_UNAVAILABLE when no quorum answered in time (protocols say so as a temporary error). */
struct backend_sync {
    struct backend_op op;
};

/* Checks a password off the loop. Status 0, ERR_DENIED (unknown user, wrong password, locked: alike),
 * ERR_UNAVAILABLE. user and password are copied or used before the call returns; wipe yours. */
struct backend_auth {
    struct backend_op op;
    struct slice user, password; /* user: address as typed */
    struct slice client;         /* peer's address text, counted against guessing (auth_delay_ms) */
    uint64_t account;            /* result */
    char address[320];           /* result: canonical address */
};

/* Fetches a body: status 0 and a reference in body (the session unrefs), ERR_UNAVAILABLE (no peer that has it
 * is reachable now), ERR_NOTFOUND (no longer referenced). */
struct backend_body {
    struct backend_op op;
    struct body_hash hash;
    struct bytes *body; /* result */
};

/* Runs work(arg) on the compute pool (search in bodies, big parses). It must not touch the session. */
struct backend_compute {
    struct backend_op op;
    void (*work)(void *arg);
    void *arg;
};

/* Tells when a mailbox changed (new mail, flags, expunge, deletion), through whichever node. Not an operation: may be called
 * any number of times until unwatched; changes may be folded. From the loop, never from inside another call. */
struct backend_watch {
    uint64_t mailbox;
    void (*changed)(struct backend_watch *w);
    void *owner;
    struct backend_watch *prev, *next; /* backend's */
};

enum recipient_kind {
    RECIPIENT_LOCAL,     /* accounts holds >= 1 */
    RECIPIENT_UNKNOWN,   /* our domain, no such user: 550 5.1.1 */
    RECIPIENT_FOREIGN,   /* not our domain */
    RECIPIENT_LOCKED,    /* 550 5.2.1 */
    RECIPIENT_OVERQUOTA, /* 452 4.2.2 */
    RECIPIENT_UNSURE,    /* cannot be told now: 451 */
};
enum {
    RECIPIENT_ACCOUNTS_MAX = 64,
    RECIPIENT_FOREIGN_BYTES = 8192,
    DELIVERY_ACCOUNTS_MAX = 1000, /* of one WRITE_DELIVER; the store refuses more */
    DELIVERY_FOREIGN_MAX = 1000,  /* recipients elsewhere, likewise */
};
struct recipient {
    enum recipient_kind kind;
    unsigned n;
    uint64_t accounts[RECIPIENT_ACCOUNTS_MAX]; /* after aliases, catch-all, subaddress; no account twice */
    /* LOCAL: aliases may lead elsewhere too (then n may be 0): addresses, a NUL after each. */
    unsigned foreign_n;
    size_t foreign_bytes;
    char foreign[RECIPIENT_FOREIGN_BYTES];
};
/* A recipient elsewhere, for the queue. */
struct foreign_recipient {
    struct slice address; /* as it goes into RCPT */
    struct slice orcpt;   /* RFC 3461 4.2, empty: none given */
    uint32_t notify;      /* RFC 3461 4.1: NEVER 1, SUCCESS 2, FAILURE 4, DELAY 8; 0: not given */
};

/* ---- writes: one replicated command each; all of it or none ---- */

enum write_kind {
    WRITE_DELIVER,         /* a message into INBOX of several accounts, and into the queue for recipients elsewhere */
    WRITE_APPEND,
    WRITE_STORE,
    WRITE_COPY,            /* and MOVE */
    WRITE_EXPUNGE,
    WRITE_MAILBOX_CREATE,
    WRITE_MAILBOX_DELETE,
    WRITE_MAILBOX_RENAME,
    WRITE_SUBSCRIBE,
};
enum store_mode { STORE_REPLACE, STORE_ADD, STORE_REMOVE };

struct write_message {
    struct bytes *body;  /* whole message, CRLF line ends; the backend takes its own reference */
    uint32_t flags;
    struct slice *keywords;
    unsigned keyword_n;
    int64_t internal_ms;
};

/* Status, besides 0: ERR_NOTFOUND (mailbox gone), ERR_EXISTS, ERR_QUOTA, ERR_TOOBIG, ERR_DENIED, ERR_INVALID (name),
 * ERR_CONFLICT, ERR_UNAVAILABLE (no quorum in time), ERR_NOSPACE (refused before anything happened), ERR_BUSY (DELIVER
 * elsewhere: the account sends more than it may in an hour), ERR_VERSION (the queue waits for a rolling upgrade to end). All slices are the session's until completion. */
struct write {
    struct backend_op op;
    enum write_kind kind;
    uint64_t account;
    uint64_t mailbox;          /* source, or target of APPEND, EXPUNGE, STORE */
    uint64_t target;           /* COPY: the target mailbox id */
    struct slice name, name_to; /* CREATE, DELETE, RENAME (from, to), SUBSCRIBE */

    struct write_message *messages; /* DELIVER (one), APPEND (>= 1; MULTIAPPEND) */
    unsigned message_n;
    const uint64_t *accounts;  /* DELIVER */
    unsigned account_n;
    struct slice sender;       /* DELIVER: the reverse path, "" for <> */
    const struct foreign_recipient *foreign; /* DELIVER: to be queued; account_n may be 0 then */
    unsigned foreign_n;
    uint64_t submitter;        /* DELIVER with foreign: the account that sends, 0: none (forwarding) */
    unsigned skip;             /* DELIVER: octets at the front of the body that do not go out (our Return-Path) */
    bool utf8, eight, binary;  /* DELIVER with foreign: the transaction said SMTPUTF8; octets above 127; BINARYMIME */
    bool ret_full, ret_headers;
    struct slice envid, session; /* RFC 3461 4.4; the transaction's id, for logs */

    const struct uid_set *uids; /* STORE, COPY, EXPUNGE */
    bool move;                  /* COPY: and expunge the source */
    bool all_deleted;           /* EXPUNGE: uids NULL: every \Deleted message; else only those of uids that are \Deleted */
    bool even_undeleted;        /* EXPUNGE: the uids given, \Deleted or not (POP3) */
    enum store_mode mode;
    uint32_t flags;             /* STORE */
    struct slice *keywords;
    unsigned keyword_n;
    bool has_unchanged_since;
    uint64_t unchanged_since;
    enum special_use use;       /* CREATE (RFC 6154) */
    bool subscribe;             /* SUBSCRIBE: true; UNSUBSCRIBE: false */

    /* results; uid sets are the session's to close */
    uint32_t uidvalidity;       /* APPEND, COPY: of the target */
    uint64_t modseq;
    struct uid_set uids_r;      /* APPEND: given; COPY: source UIDs that were copied; EXPUNGE: expunged */
    struct uid_set uids_to_r;   /* COPY: new UIDs, in the same order */
    struct uid_set modified_r;  /* STORE: failed UNCHANGEDSINCE */
    int *account_status;        /* DELIVER: the session's array of account_n, a status each */
    uint64_t mailbox_r;         /* CREATE */
};

struct backend_ops {
    struct backend_view *(*view_open)(struct backend *b);
    void (*sync)(struct backend *b, struct backend_sync *op);
    void (*auth)(struct backend *b, struct backend_auth *op);
    void (*body_get)(struct backend *b, struct backend_body *op);
    void (*compute)(struct backend *b, struct backend_compute *op);
    void (*write)(struct backend *b, struct write *op);
    void (*watch)(struct backend *b, struct backend_watch *w);
    void (*unwatch)(struct backend *b, struct backend_watch *w);
    /* Immediate. address without angle brackets. */
    void (*recipient)(struct backend *b, struct slice address, struct recipient *r);
    /* May this account send as that address (MAIL FROM, From)? Immediate; a refusal is asked again after `sync`. NULL: a
     * backend without a queue: nothing is sent elsewhere, and nobody is asked. */
    bool (*sender_allowed)(struct backend *b, uint64_t account, struct slice address);
    /* May a new message of this size be taken now? 0; ERR_NOSPACE (disk reserve reached), ERR_BUSY (too much in flight). */
    int (*admit)(struct backend *b, uint64_t size);
    /* May this client try to log in now (throttling by address after failures)? Milliseconds to wait, 0: at once. */
    int64_t (*auth_delay_ms)(struct backend *b, struct slice client_address);
};
struct backend {
    const struct backend_ops *ops;
};

#endif
