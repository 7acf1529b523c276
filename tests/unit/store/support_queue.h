/* The queue's commands in one line each, and its state as a text to compare with. */
#ifndef TEST_SUPPORT_QUEUE_H
#define TEST_SUPPORT_QUEUE_H

#include "support_state.h"

#include "store/queue.h"

/* A store with domain x.org, user u@x.org (account 1) and format 2. Times in texts are relative to f->time_ms then. */
struct qx {
    struct fx f;
    int64_t start_ms;
    char text[65536];
};
void qx_open(struct qx *q);
void qx_open_logged(struct qx *q, struct buf *log); /* each command is put into the log, too */
void qx_close(struct qx *q);
int qx_format(struct fx *f, uint32_t format);

struct qx_enqueue {
    const char *legs; /* "a.org:u1,u2 b.org:u3" */
    unsigned body;
    uint64_t account, local; /* local: delivered to that account too */
    uint64_t node, boot;     /* begins leased when node is not 0 */
    int64_t lease_ms;        /* its length */
    uint32_t notify, flags, skip;
    const char *sender, *destination; /* destination: for the first leg, as it is, when set */
};
int qx_enqueue(struct qx *q, const struct qx_enqueue *e);
/* Fills d in arena a. */
void qx_deliver_make(struct qx *q, struct arena *a, const struct qx_enqueue *e, Merlion__Deliver *d);

/* wants: "a.org:2 b.org:1". */
int qx_lease(struct qx *q, uint64_t node, uint64_t boot, const char *wants, uint32_t destination_max);

struct qx_outcome {
    uint64_t item;
    uint32_t leg, attempt;
    const char *how;  /* a letter a recipient: d(elivered), t(ried again later), f(ailed); "-": untried */
    int64_t after_ms; /* until the next attempt */
    int64_t ahead_ms; /* the holder's clock, before the command's time */
    bool warned;
    const struct qx_enqueue *notice[2];
};
int qx_outcomes(struct qx *q, uint64_t node, uint64_t boot, const struct qx_outcome *o, size_t n);
int qx_outcome(struct qx *q, uint64_t node, uint64_t boot, uint64_t item, uint32_t leg, uint32_t attempt,
               const char *how, int64_t after_ms);
int qx_void(struct qx *q, uint64_t node, uint64_t boot, uint32_t max);
int qx_control(struct qx *q, int action, const uint64_t *items, size_t n);
enum { HOLD, RELEASE, RETRY, CANCEL };

/* "1 1a.org=W0+5(u1 u2) 2b.org=L1:3.7(u3) | 2h 1a.org=H0+0(u)": items, each with its legs: state, attempts, and what is
 * due when, or leased by which node and boot. Scrubs first. */
const char *qx_text(struct qx *q);
/* "1.1.1 1.2.1": item, leg and attempt of each grant of the last command. */
const char *qx_grants(struct qx *q);
/* "a.org@5 b.org@9": destinations that wait, in the order of their first due times. */
const char *qx_due(struct qx *q, int64_t until_ms);
const char *qx_due_from(struct qx *q, int64_t after_ms, const char *name); /* from there on; a time as in texts */
struct store_queue_totals qx_totals(struct qx *q);

#endif
