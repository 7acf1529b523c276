/* protocol/backend.h in memory, for tests of the sessions. One thread. Operations are queued, and take effect and
 * complete only in fake_backend_run: a test decides when, in which order, and which of them fail. What a view hands out
 * is memory of its own that closing frees, so that the sanitizer finds a slice that was kept too long. */
#ifndef SUPPORT_FAKE_BACKEND_H
#define SUPPORT_FAKE_BACKEND_H

#include "node/base/buf.h"
#include "protocol/backend.h"

enum fake_op { FAKE_SYNC, FAKE_AUTH, FAKE_BODY, FAKE_COMPUTE, FAKE_WRITE, FAKE_OPS };

struct fake_call;
struct fake_account;
struct fake_mailbox;
struct fake_address;
struct fake_content;
struct fake_sender;

struct fake_backend {
    struct backend backend; /* first: hand &fb->backend to a session */
    struct backend_ops ops; /* what it points to: a test may take some away */

    /* Knobs. */
    bool newest_first;         /* completes the newest operation first instead of the oldest */
    bool held[FAKE_OPS];       /* operations of the kind wait */
    int fail_status[FAKE_OPS]; /* with fail_n > 0: the next fail_n operations of the kind end so, without effect */
    unsigned fail_n[FAKE_OPS];
    int admit_status; /* what admit() answers */
    bool any_sender;  /* what sender_allowed() answers; else: only the account's own address and what was allowed */
    int64_t auth_delay_ms; /* what auth_delay_ms() answers */
    int64_t now_ms;        /* SAVEDATE of new messages */

    /* What happened. */
    unsigned calls[FAKE_OPS]; /* operations asked for, of each kind */
    unsigned asked_senders;   /* calls of sender_allowed() */
    unsigned open_views;
    unsigned watches;     /* watched now */
    struct buf trace;     /* a line a write: "append INBOX 1\n"; of DELIVER also what the queue gets */
    struct bytes *queued; /* the last body with recipients elsewhere */
    size_t queued_skip;

    /* Inside. */
    struct fake_call *first, *last;
    struct fake_account *accounts;
    struct fake_mailbox *mailboxes; /* newest first */
    struct fake_address *addresses;
    struct fake_content *contents;
    struct fake_sender *senders;
    struct backend_watch *watch;
    uint64_t modseq, next_id;
};

struct fake_backend *fake_backend_new(void);
void fake_backend_free(struct fake_backend **fb);

/* Makes an account with an INBOX; the address is local from then on. Returns its id. */
uint64_t fake_backend_account(struct fake_backend *fb, const char *address, const char *password);
void fake_backend_quota(struct fake_backend *fb, uint64_t account, uint64_t bytes);
/* Makes an address resolve to this. */
void fake_backend_address(struct fake_backend *fb, const char *address, enum recipient_kind kind,
                          const uint64_t *accounts, unsigned n);
/* An alias that leads elsewhere: adds a target to what the address resolves to. */
void fake_backend_forward(struct fake_backend *fb, const char *address, const char *target);
/* The account may send as that address, too. */
void fake_backend_sender(struct fake_backend *fb, uint64_t account, const char *address);
/* The domain is ours: other addresses in it are RECIPIENT_UNKNOWN instead of RECIPIENT_FOREIGN. */
void fake_backend_domain(struct fake_backend *fb, const char *domain);

/* At once, as if another session had done it (watchers are told in the next run). */
uint64_t fake_backend_mailbox(struct fake_backend *fb, uint64_t account, const char *name);
uint64_t fake_backend_find(struct fake_backend *fb, uint64_t account, const char *name); /* 0: there is none */
uint32_t fake_backend_message(struct fake_backend *fb, uint64_t mailbox, struct slice text, uint32_t flags,
                              int64_t internal_ms);
void fake_backend_flags(struct fake_backend *fb, uint64_t mailbox, uint32_t uid, uint32_t flags);
void fake_backend_expunge(struct fake_backend *fb, uint64_t mailbox, uint32_t uid);
/* Deletes are pruned: changes() since before now is ERR_STALE. */
void fake_backend_prune(struct fake_backend *fb, uint64_t mailbox);
uint32_t fake_backend_count(struct fake_backend *fb, uint64_t mailbox);
/* The message's bytes; empty when there is none. Valid until the backend is freed. */
struct slice fake_backend_body(struct fake_backend *fb, uint64_t mailbox, uint32_t uid);

/* Runs one operation or notification that is not held; false when there was none. */
bool fake_backend_run_one(struct fake_backend *fb);
/* Runs until nothing is left, what is queued meanwhile too. Returns how many. */
unsigned fake_backend_run(struct fake_backend *fb);

#endif
