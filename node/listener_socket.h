/* Listening TCP sockets. */
#ifndef NODE_LISTENER_SOCKET_H
#define NODE_LISTENER_SOCKET_H

#include "node/base/err.h"
#include "node/base/slice.h"

/* "192.0.2.1:143", "[::]:993", "*:25" (every address of both families): numeric text and port; ERR_INVALID. */
int socket_address_parse(struct slice text, char *address, size_t address_n, uint16_t *port_r);
/* A non-blocking socket that listens; *port_r (may be NULL) is the port taken, for port 0. */
int socket_listen(const char *address, uint16_t port, int *fd_r, uint16_t *port_r, struct err_detail *e);

#endif
