#include "node/listener_limit.h"

#include "node/base/hash.h"
#include "node/base/mem.h"

#include <arpa/inet.h>
#include <pthread.h>

enum { BUCKETS = 4096 };

struct entry {
    struct entry *next;
    uint8_t key[8]; /* 0 and an IPv4 address, or an IPv6 prefix */
    unsigned count;
};

struct address_counts {
    pthread_mutex_t lock;
    struct entry *buckets[BUCKETS];
};

struct address_counts *address_counts_new(void)
{
    struct address_counts *a = mem_zalloc(sizeof *a);
    pthread_mutex_init(&a->lock, NULL);
    return a;
}

void address_counts_free(struct address_counts **a)
{
    if (!*a)
        return;
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct entry *e = (*a)->buckets[i], *next; e; e = next) {
            next = e->next;
            mem_free(e);
        }
    pthread_mutex_destroy(&(*a)->lock);
    mem_free(*a);
    *a = NULL;
}

/* The place that points to the address's entry, or to the end of its chain. */
static struct entry **place(struct address_counts *a, const char *address, uint8_t key[8])
{
    uint8_t raw[16] = {0};
    memset(key, 0, 8);
    if (inet_pton(AF_INET, address, raw) == 1)
        memcpy(key + 4, raw, 4);
    else if (inet_pton(AF_INET6, address, raw) == 1)
        memcpy(key, raw, 8);
    struct entry **e = &a->buckets[checksum64(slice_make(key, 8)) % BUCKETS];
    while (*e && memcmp((*e)->key, key, 8) != 0)
        e = &(*e)->next;
    return e;
}

bool address_counts_add(struct address_counts *a, const char *address, unsigned max)
{
    uint8_t key[8];
    pthread_mutex_lock(&a->lock);
    struct entry **e = place(a, address, key);
    bool ok = max == 0 || !*e || (*e)->count < max;
    if (ok && !*e) {
        *e = mem_zalloc(sizeof **e);
        memcpy((*e)->key, key, 8);
    }
    if (ok)
        (*e)->count++;
    pthread_mutex_unlock(&a->lock);
    return ok;
}

void address_counts_remove(struct address_counts *a, const char *address)
{
    uint8_t key[8];
    pthread_mutex_lock(&a->lock);
    struct entry **e = place(a, address, key);
    if (*e && --(*e)->count == 0) {
        struct entry *gone = *e;
        *e = gone->next;
        mem_free(gone);
    }
    pthread_mutex_unlock(&a->lock);
}
