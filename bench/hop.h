/* The next hop of bench/run queue: an SMTP server that takes every message and counts. PIPELINING, 8BITMIME, SIZE; no
 * TLS, no CHUNKING, so that every sender speaks the same. A thread a connection. */
#ifndef MERLION_BENCH_HOP_H
#define MERLION_BENCH_HOP_H

#include <stdatomic.h>

struct hop {
    int fd;
    atomic_long arrived;
    _Atomic double last; /* load_now of the newest arrival */
};

/* Listens on 127.0.0.1 and serves until the program ends. */
void hop_start(struct hop *h, int port);

#endif
