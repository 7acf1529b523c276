/* The queue's settings (cluster-wide, `mailctl settings set queue.…`): checked when they are set, read from a view. */
#ifndef NODE_QUEUE_SETTINGS_H
#define NODE_QUEUE_SETTINGS_H

#include "node/queue_policy.h"
#include "node/queue_route.h"
#include "store/store.h"

enum { QUEUE_DESTINATION_MAX_DEFAULT = 20 };

struct queue_settings {
    struct queue_schedule schedule;
    unsigned destination_max; /* deliveries at once to one destination over the whole cluster; 0: no limit */
    struct routes *routes;
    struct buf seen; /* the texts that this was made of */
};

void queue_settings_init(struct queue_settings *s); /* the defaults */
void queue_settings_close(struct queue_settings *s);
/* Takes over what has changed; what cannot be understood is logged and left as it was. True when anything changed. */
bool queue_settings_load(struct queue_settings *s, struct store_view *v);

/* May this be the value of that setting ("queue.schedule" …)? Empty: back to the default. 0; ERR_INVALID or ERR_TOOBIG
 * with what to write instead; ERR_NOTFOUND for a name that is not the queue's. Pure. */
int queue_setting_check(struct slice name, struct slice value, struct err_detail *e);

#endif
