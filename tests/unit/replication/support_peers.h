/* Identities of a test cluster, in memory, and running a loop until something holds. */
#ifndef TEST_SUPPORT_PEERS_H
#define TEST_SUPPORT_PEERS_H

#include "replication/link.h"

struct test_ca {
    uint64_t cluster_id;
    char *cert_pem, *key_pem;
};
void test_ca_make(struct test_ca *ca, uint64_t cluster_id);
void test_ca_free(struct test_ca *ca);
/* certificate_id: the id in the certificate, id: the one claimed. */
void test_identity_make(struct link_identity *id_r, const struct test_ca *ca, uint64_t cluster_id, uint64_t id,
                        uint64_t certificate_id);
void test_identity_free(struct link_identity *id);

/* Runs the loop until *flag is at least `want`, at most ms. */
bool test_loop_until(uv_loop_t *loop, const unsigned *flag, unsigned want, unsigned ms);
void test_loop_for(uv_loop_t *loop, unsigned ms);
/* Runs until nothing is left, and closes. */
void test_loop_end(uv_loop_t *loop);

#endif
