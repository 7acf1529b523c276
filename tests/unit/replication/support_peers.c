#include "support_peers.h"

#include "node/base/clock.h"
#include "replication/identity.h"

#include <stdio.h>

void test_ca_make(struct test_ca *ca, uint64_t cluster_id)
{
    ca->cluster_id = cluster_id;
    ENSURE(identity_ca_make(cluster_id, &ca->cert_pem, &ca->key_pem, NULL) == 0);
}

void test_ca_free(struct test_ca *ca)
{
    mem_free(ca->cert_pem);
    mem_free(ca->key_pem);
}

void test_identity_make(struct link_identity *id_r, const struct test_ca *ca, uint64_t cluster_id, uint64_t id,
                        uint64_t certificate_id)
{
    char *cert, *key;
    *id_r = (struct link_identity){.cluster_id = cluster_id, .node_id = id, .instance = 1000 + id, .format_max = 1};
    snprintf(id_r->name, sizeof(id_r->name), "n%u", (unsigned)id);
    ENSURE(identity_cert_make(ca->cert_pem, ca->key_pem, cluster_id, certificate_id, &cert, &key, NULL) == 0);
    ENSURE(identity_contexts_make(ca->cert_pem, cert, key, &id_r->client, &id_r->server, NULL) == 0);
    mem_free(cert);
    mem_free(key);
}

void test_identity_free(struct link_identity *id)
{
    SSL_CTX_free(id->client);
    SSL_CTX_free(id->server);
}

static void tick(uv_timer_t *t)
{
    (void)t;
}

bool test_loop_until(uv_loop_t *loop, const unsigned *flag, unsigned want, unsigned ms)
{
    uv_timer_t timer;
    int64_t end = clock_steady_ms() + ms;
    uv_timer_init(loop, &timer);
    uv_timer_start(&timer, tick, 5, 5);
    while ((!flag || *flag < want) && clock_steady_ms() < end)
        uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    return flag && *flag >= want;
}

void test_loop_for(uv_loop_t *loop, unsigned ms)
{
    test_loop_until(loop, NULL, 0, ms);
}

void test_loop_end(uv_loop_t *loop)
{
    uv_run(loop, UV_RUN_DEFAULT);
    ENSURE(uv_loop_close(loop) == 0);
}
