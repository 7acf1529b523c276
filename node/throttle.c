#include "node/throttle.h"

#include "node/base/hash.h"
#include "node/base/mem.h"

#include <pthread.h>

/* A fixed table, a slot an address by hash: a collision only makes a stranger wait too. Failures are forgotten one a
 * FORGET_MS. */
enum { SLOTS = 4096, FREE_FAILURES = 5, STEP_MS = 250, DELAY_MAX_MS = 5000, FORGET_MS = 10000 };

struct slot {
    uint64_t key;
    int64_t last_ms;
    unsigned failures;
};
struct throttle {
    pthread_mutex_t lock;
    struct slot slots[SLOTS];
};

struct throttle *throttle_new(void)
{
    struct throttle *t = mem_zalloc(sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void throttle_free(struct throttle **t)
{
    if (*t)
        pthread_mutex_destroy(&(*t)->lock);
    mem_free(*t);
    *t = NULL;
}

static struct slot *slot_of(struct throttle *t, uint64_t key)
{
    return &t->slots[key % SLOTS];
}

static unsigned failures_now(const struct slot *s, int64_t now_ms)
{
    int64_t forgotten = (now_ms - s->last_ms) / FORGET_MS;
    return forgotten >= (int64_t)s->failures ? 0 : s->failures - (unsigned)forgotten;
}

int64_t throttle_delay_ms(struct throttle *t, struct slice address, int64_t now_ms)
{
    uint64_t key = checksum64(address);
    pthread_mutex_lock(&t->lock);
    const struct slot *s = slot_of(t, key);
    unsigned failures = s->key == key ? failures_now(s, now_ms) : 0;
    int64_t since = now_ms - s->last_ms;
    pthread_mutex_unlock(&t->lock);
    if (failures < FREE_FAILURES)
        return 0;
    unsigned doublings = failures - FREE_FAILURES < 5 ? failures - FREE_FAILURES : 5;
    int64_t delay = (int64_t)STEP_MS << doublings;
    if (delay > DELAY_MAX_MS)
        delay = DELAY_MAX_MS;
    return delay > since ? delay - since : 0;
}

void throttle_failed(struct throttle *t, struct slice address, int64_t now_ms)
{
    uint64_t key = checksum64(address);
    pthread_mutex_lock(&t->lock);
    struct slot *s = slot_of(t, key);
    s->failures = (s->key == key ? failures_now(s, now_ms) : 0) + 1;
    s->key = key;
    s->last_ms = now_ms;
    pthread_mutex_unlock(&t->lock);
}

void throttle_succeeded(struct throttle *t, struct slice address)
{
    uint64_t key = checksum64(address);
    pthread_mutex_lock(&t->lock);
    struct slot *s = slot_of(t, key);
    if (s->key == key)
        s->failures = 0;
    pthread_mutex_unlock(&t->lock);
}
