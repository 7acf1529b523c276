#include "node/proxy.h"

#include <arpa/inet.h>
#include <stdio.h>

static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

enum { V2_FIXED = 16, V2_LOCAL = 0x20, V2_PROXY = 0x21 };
enum { FAMILY_INET = 1, FAMILY_INET6 = 2, FAMILY_UNIX = 3, TRANSPORT_STREAM = 1 };

/* The next space-separated word; the separator is exactly one space. */
static struct slice word(struct slice *s)
{
    size_t n = slice_find(*s, ' ');
    struct slice w = slice_first(*s, n);
    *s = slice_from(*s, n + 1);
    return w;
}

/* An address in the text form of its family, rewritten in the canonical form. */
static int address_text(int family, struct slice text, char *out, size_t out_n)
{
    char copy[INET6_ADDRSTRLEN];
    uint8_t raw[16];
    if (text.n == 0 || text.n >= sizeof copy)
        return ERR_PROTOCOL;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    if (strlen(copy) != text.n || inet_pton(family, copy, raw) != 1)
        return ERR_PROTOCOL;
    if (out)
        inet_ntop(family, raw, out, (socklen_t)out_n);
    return 0;
}

static int port_text(struct slice text, uint16_t *port_r)
{
    uint64_t port;
    if (text.n == 0 || text.n > 5 || (text.n > 1 && text.p[0] == '0') || slice_u64(text, 65535, &port) < 0)
        return ERR_PROTOCOL;
    *port_r = (uint16_t)port;
    return 0;
}

/* 2.1: "PROXY TCP4 source destination sport dport", without CRLF here. */
static int v1_line(struct slice line, struct proxy_header *h)
{
    word(&line); /* PROXY */
    struct slice kind = word(&line);
    if (slice_eq(kind, SLICE_LITERAL("UNKNOWN"))) {
        h->local = true; /* whatever follows is ignored */
        return 0;
    }
    int family = slice_eq(kind, SLICE_LITERAL("TCP4"))   ? AF_INET
                 : slice_eq(kind, SLICE_LITERAL("TCP6")) ? AF_INET6
                                                         : AF_UNSPEC;
    if (family == AF_UNSPEC)
        return ERR_PROTOCOL;
    struct slice from = word(&line), to = word(&line), from_port = word(&line);
    uint16_t ignored;
    if (address_text(family, from, h->address, sizeof h->address) < 0 || address_text(family, to, NULL, 0) < 0 ||
        port_text(from_port, &h->port) < 0 || port_text(line, &ignored) < 0)
        return ERR_PROTOCOL;
    return 0;
}

static int v1_parse(struct slice in, struct proxy_header *h, size_t *used_r)
{
    static const struct slice start = SLICE_LITERAL("PROXY ");
    if (!slice_eq(slice_first(in, start.n), slice_first(start, in.n)))
        return ERR_PROTOCOL;
    size_t end = slice_find(slice_first(in, PROXY_V1_MAX), '\n');
    if (end >= in.n)
        return in.n >= PROXY_V1_MAX ? ERR_PROTOCOL : 1;
    if (end >= PROXY_V1_MAX || in.p[end - 1] != '\r')
        return ERR_PROTOCOL;
    *used_r = end + 1;
    return v1_line(slice_first(in, end - 1), h);
}

/* 2.2: addresses, then TLVs, which are skipped. */
static int v2_addresses(uint8_t family, struct slice body, struct proxy_header *h)
{
    size_t address_n = family >> 4 == FAMILY_INET ? 4 : 16;
    if ((family & 15) != TRANSPORT_STREAM || (family >> 4 != FAMILY_INET && family >> 4 != FAMILY_INET6)) {
        h->local =
            true; /* UNSPEC, datagrams, sockets of the file system: no address for us; a receiver may ignore it */
        return family >> 4 > FAMILY_UNIX || (family & 15) > 2 ? ERR_PROTOCOL : 0;
    }
    if (body.n < 2 * address_n + 4)
        return ERR_PROTOCOL;
    inet_ntop(address_n == 4 ? AF_INET : AF_INET6, body.p, h->address, sizeof h->address);
    h->port = (uint16_t)(body.p[2 * address_n] << 8 | body.p[2 * address_n + 1]);
    return 0;
}

static int v2_parse(struct slice in, struct proxy_header *h, size_t *used_r)
{
    size_t known = in.n < sizeof signature ? in.n : sizeof signature;
    if (memcmp(in.p, signature, known) != 0)
        return ERR_PROTOCOL;
    if (in.n > 12 && in.p[12] != V2_PROXY && in.p[12] != V2_LOCAL)
        return ERR_PROTOCOL;
    if (in.n < V2_FIXED)
        return 1;
    size_t n = (size_t)in.p[14] << 8 | in.p[15];
    if (n > PROXY_V2_MAX)
        return ERR_PROTOCOL;
    if (in.n - V2_FIXED < n)
        return 1;
    *used_r = V2_FIXED + n;
    if (in.p[12] == V2_LOCAL) {
        h->local = true;
        return 0;
    }
    return v2_addresses(in.p[13], slice_make(in.p + V2_FIXED, n), h);
}

int proxy_parse(struct slice in, struct proxy_header *h_r, size_t *used_r)
{
    memset(h_r, 0, sizeof *h_r);
    *used_r = 0;
    if (in.n == 0)
        return 1;
    return in.p[0] == 'P' ? v1_parse(in, h_r, used_r) : v2_parse(in, h_r, used_r);
}

/* Sixteen bytes for either family. Returns the family or 0. */
static int address_raw(const char *text, uint8_t out[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (inet_pton(AF_INET6, text, out) == 1)
        return AF_INET6;
    memcpy(out, mapped, sizeof mapped);
    return inet_pton(AF_INET, text, out + 12) == 1 ? AF_INET : 0;
}

static bool bit_set(const uint8_t *p, unsigned i)
{
    return p[i / 8] >> (7 - i % 8) & 1;
}

int network_parse(struct slice text, struct network *n_r)
{
    char copy[INET6_ADDRSTRLEN];
    size_t slash = slice_find(text, '/');
    if (slash == 0 || slash >= sizeof copy)
        return ERR_INVALID;
    memcpy(copy, text.p, slash);
    copy[slash] = 0;
    int family = strlen(copy) == slash ? address_raw(copy, n_r->address) : 0;
    if (!family)
        return ERR_INVALID;
    uint64_t width = family == AF_INET ? 32 : 128, bits = width;
    if (slash < text.n && slice_u64(slice_from(text, slash + 1), width, &bits) < 0)
        return ERR_INVALID;
    n_r->bits = (unsigned)(128 - width + bits);
    for (unsigned i = n_r->bits; i < 128; i++)
        if (bit_set(n_r->address, i))
            return ERR_INVALID;
    return 0;
}

bool network_has(const struct network *n, const char *address)
{
    uint8_t raw[16];
    if (!address_raw(address, raw))
        return false;
    for (unsigned i = 0; i < n->bits; i++)
        if (bit_set(raw, i) != bit_set(n->address, i))
            return false;
    return true;
}
