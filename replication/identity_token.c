#include "replication/identity.h"

#include "node/base/buf.h"
#include "node/base/hash.h"
#include "node/base/mem.h"

static const char PREFIX[] = "merlion-join-";
static const char VERSION_1[] = "1.";
static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

enum { TOKEN_TEXT_MAX = 32 * 1024, TOKEN_FIELD_MAX = 8 * 1024 };

/* base64url without padding (RFC 4648 section 5). */
static void base64_append(struct buf *out, struct slice in)
{
    for (size_t i = 0; i < in.n; i += 3) {
        size_t n = in.n - i < 3 ? in.n - i : 3;
        uint32_t v = (uint32_t)in.p[i] << 16;
        v |= n > 1 ? (uint32_t)in.p[i + 1] << 8 : 0;
        v |= n > 2 ? (uint32_t)in.p[i + 2] : 0;
        for (size_t k = 0; k <= n; k++)
            buf_append_byte(out, (uint8_t)ALPHABET[v >> (18 - 6 * k) & 63]);
    }
}

static int base64_decode(struct slice in, struct buf *out)
{
    uint32_t v = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < in.n; i++) {
        const char *at = in.p[i] ? strchr(ALPHABET, in.p[i]) : NULL;
        if (!at)
            return ERR_INVALID;
        v = (v << 6 | (uint32_t)(at - ALPHABET)) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_append_byte(out, (uint8_t)(v >> bits));
        }
    }
    return 0;
}

char *identity_token_encode(const struct identity_token *t)
{
    struct buf raw = {0}, text = {0};
    buf_put_u64(&raw, t->cluster_id);
    buf_put_u64(&raw, t->id);
    buf_put_u64(&raw, t->expires_ms);
    buf_put_bytes(&raw, slice_str(t->name));
    buf_put_bytes(&raw, slice_str(t->advertise));
    buf_put_bytes(&raw, slice_str(t->peers));
    buf_put_bytes(&raw, slice_str(t->ca_pem));
    buf_put_bytes(&raw, slice_str(t->cert_pem));
    buf_put_bytes(&raw, slice_str(t->key_pem));
    buf_put_u64(&raw, checksum64(buf_slice(&raw)));
    buf_append_str(&text, PREFIX);
    buf_append_str(&text, VERSION_1);
    base64_append(&text, buf_slice(&raw));
    char *out = mem_strndup(buf_slice(&text));
    mem_wipe(raw.base, raw.end);
    mem_wipe(text.base, text.end);
    buf_close(&raw);
    buf_close(&text);
    return out;
}

static char *field(struct reader *r)
{
    struct slice s = read_bytes(r, TOKEN_FIELD_MAX);
    if (s.n && memchr(s.p, 0, s.n))
        r->failed = true;
    return mem_strndup(s);
}

static int fields_decode(struct slice raw, struct identity_token *t)
{
    struct reader r = {.in = raw};
    t->cluster_id = read_u64(&r);
    t->id = read_u64(&r);
    t->expires_ms = read_u64(&r);
    t->name = field(&r);
    t->advertise = field(&r);
    t->peers = field(&r);
    t->ca_pem = field(&r);
    t->cert_pem = field(&r);
    t->key_pem = field(&r);
    return r.failed || r.in.n ? ERR_INVALID : 0;
}

static struct slice text_trim(const char *text)
{
    struct slice s = slice_str(text);
    while (s.n && strchr(" \t\r\n", s.p[0]))
        s = slice_from(s, 1);
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]))
        s.n--;
    return s;
}

int identity_token_decode(const char *text, struct identity_token *t_r, struct err_detail *e)
{
    struct slice s = text_trim(text);
    *t_r = (struct identity_token){0};
    if (s.n > TOKEN_TEXT_MAX)
        return err_set(e, ERR_INVALID, "too long for a join token");
    if (!slice_eq(slice_first(s, strlen(PREFIX)), slice_str(PREFIX)))
        return err_set(e, ERR_INVALID, "not a join token: one starts with \"%s\"", PREFIX);
    s = slice_from(s, strlen(PREFIX));
    if (!slice_eq(slice_first(s, strlen(VERSION_1)), slice_str(VERSION_1)))
        return err_set(e, ERR_VERSION,
                       "a join token of a version that this build does not know: install the cluster's version");
    struct buf raw = {0};
    int rv = base64_decode(slice_from(s, strlen(VERSION_1)), &raw);
    struct slice all = buf_slice(&raw);
    if (rv == 0 && (all.n < 8 || checksum64(slice_first(all, all.n - 8)) != get_le64(all.p + all.n - 8)))
        rv = ERR_INVALID;
    if (rv == 0)
        rv = fields_decode(slice_first(all, all.n - 8), t_r);
    mem_wipe(raw.base, raw.end);
    buf_close(&raw);
    if (rv != 0) {
        identity_token_close(t_r);
        return err_set(e, rv, "the join token is damaged or cut short: copy the whole line again");
    }
    return 0;
}

void identity_token_close(struct identity_token *t)
{
    if (t->key_pem)
        mem_wipe(t->key_pem, strlen(t->key_pem));
    char *all[] = {t->name, t->advertise, t->peers, t->ca_pem, t->cert_pem, t->key_pem};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        mem_free(all[i]);
    *t = (struct identity_token){0};
}
