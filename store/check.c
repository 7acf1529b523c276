#include "store/state.h"

/* RFC 5321 4.5.3.1 and RFC 1035 2.3.4. */
enum { LOCAL_MAX = 64, DOMAIN_MAX = 253, LABEL_MAX = 63, ADDRESS_MAX = 254 };

static bool is_control(int32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029;
}

/* Valid UTF-8 without control characters. */
static bool text_valid(struct slice s)
{
    while (s.n) {
        int32_t c;
        int n = utf8_step(s.p, s.n, &c);
        if (n <= 0 || is_control(c))
            return false;
        s = slice_from(s, (size_t)n);
    }
    return true;
}

struct slice ascii_lower(struct arena *a, struct slice in)
{
    uint8_t *p = arena_alloc(a, in.n ? in.n : 1);
    for (size_t i = 0; i < in.n; i++)
        p[i] = in.p[i] >= 'A' && in.p[i] <= 'Z' ? (uint8_t)(in.p[i] + 32) : in.p[i];
    return slice_make(p, in.n);
}

static bool contains(const char *set, uint8_t c)
{
    return c && strchr(set, c);
}

static bool label_valid(struct slice label)
{
    if (label.n == 0 || label.n > LABEL_MAX || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++) {
        uint8_t c = label.p[i];
        if (!(c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

bool domain_check(struct arena *a, struct slice in, struct slice *out_r)
{
    if (in.n == 0 || in.n > DOMAIN_MAX || !text_valid(in))
        return false;
    *out_r = ascii_lower(a, in);
    for (struct slice rest = *out_r;;) {
        size_t at = slice_find(rest, '.');
        if (!label_valid(slice_first(rest, at)))
            return false;
        if (at == rest.n)
            return true;
        rest = slice_from(rest, at + 1);
    }
}

/* A dot-string (RFC 5321 4.1.2) with UTF-8 (RFC 6531 3.3). */
static bool local_valid(struct slice s)
{
    if (s.n == 0 || s.n > LOCAL_MAX || !text_valid(s) || s.p[0] == '.' || s.p[s.n - 1] == '.')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (contains(" \"(),:;<>@[\\]", s.p[i]) || (i > 0 && s.p[i] == '.' && s.p[i - 1] == '.'))
            return false;
    return true;
}

bool address_check(struct arena *a, struct slice in, struct slice *out_r)
{
    size_t at = slice_find(in, '@');
    struct slice domain;
    if (at == in.n || in.n > ADDRESS_MAX || !local_valid(slice_first(in, at)) ||
        !domain_check(a, slice_from(in, at + 1), &domain))
        return false;
    *out_r = ascii_lower(a, in);
    return true;
}

struct slice address_domain(struct slice address)
{
    return slice_from(address, slice_find(address, '@') + 1);
}

bool keyword_check(struct slice name)
{
    if (name.n == 0 || name.n > KEYWORD_BYTES_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] >= 0x7f || contains("(){%*\"\\]", name.p[i]))
            return false;
    return true;
}

static bool levels_valid(struct slice name)
{
    for (unsigned depth = 1;; depth++) {
        size_t at = slice_find(name, '/');
        if (at == 0 || depth > MAILBOX_DEPTH_MAX)
            return false;
        if (at == name.n)
            return true;
        name = slice_from(name, at + 1);
    }
}

/* RFC 9051 5.1: INBOX in any case is the same mailbox; its inferiors follow. */
static void inbox_capitals(uint8_t *p, size_t n)
{
    if (slice_istarts(slice_make(p, n), SLICE_LITERAL("INBOX")) && (n == 5 || p[5] == '/'))
        memcpy(p, "INBOX", 5);
}

/* All but NFC, which is the proposer's to make: Unicode's tables differ between builds of utf8proc, and replicas must
 * never disagree. */
bool mailbox_name_check(struct arena *a, struct slice in, struct slice *out_r)
{
    if (in.n == 0 || in.n > MAILBOX_NAME_MAX || !text_valid(in) || slice_find(in, '%') < in.n ||
        slice_find(in, '*') < in.n || !levels_valid(in))
        return false;
    uint8_t *p = arena_alloc(a, in.n);
    memcpy(p, in.p, in.n);
    inbox_capitals(p, in.n);
    *out_r = slice_make(p, in.n);
    return true;
}
