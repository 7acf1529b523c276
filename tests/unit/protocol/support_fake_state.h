/* The fake backend's memory: accounts, mailboxes, messages, and what writes do to them. */
#ifndef SUPPORT_FAKE_STATE_H
#define SUPPORT_FAKE_STATE_H

#include "tests/unit/protocol/support_fake_backend.h"

struct fake_account {
    struct fake_account *next;
    uint64_t id, quota;
    char *address, *password;
    char **subscribed;
    size_t subscribed_n;
};

struct fake_content {
    struct fake_content *next;
    struct body_hash hash;
    struct bytes *body;
    struct buf summary;
};

struct fake_gone {
    uint32_t uid;
    uint64_t modseq;
};

struct fake_mailbox {
    struct fake_mailbox *next;
    uint64_t id, account;
    char *name;
    uint32_t uidvalidity, uidnext;
    uint64_t highest_modseq, pruned;
    enum special_use use;
    struct message_info *messages; /* ascending UIDs */
    size_t n, cap;
    struct fake_gone *gone;
    size_t gone_n;
    char *keyword[KEYWORDS_MAX];
    unsigned keyword_n;
    bool dirty; /* watchers are to be told */
    bool dropped;
};

struct fake_address {
    struct fake_address *next;
    char *name;
    struct recipient to;
};

struct fake_sender {
    struct fake_sender *next;
    uint64_t account;
    char *address;
};

struct fake_account *fake_account_by_address(struct fake_backend *fb, struct slice address);
struct fake_account *fake_account_get(struct fake_backend *fb, uint64_t id);
struct fake_content *fake_content_find(struct fake_backend *fb, const struct body_hash *hash);
struct fake_mailbox *fake_mailbox_get(struct fake_backend *fb, uint64_t id);
struct fake_mailbox *fake_mailbox_named(struct fake_backend *fb, uint64_t account, struct slice name);
struct fake_mailbox *fake_mailbox_make(struct fake_backend *fb, uint64_t account, struct slice name);
void fake_mailbox_drop(struct fake_mailbox *m);
bool fake_mailbox_has_children(struct fake_backend *fb, const struct fake_mailbox *m);
uint32_t fake_mailbox_add(struct fake_backend *fb, struct fake_mailbox *m, struct bytes *body, uint32_t flags,
                          uint64_t keywords, int64_t internal_ms, uint64_t email_id);
void fake_mailbox_remove(struct fake_backend *fb, struct fake_mailbox *m, size_t at);
/* The bit of a keyword, made when it is new; 0 when the table is full. */
uint64_t fake_mailbox_keyword(struct fake_mailbox *m, struct slice name);
uint64_t fake_account_used(struct fake_backend *fb, uint64_t account);
void fake_state_free(struct fake_backend *fb);

struct backend_view *fake_view_open(struct backend *b);
int fake_write_apply(struct fake_backend *fb, struct write *w);

#endif
