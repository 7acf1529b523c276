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
    bool late;                   /* its commands are answered when its node shows them */
    uint64_t put_voters, voters; /* body_put's and propose's of the last ones */
};
void client_signal(void *arg);
void client_done(struct task *t);
/* Until the one task that was given away comes home. */
void client_wait(struct client *c);

/* ---- client_op.c ---- */
struct client_body;
/* A body that rides in its command. */
Merlion__Body *client_body_inline(struct client_body **b_r);
void client_body_free(struct client_body **b);

/* ---- client_queue.c ---- */
enum { QUEUE_ENTRY_LEGS = 2, QUEUE_ENTRY_RECIPIENTS = 2 };
struct queue_entry {
    Merlion__Enqueue enqueue;
    Merlion__QueueLeg legs[QUEUE_ENTRY_LEGS], *leg_list[QUEUE_ENTRY_LEGS];
    Merlion__QueueRecipient recipients[QUEUE_ENTRY_LEGS][QUEUE_ENTRY_RECIPIENTS],
        *recipient_list[QUEUE_ENTRY_LEGS][QUEUE_ENTRY_RECIPIENTS];
    Merlion__QueueHolder holder;
    char destinations[QUEUE_ENTRY_LEGS][32], addresses[QUEUE_ENTRY_LEGS][QUEUE_ENTRY_RECIPIENTS][40];
};
/* Recipients elsewhere for a delivery; mem_free it after the command. */
struct queue_entry *client_enqueue(struct client *c, Merlion__Deliver *d);

#endif
