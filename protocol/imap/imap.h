/* An IMAP session (RFC 9051, RFC 3501): what its parts share. Private to protocol/imap.
 *
 *      NOT_AUTHENTICATED ──LOGIN, AUTHENTICATE──► AUTHENTICATED ◄──SELECT, CLOSE…──► SELECTED
 *              └──────────────────LOGOUT, BYE──────────┴───────────────────────────────┴──► LOGOUT
 *
 * One command at a time: imap_input collects it, the table of imap_commands.c names its parser and its `run`, and
 * `run`, or the completion of what it started, calls imap_finish. Until then the session is blocked. What a parser
 * makes, and operations, live in the arena, which imap_finish (or free, after the last completion) empties. */
#ifndef IMAP_H
#define IMAP_H

#include "node/base/task.h"
#include "protocol/backend.h"
#include "protocol/imap/imap_args.h"
#include "protocol/imap/imap_input.h"
#include "protocol/imap/imap_set.h"
#include "protocol/imap/imap_text.h"
#include "protocol/session.h"

enum imap_state {
    IMAP_NOT_AUTHENTICATED = 1,
    IMAP_AUTHENTICATED = 2,
    IMAP_SELECTED = 4,
    IMAP_LOGOUT = 8,
};
enum { IMAP_TAG_MAX = 64 };

/* The selected mailbox as the client was told it is. */
struct imap_box {
    uint64_t id;
    bool read_only;
    bool dirty;           /* changed since modseq, perhaps */
    struct uid_set uids;  /* the sequence map: n-th UID in it is message n */
    struct uid_set gone;  /* of these, expunged, and the client was not told yet */
    struct uid_set saved; /* "$" (RFC 9051 6.4.4.1) */
    uint64_t modseq;      /* told up to here */
    unsigned keyword_n;   /* keywords told in FLAGS */
    struct backend_watch watch;
};

struct imap;
struct imap_command {
    const char *name;
    unsigned states; /* IMAP_* that allow it */
    unsigned options;
    bool (*parse)(struct imap *im, struct imap_args *a); /* false: a->error says why */
    void (*run)(struct imap *im);
};
enum imap_command_option {
    COMMAND_SYNC = 1,       /* linearizable: run after backend sync */
    COMMAND_NO_EXPUNGE = 2, /* RFC 9051 7.5.1: no EXPUNGE response while it runs */
    COMMAND_UID = 4,        /* the name follows "UID " */
    COMMAND_SECRET = 8,     /* its line is wiped */
    COMMAND_APPEND = 16,    /* its literals after the first argument are messages */
};
const struct imap_command *imap_command_find(struct slice name, bool uid);

struct imap {
    struct session s; /* first */
    const struct session_limits *limits;
    enum imap_state state;
    bool rev2;      /* IMAP4rev2 enabled: names in UTF-8, ESEARCH always */
    bool condstore; /* a CONDSTORE enabling command was seen (RFC 7162 3.1) */
    bool in_input;
    bool draining;
    bool watching; /* IDLE: tell changes at once */
    bool synced;   /* this command had its sync */
    unsigned bad_n, auth_failed_n;
    uint64_t account;
    struct imap_box *box;
    struct imap_input in;
    struct arena arena;

    const struct imap_command *command; /* under way; NULL: none */
    char tag[IMAP_TAG_MAX + 1];
    void *data;                                       /* what its parser made */
    void (*line)(struct imap *im, struct slice line); /* takes lines: IDLE, AUTHENTICATE */
    void (*resume)(struct imap *im);                  /* waits for room in out */
    void (*cleanup)(struct imap *im);                 /* frees what the command has outside the arena */
    uint64_t own_modseq;                              /* our STORE's: its flags are not news (with own_uids) */
    const struct uid_set *own_uids;
};

/* ---- session: answers ---- */

