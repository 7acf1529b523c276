/* A store in a temporary folder, and commands to it in one line each. */
#ifndef TEST_SUPPORT_STATE_H
#define TEST_SUPPORT_STATE_H

/* cmocka.h wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "store/command.pb-c.h"
#include "store/store.h"

struct fx {
    struct store *s;
    char dir[64];
    uint64_t index, seq, node, boot;
    int64_t time_ms;
    Merlion__Result *result;                                               /* of the last command */
    unsigned results, changed, referenced, freed, cluster, queue, retries; /* events so far */
    uint64_t changed_mailbox;
    struct body_hash freed_hash;
    struct buf *log; /* when set: each command packed, as u32 length + bytes */
    char text[2048]; /* of fx_text */
};
void fx_open(struct fx *f);
void fx_close(struct fx *f); /* also checks that a scrub finds nothing */
void fx_reopen(struct fx *f);
void fx_listen(struct fx *f); /* sets the events that count */
void fx_remove(const char *dir);

/* Applies c as an entry and a batch of its own; fills in id and time. Returns the status. */
int fx_run(struct fx *f, Merlion__Command *c);
/* Packs it with id and time as an entry, without applying. */
void fx_entry(struct fx *f, Merlion__Command *c, struct buf *entry);

/* A message body made of a number: hash, size = 100 + n % 50, a summary. */
struct fx_body {
    Merlion__Body body;
    uint8_t hash[BODY_HASH_SIZE];
    char summary[32];
};
void fx_body(struct fx_body *b, unsigned n);

int fx_domain(struct fx *f, const char *name, const char *catch_all);
uint64_t fx_user(struct fx *f, const char *address, uint64_t quota); /* 0 when refused */
int fx_alias(struct fx *f, const char *address, const char *target1, const char *target2);
int fx_deliver(struct fx *f, unsigned body, const uint64_t *accounts, size_t n);
int fx_append(struct fx *f, uint64_t mailbox, unsigned body, unsigned count, uint32_t flags, const char *keyword);
/* uids as "1:3,5"; keyword NULL: none; since UINT64_MAX: no UNCHANGEDSINCE. */
int fx_flags(struct fx *f, uint64_t mailbox, const char *uids, int mode, uint32_t flags, const char *keyword,
             uint64_t since);
int fx_copy(struct fx *f, uint64_t from, const char *uids, uint64_t to, bool move);
/* uids NULL: all deleted. */
int fx_expunge(struct fx *f, uint64_t mailbox, const char *uids, bool even_undeleted);
int fx_create(struct fx *f, uint64_t account, const char *name);
int fx_delete(struct fx *f, uint64_t account, const char *name);
int fx_rename(struct fx *f, uint64_t account, const char *from, const char *to);
int fx_subscribe(struct fx *f, uint64_t account, const char *name, bool on);
int fx_setting(struct fx *f, const char *name, const char *value, bool only_if_absent);

/* Ranges as text, in f->text. */
const char *fx_text(struct fx *f, Merlion__UidRange **ranges, size_t n);
const char *fx_uids(struct fx *f, uint64_t mailbox);      /* store_uids */
const char *fx_mailboxes(struct fx *f, uint64_t account); /* "INBOX* Sent* (old)": * subscribed, () not selectable */
uint64_t fx_mailbox(struct fx *f, uint64_t account, const char *name); /* 0: none */
/* Fails unless there is one. keyword slices are not valid after it. */
struct store_mailbox fx_info(struct fx *f, uint64_t mailbox);
struct store_message fx_message(struct fx *f, uint64_t mailbox, uint32_t uid);
uint64_t fx_used(struct fx *f, uint64_t account);
struct sum128 fx_digest(struct fx *f);
void fx_scrub(struct fx *f);

#endif
