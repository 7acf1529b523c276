#include "bench/hop.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/load.h"

enum { HOP_IN = 65536 };

struct session {
    struct hop *hop;
    int fd;
    size_t start, end;
    bool data; /* between 354 and the final dot */
    char in[HOP_IN];
    char out[4096];
    size_t out_n;
};

static void say(struct session *s, const char *line)
{
    size_t n = strlen(line);
    if (s->out_n + n > sizeof s->out)
        load_fail("the next hop has too much to say");
    memcpy(s->out + s->out_n, line, n);
    s->out_n += n;
}

static void taken(struct session *s)
{
    s->data = false;
    say(s, "250 2.0.0 taken\r\n");
    atomic_store(&s->hop->last, load_now());
    atomic_fetch_add(&s->hop->arrived, 1);
}

/* One line without its CRLF. False: QUIT. */
static bool line_run(struct session *s, const char *line, size_t n)
{
    if (s->data) {
        if (n == 1 && line[0] == '.')
            taken(s);
    } else if (n >= 4 && strncasecmp(line, "EHLO", 4) == 0) {
        say(s, "250-hop.example\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n");
    } else if (n >= 4 && strncasecmp(line, "DATA", 4) == 0) {
        s->data = true;
        say(s, "354 go on\r\n");
    } else if (n >= 4 && strncasecmp(line, "QUIT", 4) == 0) {
        say(s, "221 2.0.0 bye\r\n");
        return false;
    } else {
        say(s, "250 2.0.0 ok\r\n");
    }
    return true;
}

static bool lines_run(struct session *s)
{
    char *at;
    while ((at = memchr(s->in + s->start, '\n', s->end - s->start))) {
        const char *line = s->in + s->start;
        size_t n = (size_t)(at - line);
        s->start += n + 1;
        if (!line_run(s, line, n > 0 && line[n - 1] == '\r' ? n - 1 : n))
            return false;
    }
    memmove(s->in, s->in + s->start, s->end - s->start);
    s->end -= s->start;
    s->start = 0;
    if (s->end == sizeof s->in)
        s->end = 0; /* a line of a message longer than that: its octets do not matter here */
    return true;
}

static void *session_main(void *arg)
{
    struct session *s = arg;
    say(s, "220 hop.example ESMTP\r\n");
    for (bool more = true; more;) {
        if (s->out_n > 0 && write(s->fd, s->out, s->out_n) != (ssize_t)s->out_n)
            break;
        s->out_n = 0;
        ssize_t n = read(s->fd, s->in + s->end, sizeof s->in - s->end);
        if (n <= 0)
            break;
        s->end += (size_t)n;
        more = lines_run(s);
    }
    if (s->out_n > 0 && write(s->fd, s->out, s->out_n) < 0)
        s->out_n = 0;
    close(s->fd);
    free(s);
    return NULL;
}

static void *accept_main(void *arg)
{
    struct hop *h = arg;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 256 << 10);
    for (;;) {
        struct session *s = calloc(1, sizeof *s);
        pthread_t t;
        int one = 1;
        if (!s)
            load_fail("out of memory");
        s->hop = h;
        s->fd = accept(h->fd, NULL, NULL);
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (s->fd < 0 || pthread_create(&t, &attr, session_main, s) != 0)
            load_fail("the next hop cannot take a connection");
    }
}

void hop_start(struct hop *h, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    pthread_t t;
    int one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    h->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(h->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (h->fd < 0 || bind(h->fd, (struct sockaddr *)&a, sizeof a) || listen(h->fd, 1024) ||
        pthread_create(&t, NULL, accept_main, h))
        load_fail("the next hop cannot listen on port %d", port);
    pthread_detach(t);
}
