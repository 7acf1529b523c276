/* Inside client*.c. */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "tests/sim/script.h"

struct client {
    struct sim_node *node;
    struct task_queue home;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool posted;
};
void client_signal(void *arg);
void client_done(struct task *t);
/* Until the one task that was given away comes home. */
void client_wait(struct client *c);

#endif
