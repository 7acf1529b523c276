/* The node as a whole: what main starts, what the admin socket may ask it to do. Main thread. */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "node/backend.h"
#include "node/config.h"
#include "node/tls.h"

struct node;

/* Opens the data folder and the admin and HTTP sockets; starts to serve if the node is a member of a cluster. */
int node_start(struct config *c, struct node **n_r, struct err_detail *e);
/* Runs until node_stop was asked for and is done. Returns the process's exit code. */
int node_run(struct node *n);
void node_free(struct node **n);

struct services *node_services(struct node *n);
const struct config *node_config(const struct node *n);
struct loop *node_loop(struct node *n);
/* Hands leadership over, ends sessions as they become idle (at most 10 s), stops. */
void node_stop(struct node *n);
/* Log level and TLS files are read again. */
void node_reload(struct node *n);
/* Not ready any more for load balancers, leadership given away, sessions end as they become idle; keeps running. */
void node_drain(struct node *n);
bool node_is_member(const struct node *n);
int64_t node_uptime_ms(const struct node *n);
/* Starts replication and serving, once the identity is there (init or join). */
int node_become_member(struct node *n, struct err_detail *e);

#endif
