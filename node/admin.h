/* The admin socket: mailctl's requests (protocol/admin/verbs.h), each handled by one function of a table. Main loop. */
#ifndef NODE_ADMIN_H
#define NODE_ADMIN_H

#include "node/node.h"
#include "protocol/admin/codec.h"

struct admin;

/* Listens on the Unix socket at path, mode 0600; a stale socket file is replaced. */
int admin_listen(struct node *n, const char *path, struct admin **a_r, struct err_detail *e);
void admin_close(struct admin **a);

/* ---- for handlers: admin_cluster.c, admin_mail.c, admin_queue.c ---- */

struct admin_call;
typedef void admin_handler(struct admin_call *c);
struct admin_handler_entry {
    const char *verb;
    admin_handler *run;
};
/* Each ends with verb NULL. */
extern const struct admin_handler_entry admin_cluster_handlers[], admin_mail_handlers[], admin_queue_handlers[];

/* One request under way. A handler ends it by exactly one admin_ok or admin_fail, at once or from a completion. */
struct admin_call {
    struct node *node;
    struct admin_request request;
    struct admin_connection *connection; /* NULL when mailctl went away */
    /* Carriers: a call uses one at a time. */
    union {
        struct propose propose;
        struct read_barrier barrier;
        struct member_request member;
        struct replication_status status;
        struct compute_job job;
    };
    admin_handler *then; /* what goes on after the carrier is back */
    uint8_t *command;
    int password_status;
    char password[192]; /* encoded */
};

void admin_ok(struct admin_call *c, json_t *data); /* takes the reference; NULL is fine */
void admin_fail(struct admin_call *c, int code, const char *hint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* An address or a domain in the form that the store knows (node/address.h); what is neither stays. A new reference. */
json_t *admin_ascii(json_t *value);

/* Read barrier, then `then` (or the call fails with ERR_UNAVAILABLE). */
void admin_synced(struct admin_call *c, admin_handler *then);
typedef struct Merlion__Command admin_command;
/* Proposes; then ends the call: the command's own error, or admin_ok with {"name_key": argument name_key}. */
void admin_propose(struct admin_call *c, const admin_command *command, const char *name_key, const char *hint);

#endif
