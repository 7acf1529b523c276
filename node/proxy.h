/* PROXY protocol, versions 1 and 2: what a load balancer says ahead of the first byte of a client.
 * (www.haproxy.org/download/2.9/doc/proxy-protocol.txt) Pure: no sockets. */
#ifndef NODE_PROXY_H
#define NODE_PROXY_H

#include "node/base/err.h"
#include "node/base/slice.h"

enum {
    PROXY_V1_MAX = 107,  /* with CRLF */
    PROXY_V2_MAX = 4096, /* after the 16 fixed bytes; the protocol would allow 65535 */
    PROXY_NETWORKS_MAX = 32,
};

struct proxy_header {
    bool local; /* UNKNOWN or LOCAL (a health check): the connection's own addresses hold */
    char address[64];
    uint16_t port;
};

/* Returns 0 with *used_r bytes taken; 1 when more bytes are needed; ERR_PROTOCOL. */
int proxy_parse(struct slice in, struct proxy_header *h_r, size_t *used_r);

/* A network: IPv4 ones are kept as ::ffff:0:0/96. */
struct network {
    uint8_t address[16];
    unsigned bits; /* of 128 */
};
/* "192.0.2.0/24", "2001:db8::/32", or an address alone. 0 or ERR_INVALID (also for set bits past the prefix). */
int network_parse(struct slice text, struct network *n_r);
bool network_has(const struct network *n, const char *address);

#endif
