/* Between membership_request.c (how a request comes, waits and is answered) and membership_action.c (what it does). */
#ifndef REPLICATION_MEMBERSHIP_IMPL_H
#define REPLICATION_MEMBERSHIP_IMPL_H

#include "replication/core.h"

struct member_wait {
    struct task task;
    struct list item; /* of all open ones */
    struct list transfer;
    struct replication *r;
    struct member_request *m; /* NULL: another node's */
    struct origin origin;
    enum member_action action;
    int role;
    bool force;
    bool waits;           /* as leader: for its turn */
    int64_t deadline_ms;  /* as leader: steady clock */
    uint64_t term;        /* in which it was decided what to do */
    unsigned transfers;   /* that failed */
    char *name, *address; /* own copies; "" for none */
    uint64_t id;
    uint64_t last; /* the highest id that was ever a member's or an invited node's, as far as the state tells */
    uint64_t serial;
};

/* Answers w, and frees it. text (NULL: the status's own) and token may be NULL. */
void member_request_finish(struct member_wait *w, int status, const char *text, const char *token);

/* A callback's argument: the request may have been answered by then. */
struct member_ask *member_ask_new(struct member_wait *w);
struct member_wait *member_ask_take(struct member_ask *a); /* frees a; NULL: it was */

/* Does what w asks for. This node leads, and its state has all that was committed when w came. */
void member_action_begin(struct member_wait *w);

extern const char member_leader_changed[];

#endif
