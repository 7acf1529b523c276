/* Any bytes as a join token, as what is in one, and as the certificate that a peer shows. */
#include "node/base/buf.h"
#include "node/base/hash.h"
#include "node/base/mem.h"
#include "replication/identity.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static void decode(const char *text)
{
    struct identity_token t, again;
    struct err_detail e;
    int rv = identity_token_decode(text, &t, &e);
    ENSURE(rv == 0 || rv == ERR_INVALID || rv == ERR_VERSION);
    if (rv) {
        ENSURE(!t.name && !t.key_pem && e.text[0]);
        return;
    }
    char *back = identity_token_encode(&t);
    ENSURE(identity_token_decode(back, &again, &e) == 0);
    ENSURE(again.cluster_id == t.cluster_id && again.id == t.id && again.expires_ms == t.expires_ms);
    ENSURE(same(again.name, t.name) && same(again.advertise, t.advertise) && same(again.peers, t.peers));
    ENSURE(same(again.ca_pem, t.ca_pem) && same(again.cert_pem, t.cert_pem) && same(again.key_pem, t.key_pem));
    identity_token_close(&again);
    identity_token_close(&t);
    mem_free(back);
}

/* What is in a token, with a checksum that is right: base64url as RFC 4648 section 5 has it. */
static void decode_content(struct slice in)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct buf raw = {0}, text = {0};
    buf_append_slice(&raw, in);
    buf_put_u64(&raw, checksum64(in));
    struct slice all = buf_slice(&raw);
    uint32_t bits = 0, have = 0;
    buf_append_str(&text, "merlion-join-1.");
    for (size_t i = 0; i < all.n; i++) {
        bits = bits << 8 | all.p[i];
        for (have += 8; have >= 6; have -= 6)
            buf_append_byte(&text, (uint8_t)alphabet[bits >> (have - 6) & 63]);
    }
    if (have > 0)
        buf_append_byte(&text, (uint8_t)alphabet[bits << (6 - have) & 63]);
    buf_append_byte(&text, 0);
    decode((const char *)buf_slice(&text).p);
    buf_close(&raw);
    buf_close(&text);
}

static void certificate(struct slice in)
{
    const unsigned char *p = in.p;
    uint64_t id = 0;
    X509 *cert = d2i_X509(NULL, &p, (long)in.n);
    if (cert && identity_subject_check(cert, 7, &id) == 0)
        ENSURE(id > 0);
    X509_free(cert);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    char *text = mem_strndup(slice_first(in, slice_find(in, 0)));
    decode(text);
    mem_free(text);
    decode_content(in);
    certificate(in);
    return 0;
}
