/* Between dns.c (c-ares on the loop, the cache) and dns_answer.c (what answers say). */
#ifndef IO_DNS_INTERNAL_H
#define IO_DNS_INTERNAL_H

#include "node/io/dns.h"

#include <ares.h>

enum dns_result dns_result_of(int status, const char **why_r);
/* Fills `a` from the answer to an MX query. */
void dns_answer_mx(int status, const unsigned char *in, int n, struct dns_answer *a);
/* Adds the addresses of one family; returns how it went. */
enum dns_result dns_answer_addresses(int status, const unsigned char *in, int n, int family, struct dns_answer *a,
                                     const char **why_r);
/* Both families are there (IPv6 first): mixes them, decides the result. */
void dns_answer_merge(struct dns_answer *a, enum dns_result six, unsigned six_n, enum dns_result four,
                      const char *six_why, const char *four_why);
/* Equal preferences in random order, ascending. */
void dns_mx_shuffle(struct dns_answer *a);

#endif
