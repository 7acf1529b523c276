/* A session for listener tests. Lines:
 *   ECHO text | WHO | BIG n | STARTTLS | WAIT (an operation of 100 ms, blocks) | IDLE ms | STUBBORN | QUIT */
#ifndef TEST_SUPPORT_ECHO_H
#define TEST_SUPPORT_ECHO_H

#include "node/io/loop.h"
#include "node/listener.h"

extern _Atomic int echo_alive, echo_drained, echo_tls_started;

struct session *echo_session_new(enum listener_protocol p, struct session_host *h, struct backend *b,
                                 const struct session_peer *peer, const struct session_limits *limits);
/* The "backend" is the worker's loop. */
struct backend *echo_backend_new(void *arg, struct loop *loop);

#endif
