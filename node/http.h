/* A small HTTP/1.1 server for health checks and metrics (RFC 9112, GET and HEAD only), on one loop and its thread. */
#ifndef NODE_HTTP_H
#define NODE_HTTP_H

#include "node/base/buf.h"
#include "node/base/err.h"
#include "node/io/loop.h"

struct http;

struct http_reply {
    int status;               /* 200 when the handler is called */
    const char *content_type; /* "text/plain; charset=utf-8"; static */
    struct buf body;
};

struct http_route {
    const char *path; /* "/healthz"; exact */
    const char *help; /* a line on the list at "/" */
    void (*handle)(void *arg, struct http_reply *reply);
    void *arg;
};

/* Listens on "ADDRESS:PORT" (port 0: any). The routes and what they point to stay the caller's and must live on.
 * At most 64 connections; a request head of at most 8 KiB; 10 s for a head, 60 s between requests. */
int http_open(struct loop *loop, const char *address, const struct http_route *routes, unsigned route_n,
              struct http **h_r, struct err_detail *e);
uint16_t http_port(const struct http *h);
/* On its loop. Cuts connections; memory goes when the loop has turned. Nulls the pointer. */
void http_close(struct http **h);

#endif
