#include "store/blob_table.h"

#include "node/base/mem.h"

#include <pthread.h>

enum { CAP_FIRST = 256 };

/* Who sends mail can choose some bits of its hash: a seed of this process keeps him from choosing slots. */
static uint64_t seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void seed_make(void)
{
    random_bytes(&seed, sizeof seed);
}

static struct blob_table_slot *slot_of(const struct blob_table *t, const struct body_hash *hash)
{
    uint64_t key;
    memcpy(&key, hash->b, sizeof key);
    key = (key ^ seed) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(key >> 32) & (t->cap - 1);
    while (t->slots[i].used && !body_hash_eq(&t->slots[i].hash, hash))
        i = (i + 1) & (t->cap - 1);
    return &t->slots[i];
}

static void grow(struct blob_table *t)
{
    struct blob_table old = *t;
    pthread_once(&seed_once, seed_make);
    t->cap = old.cap ? old.cap * 2 : CAP_FIRST;
    t->slots = mem_zalloc(t->cap * sizeof *t->slots);
    for (size_t i = 0; i < old.cap; i++) {
        if (old.slots[i].used)
            *slot_of(t, &old.slots[i].hash) = old.slots[i];
    }
    mem_free(old.slots);
}

struct blob_row *blob_table_get(const struct blob_table *t, const struct body_hash *hash)
{
    if (!t->n)
        return NULL;
    struct blob_table_slot *s = slot_of(t, hash);
    return s->used ? &s->row : NULL;
}

void blob_table_put(struct blob_table *t, const struct body_hash *hash, const struct blob_row *row)
{
    if (t->n + 1 > t->cap / 4 * 3)
        grow(t);
    struct blob_table_slot *s = slot_of(t, hash);
    if (!s->used)
        t->n++;
    s->used = true;
    s->hash = *hash;
    s->row = *row;
}

void blob_table_clear(struct blob_table *t)
{
    mem_free(t->slots);
    *t = (struct blob_table){0};
}
