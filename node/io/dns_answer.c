#include "node/io/dns_internal.h"

#include "node/base/hash.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

enum dns_result dns_result_of(int status, const char **why_r)
{
    switch (status) {
    case ARES_SUCCESS:
        return DNS_FOUND;
    case ARES_ENOTFOUND:
        return DNS_NO_NAME;
    case ARES_ENODATA:
        return DNS_NO_DATA;
    case ARES_EBADNAME: /* no server can know it */
        return DNS_NO_NAME;
    default:
        *why_r = ares_strerror(status);
        return DNS_TEMPORARY;
    }
}

/* Empty for ".", the null MX. */
static bool host_copy(char out[DNS_NAME_MAX + 1], const char *host)
{
    size_t n = strlen(host);
    if (n > 0 && host[n - 1] == '.')
        n--;
    if (n > DNS_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)host[i] <= ' ' || (unsigned char)host[i] >= 127)
            return false;
        out[i] = (char)tolower((unsigned char)host[i]);
    }
    out[n] = 0;
    return true;
}

/* Keeps the best ones in order; equals behind those that are there. */
static void mx_insert(struct dns_answer *a, uint16_t preference, const char *host)
{
    unsigned at = a->n;
    while (at > 0 && a->mx[at - 1].preference > preference)
        at--;
    if (at == DNS_HOSTS_MAX)
        return;
    unsigned last = a->n < DNS_HOSTS_MAX ? a->n++ : DNS_HOSTS_MAX - 1;
    memmove(&a->mx[at + 1], &a->mx[at], (last - at) * sizeof a->mx[0]);
    a->mx[at].preference = preference;
    if (!host_copy(a->mx[at].host, host)) {
        memmove(&a->mx[at], &a->mx[at + 1], (a->n - at - 1) * sizeof a->mx[0]);
        a->n--;
    }
}

void dns_answer_mx(int status, const unsigned char *in, int n, struct dns_answer *a)
{
    struct ares_mx_reply *list = NULL;
    if (status == ARES_SUCCESS)
        status = ares_parse_mx_reply(in, n, &list);
    a->result = dns_result_of(status, &a->why);
    for (struct ares_mx_reply *m = list; m; m = m->next)
        mx_insert(a, m->priority, m->host);
    if (list)
        ares_free_data(list);
    if (a->result != DNS_FOUND)
        return;
    if (a->n == 1 && a->mx[0].host[0] == 0) {
        a->result = DNS_NULL_MX;
        return;
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < a->n; i++) /* "." beside others means nothing (RFC 7505 3) */
        if (a->mx[i].host[0])
            a->mx[kept++] = a->mx[i];
    a->n = kept;
    if (kept == 0) {
        a->result = DNS_TEMPORARY;
        a->why = "no usable name in the MX records";
    }
}

void dns_mx_shuffle(struct dns_answer *a)
{
    for (unsigned i = 0; i + 1 < a->n; i++) {
        unsigned same = 1;
        while (i + same < a->n && a->mx[i + same].preference == a->mx[i].preference)
            same++;
        uint32_t r;
        random_bytes(&r, sizeof r);
        struct dns_mx t = a->mx[i];
        unsigned other = i + r % same;
        a->mx[i] = a->mx[other];
        a->mx[other] = t;
    }
}

enum dns_result dns_answer_addresses(int status, const unsigned char *in, int n, int family, struct dns_answer *a,
                                     const char **why_r)
{
    struct hostent *h = NULL;
    if (status == ARES_SUCCESS)
        status = family == AF_INET ? ares_parse_a_reply(in, n, &h, NULL, NULL)
                                   : ares_parse_aaaa_reply(in, n, &h, NULL, NULL);
    enum dns_result r = dns_result_of(status, why_r);
    for (char **p = h ? h->h_addr_list : NULL; p && *p && a->n < DNS_ADDRESSES_MAX / 2 * (family == AF_INET ? 2 : 1);
         p++)
        if (inet_ntop(family, *p, a->addresses[a->n], DNS_ADDRESS_TEXT_MAX))
            a->n++;
    if (h)
        ares_free_hostent(h);
    return r;
}

void dns_answer_merge(struct dns_answer *a, enum dns_result six, unsigned six_n, enum dns_result four,
                      const char *six_why, const char *four_why)
{
    struct dns_answer mixed = {0};
    unsigned four_n = a->n - six_n;
    for (unsigned i = 0; i < six_n || i < four_n; i++) {
        if (i < six_n)
            memcpy(mixed.addresses[mixed.n++], a->addresses[i], DNS_ADDRESS_TEXT_MAX);
        if (i < four_n)
            memcpy(mixed.addresses[mixed.n++], a->addresses[six_n + i], DNS_ADDRESS_TEXT_MAX);
    }
    memcpy(a->addresses, mixed.addresses, sizeof a->addresses);
    if (a->n > 0)
        a->result = DNS_FOUND;
    else if (six == DNS_TEMPORARY || four == DNS_TEMPORARY)
        a->result = DNS_TEMPORARY;
    else
        a->result = six == DNS_NO_NAME && four == DNS_NO_NAME ? DNS_NO_NAME : DNS_NO_DATA;
    a->why = four == DNS_TEMPORARY ? four_why : six_why;
}
