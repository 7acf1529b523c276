#include "node/auth_cache.h"

#include "node/base/buf.h"
#include "node/base/err.h"
#include "node/base/hash.h"
#include "node/base/mem.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>

enum { SLOTS = 4096, KEEP_MS = 5 * 60 * 1000, MAC_N = 32 };

struct slot {
    uint8_t mac[MAC_N];
    int64_t until_ms;
};
struct auth_cache {
    pthread_mutex_t lock;
    uint8_t key[32];
    struct slot slots[SLOTS];
};

struct auth_cache *auth_cache_new(void)
{
    struct auth_cache *c = mem_zalloc(sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    random_bytes(c->key, sizeof c->key);
    return c;
}

void auth_cache_free(struct auth_cache **c)
{
    if (*c) {
        pthread_mutex_destroy(&(*c)->lock);
        mem_wipe(*c, sizeof **c);
    }
    mem_free(*c);
    *c = NULL;
}

static void mac_of(const struct auth_cache *c, uint64_t account, struct slice encoded, struct slice password,
                   uint8_t mac[MAC_N])
{
    struct buf b = {0};
    buf_put_u64(&b, account);
    buf_put_bytes(&b, encoded);
    buf_put_bytes(&b, password);
    unsigned n = MAC_N;
    ENSURE(HMAC(EVP_sha256(), c->key, sizeof c->key, buf_slice(&b).p, buf_len(&b), mac, &n) != NULL && n == MAC_N);
    mem_wipe(b.base, b.cap);
    buf_close(&b);
}

bool auth_cache_has(struct auth_cache *c, uint64_t account, struct slice encoded, struct slice password, int64_t now_ms)
{
    uint8_t mac[MAC_N];
    mac_of(c, account, encoded, password, mac);
    pthread_mutex_lock(&c->lock);
    const struct slot *s = &c->slots[get_le32(mac) % SLOTS];
    bool has = s->until_ms > now_ms && CRYPTO_memcmp(s->mac, mac, MAC_N) == 0;
    pthread_mutex_unlock(&c->lock);
    return has;
}

void auth_cache_add(struct auth_cache *c, uint64_t account, struct slice encoded, struct slice password, int64_t now_ms)
{
    struct slot fresh = {.until_ms = now_ms + KEEP_MS};
    mac_of(c, account, encoded, password, fresh.mac);
    pthread_mutex_lock(&c->lock);
    c->slots[get_le32(fresh.mac) % SLOTS] = fresh;
    pthread_mutex_unlock(&c->lock);
}