/* Ends the command: updates of the mailbox, then tag and text, "OK …" without CRLF. Everything in the arena is gone. */
void imap_finish(struct imap *im, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for a failed operation: an err.h code to NO and its response code. */
void imap_finish_error(struct imap *im, int status);
void imap_finish_bad(struct imap *im, const char *why); /* BAD, counted */
void imap_bye(struct imap *im, const char *why);        /* untagged BYE and close */
void imap_wake(struct imap *im);                        /* after output from a completion */
/* Runs the command again after a sync when it had none yet; false: it had. For "not found" on a node that may lag. */
bool imap_rerun_synced(struct imap *im);
static inline struct imap *imap_of(struct session *s)
{
    return container_of(s, struct imap, s);
}
static inline struct backend_view *imap_view(struct imap *im)
{
    return im->s.backend->ops->view_open(im->s.backend);
}
static inline bool imap_out_full(const struct imap *im)
{
    return buf_len(&im->s.out) >= SESSION_OUT_HIGH;
}

/* A write in the arena, with sets closed at cleanup; done is called unless the session was closed. */
struct imap_write {
    struct write w;
    struct imap *im;
    void (*done)(struct imap *im, struct imap_write *w);
};
struct imap_write *imap_write_new(struct imap *im, enum write_kind kind);
void imap_write_start(struct imap_write *w, void (*done)(struct imap *im, struct imap_write *w));
void imap_write_close(struct imap_write *w); /* its result sets */

/* ---- selected mailbox ---- */

void imap_box_close(struct imap *im); /* to AUTHENTICATED, when one is selected */
/* Tells what changed; EXPUNGE only when expunge. May end the session (mailbox deleted). */
void imap_updates_send(struct imap *im, bool expunge);
/* "FLAGS (\Seen …)" of a message; info gives the keyword names. */
void imap_flags_write(struct buf *out, const struct mailbox_info *info, uint32_t flags, uint64_t keywords);
/* The untagged FLAGS and PERMANENTFLAGS. */
void imap_flags_announce(struct imap *im, const struct mailbox_info *info);
/* Resolves the set of the current command; answers BAD and returns false when it names what is not there. */
bool imap_resolve(struct imap *im, const struct imap_set *set, struct uid_set *out);
static inline bool imap_uid_command(const struct imap *im)
{
    return (im->command->options & COMMAND_UID) != 0;
}
/* Answers NO and returns true when the mailbox was opened by EXAMINE. */
bool imap_read_only(struct imap *im);
void imap_capability_write(const struct imap *im, struct buf *out);

/* Finishes a FETCH-like answer to STORE: FLAGS (and MODSEQ) of all messages in uids, then the text (in the arena). */
void imap_fetch_flags_start(struct imap *im, const struct uid_set *uids, bool silent, const char *text);

/* ---- parsers and runners, for the table ---- */
bool imap_no_args(struct imap *im, struct imap_args *a);
bool imap_mailbox_parse(struct imap *im, struct imap_args *a); /* SP mailbox; data: struct slice */
/* Takes a mailbox name in the session's encoding. */
bool imap_args_mailbox(struct imap *im, struct imap_args *a, struct slice *name_r);
#define IMAP_PARSER(name) bool name(struct imap *im, struct imap_args *a)
#define IMAP_RUNNER(name) void name(struct imap *im)
IMAP_PARSER(imap_id_parse);
IMAP_PARSER(imap_enable_parse);
IMAP_PARSER(imap_login_parse);
IMAP_PARSER(imap_authenticate_parse);
IMAP_PARSER(imap_select_parse);
IMAP_PARSER(imap_create_parse);
IMAP_PARSER(imap_rename_parse);
IMAP_PARSER(imap_status_parse);
IMAP_PARSER(imap_list_parse);
IMAP_PARSER(imap_lsub_parse);
IMAP_PARSER(imap_append_parse);
IMAP_PARSER(imap_fetch_parse);
IMAP_PARSER(imap_store_parse);
IMAP_PARSER(imap_search_parse);
IMAP_PARSER(imap_copy_parse);
IMAP_PARSER(imap_uid_expunge_parse);
IMAP_RUNNER(imap_capability_run);
IMAP_RUNNER(imap_noop_run);
IMAP_RUNNER(imap_logout_run);
IMAP_RUNNER(imap_id_run);
IMAP_RUNNER(imap_enable_run);
IMAP_RUNNER(imap_namespace_run);
IMAP_RUNNER(imap_starttls_run);
IMAP_RUNNER(imap_login_run);
IMAP_RUNNER(imap_authenticate_run);
IMAP_RUNNER(imap_select_run);
IMAP_RUNNER(imap_examine_run);
IMAP_RUNNER(imap_close_run);
IMAP_RUNNER(imap_unselect_run);
IMAP_RUNNER(imap_create_run);
IMAP_RUNNER(imap_delete_run);
IMAP_RUNNER(imap_rename_run);
IMAP_RUNNER(imap_subscribe_run);
IMAP_RUNNER(imap_unsubscribe_run);
IMAP_RUNNER(imap_status_run);
IMAP_RUNNER(imap_list_run);
IMAP_RUNNER(imap_append_run);
IMAP_RUNNER(imap_idle_run);
IMAP_RUNNER(imap_fetch_run);
IMAP_RUNNER(imap_store_run);
IMAP_RUNNER(imap_search_run);
IMAP_RUNNER(imap_copy_run);
IMAP_RUNNER(imap_move_run);
IMAP_RUNNER(imap_expunge_run);

#endif
