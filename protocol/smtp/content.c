#include "protocol/smtp/content.h"

void smtp_content_begin(struct smtp_content *c, size_t max, bool binary)
{
    buf_clear(&c->body);
    c->max = max;
    c->binary = binary;
    c->eight = false;
    c->faults = 0;
    c->state = CONTENT_LINE_START;
}

void smtp_content_close(struct smtp_content *c)
{
    buf_close(&c->body);
}

static void fault(struct smtp_content *c, enum smtp_fault f)
{
    c->faults |= (unsigned)f;
    buf_clear(&c->body);
}

static bool has_eight(const uint8_t *p, size_t n)
{
    uint64_t word;
    uint8_t bits = 0;

    for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        if (word & 0x8080808080808080)
            return true;
    }
    while (n > 0)
        bits |= p[--n];
    return bits & 0x80;
}

static void put(struct smtp_content *c, const uint8_t *p, size_t n)
{
    if (c->faults != 0 || n == 0)
        return;
    if (n > c->max - buf_len(&c->body)) {
        fault(c, SMTP_FAULT_TOOBIG);
    } else if (!c->binary && memchr(p, 0, n)) {
        fault(c, SMTP_FAULT_NUL);
    } else {
        c->eight = c->eight || has_eight(p, n);
        buf_append(&c->body, p, n);
    }
}

/* Lines from p on, as many as need no look at their first octet. Returns the octets taken. */
static size_t lines_take(struct smtp_content *c, const uint8_t *p, size_t n, bool stop_at_dot)
{
    size_t i = 0;

    for (;;) {
        const uint8_t *cr = memchr(p + i, '\r', n - i);
        size_t end = cr ? (size_t)(cr - p) : n;
        if (memchr(p + i, '\n', end - i))
            fault(c, SMTP_FAULT_BARE);
        if (!cr) {
            put(c, p, n);
            c->state = CONTENT_LINE;
            return n;
        }
        if (end + 1 == n) {
            put(c, p, end);
            c->state = CONTENT_CR;
            return n;
        }
        i = end + 1;
        if (p[i] != '\n') {
            fault(c, SMTP_FAULT_BARE);
            continue;
        }
        i++;
        if (i == n || (stop_at_dot && p[i] == '.')) {
            put(c, p, i);
            c->state = CONTENT_LINE_START;
            return i;
        }
    }
}

/* The octet after a CR that came last. Returns the octets taken: none when it belongs to what follows. */
static size_t after_cr(struct smtp_content *c, uint8_t octet)
{
    if (octet == '\n') {
        put(c, (const uint8_t *)"\r\n", 2);
        c->state = CONTENT_LINE_START;
        return 1;
    }
    fault(c, SMTP_FAULT_BARE);
    c->state = CONTENT_LINE;
    return 0;
}

size_t smtp_content_data(struct smtp_content *c, struct slice in, bool *end_r)
{
    size_t i = 0;

    *end_r = false;
    while (i < in.n) {
        switch (c->state) {
        case CONTENT_LINE_START:
            if (in.p[i] == '.') {
                c->state = CONTENT_DOT;
                i++;
                break;
            }
            /* fall through */
        case CONTENT_LINE:
            i += lines_take(c, in.p + i, in.n - i, true);
            break;
        case CONTENT_DOT: /* a dot that is not the end was put there by the sender's stuffing */
            c->state = in.p[i] == '\r' ? CONTENT_DOT_CR : CONTENT_LINE;
            i += in.p[i] == '\r';
            break;
        case CONTENT_DOT_CR:
            if (in.p[i] == '\n') {
                *end_r = true;
                return i + 1;
            }
            /* fall through */
        case CONTENT_CR:
            i += after_cr(c, in.p[i]);
            break;
        }
    }
    return i;
}

void smtp_content_chunk(struct smtp_content *c, struct slice in)
{
    if (in.n == 0)
        return;
    if (c->binary) {
        put(c, in.p, in.n);
        return;
    }
    size_t i = c->state == CONTENT_CR ? after_cr(c, in.p[0]) : 0;
    if (i < in.n)
        lines_take(c, in.p + i, in.n - i, false);
}

void smtp_content_chunk_end(struct smtp_content *c)
{
    if (c->state == CONTENT_CR)
        fault(c, SMTP_FAULT_BARE);
}
