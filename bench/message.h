/* Messages that are unique and can be made again from their first header line, so that what a server gives back can be
 * compared byte by byte with what it was given. */
#ifndef MERLION_BENCH_MESSAGE_H
#define MERLION_BENCH_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MESSAGE_MIN = 1024,
    MESSAGE_MAX = 4 << 20,
    MESSAGE_PARTS = 5,
    MESSAGE_ALONE = 16384, /* up to this size a message is text only, above it has an attachment */
};

/* The message as slices of its own head, of shared text and of shared random base64: sending it copies nothing.
 * Every line ends in CRLF and none begins with a dot (RFC 5321, 4.5.2). */
struct message {
    struct {
        const char *bytes;
        size_t length;
    } part[MESSAGE_PARTS];
    int parts;
    size_t length; /* of all parts */
    char head[1024];
    char middle[256];
    char tail[128];
};

/* Fills what all messages share; once, before the first message_make. */
void message_init(void);

/* The message of (seed, size, recipient). Its slices live as long as *m, which must not move. */
void message_make(struct message *m, uint64_t seed, size_t size, const char *recipient);

/* Whether bytes, a message as fetched (the server may have put headers before it), is the one that its first line of
 * ours says, addressed to recipient. */
bool message_matches(const char *bytes, size_t length, const char *recipient);

#endif
