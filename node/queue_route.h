/* Where mail for a destination goes, and from where: the settings queue.routes, queue.sources and queue.hosts, parsed
 * and looked up. Pure. Lines end in a line feed or ";"; "#" begins a comment.
 *
 *   queue.routes   PATTERN key=value …     PATTERN: "example.com" | ".example.com" (below it) | "*" (all others); the
 *                  more specific one wins. Keys:
 *                    host=NAME[:PORT]      a smarthost, by its MX; [NAME] or an address: without MX
 *                    tls=may|none|require|verify|wrapped
 *                    user=… password=…     only over TLS: tls is verify when it is not said
 *                    source=ADDRESS        local address to connect from
 *                    hold=yes              stays in the queue until the route changes
 *   queue.sources  "@domain ADDRESS" or "user@domain ADDRESS", by sender; wins over the route's
 *   queue.hosts    "name address[,address …]": connected to without DNS; "192.0.2.1", "192.0.2.1:2525", "[::1]:2525"
 */
#ifndef NODE_QUEUE_ROUTE_H
#define NODE_QUEUE_ROUTE_H

#include "node/base/err.h"
#include "protocol/smtp/client.h"

enum {
    ROUTES_MAX = 10000, /* of each of the three tables */
    ROUTE_ADDRESSES_MAX = 16,
    ROUTE_TEXT_MAX = 255,
};

struct route {
    char *pattern; /* lower case; ".domain" is what is below it, "" all others */
    char *host;    /* NULL: MX of the destination. Without brackets */
    uint16_t port; /* 0: 25, wrapped: 465 */
    bool direct;   /* host without MX */
    enum smtp_tls_policy tls;
    bool has_tls;
    char *user, *password; /* NULL: none */
    char *source;          /* numeric address; NULL: any */
    bool hold;
};

struct routes;

/* 0, or ERR_INVALID / ERR_TOOBIG with "line N: what, and what to write instead". *r_r is NULL then. */
int routes_new(struct slice routes, struct slice sources, struct slice hosts, struct routes **r_r,
               struct err_detail *e);
void routes_free(struct routes **r);

/* The route of a destination; never NULL: without a match the default one (MX, TLS when offered). Lives as long as r.
 */
const struct route *route_find(const struct routes *r, struct slice destination);
/* The local address for a sender, or NULL. */
const char *route_source(const struct routes *r, struct slice sender);
/* Addresses of a host in queue.hosts: texts "ADDRESS" or "ADDRESS:PORT" / "[V6]:PORT". Returns how many; 0: not listed.
 */
unsigned route_host(const struct routes *r, struct slice name, const char *const **addresses_r);

/* "192.0.2.1", "192.0.2.1:25", "::1", "[::1]", "[::1]:25" into "ADDRESS:PORT" / "[V6]:PORT" with that default port. 0
 * or ERR_INVALID. */
int route_address(struct slice text, uint16_t port, char *out, size_t n);
bool route_is_address(struct slice text); /* numeric, no port, no brackets */

#endif
