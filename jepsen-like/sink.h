/* Where mail for elsewhere arrives: an SMTP server in a host of its own that notes each message before it answers. It
 * is a bad one: it puts off, stalls, and loses connections before and after its 250. */
#ifndef MERLION_JEPSEN_SINK_H
#define MERLION_JEPSEN_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SINK_PORT = 25 };

struct sink_arrival {
    uint64_t id, at; /* now_ns() when it was noted */
    uint64_t told;   /* when the 250 was known to be read: the client went on. 0: never */
    unsigned node;   /* who brought it */
    bool whole;
};

/* Starts it in the host. Before the first message. */
void sink_start(unsigned host);
/* Once no node runs any more. */
void sink_stop(void);
/* From here on it behaves. */
void sink_behave(void);

/* Notes one; returns its place from 1. And forgets all. Any thread. */
size_t sink_arrival_note(const struct sink_arrival *a);
void sink_forget(void);
/* A copy, by id and then by time; the caller frees it. Any thread. */
struct sink_arrival *sink_arrivals(size_t *n_r);

/* Messages put off, stalled, and connections lost so far. */
void sink_counts(unsigned *put_off_r, unsigned *stalled_r, unsigned *lost_r);

#endif
