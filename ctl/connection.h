/* The Unix socket to maild: one request, its answer. Blocking. */
#ifndef CTL_CONNECTION_H
#define CTL_CONNECTION_H

#include "protocol/admin/codec.h"

#define CTL_SOCKET_DEFAULT "/run/merlion/admin.sock"

struct connection {
    int fd; /* -1: none */
    struct buf in;
    unsigned timeout_s; /* of silence */
};

/* 0, or ERR_UNAVAILABLE with what to do about it in detail. */
int connection_open(struct connection *c, const char *path, unsigned timeout_s, struct err_detail *detail);
void connection_close(struct connection *c);
/* Sends and waits; progress lines go to standard error unless quiet. 0 and *answer_r (admin_answer_close),
 * ERR_UNAVAILABLE or ERR_PROTOCOL with detail. */
int connection_ask(struct connection *c, const char *verb, json_t *args, bool quiet, struct admin_answer *answer_r,
                   struct err_detail *detail);

#endif
