/* What a workload is: clients that run at the same time, each a thread in a host of its own, and a check of what they
 * did against what all nodes hold at the end. */
#ifndef MERLION_JEPSEN_WORKLOAD_H
#define MERLION_JEPSEN_WORKLOAD_H

#include "jepsen-like/dump.h"
#include "jepsen-like/history.h"
#include "jepsen-like/imap.h"
#include "jepsen-like/message.h"
#include "jepsen-like/pop3.h"
#include "jepsen-like/smtp.h"

enum { COMMAND_TIMEOUT_MS = 10000, ID_SHIFT = 32, SINK_HOST = 60 };

struct client {
    unsigned process; /* over all workloads, from 1 */
    unsigned index;   /* in its workload, from 0 */
    struct rng rng;
    struct imap imap;
    struct smtp smtp;
    struct pop3 pop3;
    struct text message;
    uint64_t last_id;
};

/* Findings, by kind. Each is said when it is found. */
struct verdict {
    unsigned lost, dup, stale, nonlinearizable, unknown;
};

struct workload {
    const char *name, *user;
    unsigned clients;
    void (*prepare)(struct client *c); /* before the faults begin; may be NULL */
    void (*drain)(void);               /* after the faults, before the dumps; may be NULL */
    void (*run)(struct client *c);     /* until client_over() */
    /* With the user's mail as one node told it (that they are all the same is checked elsewhere). */
    void (*check)(const struct dump *d, struct verdict *v);
};
extern const struct workload workload_set, workload_register, workload_token, workload_session, workload_pop3,
    workload_lifecycle, workload_queue;

/* ---- for the clients ---- */

bool client_over(void);
/* Between half and one and a half of it, client_pace times: long runs go slower, or nobody could check them. */
void client_pause(struct client *c, unsigned ms);
extern unsigned client_pace;
uint64_t client_id_new(struct client *c); /* unlike any other's */

/* A usable session of the user with the mailbox selected (NULL: whichever), on the same node as before or a random new
 * one. false: none now; it has waited a little. */
bool client_imap(struct client *c, const char *user, const char *mailbox);
bool client_smtp(struct client *c);
bool client_submission(struct client *c, const char *user);
bool client_pop3(struct client *c, const char *user);

/* An operation begins now on the node; client_end notes it with its outcome and returns that. */
struct op client_begin(const struct client *c, enum op_kind kind, unsigned node, uint64_t key);
enum outcome client_end(struct op *op, enum outcome outcome);

/* Tries until it is done; for preparations. */
void client_append(struct client *c, const char *user, const char *mailbox, const char *group, uint64_t id);
void client_create(struct client *c, const char *user, const char *mailbox);

/* A finding by a client while it runs. Any thread. */
void finding(unsigned *counter, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Those found while running; belongs to main, guarded by finding(). */
extern struct verdict verdict;

#endif
