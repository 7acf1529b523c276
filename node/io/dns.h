/* DNS for mail (RFC 5321 5.1): MX and addresses, with a small cache, on one loop and its thread. c-ares does the
 * asking; names are looked up as they are: no search domains, no hosts file.
 *
 * A lookup is the caller's struct. Its callback comes from the loop, never inside a call of ours. What several ask for
 * at once is asked once. Answers are kept for DNS_KEEP_MS, failures for DNS_KEEP_FAILED_MS. */
#ifndef IO_DNS_H
#define IO_DNS_H

#include "node/base/err.h"
#include "node/base/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum {
    DNS_NAME_MAX = 255,
    DNS_HOSTS_MAX = 10,     /* MX hosts that are used, the best ones */
    DNS_ADDRESSES_MAX = 16, /* of a host */
    DNS_ADDRESS_TEXT_MAX = 46,
    DNS_KEEP_MS = 30000,
    DNS_KEEP_FAILED_MS = 5000,
    DNS_CACHE_MAX = 4096,
};

struct dns;

struct dns_config {
    const char *servers; /* "192.0.2.1, 127.0.0.1:5353, [::1]:5353"; NULL: the system's */
    unsigned timeout_ms; /* of the first try; later ones wait longer. 0: 3000 */
    unsigned tries;      /* of each server; 0: 2 */
};

enum dns_result {
    DNS_FOUND,
    DNS_NO_NAME,   /* NXDOMAIN: no such name */
    DNS_NO_DATA,   /* the name is there, what was asked for is not */
    DNS_TEMPORARY, /* no answer, SERVFAIL, REFUSED, nonsense */
    DNS_NULL_MX,   /* RFC 7505: takes no mail */
};

struct dns_mx {
    uint16_t preference;
    char host[DNS_NAME_MAX + 1]; /* lower case */
};

struct dns_answer {
    enum dns_result result;
    const char *why; /* of DNS_TEMPORARY, for a person: static */
    unsigned n;
    struct dns_mx mx[DNS_HOSTS_MAX];                         /* by preference, equal ones in random order */
    char addresses[DNS_ADDRESSES_MAX][DNS_ADDRESS_TEXT_MAX]; /* IPv6 and IPv4 in turn, IPv6 first */
};

struct dns_lookup {
    /* Set by the caller. The answer is valid during the call; the lookup may be used again from there. */
    void (*done)(struct dns_lookup *l, const struct dns_answer *a);
    struct list link; /* ours from here on */
    bool pending;
};

/* 0, or ERR_INVALID with detail for servers that are none. */
int dns_new(uv_loop_t *loop, const struct dns_config *c, struct dns **d_r, struct err_detail *e);
/* Lookups under way are forgotten. The memory goes when the loop has closed the handles. */
void dns_free(struct dns **d);

void dns_mx(struct dns *d, const char *domain, struct dns_lookup *l);
void dns_addresses(struct dns *d, const char *host, struct dns_lookup *l);
void dns_cancel(struct dns_lookup *l); /* harmless when none is under way */
void dns_flush(struct dns *d);         /* forgets what it knows */

#endif
