/* /healthz, /readyz and /metrics. Main loop. */
#ifndef NODE_HEALTH_H
#define NODE_HEALTH_H

#include "node/backend.h"
#include "node/http.h"
#include "node/metrics.h"

enum { HEALTH_ROUTES = 3 };

struct health {
    struct http_route routes[HEALTH_ROUTES];
    struct metrics *metrics;
    struct services *services;
    const char *not_ready; /* NULL: ready */
    bool draining;
    struct replication_now now;
    struct blob_stats blobs;
    struct store_stats store;
};

void health_init(struct health *h, struct metrics *m, struct services *s);
/* What the node knows of itself, some times a second. */
void health_set(struct health *h, bool member, const struct replication_now *now, bool serving, bool draining);

#endif
