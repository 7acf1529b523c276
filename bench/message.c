#include "bench/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load.h"

enum {
    WIDTH = 72,                            /* of a line of text and a line of base64 */
    LINE = WIDTH + 2,                      /* with CRLF */
    TEXT_LINES = 1 << 15,                  /* 2.4 MB */
    DATA_LINES = 2 * (MESSAGE_MAX / LINE), /* 8 MB: a message of the largest size begins at any of half of them */
    WORDS = 4096,
    TEXT_OF_MIXED = 2048 /* bytes of text in a message with an attachment */
};

static char *text; /* TEXT_LINES of words */
static char *data; /* DATA_LINES of random base64 */

static void make_words(char words[WORDS][16], uint64_t *state)
{
    static const char *const syllable[] = {"ta", "ri", "mo",  "ne",  "sa",   "lu", "ko",  "ve", "in", "er",
                                           "an", "st", "pre", "con", "ment", "al", "ing", "ba", "di", "for"};
    for (int i = 0; i < WORDS; i++) {
        int count = 1 + (int)(load_random(state) % 3);
        words[i][0] = '\0';
        for (int k = 0; k < count; k++)
            strcat(words[i], syllable[load_random(state) % 20]);
    }
}

/* Words as frequent as rank is low, broken at the line's width. */
static void make_text(uint64_t *state)
{
    static char words[WORDS][16];
    make_words(words, state);
    size_t have = 0;
    const char *word = "";
    for (size_t line = 0; line < TEXT_LINES; line++) {
        char *out = text + line * LINE;
        for (size_t i = 0; i < WIDTH; i++) {
            if (word[have] == '\0') {
                double r = (double)(load_random(state) >> 11) / 9007199254740992.0;
                word = words[(size_t)(r * r * r * WORDS)];
                have = 0;
                out[i] = ' ';
            } else {
                out[i] = word[have++];
            }
        }
        out[WIDTH] = '\r';
        out[WIDTH + 1] = '\n';
    }
}

static void make_data(uint64_t *state)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t line = 0; line < DATA_LINES; line++) {
        char *out = data + line * LINE;
        for (size_t i = 0; i < WIDTH; i += 8) {
            uint64_t bits = load_random(state);
            for (size_t k = 0; k < 8; k++)
                out[i + k] = digit[bits >> (6 * k) & 63];
        }
        out[WIDTH] = '\r';
        out[WIDTH + 1] = '\n';
    }
}

void message_init(void)
{
    uint64_t state = 42; /* the same in every process: verify makes again what delivery sent */
    text = malloc((size_t)TEXT_LINES * LINE);
    data = malloc((size_t)DATA_LINES * LINE);
    if (!text || !data)
        load_fail("out of memory");
    make_text(&state);
    make_data(&state);
}

static void add(struct message *m, const char *bytes, size_t length)
{
    m->part[m->parts].bytes = bytes;
    m->part[m->parts++].length = length;
    m->length += length;
}

/* Whole lines from pool, at most length bytes, beginning anywhere. */
static void add_lines(struct message *m, const char *pool, size_t lines, size_t length, uint64_t *state)
{
    size_t count = length / LINE;
    add(m, pool + load_random(state) % (lines - count) * LINE, count * LINE);
}

static int make_head(struct message *m, uint64_t seed, size_t size, const char *recipient, uint64_t *state)
{
    const char *subject = text + load_random(state) % TEXT_LINES * LINE;
    unsigned long long id = load_random(state);
    return snprintf(m->head, sizeof m->head,
                    "X-Bench: %020llu %zu\r\nFrom: Bench Sender %llu <sender%llu@example.org>\r\nTo: <%s>\r\n"
                    "Subject: Re: %.*s\r\nDate: Mon, 6 Jan 2025 %02llu:%02llu:00 +0800\r\n"
                    "Message-ID: <%016llx.%llx@example.org>\r\nMIME-Version: 1.0\r\n",
                    (unsigned long long)seed, size, id % 97, id % 97, recipient, 40, subject, id / 60 % 24, id % 60, id,
                    (unsigned long long)seed);
}

void message_make(struct message *m, uint64_t seed, size_t size, const char *recipient)
{
    static const char plain[] = "Content-Type: text/plain; charset=utf-8\r\n\r\n";
    uint64_t state = seed;
    m->parts = 0;
    m->length = 0;
    size_t head = (size_t)make_head(m, seed, size, recipient, &state);
    bool mixed = size > MESSAGE_ALONE;
    unsigned long long boundary = load_random(&state);
    if (mixed)
        head += (size_t)snprintf(m->head + head, sizeof m->head - head,
                                 "Content-Type: multipart/mixed; boundary=\"b%016llx\"\r\n\r\n--b%016llx\r\n", boundary,
                                 boundary);
    head += (size_t)snprintf(m->head + head, sizeof m->head - head, "%s", plain);
    add(m, m->head, head);
    if (!mixed) {
        add_lines(m, text, TEXT_LINES, size - head, &state);
        return;
    }
    add_lines(m, text, TEXT_LINES, TEXT_OF_MIXED, &state);
    int middle = snprintf(m->middle, sizeof m->middle,
                          "\r\n--b%016llx\r\nContent-Type: application/octet-stream; name=\"scan.bin\"\r\n"
                          "Content-Disposition: attachment; filename=\"scan.bin\"\r\n"
                          "Content-Transfer-Encoding: base64\r\n\r\n",
                          boundary);
    int tail = snprintf(m->tail, sizeof m->tail, "\r\n--b%016llx--\r\n", boundary);
    add(m, m->middle, (size_t)middle);
    add_lines(m, data, DATA_LINES, size - m->length - (size_t)tail, &state);
    add(m, m->tail, (size_t)tail);
}

bool message_matches(const char *bytes, size_t length, const char *recipient)
{
    static const char mark[] = "X-Bench: ";
    const char *at = memmem(bytes, length, mark, sizeof mark - 1);
    unsigned long long seed;
    size_t size;
    char line[64]; /* bytes has no NUL */
    if (!at)
        return false;
    size_t left = (size_t)(bytes + length - at), part = left < sizeof line ? left : sizeof line - 1;
    memcpy(line, at, part);
    line[part] = '\0';
    if (sscanf(line, "X-Bench: %llu %zu", &seed, &size) != 2 || size < MESSAGE_MIN || size > MESSAGE_MAX)
        return false;
    struct message m;
    message_make(&m, seed, size, recipient);
    if (left != m.length)
        return false;
    for (int i = 0; i < m.parts; i++) {
        if (memcmp(at, m.part[i].bytes, m.part[i].length) != 0)
            return false;
        at += m.part[i].length;
    }
    return true;
}
