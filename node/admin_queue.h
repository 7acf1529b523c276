/* Between the files of the queue's verbs: a scan of all that the arguments of a call name. */
#ifndef NODE_ADMIN_QUEUE_H
#define NODE_ADMIN_QUEUE_H

#include "node/admin.h"
#include "store/queue.h"

enum { QUEUE_IDS_MAX = 1000 };

extern const char *const queue_state_names[]; /* by enum queue_leg_state */

struct queue_filter {
    struct slice sender, recipient, domain, state;
    int64_t received_before; /* INT64_MAX: any */
    const uint64_t *ids;
    size_t id_n;
};

struct queue_found {
    uint64_t id;
    uint32_t legs;
};

struct queue_scan {
    struct compute_job job;
    struct admin_call *call;
    struct queue_filter filter;
    uint64_t ids[QUEUE_IDS_MAX];
    struct store_view *view;
    struct store_queue_item item; /* the present one */
    bool taken;                   /* a leg of this item matched */
    uint64_t limit, matched;
    json_t *rows;     /* of queue list; NULL: only ids are wanted */
    struct buf found; /* matching items: struct queue_found */
    int status;
    void (*done)(struct queue_scan *s); /* main loop; frees s */
};

/* NULL: the call has failed. done gets it on the main loop, and frees it. */
struct queue_scan *queue_scan_new(struct admin_call *c, void (*done)(struct queue_scan *s));
void queue_scan_start(struct queue_scan *s); /* on the compute pool */
void queue_scan_free(struct queue_scan *s);
/* An argument of the call, "" without it. */
struct slice queue_arg(struct admin_call *c, const char *name);

/* ---- values of answers: new references ---- */

json_t *queue_json_text(struct slice s); /* whatever is in it */
json_t *queue_json_number(uint64_t n);
json_t *queue_json_holder(struct store_view *v, uint64_t node);

struct queue_recipients {
    json_t *list; /* NULL: only looked through */
    struct slice wanted;
    bool found;
};
/* For store_queue_recipient_each. */
bool queue_recipient_see(void *arg, unsigned place, const struct store_queue_recipient *r);

#endif
